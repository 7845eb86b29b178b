"""An experiment's own table: means over photographs for each of its settings, the published figures beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rli import markdown
from rli.cells import harmless
from rli.errors import RLIError, SettingError
from rli.files import write_whole
from rli.metrics.columns import COLUMNS, ORIGINAL, Column, of_kind
from rli.reports.format import number
from rli.store.paths import inside


@dataclass(frozen=True)
class Derived:
    """A column of these tables alone, computed from the results."""

    name: str
    # As it is read, with its unit.
    title: str
    # Decimals as it is read.
    digits: int
    # From the frame of results to a value for each row.
    compute: Callable[[pd.DataFrame], pd.Series]
    # Nothing is infinite in it.
    cap: None = None


DERIVED = (
    Derived("seconds", "Inversion and edit (s)", 1, lambda rows: rows["seconds_inversion"] + rows["seconds_edit"]),
    Derived("below_vae", "PSNR under the VAE alone (dB)", 2, lambda rows: rows["psnr_vae"] - rows["psnr"]),
)


@dataclass(frozen=True)
class TableSpec:
    """What an experiment's table shows."""

    # The experiment's folder, which may hold published.csv.
    name: str
    # Columns of results.csv or dotted settings; their values name a line.
    rows: tuple[str, ...]
    # The rows that count: original (the reconstructions), edits or all.
    of: str
    # Measured columns of results.csv, or DERIVED ones.
    metrics: tuple[str, ...]


def spec_of(settings: Sequence[Mapping[str, Any]]) -> TableSpec | None:
    """What the jobs' configurations (dotted names) say of their table; None where they name none, or several.

    Raises:
        RLIError: They say what cannot be.
    """
    specs = [{f.name: job.get(f"table.{f.name}") for f in fields(TableSpec)} for job in settings]
    if not specs or not specs[0]["name"] or any(spec != specs[0] for spec in specs):
        return None
    values: dict[str, Any] = specs[0]
    for name, value in values.items():
        texts = value if isinstance(value, list) and name in ("rows", "metrics") else [value]
        if not all(isinstance(text, str) for text in texts):
            raise RLIError(f"table.{name}: expected text, or a list of texts")
    if "/" in values["name"] or "\\" in values["name"]:
        raise RLIError(f"table.name={values['name']}: expected the name of an experiment's folder")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return TableSpec(**values)


def table(
    frame: pd.DataFrame,
    spec: TableSpec,
    published: pd.DataFrame | None = None,
    columns: Sequence[Column] = COLUMNS,
) -> pd.DataFrame:
    """A line for each combination of `spec.rows`, in the order of the frame, with spec.rows, for each metric

    psnr, …               the mean over photographs; PSNR is capped, so that equal pictures have a mean
    psnr_spread, …        standard deviation over photographs, NaN for fewer than two
    psnr_published, …     the published figure, a column for each of its further values ("psnr_published 512")
    psnr_difference, …    ours − published, where one published figure is ours to compare with: not for the miniature

    and photos. A photograph with several rows in a line (edits to several defects) is averaged first. Published lines
    without a partner follow, without figures of ours.

    Args:
        frame: `sweep.frame`'s, with spec.rows as columns.
        spec: what the table shows.
        published: spec.rows or some of them, figures under the metrics' names, and further columns that say what a
            figure belongs to, such as resolution; None where nothing is published.
        columns: the frame's.

    Raises:
        RLIError: for columns that are not there.
    """
    if spec.of not in ("original", "edits", "all"):
        raise SettingError("table.of", spec.of, "unknown value; expected one of original, edits, all")
    frame = frame.assign(**{column.name: column.compute(frame) for column in DERIVED})
    known = metrics_of(columns)
    missing = [name for name in spec.rows if name not in frame] + [name for name in spec.metrics if name not in known]
    if missing:
        raise RLIError(f"table: unknown column {missing[0]}; expected a column of results.csv")
    rows, metrics = list(spec.rows), list(spec.metrics)
    is_edit = frame["defect"] != ORIGINAL
    chosen = frame[{"original": ~is_edit, "edits": is_edit, "all": is_edit | ~is_edit}[spec.of]]
    ours = _means(chosen, rows, [known[name] for name in metrics])
    both = ours if published is None else _beside(ours, published, spec)
    # What the miniature gives is not to be compared with published figures.
    own = set(chosen["resolution"].map(_plain)) if not (chosen["model"] == "mini").all() else set()
    for metric in metrics:
        theirs = [c for c in both if c.startswith(f"{metric}_published")]
        matching = theirs if own and len(theirs) == 1 else [c for c in theirs if own == {c.split(" ")[-1]}]
        if matching:
            both[f"{metric}_difference"] = both[metric] - both[matching[0]]
    kinds = {
        m: [m, f"{m}_spread", *(c for c in both if c.startswith(f"{m}_published")), f"{m}_difference"] for m in metrics
    }
    return both[[*rows, *(c for m in metrics for c in kinds[m] if c in both), "photos"]]


