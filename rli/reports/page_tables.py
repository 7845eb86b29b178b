"""The tables and headline figures of a page, as its template shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rli.metrics.columns import BY_NAME, GROUPS, ORIGINAL, Column
from rli.reports.comparison import METRICS
from rli.reports.format import as_text, counted, joined, mean, number, quantity
from rli.reports.gallery import Rows


def headline(frame: pd.DataFrame) -> list[dict[str, str]]:
    """The numbers at the page's top, each a label, a value and a note; those that were not measured are left out.

    frame: rows with the column job. Values are means; few decimals, for they are read at a glance.
    """
    edits, originals = frame[frame["defect"] != ORIGINAL], frame[frame["defect"] == ORIGINAL]
    jobs, inverted = frame["job"].nunique(), originals if len(originals) else frame
    counts = (
        counted(jobs, "job") if jobs > 1 else "",
        counted(len(edits), "edit"),
        counted(edits["defect"].nunique(), "defect"),
    )
    tiles = [
        ("Photographs", str(frame["image"].nunique()), counts),
        (
            "Reconstruction",
            quantity(mean(originals, "psnr"), 1, "dB"),
            (
                quantity(mean(originals, "ssim"), 3, name="SSIM"),
                quantity(mean(frame, "psnr_vae"), 1, "dB", "VAE alone"),
            ),
        ),
        (
            "Background kept",
            quantity(mean(edits, "psnr_background"), 1, "dB"),
            (quantity(mean(edits, "ssim_background"), 3, name="SSIM"), "outside the masks"),
        ),
        (
            "Edit effect",
            quantity(mean(edits, "psnr_recon"), 1, "dB"),
            (
                "to reconstruction",
                quantity(mean(edits, "ssim_recon"), 3, name="SSIM"),
                quantity(mean(edits, "lpips_recon"), 3, name="LPIPS"),
            ),
        ),
        (
            "Edited area",
            quantity(100 * mean(edits, "mask_share"), 1, "%"),
            ("of the image", quantity(mean(edits, "strength"), 1, "of 255", "changed by")),
        ),
        ("Defect recognised", quantity(100 * mean(edits, "named"), 0, "%"), ("probability, mean of the edits",)),
        (
            "Inversion",
            quantity(mean(inverted, "seconds_inversion"), 1, "s"),
            (
                quantity(mean(edits, "seconds_edit"), 1, "s an edit"),
                quantity(frame["peak_memory_gb"].astype("float64").max(), 1, "GB at most"),
            ),
        ),
    ]
    return [{"label": label, "value": value, "note": joined(*notes)} for label, value, notes in tiles if value]


def means(rows: Rows, columns: Sequence[Column]) -> dict[str, Any]:
    """Means over photographs, a line for each defect (and for each setting that takes several values)."""
    groups = [(title, [c for c in columns if c.group == title]) for title in _groups(columns, rows.frame)]
    shown = [column for _, group in groups for column in group]
    frame = rows.frame.astype({column.name: "float64" for column in shown})
    lines = [
        {
            "keys": [*map(str, values)],
            "photos": group["image"].nunique(),
            "cells": [number(group[column.name].mean(), column.digits) for column in shown],
        }
        for values, group in frame.groupby(["defect", *rows.distinctions], sort=False, dropna=False)
    ]
    return {
        "keys": ["Defect", *rows.distinctions.values()],
        "groups": [(title, [column.heading for column in group]) for title, group in groups],
        # Before these columns of numbers a line is drawn.
        "edges": [shown.index(group[0]) for _, group in groups],
        "lines": lines,
    }


def _groups(columns: Sequence[Column], frame: pd.DataFrame) -> list[str]:
    """The groups of columns, those of GROUPS first; of the others those of which something was measured."""
    found = [c.group for c in columns if c.group and (c.group in GROUPS or frame[c.name].notna().any())]
    return [*(group for group in GROUPS if group in found), *dict.fromkeys(g for g in found if g not in GROUPS)]


def all_rows(frame: pd.DataFrame, columns: Sequence[Column], limit: int = 300) -> dict[str, Any]:
    """Every row as results.csv has it; beyond `limit` the file itself is the better place to read them."""
    digits = {column.name: column.digits if column.kind == "number" else None for column in columns}
    digits |= {"job": None} if frame["job"].any() else {}
    lines = frame[[*digits]].to_dict("records") if len(frame) <= limit else []

    def cell(name: str, value: Any) -> str:
        decimals = digits[name]
        return as_text(value) if decimals is None else number(value, decimals)

    return {
        "columns": [(name, digits[name] is not None) for name in digits],
        "total": len(frame),
        "title": "The one row" if len(frame) == 1 else f"All {len(frame)} rows",
        "lines": [[cell(name, value) for name, value in line.items()] for line in lines],
    }


def comparisons(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """For each measured resolution a table: ours, published and difference, or the published figures of others.

    A cell is a number and its spread, which only ours have.
    """
    sizes = [column.removeprefix("photos_") for column in frame if column.startswith("photos_")]
    published = [r for r in sizes if frame[f"published_psnr_{r}"].notna().any()]
    for size in (r for r in sizes if frame[f"photos_{r}"].sum() > 0):
        beside = size in published
        heads = ["ours", "published", "difference"] if beside else ["ours", *(f"at {r}" for r in published)]
        lines = [
            {
                "defect": row["defect"],
                "photos": int(row[f"photos_{size}"]),
                "cells": [cell for m in METRICS for cell in _compared(row, m, size, published)],
                "photo": [_shown(m, row[f"photo_{m}_{size}"]) for m in METRICS],
            }
            for _, row in frame.iterrows()
            if row[f"photos_{size}"] > 0
        ]
        yield {"size": size.replace("x", "×"), "beside": beside, "heads": heads, "lines": lines}


def _compared(row: pd.Series, metric: str, size: str, published: Sequence[str]) -> list[tuple[str, str]]:
    spread = row[f"spread_{metric}_{size}"]
    ours = (_shown(metric, row[f"{metric}_{size}"]), f"± {_shown(metric, spread)}" if np.isfinite(spread) else "")
    if size not in published:
        return [ours, *((_shown(metric, row[f"published_{metric}_{r}"]), "") for r in published)]
    return [
        ours,
        (_shown(metric, row[f"published_{metric}_{size}"]), ""),
        (_shown(metric, row[f"difference_{metric}_{size}"], sign=True), ""),
    ]


def _shown(metric: str, value: float, sign: bool = False) -> str:
    return number(value, BY_NAME[metric].digits, sign=sign)


def facts(rows: Rows) -> list[str]:
    """What was run, for the line under the title."""
    names = ("model", "resolution", "inversion")
    found = {name: " / ".join(dict.fromkeys(rows.frame[name].map(str))) for name in names}
    facts = [f"{name} {values}" for name, values in found.items() if values]
    return [*facts, f"varied: {', '.join(rows.knobs)}"] if rows.knobs else facts


def nested(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of settings with dotted names inside; single values come first, under no name."""
    groups = [(str(k), list(_leaves(v))) for k, v in settings.items() if isinstance(v, Mapping)]
    single = [(str(k), as_text(v)) for k, v in settings.items() if not isinstance(v, Mapping)]
    return [*([("", single)] if single else []), *(group for group in groups if group[1])]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", as_text(value)
