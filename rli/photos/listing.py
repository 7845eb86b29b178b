"""Photographs that a list names: a CSV or Parquet file, read row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from rli.errors import RLIError, SettingError, shown
from rli.files import look_at
from rli.photos.image import check_file
from rli.photos.naming import as_text, safe
from rli.photos.photo import Photo

# The first is required.
COLUMNS = ("path", "mask", "label", "category", "split", "region")
LIST_SUFFIXES = (".csv", ".parquet", ".pq")


@dataclass(frozen=True)
class ListReader:
    """The rows of a list with COLUMNS; its files are relative to the list's folder, or absolute.

    A photograph's name is its path with ~ and the number of its row, from 1: a path that comes twice has two names, and
    rows that are added at the end change none.

    Raises:
        SettingError: The file is not there, or has another suffix.
        RLIError: While iterating: the file cannot be read, or has no column of paths.
    """

    expects: ClassVar[str] = f"a CSV or Parquet file with a row for each photograph (columns {', '.join(COLUMNS)})"

    path: Path

    def __post_init__(self) -> None:
        check_file("path", self.path)
        if self.path.suffix.lower() not in LIST_SUFFIXES:
            raise SettingError("path", shown(self.path), f"expected a file that ends in {', '.join(LIST_SUFFIXES)}")

    def __iter__(self) -> Iterator[Photo]:
        rows = _csv_rows(self.path) if self.path.suffix.lower() == ".csv" else _parquet_rows(self.path)
        for number, row in enumerate(rows, 1):
            yield self._photo(number, row)

    def _photo(self, number: int, row: Mapping[str, Any]) -> Photo:
        cells = {name: str(row[name]) if row.get(name) is not None else "" for name in COLUMNS}
        path, mask, region, folder = cells["path"], cells["mask"], cells["region"], self.path.parent
        *above, last = PurePosixPath(path).parts or ("row",)
        parts = [safe(f"{part}/") for part in above if part not in ("/", "//", "..")]
        own: dict[str, Any] = {name: as_text(cells[name]) for name in ("label", "category", "split")}
        return Photo(
            "/".join([*parts, f"{safe(last)}~{number}"]),
            folder / path,
            as_text(path),
            truth_file=folder / mask if mask else None,
            region_file=folder / region if region else None,
            problem="" if path else f"{shown(self.path)}: row {number} names no photograph",
            **own,
        )


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        look_at(path)
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            _check_columns(path, rows.fieldnames or ())
            yield from rows
    except (csv.Error, OSError) as error:
        raise RLIError(f"{shown(path)} cannot be read as CSV: {shown(error)[:120]}") from None


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        look_at(path)
        with ParquetFile(path, memory_map=True) as file:
            names = file.schema_arrow.names
            _check_columns(path, names)
            for batch in file.iter_batches(1024, columns=[name for name in COLUMNS if name in names]):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise RLIError(f"{shown(path)} cannot be read as Parquet: {shown(error)[:120]}") from None


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    if COLUMNS[0] not in columns:
        there = ", ".join(map(shown, columns)) or "none"
        raise RLIError(f"{shown(path)}: a list needs a column named path, and this one has {there}")
