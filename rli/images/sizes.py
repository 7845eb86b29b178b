"""Photographs and masks brought to another size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rli.errors import one_of

if TYPE_CHECKING:
    from scipy import sparse

# How an image is brought to a size: stretched, or with its aspect ratio kept.
FITS = ("resize", "letterbox")
# Pixels that touch at a corner belong together.
_NEIGHBOURS = np.ones((3, 3), bool)
# Shares of a pixel's area: more than rounding, and enough for it to be inside.
_TOUCHED, _INSIDE = 1e-6, 0.5 - 1e-6
# More pieces than this in a mask are not told apart.
_MOST_PIECES = 1000


def inner_box(size: tuple[int, ...], height: int, width: int, fit: str) -> tuple[slice, slice]:
    """Where a picture lies in what it is fitted to: the rows and columns that are not a letterbox's border.

    Args:
        size: The picture's height and width.
        height: In pixels, of what it is fitted to.
        width: In pixels.
        fit: One of FITS.
    """
    one_of("fit", fit, FITS)
    if fit == "resize":
        return slice(0, height), slice(0, width)
    scale = min(width / size[1], height / size[0])
    inner = min(height, max(1, round(size[0] * scale))), min(width, max(1, round(size[1] * scale)))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    return slice(top, top + inner[0]), slice(left, left + inner[1])


def fitted(rgb: np.ndarray, height: int, width: int, fit: str = "resize") -> np.ndarray:
    """A photograph brought to a size.

    Args:
        rgb: (H,W,3) uint8.
        height: In pixels.
        width: In pixels.
        fit: One of FITS; a letterbox's border repeats the photograph's.

    Returns:
        (height,width,3) uint8.
    """
    rows, columns = inner_box(rgb.shape[:2], height, width, fit)
    inner = (columns.stop - columns.start, rows.stop - rows.start)
    array = np.asarray(Image.fromarray(rgb).resize(inner, Image.Resampling.BICUBIC))
    edges = ((rows.start, height - rows.stop), (columns.start, width - columns.stop), (0, 0))
    return np.pad(array, edges, mode="edge")


def fitted_mask(
    mask: np.ndarray, height: int, width: int, fit: str = "resize", photo_size: tuple[int, int] | None = None
) -> np.ndarray:
    """A mask brought to the size of its photograph that is `fitted`.

    Args:
        mask: (H,W) bool.
        height: In pixels.
        width: In pixels.
        fit: One of FITS; a letterbox's border is outside.
        photo_size: The photograph's height and width, where they are not the mask's own.

    Returns:
        (height,width) bool.
    """
    rows, columns = inner_box(photo_size or mask.shape, height, width, fit)
    whole = np.zeros((height, width), bool)
    whole[rows, columns] = resized_mask(mask, rows.stop - rows.start, columns.stop - columns.start)
    return whole


def resized_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask at another size, in which nothing of it is lost and nothing is torn.

    A pixel is inside where half of its area is. Where that would lose or tear what was one piece, the piece keeps as
    many more of the pixels that it touches as it needs.

    Args:
        mask: (H,W) bool.
        height: In pixels.
        width: In pixels.

    Returns:
        (height,width) bool. Every true pixel of the mask has a true pixel at its place or beside it, and what is
        connected (at corners, too) in the mask is connected.
    """

    from scipy import ndimage  # here, because SciPy takes a while to load

    if mask.shape == (height, width) or not mask.any():
        return mask.copy() if mask.shape == (height, width) else np.zeros((height, width), bool)
    labels, count = ndimage.label(mask, _NEIGHBOURS)
    if count > _MOST_PIECES:  # a pattern and not objects: that neighbours may become one is no loss
        labels = mask.astype(np.int8)
    total, pieces = np.zeros((height, width), np.float32), []
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        place, shares = _shares(labels[box] == label, box, mask.shape, (height, width))
        total[place] += shares
        pieces.append((place, shares))
    resized = total > _INSIDE
    for place, shares in pieces:
        resized[place] |= _in_one_piece(shares)
    return resized


