"""Which pixels of a mask file are painted, whatever it is painted with.

Masks come as 0 and 255, as class numbers, as colours, as a palette's entries, as paint on a transparent ground, from 1
to 32 bits deep, and with soft edges. Black is the ground and what is not black is painted. Where a file can be
understood in two ways it is refused; an inverted mask cannot be told from another, and is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rli.images.colours import Colours
from rli.images.decoded import Decoded
from rli.images.depth import to_eight_bits

# Up to here levels are class numbers and no greys.
_MOST_CLASSES = 31
# With more levels than this that occur between a brighter and a darker pixel alone, edges are soft everywhere.
_MOST_EDGE_LEVELS = 8
_ADVICE = "write it with 0 outside and 255 inside"


@dataclass(frozen=True)
class _Levels:
    """The levels of a mask, and how they lie."""

    # Sorted; level k is values[k].
    values: np.ndarray
    # (H,W), the level of each pixel as k.
    of_pixels: np.ndarray
    # Of each level: whether it fills 3×3 pixels anywhere.
    is_solid: np.ndarray
    # Of each level: whether it is found between brighter and darker pixels only, as in a soft edge.
    is_edge: np.ndarray


def painted(decoded: Decoded) -> np.ndarray:
    """Which pixels of a mask are painted.

    - Paint on a transparent ground: what is opaque by half or more. If black and other colours are, black is ground.
    - A palette without black: all but its first entry. Colours without black: what has a colour, where the rest is of
      one grey.
    - Class numbers, and levels of which each fills an area: all but black.
    - Soft edges, and files that were compressed with loss: what is brighter than half of the brightest.

    Args:
        decoded: The mask file.

    Returns:
        (H,W) bool.

    Raises:
        ValueError: Nobody knows what is meant; the message says why, and what to do.
    """
    visible = None
    if decoded.has_alpha:
        alpha = decoded.samples[..., -1]
        visible = alpha > np.iinfo(alpha.dtype).max / 2
    if visible is None or visible.all():
        return _of_opaque(decoded)
    return _of_transparent(decoded, visible)


def _of_transparent(decoded: Decoded, visible: np.ndarray) -> np.ndarray:
    black = ~decoded.colours.any(2)
    if not visible.any():
        if black.any() and not black.all():
            raise ValueError(f"it is transparent everywhere, and has colours: {_ADVICE}")
        return visible
    if (black & visible).any() and (~black & visible).any():
        return visible & _of_opaque(_without_alpha(decoded, visible))
    return visible


def _without_alpha(decoded: Decoded, visible: np.ndarray) -> Decoded:
    return Decoded(decoded.colours * visible[..., None], decoded.space, is_lossy=decoded.is_lossy)


def _of_opaque(decoded: Decoded) -> np.ndarray:
    if decoded.space in ("CMYK", "LAB"):
        colours = Colours(decoded.space).to_srgb(to_eight_bits(decoded.colours, 0, 255))
    else:
        colours = decoded.colours
    level, indices = colours.max(2), decoded.indices
    has_colour = level > colours.min(2)
    if indices is not None and level.min() == level.max() and not has_colour.any() and indices.min() < indices.max():
        return indices > 0  # numbers of classes whose palette nobody filled
    if not has_colour.any() or level.min() <= (32 if decoded.is_lossy else 0):
        return _of_levels(level, decoded.is_lossy)
    if indices is not None and (indices == 0).any():
        return indices > 0
    ground = np.unique(level[~has_colour])
    if len(ground) == 1 and not decoded.is_lossy:
        return has_colour
    raise ValueError(f"it has colours on a ground that is not black: {_ADVICE}")


def _of_levels(level: np.ndarray, is_lossy: bool) -> np.ndarray:
    """What is painted of (H,W) levels, of which 0 is the ground."""

    from scipy import ndimage  # here, because SciPy takes a while to load

    low, high = level.min(), level.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("some of its pixels are not numbers")
    if low < 0:
        raise ValueError(f"it has levels below 0, down to {low:g}: {_ADVICE}")
    if low == high:
        return np.full(level.shape, bool(low > (_MOST_CLASSES if is_lossy else 0)))
    if low * 4 > high:
        raise ValueError(f"its levels go from {low:g} to {high:g}, and none is black: {_ADVICE}")
    if is_lossy:
        if high <= _MOST_CLASSES:
            raise ValueError(f"its brightest level is {high:g}, and its format does not keep class numbers: use a PNG")
        return _brighter_than_half(level)
    if level.dtype.kind in "iu" and high <= _MOST_CLASSES:
        return level > low
    if ((level == low) | (level == high)).all():
        return level > low
    levels = _levels(level)
    if levels.is_edge.sum() > _MOST_EDGE_LEVELS or _is_noisy(levels):
        _check_clear(levels)
        return _brighter_than_half(level)
    # A few levels, each an area or a line of its own, but for those of edges drawn softly.
    soft = levels.is_edge[levels.of_pixels]
    return (level > low) & (~soft | (level > ndimage.maximum_filter(level, 5) / 2))


def _levels(level: np.ndarray) -> _Levels:
    from scipy import ndimage  # here, as above

    values, of_pixels = _numbered(level)
    darkest, brightest = ndimage.minimum_filter(of_pixels, 3), ndimage.maximum_filter(of_pixels, 3)
    count = len(values)
    is_solid = np.bincount(of_pixels[darkest == brightest], minlength=count) > 0
    between = np.bincount(of_pixels[(darkest < of_pixels) & (of_pixels < brightest)], minlength=count)
    total = np.bincount(of_pixels.ravel(), minlength=count)
    return _Levels(values, of_pixels, is_solid, ~is_solid & (2 * between > total))


def _numbered(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The levels that occur, sorted, and (H,W) the place of each pixel's among them."""
    if level.dtype not in (np.uint8, np.uint16):
        values, places = np.unique(level, return_inverse=True)
        return values, places.reshape(level.shape)
    occurs = np.bincount(level.ravel(), minlength=np.iinfo(level.dtype).max + 1) > 0  # sorting takes ten times as long
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1).astype(level.dtype)[level]


def _is_noisy(levels: _Levels) -> bool:
    """Whether levels lie around black and around the brightest, and no area between: a JPEG saved as something else."""
    shares = levels.values / levels.values[-1]
    near_black, near_white = (shares > 0) & (shares < 1 / 16), (shares > 15 / 16) & (shares < 1)
    return bool(
        near_black.any() and near_white.any() and not levels.is_solid[(shares > 1 / 8) & (shares < 7 / 8)].any()
    )


def _check_clear(levels: _Levels) -> None:
    """Raises ValueError where a mask of soft edges has areas that are neither inside nor outside."""
    shares = levels.values / levels.values[-1]
    between = (shares > 1 / 8) & (shares < 7 / 8)
    if between[levels.of_pixels].mean() > 0.5:
        raise ValueError(f"most of it is neither black nor bright, as in a photograph: {_ADVICE}")
    unclear = levels.values[levels.is_solid & (shares > 1 / 8) & (shares <= 1 / 2)]
    if len(unclear):
        raise ValueError(f"it has soft edges and areas of level {unclear[0]:g} of {levels.values[-1]:g}: {_ADVICE}")


def _brighter_than_half(level: np.ndarray) -> np.ndarray:
    return level > level.max() / 2
