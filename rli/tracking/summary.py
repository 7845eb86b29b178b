"""What the summary of a tracked run tells: means of its rows, and what a search maximises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from rli.metrics.columns import ORIGINAL, Row

# Figures of a Row that the summary of a run tells the means of: for each defect, and over all edits.
QUALITY = (
    *("psnr", "ssim", "lpips", "psnr_recon", "ssim_recon", "lpips_recon", "psnr_background", "ssim_background"),
    *("strength", "mask_share", "named"),
)
COST = ("seconds_inversion", "seconds_edit", "peak_memory_gb")
# PSNR at which an edit's background counts as kept, and PSNR above which two pictures are the same.
FLOOR_DB, SAME_DB = 32.0, 99.0


def summary(rows: Sequence[Row], floor_db: float = FLOOR_DB) -> dict[str, float]:
    """Means over photographs, units as in Row: for each defect {"psnr/rust": 27.5, …}, over all edits {"mean/psnr": …},
    and "objective". What was measured nowhere is left out; PSNR counts up to SAME_DB, for a chart shows no infinity."""
    defects = dict.fromkeys(row.defect for row in rows)
    of_defect = {
        f"{metric}/{defect}": _mean([row for row in rows if row.defect == defect], metric)
        for defect in defects
        for metric in QUALITY
    }
    over_all = {f"mean/{metric}": _mean(_edits(rows), metric) for metric in (*QUALITY, *COST)}
    told = {**of_defect, **over_all, "objective": objective(rows, floor_db)}
    return {name: value for name, value in told.items() if value is not None}


def objective(rows: Sequence[Row], floor_db: float = FLOOR_DB) -> float | None:
    """What a search maximises: the edits' mean strength where their mean background PSNR reaches `floor_db`, else what
    is missing to it, negative, in dB. None where no edit was measured.

    So whatever keeps the background is better than whatever does not.
    """
    strength, background = (_mean(_edits(rows), metric) for metric in ("strength", "psnr_background"))
    if strength is None or background is None:
        return None
    return strength if background >= floor_db else background - floor_db


def _edits(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.defect != ORIGINAL]


def _mean(rows: Sequence[Row], metric: str) -> float | None:
    values = [v for row in rows if (v := getattr(row, metric)) is not None and not math.isnan(v)]
    return fmean(capped(metric, v) for v in values) if values else None


def capped(metric: str, value: float) -> float:
    return min(value, SAME_DB) if metric.startswith("psnr") else value