def _shares(
    piece: np.ndarray, box: tuple[slice, slice], size: tuple[int, ...], wanted: tuple[int, int]
) -> tuple[tuple[slice, slice], np.ndarray]:
    """The pixels that a piece touches at another size, and how much of the area of each lies in it.

    Args:
        piece: (h,w) bool.
        box: Where it lies in its mask.
        size: The mask's height and width.
        wanted: Height and width at the other size.

    Returns:
        Its box at the other size, and the shares in it: float32 in [0,1].
    """
    rows, of_rows = _overlaps(box[0], size[0], wanted[0])
    columns, of_columns = _overlaps(box[1], size[1], wanted[1])
    return (rows, columns), np.asarray(of_columns @ (of_rows @ piece.astype(np.float32)).T, np.float32).T


def _overlaps(span: slice, length: int, wanted: int) -> tuple[slice, sparse.csr_array]:
    """Along one axis: the wanted pixels that a span of pixels touches, and what part of each lies in each of these."""

    from scipy import sparse

    scale = wanted / length
    first, last = math.floor(span.start * scale + 1e-9), math.ceil(span.stop * scale - 1e-9)
    starts = np.arange(first, last)[:, None]
    # Those of the span's pixels that a wanted one may reach into: a few each, and never a whole matrix of them.
    reach = math.ceil(1 / scale) + 2
    source = np.floor(starts / scale).astype(int) - 1 + np.arange(reach + 1)
    low, high = np.maximum(starts, source * scale), np.minimum(starts + 1, (source + 1) * scale)
    parts = np.where((source >= span.start) & (source < span.stop), high - low, 0)
    rows, taken = np.nonzero(parts > 1e-9)
    columns = source[rows, taken] - span.start
    matrix = sparse.csr_array((parts[rows, taken], (rows, columns)), (last - first, span.stop - span.start))
    return slice(first, last), matrix


def _in_one_piece(shares: np.ndarray) -> np.ndarray:
    """The pixels that a connected piece keeps: those inside by half, and what else it touches as far as it needs it."""

    from scipy import ndimage  # here, as above

    touched, inside = shares > _TOUCHED, shares > _INSIDE
    if max(shares.shape) <= 2:  # whichever pixel is kept, the others are beside it
        return inside if inside.any() else np.arange(shares.size).reshape(shares.shape) == shares.argmax()
    is_near = ndimage.binary_dilation(inside, _NEIGHBOURS)
    if is_near[touched].all() and ndimage.label(inside, _NEIGHBOURS)[1] == 1:
        return inside
    # A border of two, so that every pixel has neighbours, and these have some too.
    width = shares.shape[1] + 4
    there, kept = np.pad(touched, 2).ravel(), np.pad(touched, 2).ravel()
    rows, columns = np.nonzero(touched & ~inside)
    places, parts = (rows + 2) * width + columns + 2, shares[rows, columns]
    around = np.array([1, 1 - width, -width, -1 - width, -1, width - 1, width, width + 1])
    # Pixels at least three apart have no neighbour in common, and can be taken away together.
    groups = [(rows % 3 == k // 3) & (columns % 3 == k % 3) for k in range(9)]
    for most in (0.05, 0.15, 0.25, 0.35, 1.0):  # what is touched least goes first
        while True:
            before = kept.sum()
            for group in groups:
                some = places[group & (parts <= most)]
                kept[_needless(some[kept[some]], kept, there, around)] = False
            if kept.sum() == before:
                break
    return kept.reshape(-1, width)[2:-2, 2:-2]


def _needless(places: np.ndarray, kept: np.ndarray, there: np.ndarray, around: np.ndarray) -> np.ndarray:
    """Those of the places without which what is kept has as many pieces, and every pixel that was there has one that is
    kept at its place or beside it.

    Args:
        places: Flat positions.
        kept: Flat bool, what is kept now.
        there: Flat bool, what there was.
        around: A position's eight neighbours, counter-clockwise from its right.
    """
    missing = ~kept[places[:, None] + around]
    following = [np.roll(missing, -k, axis=1)[:, ::2] for k in (0, 1, 2)]
    # Yokoi's connectivity number: 1 where what is around stays connected without the place.
    number = (following[0].astype(np.int8) - (following[0] & following[1] & following[2])).sum(1)
    places = places[number == 1]
    own = np.append(around, 0)
    beside = places[:, None] + own
    count = kept[beside[..., None] + own].sum(2)
    return places[((count >= 2) | ~there[beside]).all(1)]
