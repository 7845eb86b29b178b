"""One job of a sweep, read from the files that it left. Nothing in them is taken on trust."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rli.errors import RLIError
from rli.metrics.columns import ORIGINAL, Row, row_read
from rli.reports.experiment_table import spec_of
from rli.reports.results import read_results
from rli.store.failures import Failure, read_failures, read_status
from rli.store.paths import inside
from rli.store.records import PhotoRecord, read_record

# What reading a file raises that is damaged, or cannot be read.
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError)


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep, read from its folder."""

    # The folder's path below the sweep's.
    name: str
    folder: Path
    # What was typed for it: "edit.eq=2, edit.cross=0.6".
    overrides: str
    # Its whole configuration, with dotted names.
    settings: Mapping[str, Any]
    # Why it failed; None where it did not.
    reason: str | None
    # Its results.csv; empty where there is none, or it is damaged.
    rows: tuple[Row, ...]
    # Of those photographs in it whose files are whole.
    records: tuple[PhotoRecord, ...] = ()
    # The photographs that could not be done, and those whose files are not whole.
    lost: tuple[Failure, ...] = ()


def read_job(folder: Path, name: str) -> SweepJob:
    """A job, whatever state it is in.

    Args:
        folder: The job's.
        name: The job's.

    Returns:
        The job. What is damaged is left out of it; the first damage is its reason, where it gives no other.
    """
    damages: list[str] = []

    def read(file: str, reader: Any, otherwise: Any) -> Any:
        try:
            path = inside(folder, file)
            if path.exists() and not path.is_file():
                raise RLIError("it is no file")
            return reader(path)
        except _UNREADABLE as error:
            why = str(error) if isinstance(error, RLIError) else type(error).__name__
            damages.append(f"{file} cannot be read ({why})")
            return otherwise

    status = read("status.json", lambda _: read_status(folder), None)
    settings = read(".hydra/config.yaml", _settings, {})
    overrides = read(".hydra/overrides.yaml", _overrides, "")
    rows = read("results.csv", _rows, ()) if settings else ()
    failed = read("failed.csv", lambda _: read_failures(folder), [])
    records, lost = _records(folder, name, rows)
    reason = status or next(iter(damages), None)
    return SweepJob(name, folder, overrides, settings, reason, rows, records, (*failed, *lost))


def _records(folder: Path, job: str, rows: Iterable[Row]) -> tuple[tuple[PhotoRecord, ...], tuple[Failure, ...]]:
    """The photographs' records; and those whose files are not whole, or are not what the rows are about."""
    defects: dict[str, set[str]] = {}
    for row in rows:
        defects.setdefault(row.image, set()).add(row.defect)
    records, lost = [], []
    for photo, own in defects.items():
        try:
            record = read_record(folder, photo, job=job)
            damage = "its record is missing or damaged" if record is None else record.damage()
            if record is not None and {*record.edits} != own - {ORIGINAL}:
                damage = "its record and results.csv differ"
        except (RLIError, OSError) as error:
            record, damage = None, str(error)
        if damage is None and record is not None:
            records.append(record)
        else:
            lost.append(Failure(photo, f"{damage}: run the job again"))
    return tuple(records), tuple(lost)


def _settings(path: Path) -> dict[str, Any]:
    tree = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)
    if not isinstance(tree, dict):
        raise RLIError("it holds no settings")
    settings = dict(_leaves(tree))
    spec_of([settings])
    return settings


def _overrides(path: Path) -> str:
    typed = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader) if path.is_file() else []
    return ", ".join(map(str, typed)) if isinstance(typed, list) else ""


class _PlainLoader(yaml.SafeLoader):
    """Knows no references, by which a few lines can stand for more than memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has references")
        return super().compose_node(parent, index)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _rows(path: Path) -> tuple[Row, ...]:
    if not path.exists():
        return ()
    rows = tuple(row_read(values) for values in read_results(path).to_dict("records"))
    if len({(row.image, row.defect) for row in rows}) < len(rows):
        raise RLIError("an edit is in it twice")
    return rows
