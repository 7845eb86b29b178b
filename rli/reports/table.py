"""An experiment's own table: means over photographs for each of its settings, the published figures beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rli.errors import RLIError
from rli.files import write_whole
from rli.metrics.columns import ORIGINAL

LABELS = {
    "below_vae": "dB under the VAE alone",
    "psnr_recon": "PSNR to reconstruction",
    "ssim_recon": "SSIM to reconstruction",
    "lpips_recon": "LPIPS to reconstruction",
    "psnr_background": "background PSNR",
    "peak_memory_gb": "peak GB",
    "mask_share": "mask's share",
}
DIGITS = {"below": 2, "psnr": 2, "ssim": 3, "lpips": 3, "seconds": 1, "peak": 2, "strength": 1, "named": 2, "mask": 3}


@dataclass(frozen=True)
class TableSpec:
    """name: the experiment's folder, which may hold published.csv. rows: columns or dotted settings that name a line.
    of: the rows that count, original (the reconstructions), edits or all. metrics: columns of results.csv, or seconds
    (inversion and edit together), or below_vae (dB that are lost against the VAE's own round trip)."""

    name: str
    rows: tuple[str, ...]
    of: str
    metrics: tuple[str, ...]


def spec_of(settings: Sequence[Mapping[str, Any]]) -> TableSpec | None:
    """What the jobs' configurations (dotted names) say of their table; None where they name none, or several."""
    named = {repr(sorted((k, v) for k, v in one.items() if k.startswith("table."))): one for one in settings}
    if len(named) != 1:
        return None
    (one,) = named.values()
    if not one.get("table.name"):
        return None
    values = {field.name: one.get(f"table.{field.name}") for field in fields(TableSpec)}
    return TableSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def table(frame: pd.DataFrame, spec: TableSpec, published: pd.DataFrame | None = None) -> pd.DataFrame:
    """A line for each combination of `spec.rows`, in the order of the frame.

    frame: `sweep.frame`'s, with spec.rows as columns. published: spec.rows or some of them, figures under the metrics'
    names, and further columns that say what a figure belongs to, such as resolution. Columns: spec.rows; for each
    metric

    psnr, …               the mean over photographs; PSNR counts at most 99 dB, so that equal pictures have a mean
    psnr_spread, …        standard deviation over photographs, NaN for fewer than two
    psnr_published, …     the published figure, a column for each of its further values ("psnr_published 512")
    psnr_difference, …    ours − published, where one published figure is ours to compare with: not for the miniature

    and photos. A photograph with several rows in a line (edits to several defects) is averaged first. Published lines
    without a partner follow, without figures of ours. Raises RLIError for columns that are not there.
    """
    if spec.of not in ("original", "edits", "all"):
        raise RLIError(f"table.of={spec.of} is not known: choose one of original, edits, all")
    seconds, below = frame["seconds_inversion"] + frame["seconds_edit"], frame["psnr_vae"] - frame["psnr"]
    frame = frame.assign(seconds=seconds, below_vae=below)
    missing = [name for name in (*spec.rows, *spec.metrics) if name not in frame]
    if missing:
        raise RLIError(f"table: there is no column {missing[0]} in the results")
    rows, metrics = list(spec.rows), list(spec.metrics)
    is_edit = frame["defect"] != ORIGINAL
    chosen = frame[{"original": ~is_edit, "edits": is_edit, "all": is_edit | ~is_edit}[spec.of]]
    figures = {m: chosen[m].astype("float64").clip(upper=99.0 if m.startswith("psnr") else None) for m in metrics}
    names = {name: chosen[name].astype("object").map(_plain) for name in rows}
    lines = chosen.assign(**figures, **names)
    photos = lines.groupby([*rows, "image"], sort=False)[metrics].mean().reset_index()
    grouped = photos.groupby(rows, sort=False)
    ours = grouped[metrics].mean().join(grouped[metrics].std().add_suffix("_spread"))
    ours = ours.assign(photos=grouped.size()).reset_index()
    both = ours if published is None else _beside(ours, published, spec)
    own = set(lines["resolution"].map(_plain)) if not (lines["model"] == "mini").all() else set()
    for metric in metrics:
        theirs = [c for c in both if c.startswith(f"{metric}_published")]
        matching = theirs if own and len(theirs) == 1 else [c for c in theirs if own == {c.split(" ")[-1]}]
        if matching:
            both[f"{metric}_difference"] = both[metric] - both[matching[0]]
    kinds = {
        m: [m, f"{m}_spread", *(c for c in both if c.startswith(f"{m}_published")), f"{m}_difference"] for m in metrics
    }
    return both[[*rows, *(c for m in metrics for c in kinds[m] if c in both), "photos"]]


def markdown(told: pd.DataFrame, spec: TableSpec) -> str:
    """The table as Markdown: ours ± spread, published, difference."""
    head, cells = [_escaped(name) for name in spec.rows], [[_escaped(v) for v in told[name]] for name in spec.rows]
    for column in told:
        metric = next((m for m in spec.metrics if column == m or column.startswith((f"{m}_pub", f"{m}_diff"))), None)
        # LPIPS, where its weights cannot be had and nothing is published.
        if metric is None or told.filter(regex=f"^{metric}(_published.*)?$").isna().all(axis=None):
            continue
        kind = column.removeprefix(metric)
        head.append(_escaped(f"{_label(metric)} {kind.strip('_').replace('_', ' ') or 'ours'}"))
        spreads = told[f"{metric}_spread"] if not kind else [np.nan] * len(told)
        cells.append(
            [
                _figure(metric, value, sign=kind == "_difference")
                + (f" ± {_figure(metric, spread)}" if np.isfinite(spread) else "")
                for value, spread in zip(told[column], spreads, strict=True)
            ]
        )
    head.append("Photographs")
    cells.append([str(count) if count else "" for count in told["photos"]])
    rule = ["---"] * len(spec.rows) + ["---:"] * (len(head) - len(spec.rows))
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *zip(*cells, strict=True)])


def write_table(folder: Path, frame: pd.DataFrame, spec: TableSpec, experiments: Path) -> None:
    """table.csv and table.md in `folder`; published figures are experiments/<name>/published.csv, if there is one."""
    path = experiments / spec.name / "published.csv"
    told = table(frame, spec, pd.read_csv(path) if path.is_file() else None)
    write_whole(folder / "table.csv", told.round(5).to_csv(index=False, lineterminator="\n"))
    write_whole(folder / "table.md", markdown(told, spec) + "\n")


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
    places = [order.get(tuple(line), len(order)) for line in both[rows].to_numpy()]
    both = both.iloc[np.argsort(places, kind="stable")].reset_index(drop=True)
    return both.assign(photos=both["photos"].fillna(0).astype("int64")).fillna(dict.fromkeys(rows, ""))


def _plain(value: Any) -> str:
    """A setting as text that compares: 1, 1.0 and "1" are the same."""
    try:
        return f"{float(value):g}" if not isinstance(value, bool) else str(value).lower()
    except (TypeError, ValueError):
        return str(value)


def _label(metric: str) -> str:
    return LABELS.get(metric, metric.upper() if metric in ("psnr", "ssim", "lpips") else metric)


def _figure(metric: str, value: float, sign: bool = False) -> str:
    if pd.isna(value):
        return ""
    return f"{value:{'+' if sign else ''}.{DIGITS.get(metric.split('_')[0], 3)}f}"


def _escaped(text: Any) -> str:
    """Text of a user inside a Markdown table: neither a cell's end, nor a line's, nor HTML."""
    return " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
