"""One photograph as a reader finds it, and what a reader is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from rli.errors import PassingError, RLIError, shown
from rli.images import Picture, image_size, read_image, read_mask, read_picture
from rli.photos.region import grown

# The label of a photograph without a defect.
GOOD = "good"
SPLITS = ("train", "val", "test")
# What an edit may change where no region file says so: the photograph's own defect with a margin around it (auto) or
# without (truth), where it is known, or what attention finds.
REGIONS = ("auto", "truth", "attention")


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
    # The mask of its own defect; None where there is none.
    truth_file: Path | None = None
    # The mask of what an edit may change; None where there is none.
    region_file: Path | None = None
    # The class of its defect, "good" where it has none, "" where nobody knows.
    label: str = ""
    # The kind of part that it shows, as in MVTec AD; "" where there is only one.
    category: str = ""
    # train, val or test; "" where it belongs to none. A list may say anything.
    split: str = ""
    # Why it cannot be used, where its reader knows already; "" otherwise.
    problem: str = ""
    # How it is brought to a size: resize or letterbox (see `rli.images.read_image`).
    fit: str = "resize"
    # One of REGIONS.
    default_region: str = "attention"
    # Of auto: how far the region lies around the defect, in pixels; below 1 a share of the shorter side.
    margin: float = 0.0
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

    def truth(self, height: int, width: int) -> np.ndarray | None:
        """Where the photograph's own defect is.

        Returns:
            (height,width) bool, or None where nothing says it.

        Raises:
            RLIError: The mask cannot be read, or is not of the photograph's size.
        """
        return self._mask(self.truth_file, height, width) if self.truth_file else None

    def region(self, height: int, width: int) -> np.ndarray | None:
        """Where an edit may change the photograph.

        Returns:
            (height,width) bool, or None where attention is to find it.

        Raises:
            RLIError: The mask cannot be read, is not of the photograph's size, or is empty.
        """
        inside = None
        if self.region_file:
            inside = self._mask(self.region_file, height, width)
        elif self.default_region != "attention" and self.label != GOOD:
            inside = self.truth(height, width)
        if inside is not None and not self.region_file and self.default_region == "auto":
            inside = grown(inside, self.margin) if inside.any() else None
        if inside is not None and not inside.any():
            file = shown(self.region_file or self.truth_file or self.name)
            raise RLIError(f"the mask {file} is empty at {width}×{height} pixels, so nothing could be edited")
        return inside

    def sha256(self) -> str:
        """Hash of the file's bytes, in hexadecimal; "" for a photograph that is no file.

        Raises:
            RLIError: The file cannot be read.
        """
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest() if self.file else ""
        except OSError as error:
            raise PassingError(f"{shown(self.file)} cannot be read: {error.strerror}") from None

    def _mask(self, file: Path, height: int, width: int) -> np.ndarray:
        size = image_size(self.file) if self.file else None
        return read_mask(file, height, width, self.fit, photo_size=size)


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
