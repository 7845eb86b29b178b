"""From edits to annotations: which pixels changed, and the forms in which data sets tell it.

Pixel coordinates of polygons and boxes are COCO's: x to the right, y down, the pixel in row r and column c covers
[c, c+1] × [r, r+1], the image 0…W × 0…H.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours

from rli.errors import RLIError, one_of, whole, within

KINDS = ("original", "reconstruction", "edit")
SPLITS = ("train", "val", "test")
GOOD, UNKNOWN = "good", "defect"
# The class index of pixels that nobody may learn from or be judged by.
IGNORE = 255

_NEIGHBOURS = np.ones((3, 3), bool)  # pixels that touch at a corner belong together
# A pixel's centre is √2/4 from the outline at least: simplified by less, the outline still tells the same pixels.
_TOLERANCE = 0.35


@dataclass(frozen=True)
class Region:
    """One defect of an image: its class and its mask, a PNG of 0 and 255 of the image's size."""

    label: str
    mask: Path


@dataclass(frozen=True)
class Item:
    """One image of a data set to come.

    kind: original, reconstruction or edit. photo: the source photograph's name, the group that no split tears apart.
    name: unique in the data set, a relative posix path such as bolt/part01__rust-2. label: the image's class, good
    where it shows no defect; an empty one becomes defect. split: train, val or test. regions: later ones lie over
    earlier ones. facts: where it comes from, for the manifest (source file and hash, prompts, settings, metrics …).
    """

    image: Path
    kind: str
    photo: str
    name: str
    category: str = ""
    label: str = GOOD
    split: str = "train"
    regions: tuple[Region, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("item.kind", self.kind, KINDS)
        one_of("item.split", self.split, SPLITS)
        object.__setattr__(self, "label", self.label or UNKNOWN)


def change_mask(
    edit: np.ndarray, reconstruction: np.ndarray, mask: np.ndarray, *, threshold: float = 8.0, smallest: int = 16
) -> np.ndarray:
    """Where an edit shows: (H,W) bool, inside the blend mask (H,W) bool and measurably different.

    Of the (H,W,3) uint8 images' absolute difference the strongest channel counts, for rust may show in one alone; it is
    smoothed by a Gaussian of one pixel and compared with threshold, in grey levels of 255. Connected pieces of fewer
    than `smallest` pixels are removed. Raises RLIError for a bad value.
    """
    within("labels.threshold", threshold, 0, 255)
    whole("labels.smallest", smallest, 0, 2**31 - 1)
    difference = np.abs(edit.astype(np.int16) - reconstruction).max(-1).astype(np.float32)
    changed = mask & (ndimage.gaussian_filter(difference, 1.0) > threshold)
    labels, _ = ndimage.label(changed, _NEIGHBOURS)
    return changed & (np.bincount(labels.ravel())[labels] >= smallest)


def regions_of_edit(truth: Region | None, change: Region, relabel: bool) -> tuple[Region, ...]:
    """The regions of an edit of a photograph with a known defect, or with none (truth None).

    Both the carried defect and the change stay, each a region with its own class. Where they overlap, class-index masks
    show the carried class; with relabel, as the paper has it, the pixels that changed take the new defect's class and
    the carried one keeps the rest.
    """
    if truth is None:
        return (change,)
    return (truth, change) if relabel else (change, truth)


def class_index(
    regions: Iterable[tuple[str, np.ndarray]],
    classes: Sequence[str],
    shape: tuple[int, int],
    ignore: np.ndarray | None = None,
) -> np.ndarray:
    """(H,W) uint8: 0 background, k+1 where the class `classes[k]` is, later regions over earlier ones.

    regions: pairs of class and (H,W) bool. ignore (H,W) bool: pixels that become 255. Raises RLIError for a class that
    is not among `classes`, or for more than 254 of them.
    """
    if len(classes) >= IGNORE:
        raise RLIError(f"{len(classes)} classes do not fit a mask of bytes: at most {IGNORE - 1}")
    index = np.zeros(shape, np.uint8)
    for label, mask in regions:
        index[mask] = position(label, classes) + 1
    if ignore is not None:
        index[ignore] = IGNORE
    return index


def position(label: str, classes: Sequence[str]) -> int:
    """Which of the classes it is, from 0; RLIError where it is none of them."""
    if label not in classes:
        raise RLIError(f"the class “{label}” is not among the data set's: {', '.join(classes) or 'it has none'}")
    return classes.index(label)


def pieces(mask: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """The connected pieces of (H,W) bool in the order of their first pixel: top, left, and the cut-out (h,w) bool.

    Pixels that touch at a corner are connected, so that a thin crack is one piece.
    """
    labels, _ = ndimage.label(mask, _NEIGHBOURS)
    for k, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        yield rows.start, columns.start, labels[rows, columns] == k


def has_hole(piece: np.ndarray) -> bool:
    """Whether background is shut in (connected through edges): what a polygon cannot tell."""
    return bool((ndimage.binary_fill_holes(piece) & ~piece).any())


def polygons(mask: np.ndarray) -> list[np.ndarray]:
    """The outer outline of every connected piece of (H,W) bool: (N,2) float x, y, N ≥ 3, open (the first point is not
    repeated).

    Holes are filled, as polygons of YOLO and COCO cannot hold any (`rle` can). Up to holes the outline is exact: the
    centres of the piece's pixels, and no others, lie inside.
    """
    return [polygon(*piece) for piece in pieces(mask)]


def polygon(top: int, left: int, piece: np.ndarray) -> np.ndarray:
    """One piece's outer outline, (N,2) float, see `polygons`."""
    filled = np.pad(ndimage.binary_fill_holes(piece), 1).astype(np.uint8)
    (outline,) = find_contours(filled, 0.5, fully_connected="high")
    corners = approximate_polygon(outline, _TOLERANCE)[:-1]
    # From centres of the padded cut-out's pixels to corners of the image's.
    return corners[:, ::-1] + (left - 0.5, top - 0.5)


def boxes(mask: np.ndarray) -> list[tuple[int, int, int, int]]:
    """x, y, width, height in pixels of every connected piece of (H,W) bool, in the order of `polygons`."""
    return [(left, top, piece.shape[1], piece.shape[0]) for top, left, piece in pieces(mask)]


def rle(mask: np.ndarray) -> dict[str, list[int]]:
    """(H,W) bool as COCO's uncompressed run-length encoding: size [H, W]; counts of alternately 0 and 1, column by
    column, the first of 0 (it may be none)."""
    flat = mask.T.ravel()
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1), flat.size]
    lengths = np.diff([0, *ends]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[:1].any() else lengths}
