"""PSNR, SSIM and LPIPS, in the published protocol and apart from it (method: section 5)."""

from __future__ import annotations

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def psnr(image: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of (H,W,3) uint8 images, over the pixels where (H,W) is true.

    Infinity for equal images; NaN where no pixel is chosen.
    """
    if where is not None:
        image, reference = image[where], reference[where]
    if not image.size:
        return float("nan")
    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, image, data_range=255))


def ssim(image: np.ndarray, reference: np.ndarray, where: np.ndarray | None = None) -> float:
    """Structural similarity of (H,W,3) uint8 images, window 7, over colour channels; where: mean over these pixels."""
    value, map_ = structural_similarity(reference, image, win_size=7, channel_axis=2, data_range=255, full=True)
    if where is None:
        return float(value)
    return float(map_[where].mean()) if where.any() else float("nan")


def mean_change(image: np.ndarray, reference: np.ndarray, where: np.ndarray) -> float:
    """Mean absolute difference of (H,W,3) uint8 images over channels and the pixels where (H,W) is true, in grey levels
    of 255; NaN where no pixel is chosen."""
    if not where.any():
        return float("nan")
    return float(np.abs(image[where].astype(np.int16) - reference[where]).mean())
