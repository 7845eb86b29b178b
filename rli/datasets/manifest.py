"""The list of a data set's images, kept and set aside, and the page that introduces it."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rli.datasets.annotations import SPLITS, Item
from rli.errors import RLIError
from rli.files import whole_file, write_whole
from rli.markdown import escaped

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
_ROWS = 1000  # of one row group


class ManifestWriter:
    """manifest.csv and manifest.parquet in `folder`, a row for each image, written as they come.

    facts: the columns taken from Item.facts, name to type (str, int, float or bool), see `types_of`; what a row lacks
    is an empty cell, and so is NaN. Use it in a with statement: on an exception neither file is written, and old ones
    stay.
    """

    def __init__(self, folder: Path, facts: Mapping[str, type] | None = None) -> None:
        self.folder, self.facts = Path(folder), dict(facts or {})
        for name, kind in self.facts.items():
            if name in COLUMNS or kind not in _ARROW:
                raise RLIError(f"the manifest cannot have a fact named {name} of the type {kind.__name__}: rename it")
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

    def add(self, item: Item, *, kept: bool = True, reason: str = "") -> None:
        """One row. Raises RLIError for a fact that has no column, or does not fit its type."""
        unknown = set(item.facts) - set(self.facts)
        if unknown:
            raise RLIError(f"{item.name}: the manifest has no column for {', '.join(sorted(unknown))}")
        regions = [[region.label, self._path(region.mask)] for region in item.regions]
        own = {name: getattr(item, name) for name in ("name", "kind", "photo", "category", "label", "split")}
        own |= {"image": self._path(item.image), "regions": regions, "kept": kept, "reason": reason}
        values = own | dict(item.facts)
        row = {name: _cell(item.name, name, values.get(name), kind) for name, kind in self.columns.items()}
        self.csv.writerow(row)
        self.rows.append(row)
        if len(self.rows) == _ROWS:
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


def types_of(facts: Mapping[str, Any]) -> dict[str, type]:
    """The columns of facts like these. None counts as a number that was not measured; lists and mappings as text."""
    return {name: _type(value) for name, value in facts.items()}


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
            return str(value)
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    if _type(value) is not kind and not (kind is float and isinstance(value, Integral)):
        raise RLIError(f"{row}: {column}={value} does not fit the manifest's column of type {kind.__name__}")
    return kind(value)


def dataset_card(
    folder: Path,
    *,
    title: str,
    settings: Mapping[str, Any],
    about: str = "",
    licence: str = "",
    metrics: Sequence[str] | None = None,
    samples: int = 6,
) -> None:
    """Writes README.md in `folder` from its manifest.parquet: what there is and how it was made.

    settings: nested, any values. about: a paragraph of the user's. licence: of the photographs, in words. metrics: the
    columns whose means over the kept edits are shown, every one of numbers where it is None. samples: how many kept
    edits are shown at most, the first of each class before the second; only those whose image lies in the folder.
    """
    folder = Path(folder)
    with pq.ParquetFile(folder / "manifest.parquet") as file:
        numbers = [field.name for field in file.schema_arrow if pa.types.is_floating(field.type)]
        names = numbers if metrics is None else [name for name in metrics if name in file.schema_arrow.names]
        told = _summary(file, names, samples)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": escaped, "url": lambda path: quote(str(path)), "json": json.dumps}
    page = environment.get_template("dataset_card.md.j2").render(
        title=title, about=about, licence=licence, settings=list(_flat(settings)), splits=SPLITS, **told
    )
    write_whole(folder / "README.md", page)


def _summary(file: pq.ParquetFile, metrics: Sequence[str], samples: int) -> dict[str, Any]:
    """What the card tells, in one pass over the rows."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    kinds: Counter[str] = Counter()
    aside: Counter[str] = Counter()
    values: dict[str, list[float]] = {name: [0, 0.0] for name in metrics}
    examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(file):
        if not row["kept"]:
            # Up to its first figure a reason says what failed.
            aside[re.split(r"\s*[\d;]", row["reason"])[0] or "no reason given"] += 1
            continue
        table[row["label"]][row["split"]] += 1
        kinds[row["kind"]] += 1
        if row["kind"] != "edit":
            continue
        for name in metrics:
            if row[name] is not None and math.isfinite(row[name]):
                values[name][0] += 1
                values[name][1] += row[name]
        if len(examples[row["label"]]) < samples and not Path(row["image"]).is_absolute():
            examples[row["label"]].append(row)
    turns = [row for turn in range(samples) for rows in examples.values() for row in rows[turn : turn + 1]]
    return {
        "table": dict(sorted(table.items())),
        "kinds": kinds,
        "aside": aside.most_common(),
        "means": [(name, total / count, count) for name, (count, total) in values.items() if count],
        "samples": turns[:samples],
    }


def _rows(file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(_ROWS):
        yield from batch.to_pylist()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
