"""Numbers and settings as people read them. What was not measured, None or NaN, is a dash or nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd


def number(value: float | None, digits: int, *, sign: bool = False, missing: str = "–") -> str:
    """A number as it is read.

    Args:
        value: None or NaN where it was not measured.
        digits: decimals.
        sign: whether a plus is written.
        missing: what stands for a value that was not measured.

    Returns:
        The number, with a true minus; ∞ for infinity.
    """
    if is_missing(value):
        return missing
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−").replace("inf", "∞")


def quantity(value: float | None, digits: int, unit: str = "", name: str = "") -> str:
    """A number with its name before it and its unit behind it; nothing where it was not measured."""
    if is_missing(value):
        return ""
    return " ".join(filter(None, (name, number(value, digits), unit)))


def as_text(value: Any) -> str:
    """Any value as it is read: numbers without a needless ".0"."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(as_text, value)) or "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if math.isnan(value) else repr(float(value)).removesuffix(".0")
    return "–" if value is None else str(value)


def mean(frame: pd.DataFrame, name: str) -> float:
    """The mean of what was measured in a column; NaN where nothing was."""
    return float(frame[name].astype("float64").mean())


def is_missing(value: float | None) -> bool:
    """Not measured (None), or not to be measured (NaN: there is no background beside a mask of the whole image)."""
    return value is None or math.isnan(value)


def counted(count: int, noun: str) -> str:
    """1 edit, 2 edits."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def joined(*parts: str) -> str:
    """The parts that are not empty, on one line."""
    return " · ".join(filter(None, parts))