def table_markdown(figures: pd.DataFrame, spec: TableSpec, columns: Sequence[Column] = COLUMNS) -> str:
    """`table`'s figures as Markdown: ours ± spread, published, difference."""
    known = metrics_of(columns)
    head = [markdown.escaped(name) for name in spec.rows]
    cells = [[markdown.escaped(value) for value in figures[name]] for name in spec.rows]
    for column in figures:
        metric = next((m for m in spec.metrics if column == m or column.startswith((f"{m}_pub", f"{m}_diff"))), None)
        # LPIPS, where its weights cannot be had and nothing is published.
        if metric is None or figures.filter(regex=f"^{metric}(_published.*)?$").isna().all(axis=None):
            continue
        kind = column.removeprefix(metric)
        head.append(markdown.escaped(f"{known[metric].title} {kind.strip('_').replace('_', ' ') or 'ours'}"))
        spreads = figures[f"{metric}_spread"] if not kind else [np.nan] * len(figures)
        cells.append(
            [
                _cell(value, spread, known[metric].digits, sign=kind == "_difference")
                for value, spread in zip(figures[column], spreads, strict=True)
            ]
        )
    head.append("Photographs")
    cells.append([str(count) if count else "" for count in figures["photos"]])
    return markdown.table(head, zip(*cells, strict=True), names=len(spec.rows))


def write_table(folder: Path, frame: pd.DataFrame, spec: TableSpec, experiments: Path) -> None:
    """Writes table.csv and table.md.

    Args:
        folder: where the two files go.
        frame: `sweep.frame`'s, with spec.rows as columns.
        spec: what the table shows.
        experiments: the folder whose <name>/published.csv holds the published figures, if there are any.
    """
    path = inside(experiments, f"{spec.name}/published.csv")
    figures = table(frame, spec, pd.read_csv(path) if path.is_file() else None)
    write_whole(folder / "table.csv", figures.round(5).map(harmless).to_csv(index=False, lineterminator="\n"))
    write_whole(folder / "table.md", table_markdown(figures, spec) + "\n")


def metrics_of(columns: Sequence[Column] = COLUMNS) -> dict[str, Column | Derived]:
    """What a table may show, by name."""
    found: tuple[Column | Derived, ...] = (*of_kind("number", columns=columns), *DERIVED)
    return {column.name: column for column in found}


def _means(frame: pd.DataFrame, rows: list[str], metrics: Sequence[Column | Derived]) -> pd.DataFrame:
    """Means and spreads over photographs, and their number, for each combination of `rows`."""
    values = {m.name: frame[m.name].astype("float64").clip(upper=m.cap) for m in metrics}
    lines = frame.assign(**values, **{name: frame[name].astype("object").map(_plain) for name in rows})
    photos = lines.groupby([*rows, "image"], sort=False)[list(values)].mean().reset_index()
    grouped = photos.groupby(rows, sort=False)
    means = grouped[list(values)].mean().join(grouped[list(values)].std().add_suffix("_spread"))
    return means.assign(photos=grouped.size()).reset_index()


def _beside(ours: pd.DataFrame, published: pd.DataFrame, spec: TableSpec) -> pd.DataFrame:
    """Ours and the published figures of the same settings; then what is published only."""
    rows, keys = list(spec.rows), [name for name in spec.rows if name in published]
    metrics = [m for m in spec.metrics if m in published]
    if not keys or not metrics:
        return ours
    further = [c for c in published if c not in keys and c not in spec.metrics]
    names = published[[*keys, *further]].astype("object").map(_plain)
    label = names[further].agg(" ".join, axis=1) if further else pd.Series("", index=published.index)
    theirs = published[metrics].assign(**{k: names[k] for k in keys}, label=label)
    wide = theirs.pivot_table(metrics, keys, "label", sort=False)
    wide.columns = [f"{metric}_published {which}".strip() for metric, which in wide.columns]
    both = ours.merge(wide.reset_index(), on=keys, how="outer", sort=False)
    order = {line: k for k, line in enumerate(map(tuple, ours[rows].to_numpy()))}
    ranks = [order.get(tuple(line), len(order)) for line in both[rows].to_numpy()]
    both = both.iloc[np.argsort(ranks, kind="stable")].reset_index(drop=True)
    return both.assign(photos=both["photos"].fillna(0).astype("int64")).fillna(dict.fromkeys(rows, ""))


def _plain(value: Any) -> str:
    """A setting as text that compares: 1, 1.0 and "1" are the same."""
    try:
        return f"{float(value):g}" if not isinstance(value, bool) else str(value).lower()
    except (TypeError, ValueError):
        return str(value)


def _cell(value: float, spread: float, digits: int, sign: bool) -> str:
    shown = number(value, digits, sign=sign, missing="")
    return f"{shown} ± {number(spread, digits)}" if np.isfinite(spread) else shown
