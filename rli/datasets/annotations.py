"""From edits to annotations: which pixels changed, which class they have, and masks as pieces and run lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from rli.errors import RLIError, one_of, whole, within
from rli.images import read_mask
from rli.photos.paste import bounds
from rli.photos.photo import GOOD, SPLITS
from rli.photos.region import grown

KINDS = ("original", "reconstruction", "edit")
# The class of a defect that nobody named.
UNKNOWN = "defect"
# How an edit is labelled where it lies over the photograph's own defect.
RELABELS = ("auto", True, False)
# The correlation from which on a defect counts as still there (experiments/peers/labels.py).
STILL_THERE = 0.5
# How far around a defect its pattern is looked at, and the standard deviation of the Gaussian that takes away what is
# broader than it, in pixels.
AROUND, BROAD = 2, 4.0
# Pixels whose colours are compared at once.
PIXELS_AT_ONCE = 2**18
# The class index of pixels that nobody may learn from or be judged by.
IGNORE = 255

_NEIGHBOURS = np.ones((3, 3), bool)  # pixels that touch at a corner belong together


@dataclass(frozen=True)
class Region:
    """One defect of an image."""

    # Its class.
    label: str
    # A mask of the image's size; or the file that `drawn` was read from.
    mask: Path
    # Whether its pixels have this class alone, and leave the regions before it.
    relabels: bool = False
    # From height and width of the image to (H,W) bool, where the region is no mask file.
    drawn: Callable[[int, int], np.ndarray | None] | None = None

    def pixels(self, height: int, width: int) -> np.ndarray:
        """The region as (height,width) bool, the image's size.

        Raises:
            RLIError: Its file cannot be read, or has another size.
        """
        if self.drawn is None:
            return read_mask(self.mask, height, width, photo_size=(width, height))
        inside = self.drawn(height, width)
        return np.zeros((height, width), bool) if inside is None else inside


@dataclass(frozen=True)
class Item:
    """One image of a data set to come.

    Raises:
        SettingError: A bad kind or split.
    """

    image: Path
    # One of KINDS.
    kind: str
    # The photograph's name: all images of a photograph are in one split.
    photo: str
    # Unique in the data set; a relative posix path such as bolt/part01/rust-2.
    name: str
    category: str = ""
    # The image's class, GOOD where it shows no defect; "" becomes UNKNOWN.
    label: str = GOOD
    # One of SPLITS.
    split: str = "train"
    # Later ones lie over earlier ones.
    regions: tuple[Region, ...] = ()
    # Whether it shows a defect of its photograph that its regions leave out, because nobody knows where it is.
    shows_more: bool = False
    # What the manifest says of it: source file and hash, prompts, settings, metrics.
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        one_of("split", self.split, SPLITS)
        object.__setattr__(self, "label", self.label or UNKNOWN)


def change_mask(
    edit: np.ndarray,
    reconstruction: np.ndarray,
    mask: np.ndarray | None,
    *,
    threshold: float = 5.0,
    smallest: int = 16,
    gap: int = 12,
) -> np.ndarray:
    """The pixels that an edit visibly changed: of another colour to the eye, and inside the blend mask that held it.

    Colours are compared as eyes see them (CIEDE2000), after a Gaussian of one pixel. Around a new defect lies a halo
    that can be measured and is not seen; the same step of grey levels may be seen in red and not in blue. Within a
    defect lie pixels that happen to have the surface's colour, as between the light and the shade of a dent.

    Args:
        edit: (H,W,3) uint8.
        reconstruction: (H,W,3) uint8.
        mask: (H,W) bool, the blend mask; None where the edit was free to change the whole image.
        threshold: A CIEDE2000 difference: 2.3 is just noticeable side by side; from 5 on one sees two colours.
        smallest: Connected pieces of fewer pixels are removed.
        gap: Unchanged pixels between pieces that lie so many pixels apart at most belong to the defect.

    Returns:
        (H,W) bool.

    Raises:
        SettingError: A bad threshold, smallest piece or gap.
    """
    within("threshold", threshold, 0, 100)
    whole("smallest", smallest, 0, 2**31 - 1)
    whole("gap", gap, 0, 1000)
    inside = np.ones(edit.shape[:2], bool) if mask is None else mask
    changed = np.zeros_like(inside)
    changed[inside] = _colour_difference(_smooth(edit)[inside], _smooth(reconstruction)[inside]) > threshold
    labels, _ = ndimage.label(changed, _NEIGHBOURS)
    return closed(changed & (np.bincount(labels.ravel())[labels] >= smallest), gap) & inside


def closed(mask: np.ndarray, gap: int) -> np.ndarray:
    """A mask (H,W) bool with what lies between its pieces, where they are `gap` pixels apart at most: its morphological
    closing with a disk of that diameter."""
    box, found = bounds(mask, 0), mask.copy()
    if box is not None and gap:
        # A disk's dilation and erosion by distances, whose cost does not grow with the disk.
        near = ndimage.distance_transform_edt(~np.pad(mask[box], gap)) <= gap / 2
        found[box] = (ndimage.distance_transform_edt(near) > gap / 2)[gap:-gap, gap:-gap]
    return found


def _smooth(image: np.ndarray) -> np.ndarray:
    """(H,W,3) uint8 as float32 in [0,1], after a Gaussian of one pixel."""
    return ndimage.gaussian_filter(image.astype(np.float32) / 255, (1.0, 1.0, 0.0))


def _colour_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """CIEDE2000 between the colours (N,3) in [0,1]: (N,). Piece by piece, for it takes a lot of memory."""
    from skimage.color import deltaE_ciede2000, rgb2lab  # here, because a run without data set needs no scikit-image

    pieces_of = (np.array_split(colours, len(colours) // PIXELS_AT_ONCE + 1) for colours in (one, other))
    return np.concatenate([deltaE_ciede2000(rgb2lab(a), rgb2lab(b)) for a, b in zip(*pieces_of, strict=True)])


def remains(edit: np.ndarray, photo: np.ndarray, truth: np.ndarray) -> float | None:
    """How much of a photograph's own defect is still there in an edit: the correlation of the two pictures' fine
    structure in and around it. How strongly the pixels changed says little: a crack that became lighter is a crack.

    Args:
        edit: (H,W,3) uint8.
        photo: (H,W,3) uint8.
        truth: (H,W) bool, where the defect is.

    Returns:
        From -1 to 1; None where there is no defect or no structure.
    """
    # Only what lies around it is looked at: a photograph may be large.
    box = bounds(truth, AROUND + 4 * int(BROAD))
    if box is None:
        return None
    near = grown(truth[box], AROUND)
    luminances = (picture[box].astype(np.float32).mean(-1) for picture in (edit, photo))
    fine = [(one - ndimage.gaussian_filter(one, BROAD))[near] for one in luminances]
    if min(values.std() for values in fine) == 0:
        return None
    return float(np.corrcoef(*fine)[0, 1])


def regions_of_edit(
    truths: Sequence[Region], change: Region, relabel: str | bool, remaining: float | None = None
) -> tuple[Region, ...]:
    """The regions of an edit: the photograph's own defects, where they are known, and the change, each with its class.

    Args:
        truths: The photograph's own defects, one for each class; none where none is known.
        change: The new defect.
        relabel: One of RELABELS. True gives pixels of both the new defect's class alone, as in the paper. False leaves
            them to both objects, and gives them the class of the photograph's own defect in class-index masks. auto
            says what can be seen: a defect of which less than STILL_THERE remains is not labelled, and otherwise it
            does as False.
        remaining: What `remains` of the photograph's own defect; None where it is not known.
    """
    if not truths or (relabel == "auto" and remaining is not None and remaining < STILL_THERE):
        return (change,)
    if relabel == "auto":
        relabel = False
    return (*truths, replace(change, relabels=True)) if relabel else (change, *truths)


def class_index(
    regions: Iterable[tuple[str, np.ndarray]],
    classes: Sequence[str],
    shape: tuple[int, int],
    ignore: np.ndarray | None = None,
) -> np.ndarray:
    """An image's classes, pixel by pixel.

    Args:
        regions: Pairs of class and (H,W) bool; later ones lie over earlier ones.
        classes: At most 254 names.
        shape: H, W.
        ignore: (H,W) bool, pixels that become IGNORE.

    Returns:
        (H,W) uint8: 0 for the background, k+1 for the class `classes[k]`.

    Raises:
        RLIError: A class is not among `classes`, or there are too many of them.
    """
    if len(classes) >= IGNORE:
        raise too_many_classes(len(classes))
    index = np.zeros(shape, np.uint8)
    for label, mask in regions:
        index[mask] = position(label, classes) + 1
    if ignore is not None:
        index[ignore] = IGNORE
    return index


def too_many_classes(count: int) -> RLIError:
    """The error about more classes than an 8-bit mask can tell apart."""
    return RLIError(f"{count} classes are too many; an 8-bit mask holds at most {IGNORE - 1}")


def position(label: str, classes: Sequence[str]) -> int:
    """The index of a class, from 0.

    Raises:
        RLIError: It is none of the classes.
    """
    if label not in classes:
        raise RLIError(
            f"the class “{label}” is not a class of the data set; expected one of {', '.join(classes) or 'none'}"
        )
    return classes.index(label)


def pieces(mask: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """The connected pieces of (H,W) bool in the order of their first pixel.

    Pixels that touch at a corner are connected, so that a thin crack is one piece.

    Yields:
        Top, left, and the cut-out (h,w) bool.
    """
    labels, _ = ndimage.label(mask, _NEIGHBOURS)
    for k, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        yield rows.start, columns.start, labels[rows, columns] == k


def has_hole(piece: np.ndarray) -> bool:
    """Whether a piece encloses background (connected through edges)."""
    return bool((ndimage.binary_fill_holes(piece) & ~piece).any())


def rle(mask: np.ndarray) -> dict[str, list[int]]:
    """(H,W) bool as COCO's uncompressed run-length encoding.

    Returns:
        `size`, [H, W], and `counts`: how many pixels are 0, then 1, then 0 …, column by column. The first may be none.
    """
    flat = mask.T.ravel()
    ends = [*(np.flatnonzero(flat[1:] != flat[:-1]) + 1), flat.size]
    lengths = np.diff([0, *ends]).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[:1].any() else lengths}
