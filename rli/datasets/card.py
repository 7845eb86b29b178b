"""A data set's card: README.md with its numbers, samples and settings."""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rli.datasets.manifest import ROW_GROUP
from rli.files import write_whole
from rli.markdown import escaped
from rli.photos.photo import SPLITS

# Kept edits that the card shows at most, the first of each class before the second; images in its folder only.
MAX_SAMPLES = 6


def dataset_card(
    folder: Path,
    *,
    title: str,
    settings: Mapping[str, Any],
    about: str = "",
    licence: str = "",
) -> None:
    """Writes README.md in `folder` from its manifest.parquet: what there is and how it was made.

    Args:
        folder: Where the manifest lies.
        title: Of the page.
        settings: How it was made; nested, any values.
        about: A paragraph of the user's.
        licence: Of the photographs, in words.
    """
    folder = Path(folder)
    with pq.ParquetFile(folder / "manifest.parquet") as file:
        summary = _summary(file)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"md": escaped, "url": lambda path: quote(str(path)), "json": json.dumps}
    page = environment.get_template("dataset_card.md.j2").render(
        title=title, about=about, licence=licence, settings=list(_flat(settings)), splits=SPLITS, **summary
    )
    write_whole(folder / "README.md", page)


def _summary(file: pq.ParquetFile) -> dict[str, Any]:
    """What the template needs of the manifest, in one pass over its rows."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    kinds: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    measures = [field.name for field in file.schema_arrow if pa.types.is_floating(field.type)]
    counts = dict.fromkeys(measures, 0)
    sums = dict.fromkeys(measures, 0.0)
    examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(file):
        if not row["kept"]:
            # Up to its first figure a reason says what failed.
            rejected[re.split(r"( of)?\s*[\d;]", row["reason"])[0] or "no reason given"] += 1
            continue
        table[row["label"]][row["split"]] += 1
        kinds[row["kind"]] += 1
        if row["kind"] != "edit":
            continue
        for name in measures:
            if row[name] is not None and math.isfinite(row[name]):
                counts[name] += 1
                sums[name] += row[name]
        if len(examples[row["label"]]) < MAX_SAMPLES and not Path(row["image"]).is_absolute():
            examples[row["label"]].append(row)
    turns = [row for turn in range(MAX_SAMPLES) for rows in examples.values() for row in rows[turn : turn + 1]]
    return {
        "table": dict(sorted(table.items())),
        "kinds": kinds,
        "rejected": rejected.most_common(),
        "means": [(name, sums[name] / counts[name], counts[name]) for name in measures if counts[name]],
        "samples": turns[:MAX_SAMPLES],
    }


def _rows(file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(ROW_GROUP):
        yield from batch.to_pylist()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
