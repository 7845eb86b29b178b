"""The list of a data set's images, kept and set aside, and the page that introduces it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rli.labels import Item


class ManifestWriter:
    """manifest.csv and manifest.parquet in `folder`, a row for each image, written as they come.

    facts: the names and types (str, int, float, bool) of the columns taken from Item.facts, see `types_of`. Use it in
    a with statement: on an exception neither file is there, and old ones stay.
    """

    def __init__(self, folder: Path, facts: Mapping[str, type] | None = None) -> None:
        raise NotImplementedError

    def __enter__(self) -> ManifestWriter:
        raise NotImplementedError

    def __exit__(self, *error: Any) -> None:
        raise NotImplementedError

    def add(self, item: Item, *, kept: bool = True, reason: str = "") -> None:
        raise NotImplementedError


def types_of(facts: Mapping[str, Any]) -> dict[str, type]:
    """The column types of a first row's facts; None counts as a number that was not measured."""
    return {name: float if value is None else type(value) for name, value in facts.items()}


def dataset_card(
    folder: Path,
    *,
    title: str,
    settings: Mapping[str, Any],
    about: str = "",
    licence: str = "",
    metrics: Mapping[str, str] | None = None,
    samples: int = 6,
) -> None:
    """Writes folder/README.md from folder/manifest.parquet."""
    raise NotImplementedError
