"""Samples of any depth as the 8 bits that a viewer shows.

What is white is a property of the camera and not of one photograph, and files seldom say it. It is the least of the
depths that cameras have which holds the brightest sample; a photograph is never stretched to its own brightest sample.
"""

from __future__ import annotations

import numpy as np

# Bits of a sample that cameras and frame grabbers have.
DEPTHS = (8, 10, 12, 14, 16)
# Interpolation takes floating-point samples a little beyond what they are meant to be.
_OVERSHOOT, _UNDERSHOOT = 2.0, -0.05


def scale_of(samples: np.ndarray, bits: int | None = None) -> tuple[float, float]:
    """Which samples are shown as black and as white.

    - 8-bit samples: 0 and 255.
    - Other whole numbers: 0 and the largest number of 8, 10, 12, 14 or 16 bits, the least that is not below any sample,
      else the largest of their type. With negative ones among them: as many bits, half of them below 0.
    - Floating-point numbers: 0 and 1, unless any is above 2; then as whole numbers. With any below -0.05: -1 and 1.

    Args:
        samples: (H,W,C), without alpha.
        bits: How many bits of a whole number are used, where the file says it. PNG's sBIT is meant for samples that are
            spread over all bits; where none is above what so many bits hold, they are not.

    Returns:
        Black and white.

    Raises:
        ValueError: Some are not numbers, or go from so low to so high that nobody knows what is meant.
    """
    if samples.dtype == np.uint8:
        return 0, 255
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("some of its pixels are not numbers")
    is_whole = samples.dtype.kind in "iu"
    if not is_whole and high <= _OVERSHOOT:
        if low < -_OVERSHOOT:
            raise _unknown_scale(low, high)
        return (0, 1) if low >= _UNDERSHOOT else (-1, 1)
    if low < (0 if is_whole else -_OVERSHOOT):
        if not is_whole:
            raise _unknown_scale(low, high)
        bits = next((bits for bits in DEPTHS if max(-low, high + 1) <= 2 ** (bits - 1)), 8 * samples.itemsize)
        return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    largest = np.iinfo(samples.dtype).max if is_whole else 2**16 - 1
    if bits and is_whole and bits <= 8 * samples.itemsize and high < 2**bits:
        return 0, 2**bits - 1
    white = next((top for bits in DEPTHS if high <= (top := min(2**bits - 1, largest))), largest)
    if high > white:
        raise _unknown_scale(low, high)
    return 0, white


def guess_of(samples: np.ndarray, white: float) -> str:
    """What was taken for white where a file could hold more than a byte's range: a line for its owner, "" otherwise."""
    if samples.dtype == np.uint8 or white in (1, np.iinfo(samples.dtype).max if samples.dtype.kind in "iu" else 1):
        return ""
    return f"its brightest sample is {samples.max():g}, and {white:g} is taken for white"


def to_eight_bits(samples: np.ndarray, black: float, white: float) -> np.ndarray:
    """Samples as uint8 of the same shape: black is 0, white 255, and what lies beyond is cut off."""
    if samples.dtype == np.uint8 and (black, white) == (0, 255):
        return samples
    if samples.dtype == np.uint16:
        return _scaled(np.arange(2**16), black, white)[samples]
    shown = np.empty(samples.shape, np.uint8)
    # One line at a time, for numbers of 64 bits take eight times the room.
    for line, scaled in zip(samples, shown, strict=True):
        scaled[:] = _scaled(line, black, white)
    return shown


def _scaled(values: np.ndarray, black: float, white: float) -> np.ndarray:
    shown = (values.astype(np.float64) - black) / (white - black) * 255
    return shown.round().clip(0, 255).astype(np.uint8)


def _unknown_scale(low: float, high: float) -> ValueError:
    return ValueError(
        f"its samples go from {low:g} to {high:g}; expected 0 to 1, -1 to 1, 0 to 255, "
        "or 0 to the most of 10, 12, 14 or 16 bits"
    )
