"""PSNR, SSIM and the mean change of images, in the published protocol (method: section 5).

scikit-image takes seconds to load, so it is imported where it computes: whoever asks for a column's name alone does not
wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def psnr(image: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio.

    Args:
        image: (H,W,3) uint8.
        reference: (H,W,3) uint8.
        where: (H,W) bool, the pixels that count; None for all.

    Returns:
        dB; infinity for equal images, NaN where no pixel counts.
    """
    from skimage.metrics import peak_signal_noise_ratio

    if where is not None:
        image, reference = image[where], reference[where]
    if not image.size:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, image, data_range=255))


def ssim(image: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> float:
    """Structural similarity, with a window of 7 pixels, over the colour channels.

    Args:
        image: (H,W,3) uint8.
        reference: (H,W,3) uint8.
        where: (H,W) bool, the pixels whose mean is taken; None for all.

    Returns:
        1 for equal images; NaN where no pixel counts.
    """
    from skimage.metrics import structural_similarity

    value, map_ = structural_similarity(reference, image, win_size=7, channel_axis=2, data_range=255, full=True)
    if where is None:
        return float(value)
    return float(map_[where].mean()) if where.any() else float("nan")


def mean_change(image: np.ndarray, reference: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute difference over channels and pixels.

    Args:
        image: (H,W,3) uint8.
        reference: (H,W,3) uint8.
        where: (H,W) bool, the pixels that count.

    Returns:
        Grey levels of 255; NaN where no pixel counts.
    """
    if not where.any():
        return float("nan")
    return float(np.abs(image[where].astype(np.int16) - reference[where]).mean())


def mean_known(values: Sequence[float]) -> float:
    """The mean of the values that are known; NaN where none is."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def mean_psnr(values: Sequence[float]) -> float:
    """The PSNR in dB of several images of one size taken together, from theirs; NaN ones are left out."""
    error = mean_known([10 ** (-value / 10) for value in values])
    return float("inf") if error == 0 else float(-10 * np.log10(error))
