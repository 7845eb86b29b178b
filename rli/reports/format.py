"""Numbers and settings as a page reads them. What was not measured, None or NaN, is a dash or nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd


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
    """Of what was measured; NaN where nothing was."""
    return float(frame[name].astype("float64").mean())


def missing(value: float | None) -> bool:
    """Not measured (None), or not to be measured (NaN: there is no background beside a mask of the whole image)."""
    return value is None or math.isnan(value)


def counted(number: int, thing: str) -> str:
    """One edit, two edits: 1 edit, 2 edits."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def filled(text: str, value: float) -> str:
    """The text with the value in its place; nothing for NaN."""
    return "" if math.isnan(value) else text.format(value).replace("inf", "∞")


def joined(*parts: str) -> str:
    """The parts that there are, on one line."""
    return " · ".join(filter(None, parts))


def figure(quantity: str, value: float | None, sign: bool = False) -> str:
    """A figure as it is read: two decimals for dB, three for SSIM and LPIPS, one for the rest; a dash for none."""
    if missing(value):
        return "–"
    if math.isinf(value):
        return "∞"
    digits = {"psnr": 2, "ssim": 3, "lpips": 3, "peak": 2, "mask": 3, "named": 2}.get(quantity, 1)
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")
