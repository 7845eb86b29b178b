"""Mask files: which pixels are inside."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rli.errors import RLIError, shown
from rli.images.decoding import decode, said_in_one_line
from rli.images.painted import painted
from rli.images.sizes import fitted_mask, resized_mask


def read_mask(
    path: str | Path, height: int, width: int, fit: str = "resize", photo_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads a mask file at another size. What is painted is inside: see `painted`.

    It lies on the photograph as seen after EXIF rotation, and is resized so that nothing of it is lost or torn.

    Args:
        path: The file.
        height: In pixels.
        width: In pixels.
        fit: As the photograph's; a letterbox's border is outside.
        photo_size: Width and height of the photograph as it is seen, of which the mask must have the aspect ratio; None
            allows any.

    Returns:
        (height,width) bool.

    Raises:
        RLIError: There is no readable, complete image, nobody knows what is painted in it, or it does not fit.
    """
    inside = _inside(path)
    if photo_size is None:
        return fitted_mask(inside, height, width, fit)
    _check_fits(path, inside.shape[::-1], photo_size)
    return fitted_mask(inside, height, width, fit, (photo_size[1], photo_size[0]))


def read_mask_full(path: str | Path, photo_size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a mask file at the photograph's own size.

    Args:
        path: The file.
        photo_size: Width and height of the photograph as it is seen, to which a mask of the same aspect ratio is
            brought; None leaves the mask's own size.

    Returns:
        (H,W) bool.

    Raises:
        RLIError: As of `read_mask`.
    """
    inside = _inside(path)
    if photo_size is None:
        return inside
    _check_fits(path, inside.shape[::-1], photo_size)
    return resized_mask(inside, photo_size[1], photo_size[0])


def is_marked(mask: str | Path) -> bool:
    """Whether any pixel of a mask file is inside.

    Raises:
        RLIError: There is no readable, complete image, or nobody knows what is painted in it.
    """
    return bool(_inside(mask).any())


def _inside(path: str | Path) -> np.ndarray:
    """A mask file as (H,W) bool, in its own size."""
    with said_in_one_line(path, "a mask"):
        return painted(decode(path))


def _check_fits(path: str | Path, size: tuple[int, ...], photo_size: tuple[int, int]) -> None:
    """Raises RLIError unless the mask has the photograph's size, or one scale brings both sides to it."""
    (width, height), (photo_width, photo_height) = size, photo_size
    # Both sides were rounded to whole pixels; but a side that is equal was not scaled.
    rounding = 0.5 / photo_width + 0.5 / photo_height
    is_scaled = abs(width / photo_width - height / photo_height) <= rounding
    if tuple(size) != tuple(photo_size) and (not is_scaled or width == photo_width or height == photo_height):
        raise RLIError(
            f"{shown(path)}: the mask has {width}×{height} pixels and its photograph {photo_width}×{photo_height}; "
            "they must have the same size, or the same aspect ratio"
        )
