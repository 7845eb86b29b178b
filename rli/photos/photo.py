"""One photograph as a reader finds it, and what a reader is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import Field, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from rli.errors import PassingError, RLIError, shown
from rli.images import (
    Picture,
    fitted_mask,
    image_size,
    read_image,
    read_mask,
    read_mask_full,
    read_picture,
    to_uint8,
)
from rli.photos.markings import Marking, MaskFile
from rli.photos.region import grown

# The label of a photograph without a defect.
GOOD = "good"
SPLITS = ("train", "val", "test")
# What an edit may change where no region file says so: the photograph's own defect with a margin around it (auto) or
# without (truth), where it is known, or what attention finds.
REGIONS = ("auto", "truth", "attention")


@dataclass(frozen=True)
class Placed:
    """Where a photograph without a defect gets one."""

    # (H,W) bool.
    mask: np.ndarray
    # How it came about, as JSON, for the manifest.
    told: str


class Place(Protocol):
    """Finds the place of a photograph's new defect; the same photograph has the same place each time."""

    @property
    def stamp(self) -> str:
        """Text that changes when the place does."""

    def at(self, photo: Photo, rgb: np.ndarray) -> Placed:
        """The place in the photograph, which is (H,W,3) uint8. Raises RLIError where there is none."""


@dataclass(frozen=True)
class Photo:
    """A photograph's files and what is known of it. No file is opened before `read`, `region`, `truth` or `sha256`.

    A photograph that is no file is a subclass with its own `read` and `truth`; see `photos/sample.py`.
    """

    # Unique in its source; safe as a path of one or more folders, with / between them.
    name: str
    # None for a photograph that is no file.
    file: Path | None = None
    # Its path relative to the reader's folder (of a list: to the list's folder), with /.
    source: str = ""
    # The mask of its own defect, or the first file of several that say where it is; None where there is none.
    truth_file: Path | None = None
    # The mask of what an edit may change; None where there is none.
    region_file: Path | None = None
    # The class of its defect, "good" where it has none, "" where nobody knows.
    label: str = ""
    # The kind of part that it shows, as in MVTec AD; "" where there is only one.
    category: str = ""
    # train, val or test; "" where it belongs to none. A list may say anything.
    split: str = ""
    # What it shows together with others, such as one part in several views: a data set's split keeps these together. ""
    # where it stands for itself.
    group: str = ""
    # Its own defects, where several masks or an annotation say where they are; empty where `truth_file` alone does.
    truths: tuple[Marking, ...] = ()
    # What describes it, and what is wanted of it, in words; "" where that is not its own.
    source_prompt: str = ""
    target_prompt: str = ""
    # Why it cannot be used, where its reader knows already; "" otherwise.
    problem: str = ""
    # How it is brought to a size: resize or letterbox (see `rli.images.read_image`).
    fit: str = "resize"
    # One of REGIONS.
    default_region: str = "attention"
    # Of auto: how far the region lies around the defect, in pixels; below 1 a share of the shorter side.
    margin: float = 0.0
    # Where it gets a new defect; None where nobody asked for one, or it has its own.
    place: Place | None = None
    # Changes when its files do, or what is done with them.
    stamp: str = ""

    def read(self, height: int, width: int) -> Tensor:
        """The photograph, brought to a size.

        Args:
            height: In pixels.
            width: In pixels.

        Returns:
            (1,3,height,width) float32 in [-1,1].

        Raises:
            RLIError: It cannot be read, or its reader found a problem.
        """
        if self.problem:
            raise RLIError(self.problem)
        if self.file is None:
            raise NotImplementedError(f"{type(self).__name__} is no file and has no `read` of its own")
        return read_image(self.file, height, width, self.fit)

    def picture(self) -> Picture | None:
        """The photograph at its own size and in its own mode; None where it has no size of its own.

        Raises:
            RLIError: It cannot be read, or its reader found a problem.
        """
        if self.problem:
            raise RLIError(self.problem)
        return read_picture(self.file) if self.file else None

    def size(self) -> tuple[int, int] | None:
        """Height and width of `picture`, without reading it; None where it has none.

        Raises:
            RLIError: It is no image.
        """
        return image_size(self.file)[::-1] if self.file else None

    @property
    def markings(self) -> tuple[Marking, ...]:
        """Everything that says where its own defects are; none where nothing does."""
        return self.truths or ((MaskFile(self.truth_file),) if self.truth_file else ())

    @property
    def truth_labels(self) -> tuple[str, ...]:
        """The classes of its own defects whose places are told, each once; a class that nobody named is ""."""
        return tuple(dict.fromkeys(marking.label or self.label for marking in self.markings))

    def truth(self, height: int, width: int, label: str | None = None) -> np.ndarray | None:
        """Where the photograph's own defects are, at a size to which it is brought.

        Args:
            height: In pixels.
            width: In pixels.
            label: The class of these defects, one of `truth_labels`; None is all.

        Returns:
            (height,width) bool, or None where nothing says it.

        Raises:
            RLIError: A mask or an annotation cannot be read, or is not of the photograph's size.
        """
        inside = self.truth_full(label)
        return None if inside is None else fitted_mask(inside, height, width, self.fit)

    def truth_full(self, label: str | None = None) -> np.ndarray | None:
        """As `truth`, at the photograph's own size."""
        markings = [one for one in self.markings if label is None or (one.label or self.label) == label]
        if not markings:
            return None
        if self.file is None:  # which has no size of its own
            return np.logical_or.reduce([read_mask_full(marking.file) for marking in markings])
        size = image_size(self.file)
        return np.logical_or.reduce([marking.mask(size) for marking in markings])

    def region(self, height: int, width: int) -> np.ndarray | None:
        """Where an edit may change the photograph.

        Returns:
            (height,width) bool, or None where attention is to find it.

        Raises:
            RLIError: The mask cannot be read, is not of the photograph's size, or is empty.
        """
        if self.place is not None:
            return self.placed(height, width).mask
        inside = None
        if self.region_file:
            size = image_size(self.file) if self.file else None
            inside = read_mask(self.region_file, height, width, self.fit, photo_size=size)
        elif self.default_region != "attention" and self.label != GOOD:
            inside = self.truth(height, width)
        if inside is not None and not self.region_file and self.default_region == "auto":
            inside = grown(inside, self.margin) if inside.any() else None
        if inside is not None and not inside.any():
            file = shown(self.region_file or self.truth_file or self.name)
            raise RLIError(f"the mask {file} is empty at {width}×{height} pixels, so nothing could be edited")
        return inside

    def placed(self, height: int, width: int) -> Placed:
        """Where it gets a new defect: its `region`, found at its own size and brought to another.

        Raises:
            RLIError: It has no `place`, cannot be read, or there is no room in it.
        """
        if self.place is None:
            raise RLIError(f"{self.name}: nothing was asked to be placed in it")
        picture = self.picture()
        placed = self.place.at(self, picture.rgb if picture else to_uint8(self.read(height, width)))
        mask = fitted_mask(placed.mask, height, width, self.fit)
        return replace(placed, mask=mask)

    def sha256(self) -> str:
        """Hash of the file's bytes, in hexadecimal; "" for a photograph that is no file.

        Raises:
            RLIError: The file cannot be read.
        """
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest() if self.file else ""
        except OSError as error:
            raise PassingError(f"{shown(self.file)} cannot be read: {error.strerror}") from None


class Reader(Protocol):
    """Finds the photographs of one layout: a frozen dataclass whose fields are its settings.

    Iterating finds them anew each time, in the same order, without opening a photograph. What a setting cannot be is
    refused by an RLIError when the reader is made; what is wrong with one photograph is its `problem`.
    """

    # What `path` has to be, in words, for messages: "a folder with test/<class>/<photograph>".
    expects: ClassVar[str]
    # Every dataclass has it.
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __iter__(self) -> Iterator[Photo]: ...
