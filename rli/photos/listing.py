"""Photographs that a list names: a CSV or Parquet file, read row by row."""

from __future__ import annotations

import codecs
import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from rli.errors import RLIError, SettingError, shown
from rli.files import look_at
from rli.photos.conventions import label_of, split_of
from rli.photos.image import check_file
from rli.photos.naming import as_text, safe
from rli.photos.pairing import with_truth_file
from rli.photos.photo import Photo

# The first is required.
COLUMNS = ("path", "mask", "label", "category", "split", "region", "group", "source", "target")
TEXTS = ("label", "split", "category", "group", "source", "target")
# As spreadsheets write them, here and there.
SEPARATORS = (",", ";", "\t")
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
        folder = self.path.parent
        path, mask, region = (_local(cells[name], folder) for name in ("path", "mask", "region"))
        *above, last = PurePosixPath(path).parts or ("row",)
        parts = [safe(f"{part}/") for part in above if part not in ("/", "//", "..")]
        label, split, category, group, source, target = (_text(cells[name]) for name in TEXTS)
        photo = Photo(
            "/".join([*parts, f"{safe(last)}~{number}"]),
            folder / path,
            as_text(path),
            region_file=folder / region if region else None,
            label=label_of(label),
            category=category,
            split=split_of(split) or split,
            group=group,
            source_prompt=source,
            target_prompt=target,
            problem=self._problem(number, *(cells[name] for name in ("path", "mask", "region"))),
        )
        return with_truth_file(photo, folder / mask) if mask and not photo.problem else photo

    def _problem(self, number: int, path: str, *others: str) -> str:
        """What is wrong with a row; "" where it names files of this system."""
        row = f"{shown(self.path)}: row {number}"
        if not path:
            return f"{row} names no photograph"
        foreign = next((one for one in (path, *others) if os.name != "nt" and PureWindowsPath(one).drive), "")
        return f"{row}: {shown(foreign)} is a path of Windows; expected one relative to the list" if foreign else ""


def _local(path: str, folder: Path) -> str:
    """A file as this system names it: with / for \\, and in Unicode where the list is in Windows' old coding."""
    if "\\" in path and not (folder / path).exists():
        path = path.replace("\\", "/")
    return path if path.isascii() or (folder / path).exists() else _recoded(path)


def _text(cell: str) -> str:
    return as_text(_recoded(cell))


def _recoded(text: str) -> str:
    """Text whose bytes are no UTF-8 in Windows' old coding; the same text where they are none of that either."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        pass
    try:
        return text.encode(errors="surrogateescape").decode("cp1252")
    except UnicodeError:
        return text


def _csv_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        look_at(path)
        with open(path, "rb") as start:
            wide = start.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        errors = "strict" if wide else "surrogateescape"
        with open(path, newline="", encoding="utf-16" if wide else "utf-8-sig", errors=errors) as file:
            head = file.readline()
            if head.lower().startswith("sep="):  # Excel's note of the separator
                head = file.readline()
            columns, separator = _columns(head)
            _check_columns(path, columns)
            yield from csv.DictReader(file, columns, delimiter=separator, skipinitialspace=True)
    except (csv.Error, OSError, UnicodeError) as error:
        raise RLIError(f"{shown(path)} cannot be read as CSV: {shown(error)[:120]}") from None


def _columns(head: str) -> tuple[list[str], str]:
    """A header's columns, and the separator that it is written with: one that makes a column of paths."""
    found = [(next(csv.reader([head], delimiter=one, skipinitialspace=True), []), one) for one in SEPARATORS]
    named = [([*map(_column, columns)], separator) for columns, separator in found]
    return next((one for one in named if COLUMNS[0] in one[0]), max(named, key=lambda one: len(one[0])))


def _column(name: str) -> str:
    """A column's name whatever its capitals and blanks."""
    return name.strip().lower()


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        look_at(path)
        with ParquetFile(path, memory_map=True) as file:
            names = {_column(name): name for name in reversed(file.schema_arrow.names)}
            _check_columns(path, file.schema_arrow.names if COLUMNS[0] not in names else names)
            own = {names[name]: name for name in COLUMNS if name in names}
            for batch in file.iter_batches(1024, columns=[*own]):
                yield from ({own[name]: value for name, value in row.items()} for row in batch.to_pylist())
    except (pyarrow.ArrowException, OSError) as error:
        raise RLIError(f"{shown(path)} cannot be read as Parquet: {shown(error)[:120]}") from None


def _check_columns(path: Path, columns: Iterable[str]) -> None:
    if COLUMNS[0] not in columns:
        there = ", ".join(map(shown, columns)) or "none"
        raise RLIError(f"{shown(path)}: a list needs a column named path, and this one has {there}")
