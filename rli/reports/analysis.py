"""A sweep's settings beside one another: what tells rows apart, tables of settings, the best ones, the Pareto front.

Equal images have an infinite PSNR: every PSNR is capped at CAP before anything is made of it. A setting is summed up by
its edits' median unless the mean is asked for: one untouched background among ten edits would lift their mean by 6 dB.
NaN means "not measured": it enters no figure, meets no constraint and is no point of a plot. `original` rows, the
reconstructions, are in the table of rows only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rli.errors import RLIError
from rli.metrics.columns import ORIGINAL

CAP = 99.0  # dB
STATISTICS = ("median", "mean")
# Told apart on white and on the dark page alike, contrast at least 3 on both.
PALETTE = ("#2a7fb8", "#d9730d", "#2f9e5b", "#c4487e", "#8a63d2", "#8f7a1f", "#12908e", "#7b858f")
RAMP = ("#4f82ee", "#8f63d6", "#c94f9c", "#e0653f")


@dataclass(frozen=True)
class Metric:
    """A column that is measured. unit is empty for shares and indices; higher: more is better; digits: decimals as
    shown; main: shown first, the others on demand."""

    name: str
    label: str
    unit: str
    higher: bool
    digits: int
    main: bool = False

    @property
    def title(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS = (
    Metric("psnr_background", "Background PSNR", "dB", True, 2, True),
    Metric("ssim_background", "Background SSIM", "", True, 3, True),
    Metric("strength", "Strength", "grey levels", True, 2, True),
    Metric("named", "Defect named", "probability", True, 3, True),
    Metric("psnr_recon", "PSNR to reconstruction", "dB", True, 2, True),
    Metric("mask_share", "Mask", "share", False, 3, True),
    Metric("seconds_edit", "Edit time", "s", False, 2, True),
    Metric("ssim_recon", "SSIM to reconstruction", "", True, 3),
    Metric("lpips_recon", "LPIPS to reconstruction", "", False, 3),
    Metric("lpips_standard_recon", "Standard LPIPS to reconstruction", "", False, 3),
    Metric("psnr", "PSNR to photograph", "dB", True, 2),
    Metric("ssim", "SSIM to photograph", "", True, 3),
    Metric("lpips", "LPIPS to photograph", "", False, 3),
    Metric("lpips_standard", "Standard LPIPS to photograph", "", False, 3),
    Metric("psnr_vae", "VAE PSNR", "dB", True, 2),
    Metric("seconds_inversion", "Inversion time", "s", False, 2),
    Metric("peak_memory_gb", "Peak memory", "GB", False, 2),
)
BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True)
class Dimension:
    """A column whose values tell rows apart: values in their order, each with the text that shows it; codes (rows,):
    which of them each row has. Numbers are in ascending order, anything else as it came; None is first."""

    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    codes: np.ndarray

    @property
    def numeric(self) -> bool:
        return all(is_number(value) for value in self.values)

    def colours(self) -> tuple[str, ...] | None:
        """One for each value: along a ramp for numbers; None where there are too many to be told apart."""
        if len(self.values) > len(PALETTE):
            return None
        return _ramp(len(self.values)) if self.numeric else PALETTE[: len(self.values)]


def dimension(frame: pd.DataFrame, name: str) -> Dimension:
    """The column as a Dimension. Raises RLIError where the frame has no such column."""
    if name not in frame.columns:
        raise RLIError(f"{name} is no column of the rows: choose one of {', '.join(map(str, frame.columns))}")
    values = [plain(value) for value in frame[name]]
    found = {label_of(value): value for value in values}
    if all(value is None or is_number(value) for value in found.values()):
        found = dict(sorted(found.items(), key=lambda pair: -math.inf if pair[1] is None else pair[1]))
    place = {label: k for k, label in enumerate(found)}
    codes = np.array([place[label_of(value)] for value in values], dtype=int)
    return Dimension(name, tuple(found.values()), tuple(found), codes)


def settings_table(frame: pd.DataFrame, knobs: Sequence[str], statistic: str = "median") -> pd.DataFrame:
    """A line for each combination of the knobs' values, in their order: the knobs, `edits` and `photographs` that it
    stands for, and the METRICS' median or mean over these edits.

    frame: of `rli.sweep.frame`. PSNR is capped at CAP; NaN where nothing was measured. Raises RLIError for a knob that
    is no column.
    """
    if statistic not in STATISTICS:
        raise RLIError(f"statistic={statistic} is not known: choose one of {', '.join(STATISTICS)}")
    edits = edits_of(frame)
    kinds = [dimension(edits, knob) for knob in knobs]
    # The leading zeros keep edits together where there is no knob.
    codes = np.column_stack([np.zeros(len(edits), int), *(kind.codes for kind in kinds)])
    combinations, group = np.unique(codes, axis=0, return_inverse=True)
    groups = measured(edits).groupby(group.ravel())
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


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """The METRICS' columns, float64, with the frame's index: PSNR capped at CAP, other infinities as NaN."""
    values = frame[list(BY_NAME)].astype("float64")
    psnr = [name for name in values if name.startswith("psnr")]
    values[psnr] = values[psnr].clip(upper=CAP)
    return values.replace([np.inf, -np.inf], np.nan)


def best(
    table: pd.DataFrame,
    constraints: Mapping[str, tuple[str, float]],
    maximize: str = "strength",
    count: int = 5,
) -> pd.DataFrame:
    """At most `count` lines of a `settings_table` that meet every constraint, best first.

    constraints: metric to ("min", value) or ("max", value), both inclusive: {"psnr_background": ("min", 32.0)}.
    maximize: the metric to be best in; the least is best where less is better (LPIPS, seconds). Equal lines stay in the
    table's order; a line whose `maximize` was not measured comes last; a metric that was not measured meets no
    constraint. Raises RLIError for an unknown metric or kind of constraint.
    """
    for name in (maximize, *constraints):
        if name not in BY_NAME:
            raise RLIError(f"{name} is no metric: choose one of {', '.join(BY_NAME)}")
    meets = pd.Series(True, index=table.index)
    for name, (kind, value) in constraints.items():
        if kind not in ("min", "max"):
            raise RLIError(f"{name}: a constraint is (min, value) or (max, value), not ({kind}, …)")
        meets &= table[name] >= value if kind == "min" else table[name] <= value
    order = {"ascending": not BY_NAME[maximize].higher, "kind": "stable", "na_position": "last"}
    return table[meets].sort_values(maximize, **order).head(count)


def pareto(x: Sequence[float], y: Sequence[float], higher: tuple[bool, bool] = (True, True)) -> np.ndarray:
    """Which points (n,) no other point beats: none is at least as good in both and better in one. NaN never is.

    higher: whether more is better, for x and for y.
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
    return frame[frame["defect"] != ORIGINAL]


def metric_of(name: str) -> Metric:
    if name not in BY_NAME:
        raise RLIError(f"{name} is no metric: choose one of {', '.join(BY_NAME)}")
    return BY_NAME[name]


def _ramp(count: int) -> tuple[str, ...]:
    """Colours evenly along RAMP."""
    stops = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in RAMP], float)
    at = np.linspace(0, len(RAMP) - 1, count)
    mixed = np.column_stack([np.interp(at, range(len(RAMP)), channel) for channel in stops.T])
    return tuple("#" + "".join(f"{round(v):02x}" for v in colour) for colour in mixed)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(value: Any) -> Any:
    """A cell as Python has it: None for what is missing, whole numbers as int."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def label_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def figure_of(metric: Metric, value: float) -> str:
    """As the page's script shows it, which knows the rounded value."""
    return "" if math.isnan(value) else f"{rounded(value):.{metric.digits}f}"


def rounded(value: float) -> float | None:
    """Eight digits tell more than is shown, and keep the page small."""
    return None if math.isnan(value) else float(f"{value:.8g}")
