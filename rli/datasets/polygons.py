"""The outline of a piece of a mask as one polygon from which exactly its pixels are drawn again.

A polygon's coordinates are COCO's: x to the right, y down, the pixel in row r and column c covers [c, c+1] × [r, r+1].

Programs draw a polygon in three ways. scikit-image takes the pixels whose centres lie inside. pycocotools does the same
with coordinates rounded to fifths of a pixel. ultralytics cuts the coordinates down to whole numbers, and OpenCV's
fillPoly colours what lies inside and under the line. An outline along the sides of the pixels is exact in the first two
ways. Moved inwards a little, so that every point lies in a pixel of the piece, it is exact in the third way too.
"""

from __future__ import annotations

import numpy as np
from skimage.measure import find_contours

# How far the outline lies inside its pixels. Six decimals of a share of the width are uncertain by less in pictures of
# up to 16384 pixels, and pycocotools rounds away all that is less than a tenth.
INSET = 0.02
# The same for the two points by which the outline crosses a corner where two pixels do no more than touch. ultralytics
# puts further points on that line, at regular distances: it is long, and the corner divides it by no simple ratio, so
# that none of them is rounded into a third pixel.
INSETS_AT_TOUCH = 0.25, 0.31
# Where in its row of pixels a slit lies: clear of the outline, and of the pixels' centres.
SLIT = 0.375


def polygon(top: int, left: int, piece: np.ndarray) -> np.ndarray:
    """The outline of a connected piece of a mask; a slit that takes no pixel away leads to each of its holes.

    Args:
        top: Where the cut-out lies in the image, in pixels.
        left: As top.
        piece: (h,w) bool, connected through edges or corners.

    Returns:
        (N,2) float, x and y in the image, N ≥ 4; the first point is not repeated.
    """
    outlines = find_contours(np.pad(piece, 1).astype(np.uint8), 0.5, fully_connected="high")
    outline, *holes = sorted(map(_corners, outlines), key=lambda corners: corners[:, 0].min())
    for hole in holes:
        outline = _with_hole(outline, hole)
    return _moved_inwards(outline) + np.array((left, top))


def _corners(outline: np.ndarray) -> np.ndarray:
    """The corners (N,2), x and y in the cut-out, of an outline that passes through the middle of each pixel's side. The
    piece is always on the right, seen in the direction of the corners."""
    # From centres of the padded cut-out's pixels to corners of the cut-out's.
    middles = outline[:-1, ::-1] - 0.5
    following = np.roll(middles, -1, axis=0)
    is_upright = middles[:, 0] % 1 == 0
    upright, level = np.where(is_upright[:, None], (middles, following), (following, middles))
    is_corner = is_upright != np.roll(is_upright, -1)
    return np.stack([upright[:, 0], level[:, 1]], axis=1)[is_corner]


def _with_hole(outline: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """One outline of both: from a leftmost side of the hole a slit runs left to the outline, in one row of pixels. No
    hole that begins further left may still be missing in the outline."""
    x = hole[:, 0].min()
    k = int(np.flatnonzero((hole[:, 0] == x) & (np.roll(hole[:, 0], -1) == x))[0])
    around = np.roll(hole, -k - 1, axis=0)
    y = min(around[0, 1], around[-1, 1]) + SLIT
    following = np.roll(outline, -1, axis=0)
    is_crossed = (outline[:, 1] < y) != (following[:, 1] < y)
    sides = np.flatnonzero(is_crossed & (outline[:, 0] < x))
    side = int(sides[outline[sides, 0].argmax()])
    there, back = [(outline[side, 0], y), (x, y)], [(x, y), (outline[side, 0], y)]
    return np.concatenate([outline[: side + 1], there, around, back, outline[side + 1 :]])


def _moved_inwards(corners: np.ndarray) -> np.ndarray:
    """The outline inside its pixels; at a corner where two pixels touch a point in each of them."""
    ahead = np.sign(np.roll(corners, -1, axis=0) - corners)
    before = np.roll(ahead, 1, axis=0)
    right_of_ahead, right_of_before = (way[:, ::-1] * (-1, 1) for way in (ahead, before))
    _, which, visits = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
    turns_left = (right_of_before == -ahead).all(axis=1)
    touches = turns_left & (visits[which.ravel()] > 1)
    leaving, entering = INSETS_AT_TOUCH
    first = np.where(touches[:, None], leaving * (right_of_before - before), INSET * (right_of_before + right_of_ahead))
    second = entering * (right_of_ahead + ahead)
    points = np.stack([corners + first, corners + second], axis=1)
    return points[np.stack([np.full(len(corners), True), touches], axis=1)]
