"""Regions made of masks: grown by a margin."""

from __future__ import annotations

import numpy as np

from rli.photos.paste import bounds


def grown(mask: np.ndarray, margin: float) -> np.ndarray:
    """A mask and everything that is near it.

    Args:
        mask: (H,W) bool.
        margin: How near, in pixels; below 1 a share of the mask's shorter side.

    Returns:
        (H,W) bool.
    """
    reach = margin if margin >= 1 else margin * min(mask.shape)
    # Only what lies around it is looked at: a defect is small, and a photograph may be large.
    box = bounds(mask, int(np.ceil(reach)))
    if not reach or box is None:
        return mask
    result = np.zeros_like(mask)
    result[box] = distance_to(mask[box]) <= reach
    return result


def distance_to(mask: np.ndarray) -> np.ndarray:
    """How many pixels each pixel is from the nearest one of a mask (H,W) bool: (H,W) float."""

    from scipy import ndimage  # here, because SciPy takes a while to load

    return ndimage.distance_transform_edt(~mask)
