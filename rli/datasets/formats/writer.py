"""What every format's writer gets: an item with its annotations read, and how to put its image somewhere."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from rli.datasets.annotations import GOOD, Item, pieces, polygon, position
from rli.errors import RLIError
from rli.images import read_image, read_mask, to_uint8, write_png

# What all consumers read alike; anything else is written as an 8-bit colour PNG.
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MODES = ("L", "RGB")
_ORIENTATION = 0x0112  # EXIF


@dataclass(frozen=True)
class Piece:
    """One object: a connected piece of a class, cut out as mask (h,w) bool at top, left."""

    label: str
    top: int
    left: int
    mask: np.ndarray

    @cached_property
    def outline(self) -> np.ndarray:
        """(N,2) float, see `labels.polygons`; kept, as more than one format tells it."""
        return polygon(self.top, self.left, self.mask)


@dataclass(frozen=True)
class Sample:
    """An item ready to be written.

    stem: a file's name without suffix, unique in the data set up to upper and lower case. size: height, width as seen.
    masks: class and (H,W) bool of each region that has pixels, later ones over earlier ones. as_it_is: whether every
    consumer reads the image's own file alike.
    """

    item: Item
    stem: str
    size: tuple[int, int]
    masks: tuple[tuple[str, np.ndarray], ...]
    as_it_is: bool

    @property
    def defective(self) -> bool:
        return self.item.label != GOOD

    @property
    def located(self) -> bool:
        """False for a defective image of which nobody knows where the defect is."""
        return not self.defective or bool(self.masks)

    @property
    def suffix(self) -> str:
        return self.item.image.suffix.lower() if self.as_it_is else ".png"

    @property
    def category(self) -> str:
        return folder_name(self.item.category) or "all"

    @cached_property
    def union(self) -> np.ndarray:
        """(H,W) bool: any defect."""
        return np.logical_or.reduce([np.zeros(self.size, bool), *(mask for _, mask in self.masks)])

    @cached_property
    def pieces(self) -> list[Piece]:
        """The connected pieces of each class's regions together."""
        labels = dict.fromkeys(label for label, _ in self.masks)
        together = {a: np.logical_or.reduce([mask for b, mask in self.masks if a == b]) for a in labels}
        return [Piece(label, *piece) for label, mask in together.items() for piece in pieces(mask)]


# Puts a sample's image at a path.
Place = Callable[[Sample, Path], None]


class Writer(Protocol):
    """One format. It writes below `folder`, which exists and is empty; classes are the defects' in their order."""

    def __init__(self, folder: Path, classes: Sequence[str], place: Place) -> None: ...

    def add(self, sample: Sample) -> int | None:
        """Writes one image; the number of objects (masks, polygons, annotations) told of it, None if it is left out."""

    def close(self) -> None: ...


def load(item: Item, stem: str, classes: Sequence[str]) -> Sample:
    """Reads an item's annotations.

    Raises RLIError for an image or mask that cannot be read, a mask of another size, an unknown class, or a good image
    with a defect.
    """
    height, width, as_it_is = _told(item.image)
    if item.label != GOOD:
        position(item.label, classes)
    masks = []
    for region in item.regions:
        position(region.label, classes)
        mask = read_mask(region.mask, height, width, photo_size=(width, height))
        if mask.any():
            masks.append((region.label, mask))
    if masks and item.label == GOOD:
        raise RLIError(f"{item.name} counts as {GOOD} but shows a defect of the class “{masks[0][0]}”")
    return Sample(item, stem, (height, width), tuple(masks), as_it_is)


def place_image(sample: Sample, target: Path, *, copy_originals: bool) -> None:
    """The sample's image at target: a hard link to its file where there can be one, or a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not sample.as_it_is:
        write_png(target, to_uint8(read_image(sample.item.image, *sample.size)))
        return
    source = os.path.realpath(sample.item.image)
    if copy_originals and sample.item.kind == "original":
        shutil.copyfile(source, target)
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def write_grey(target: Path, array: np.ndarray) -> None:
    """(H,W) uint8, or bool as 0/255, as PNG; without the care of rli.files, for an export appears as a whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(target)


def write_text(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text.encode())


def folder_name(text: str) -> str:
    """The text as one folder's name on any file system; it may be empty."""
    return "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in text).strip(" .")


class Names:
    """names.csv: which item a numbered file is."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / "names.csv").open("w", newline="", encoding="utf-8")
        self.table = csv.writer(self.file, lineterminator="\n")
        self.table.writerow(("file", "name"))

    def add(self, file: str, name: str) -> None:
        self.table.writerow((file, name))

    def close(self) -> None:
        self.file.close()


def _told(path: Path) -> tuple[int, int, bool]:
    """Height, width as seen, and whether the file is read alike everywhere; only its head is read."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            width, height = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
            alike = orientation == 1 and image.mode in MODES and Path(path).suffix.lower() in SUFFIXES
    except FileNotFoundError:
        raise RLIError(f"{path}: there is no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RLIError(f"{path} cannot be read as an image: {' '.join(str(error).split())[:120]}") from None
    return height, width, alike
