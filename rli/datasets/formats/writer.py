"""What a format's writer takes: images with their annotations, and a function that puts an image into its place."""

from __future__ import annotations

import colorsys
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

from rli.cells import harmless
from rli.datasets.annotations import Item, pieces, position
from rli.datasets.polygons import polygon
from rli.errors import RLIError
from rli.images import read_image, to_uint8, write_png
from rli.photos.naming import undevice
from rli.photos.photo import GOOD

# Files that all consumers read alike; any other is written as an 8-bit colour PNG.
PORTABLE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
PORTABLE_MODES = ("L", "RGB")
_ORIENTATION = 0x0112  # EXIF
# Red, green and blue of black and of 255 hues, one after the other; by the golden angle neighbours are far apart.
_HUES = [colorsys.hsv_to_rgb(k * 0.381966 % 1, 0.8, 1.0) for k in range(255)]
PALETTE = [0, 0, 0, *(round(255 * part) for hue in _HUES for part in hue)]


@dataclass(frozen=True)
class Piece:
    """One object: a connected piece of a class's regions."""

    label: str
    # Where the cut-out lies in the image, in pixels.
    top: int
    left: int
    # (h,w) bool: the cut-out.
    mask: np.ndarray

    @cached_property
    def outline(self) -> np.ndarray:
        """(N,2) float, see `polygons.polygon`; kept, as more than one format writes it."""
        return polygon(self.top, self.left, self.mask)


@dataclass(frozen=True)
class Sample:
    """An item ready to be written."""

    item: Item
    # A file's name without suffix, unique in the data set also where upper and lower case are one.
    stem: str
    # Height and width in pixels, as the image is seen.
    size: tuple[int, int]
    # Class and (H,W) bool of each region that has pixels, later ones over earlier ones.
    masks: tuple[tuple[str, np.ndarray], ...]
    # Whether all readers of images see the file alike (no EXIF rotation, 16 bits or transparency).
    is_portable: bool

    @property
    def defective(self) -> bool:
        return self.item.label != GOOD

    @property
    def located(self) -> bool:
        """False for a defective image without a mask, or with a mask that leaves out a defect."""
        return not self.defective or (bool(self.masks) and not self.item.shows_more)

    @property
    def suffix(self) -> str:
        return self.item.image.suffix.lower() if self.is_portable else ".png"

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


# Puts a sample's image at a path, by a link or a copy.
PutImage = Callable[[Sample, Path], None]


class Writer(Protocol):
    """One format.

    Args:
        folder: Where it writes; it exists and is empty.
        classes: The defects' names in the order of their indices.
        put_image: Puts a sample's image at a path below `folder`.
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None: ...

    def add(self, sample: Sample) -> int | None:
        """Writes one image.

        Returns:
            How many objects (masks, polygons, annotations) were written for it; None where the image is left out.
        """

    def close(self) -> None:
        """Finishes and closes every file."""


def load(item: Item, stem: str, classes: Sequence[str]) -> Sample:
    """Reads an item's annotations.

    Args:
        item: The image.
        stem: The name of its files, without suffix.
        classes: The defects' names.

    Raises:
        RLIError: An image or mask cannot be read, a mask has another size, a class is unknown, or a good image has a
            defect.
    """
    height, width, is_portable = _head(item.image)
    if item.label != GOOD:
        position(item.label, classes)
    masks: list[tuple[str, np.ndarray]] = []
    for region in item.regions:
        position(region.label, classes)
        mask = region.pixels(height, width)
        if region.relabels:
            masks = [(label, other & ~mask) for label, other in masks]
        masks.append((region.label, mask))
    masks = [(label, mask) for label, mask in masks if mask.any()]
    if masks and item.label == GOOD:
        raise RLIError(f"{item.name} is labelled {GOOD}, but its mask marks a defect (“{masks[0][0]}”)")
    return Sample(item, stem, (height, width), tuple(masks), is_portable)


def put_image(sample: Sample, target: Path, *, copy_originals: bool) -> None:
    """Puts the sample's image at target: a hard link to its file where there can be one, otherwise a copy.

    Args:
        sample: The image.
        target: The file to make.
        copy_originals: Whether photographs are copied in any case.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if not sample.is_portable:
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
    """Writes (H,W) uint8, or bool as 0/255, as PNG. Not by rli.files: the whole export is moved into its folder at the
    end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(target)


def write_indexed(target: Path, index: np.ndarray) -> None:
    """Writes (H,W) uint8 class indices as PNG with a palette, so that viewers show each class in its own colour."""
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(index)
    picture.putpalette(PALETTE)  # makes it a picture of mode P
    picture.save(target)


def write_text(target: Path, text: str) -> None:
    """Writes UTF-8 with its line ends untouched."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text.encode())


def folder_name(text: str) -> str:
    """The text as one folder's name on any file system; it may be empty."""
    return undevice("".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in text).strip(" ."))


class Names:
    """names.csv: which item a numbered file is."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / "names.csv").open("w", newline="", encoding="utf-8")
        self.table = csv.writer(self.file, lineterminator="\n")
        self.table.writerow(("file", "name"))

    def add(self, file: str, name: str) -> None:
        self.table.writerow((harmless(file), harmless(name)))

    def close(self) -> None:
        self.file.close()


def _head(path: Path) -> tuple[int, int, bool]:
    """Height, width as seen, and whether the file is read alike everywhere; only its head is read."""
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            width, height = image.size[::-1] if orientation in (5, 6, 7, 8) else image.size
            is_plain = image.mode in PORTABLE_MODES and Path(path).suffix.lower() in PORTABLE_SUFFIXES
    except FileNotFoundError:
        raise RLIError(f"{path}: there is no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RLIError(f"{path} cannot be read as an image: {' '.join(str(error).split())[:120]}") from None
    return height, width, is_plain and orientation == 1
