"""Analysis of a sweep's settings: in which columns rows differ, tables of settings, the best ones, the Pareto front.

Equal images have an infinite PSNR: every PSNR is capped (`Column.cap`) before anything is made of it. A setting is
summed up by its edits' median unless the mean is asked for: one untouched background among ten edits would lift their
mean by 6 dB. NaN means "not measured": it enters no mean, meets no constraint and is no point of a plot. `original`
rows, the reconstructions, are in the table of rows only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rli.errors import RLIError
from rli.metrics.columns import COLUMNS, ORIGINAL, Column, of_kind
from rli.reports.format import number

STATISTICS = ("median", "mean")
# Told apart on white and on the dark page alike, contrast at least 3 on both.
PALETTE = ("#2a7fb8", "#d9730d", "#2f9e5b", "#c4487e", "#8a63d2", "#8f7a1f", "#12908e", "#7b858f")
RAMP = ("#4f82ee", "#8f63d6", "#c94f9c", "#e0653f")


def metrics_of(columns: Sequence[Column] = COLUMNS) -> tuple[Column, ...]:
    """What can be plotted: the measured columns that the explorer has, those first that it shows at first."""
    shown = [column for column in of_kind("number", columns=columns) if column.explorer]
    return tuple(sorted(shown, key=lambda column: column.explorer != "first"))


@dataclass(frozen=True)
class Dimension:
    """A column in which rows differ."""

    name: str
    # Numbers in ascending order, anything else as it came; None is first.
    values: tuple[Any, ...]
    # The text that shows each value.
    labels: tuple[str, ...]
    # (rows,): which of the values each row has.
    codes: np.ndarray

    @property
    def numeric(self) -> bool:
        """Whether every value is a number."""
        return all(is_number(value) for value in self.values)

    def colours(self) -> tuple[str, ...] | None:
        """A colour for each value, along a ramp for numbers; None where there are too many to tell apart."""
        if len(self.values) > len(PALETTE):
            return None
        return _ramp(len(self.values)) if self.numeric else PALETTE[: len(self.values)]


def dimension(frame: pd.DataFrame, name: str) -> Dimension:
    """The values of a column.

    Raises:
        RLIError: the frame has no such column.
    """
    if name not in frame.columns:
        raise RLIError(f"unknown column {name}; expected one of {', '.join(map(str, frame.columns))}")
    values = [plain(value) for value in frame[name]]
    found = {label_of(value): value for value in values}
    if all(value is None or is_number(value) for value in found.values()):
        found = dict(sorted(found.items(), key=lambda pair: -math.inf if pair[1] is None else pair[1]))
    order = {label: k for k, label in enumerate(found)}
    codes = np.array([order[label_of(value)] for value in values], dtype=int)
    return Dimension(name, tuple(found.values()), tuple(found), codes)


def settings_table(
    frame: pd.DataFrame, knobs: Sequence[str], statistic: str = "median", columns: Sequence[Column] = COLUMNS
) -> pd.DataFrame:
    """Sums up the edits of each setting.

    Args:
        frame: of `rli.reports.sweep.frame`.
        knobs: the columns whose values are a setting.
        statistic: median or mean.
        columns: what may have been measured.

    Returns:
        A line for each combination of the knobs' values, in their order: the knobs; `edits` and `photographs`, how many
        it stands for; and the statistic of every metric over these edits, NaN where nothing was measured.

    Raises:
        RLIError: a knob that is no column, or an unknown statistic.
    """
    if statistic not in STATISTICS:
        raise RLIError(f"unknown statistic {statistic}; expected one of {', '.join(STATISTICS)}")
    edits = edits_of(frame)
    kinds = [dimension(edits, knob) for knob in knobs]
    # The leading zeros keep edits together where there is no knob.
    codes = np.column_stack([np.zeros(len(edits), int), *(kind.codes for kind in kinds)])
    combinations, group = np.unique(codes, axis=0, return_inverse=True)
    groups = measured(edits, columns).groupby(group.ravel())
    table = pd.DataFrame(
        {
            **{
                kind.name: pd.Series([kind.values[c] for c in column], dtype="object").infer_objects()
                for kind, column in zip(kinds, combinations.T[1:], strict=True)
            },
            "edits": groups.size(),
            "photographs": edits["image"].groupby(group.ravel()).nunique(),
        }
    )
    return pd.concat([table, groups.agg(statistic)], axis=1)


def measured(frame: pd.DataFrame, columns: Sequence[Column] = COLUMNS) -> pd.DataFrame:
    """The metrics' columns, float64, with the frame's index: capped where they have a cap, other infinities as NaN."""
    values = {m.name: frame[m.name].astype("float64").clip(upper=m.cap) for m in metrics_of(columns)}
    return pd.DataFrame(values, index=frame.index).replace([np.inf, -np.inf], np.nan)


def pareto(x: Sequence[float], y: Sequence[float], higher: tuple[bool, bool] = (True, True)) -> np.ndarray:
    """Which points no other point beats: none is at least as good in both and better in one.

    Args:
        x: (n,) values; NaN where one was not measured.
        y: (n,) values.
        higher: whether more is better, for x and for y.

    Returns:
        (n,) bool; never true where a value is NaN.
    """
    a, b = (np.asarray(v, float) * (1 if more else -1) for v, more in zip((x, y), higher, strict=True))
    known = np.flatnonzero(~np.isnan(a) & ~np.isnan(b))
    front = np.zeros(len(a), dtype=bool)
    top = (math.nan, -math.inf)
    for k in known[np.lexsort((-b[known], -a[known]))]:
        if b[k] > top[1] or (a[k], b[k]) == top:
            front[k], top = True, (a[k], b[k])
    return front


def edits_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that are edits."""
    return frame[frame["defect"] != ORIGINAL]


def metric_of(name: str, columns: Sequence[Column] = COLUMNS) -> Column:
    """The metric of this name.

    Raises:
        RLIError: there is none.
    """
    metrics = {column.name: column for column in metrics_of(columns)}
    if name not in metrics:
        raise RLIError(f"unknown metric {name}; expected one of {', '.join(metrics)}")
    return metrics[name]


def _ramp(count: int) -> tuple[str, ...]:
    """Colours evenly along RAMP."""
    stops = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in RAMP], float)
    at = np.linspace(0, len(RAMP) - 1, count)
    mixed = np.column_stack([np.interp(at, range(len(RAMP)), channel) for channel in stops.T])
    return tuple("#" + "".join(f"{round(v):02x}" for v in colour) for colour in mixed)


def is_number(value: Any) -> bool:
    """Whether a setting is a number; true and false are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A cell as Python has it: None for what is missing, whole numbers as int."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def label_of(value: Any) -> str:
    """A setting's value as text; anything but text as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def shown(metric: Column, value: float) -> str:
    """As the page's script shows it, which knows the rounded value."""
    return number(rounded(value), metric.digits, missing="")


def rounded(value: float) -> float | None:
    """Eight digits are more than is shown, and keep the page small."""
    return None if math.isnan(value) else float(f"{value:.8g}")
