"""The summary of a tracked run: means of its rows, and the objective of a search."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from rli.metrics.columns import BY_NAME, COLUMNS, ORIGINAL, Column

if TYPE_CHECKING:
    from pandas import DataFrame

FLOOR_DB = 32.0  # PSNR at which an edit's background counts as kept


def summary(rows: DataFrame, floor_db: float = FLOOR_DB, columns: Sequence[Column] = COLUMNS) -> dict[str, float]:
    """Means over photographs, capped where a column has a cap, for a chart shows no infinity.

    Args:
        rows: the frame of a run's rows.
        floor_db: `objective`'s.
        columns: the frame's.

    Returns:
        For each defect {"psnr/rust": 27.5, …}, over all edits {"mean/psnr": 26.1, …}, and "objective"; without what was
        measured nowhere.
    """
    quality = [column for column in columns if column.tracked == "quality"]
    cost = [column for column in columns if column.tracked == "cost"]
    of_defect = {
        f"{column.name}/{defect}": _mean(group, column)
        for defect, group in rows.groupby("defect", sort=False)
        for column in quality
    }
    over_all = {f"mean/{column.name}": _mean(_edits(rows), column) for column in (*quality, *cost)}
    values = {**of_defect, **over_all, "objective": objective(rows, floor_db)}
    return {name: value for name, value in values.items() if value is not None}


def objective(rows: DataFrame, floor_db: float = FLOOR_DB) -> float | None:
    """What a search maximises; whatever keeps the background is better than whatever does not.

    Args:
        rows: the frame of a run's rows.
        floor_db: the background PSNR that an edit must reach, in dB.

    Returns:
        The edits' mean strength where their mean background PSNR reaches the floor, else what is missing to it,
        negative, in dB; None where no edit was measured.
    """
    strength, background = (_mean(_edits(rows), BY_NAME[name]) for name in ("strength", "psnr_background"))
    if strength is None or background is None:
        return None
    return strength if background >= floor_db else background - floor_db


def _edits(rows: DataFrame) -> DataFrame:
    return rows[rows["defect"] != ORIGINAL]


def _mean(rows: DataFrame, column: Column) -> float | None:
    values = rows[column.name].astype("float64").dropna()
    return fmean(values.clip(upper=column.cap)) if len(values) else None
