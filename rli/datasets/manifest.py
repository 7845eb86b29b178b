"""The list of a data set's images, kept and rejected."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rli.cells import harmless
from rli.datasets.annotations import Item
from rli.errors import RLIError
from rli.files import whole_file
from rli.photos.naming import as_text

# Every manifest's first columns; image and regions are paths from its folder, regions as JSON of class and mask.
COLUMNS: dict[str, type] = {
    "name": str,
    "image": str,
    "kind": str,
    "photo": str,
    "category": str,
    "label": str,
    "split": str,
    "regions": str,
    "kept": bool,
    "reason": str,
}
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
# Rows that are held in memory before they are written.
ROW_GROUP = 1000


class ManifestWriter:
    """manifest.csv and manifest.parquet in `folder`, a row for each image, written as they come.

    Use it in a with statement: on an exception neither file is written, and old ones stay.

    Args:
        folder: Where the files go.
        facts: The columns taken from `Item.facts`, name to type: str, int, float or bool. A fact that a row lacks is an
            empty cell, and so is NaN.

    Raises:
        RLIError: A fact has the name of one of COLUMNS, or another type.
    """

    def __init__(self, folder: Path, facts: Mapping[str, type]) -> None:
        self.folder, self.facts = Path(folder), dict(facts)
        for name, kind in self.facts.items():
            if name in COLUMNS:
                raise RLIError(f"the manifest has a column “{name}” already; rename the fact")
            if kind not in _ARROW:
                raise RLIError(
                    f"{name}: facts of the type {kind.__name__} cannot be written; expected str, int, float or bool"
                )
        self.columns = COLUMNS | self.facts
        self.schema = pa.schema([(name, _ARROW[kind]) for name, kind in self.columns.items()])
        self.rows: list[dict[str, Any]] = []
        self.stack = ExitStack()

    def __enter__(self) -> ManifestWriter:
        with ExitStack() as stack:
            text = stack.enter_context(whole_file(self.folder / "manifest.csv"))
            table = stack.enter_context(whole_file(self.folder / "manifest.parquet"))
            file = stack.enter_context(text.open("w", newline="", encoding="utf-8"))
            self.parquet = stack.enter_context(pq.ParquetWriter(table, self.schema))
            self.csv = csv.DictWriter(file, self.columns, lineterminator="\n")
            self.csv.writeheader()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            self.stack.__exit__(kind, error, trace)
            return
        with self.stack:
            self._flush()

    def add(self, item: Item, reason: str | None = None) -> None:
        """Adds a row.

        Args:
            item: The image.
            reason: Why it is rejected; None where it is kept.

        Raises:
            RLIError: A fact has no column, or does not fit its column's type.
        """
        unknown = set(item.facts) - set(self.facts)
        if unknown:
            raise RLIError(f"{item.name}: the manifest has no column for {', '.join(sorted(unknown))}")
        regions = [[region.label, self._path(region.mask)] for region in item.regions]
        own = {name: getattr(item, name) for name in ("name", "kind", "photo", "category", "label", "split")}
        own |= {"image": self._path(item.image), "regions": regions, "kept": reason is None, "reason": reason or ""}
        values = own | dict(item.facts)
        row = {name: _cell(item.name, name, values.get(name), kind) for name, kind in self.columns.items()}
        self.csv.writerow({name: harmless(value) for name, value in row.items()})
        self.rows.append(row)
        if len(self.rows) == ROW_GROUP:
            self._flush()

    def _path(self, path: Path) -> str:
        """From the manifest's folder where the path lies in it; otherwise as it is."""
        try:
            return Path(os.path.abspath(path)).relative_to(os.path.abspath(self.folder)).as_posix()
        except ValueError:
            return Path(path).as_posix()

    def _flush(self) -> None:
        if self.rows:
            self.parquet.write_table(pa.Table.from_pylist(self.rows, self.schema))
            self.rows.clear()


def _type(value: Any) -> type:
    if isinstance(value, bool):
        return bool
    if isinstance(value, Integral):
        return int
    return float if value is None or isinstance(value, Real) else str


def _cell(row: str, column: str, value: Any, kind: type) -> Any:
    """The value as its column's type; None where it was not measured."""
    if value is None or (isinstance(value, Real) and math.isnan(value)):
        return None
    if kind is str:
        if isinstance(value, str | Path):
            return as_text(str(value))
        return as_text(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))
    if _type(value) is not kind and not (kind is float and isinstance(value, Integral)):
        raise RLIError(f"{row}: {column}={value} does not fit the manifest's column of type {kind.__name__}")
    return kind(value)
