"""Photographs that a list names: a CSV or Parquet file, read row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from rli.errors import RLIError
from rli.images import shown
from rli.photos.folders import Found
from rli.photos.naming import as_text, safe

# The first is required.
COLUMNS = ("path", "mask", "label", "category", "split", "region")
SUFFIXES = (".csv", ".parquet", ".pq")


def in_list(path: Path) -> Iterator[Found]:
    """The rows of a list with COLUMNS; its files are relative to the list's folder, or absolute.

    A photograph's name is its path with ~ and the number of its row, from 1: a path that comes twice has two names, and
    rows that are added at the end change none. Raises RLIError for what is no list.
    """
    for number, row in enumerate(_csv(path) if path.suffix.lower() == ".csv" else _parquet(path), 1):
        told = {name: str(row[name]) for name in COLUMNS if row.get(name) is not None}
        cell, mask, region = (told.get(name, "") for name in ("path", "mask", "region"))
        *above, last = PurePosixPath(cell).parts or ("row",)
        folders = [safe(f"{part}/") for part in above if part not in ("/", "//", "..")]
        yield Found(
            "/".join([*folders, f"{safe(last)}~{number}"]),
            path.parent / cell,
            as_text(cell),
            truth=path.parent / mask if mask else None,
            region=path.parent / region if region else None,
            problem="" if cell else f"{shown(path)}: row {number} names no photograph",
            **{name: as_text(told.get(name, "")) for name in ("label", "category", "split")},
        )


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            _check(path, rows.fieldnames or ())
            yield from rows
    except (csv.Error, OSError) as error:
        raise RLIError(f"data.path={shown(path)} cannot be read as CSV: {shown(error)[:120]}") from None


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path, memory_map=True) as file:
            names = file.schema_arrow.names
            _check(path, names)
            for batch in file.iter_batches(1024, columns=[name for name in COLUMNS if name in names]):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise RLIError(f"data.path={shown(path)} cannot be read as Parquet: {shown(error)[:120]}") from None


def _check(path: Path, columns: Iterable[str]) -> None:
    if COLUMNS[0] not in columns:
        there = ", ".join(map(shown, columns)) or "none"
        raise RLIError(f"data.path={shown(path)}: a list needs a column named path; its columns: {there}")
