"""One region of a photograph, and where there is room for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rli.photos.placement_shapes import cropped

# Positions that are tried for a region.
TRIES = 300
# Of a region at an edge: the share of it that lies in the part.
AT_EDGE = (0.3, 0.9)


@dataclass(frozen=True)
class Spot:
    """One region, and how it came about."""

    # The drawn shape, or the name of the photograph whose mask it is.
    origin: str
    # (h,w) bool: its pixels, and where they lie in the photograph.
    mask: np.ndarray
    top: int
    left: int
    # What was done to the mask.
    how: Mapping[str, Any]

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns."""
        return slice(self.top, self.top + self.mask.shape[0]), slice(self.left, self.left + self.mask.shape[1])

    def told(self) -> dict[str, Any]:
        """What the manifest says of it."""
        box = {"top": self.top, "left": self.left, "height": self.mask.shape[0], "width": self.mask.shape[1]}
        return {"from": self.origin, **self.how, **box}


def inside_part(
    rng: np.random.Generator, mask: np.ndarray, part: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, int, int] | None:
    """A mask and a place where all of it is free; None where none is found."""
    (height, width), box = mask.shape, _box(part)
    room = [
        (low, min(high, side) - own) for (low, high), side, own in zip(box, part.shape, (height, width), strict=True)
    ]
    if any(last < first for first, last in room):
        return None
    for _ in range(TRIES):
        top, left = (int(rng.integers(first, last + 1)) for first, last in room)
        if free[top : top + height, left : left + width][mask].all():
            return mask, top, left
    return None


def across_edge(
    rng: np.random.Generator, mask: np.ndarray, part: np.ndarray, free: np.ndarray
) -> tuple[np.ndarray, int, int] | None:
    """What lies in the part of a mask across its edge, and where; None where no place is found."""

    from scipy import ndimage  # here, because SciPy takes a while to load

    edge = np.argwhere(part & ~ndimage.binary_erosion(part))
    for y, x in edge[rng.integers(len(edge), size=TRIES)]:
        top, left = int(y) - mask.shape[0] // 2, int(x) - mask.shape[1] // 2
        up, aside = max(0, -top), max(0, -left)
        own = mask[up:, aside:]
        own = own[: part.shape[0] - max(0, top), : part.shape[1] - max(0, left)]
        box = np.s_[top + up : top + up + own.shape[0], left + aside : left + aside + own.shape[1]]
        inside = own & part[box]
        share = inside.sum() / mask.sum()
        if AT_EDGE[0] <= share <= AT_EDGE[1] and free[box][inside].all():
            rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
            return cropped(inside), top + up + int(rows[0]), left + aside + int(columns[0])
    return None


def _box(mask: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    """First and last but one row and column of what is inside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)
