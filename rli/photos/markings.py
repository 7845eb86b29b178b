"""Where a photograph's own defects are: in mask files, or drawn in an annotation file, each with its class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from rli.errors import RLIError, shown
from rli.images import read_mask_full


class Marking(Protocol):
    """One defect, or all of one class, in one photograph."""

    @property
    def file(self) -> Path:
        """The file that says it."""

    @property
    def label(self) -> str:
        """Its class; "" where it is the photograph's."""

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """The defect's pixels.

        Args:
            size: Width and height of the photograph, as it is seen.

        Returns:
            (height,width) bool.

        Raises:
            RLIError: The file cannot be read, or was made for a picture of another size.
        """


@dataclass(frozen=True)
class MaskFile:
    """A mask in a file of its own."""

    file: Path
    label: str = ""

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """As `Marking.mask`. A mask of the same aspect ratio is brought to the photograph's size."""
        return read_mask_full(self.file, size)


@dataclass(frozen=True)
class Outline:
    """A polygon or a line. Coordinates are those of COCO: the pixel in row r and column c covers [c, c+1] × [r, r+1].

    Raises:
        ValueError: It has no corner, or one that is no number.
    """

    file: Path
    label: str
    # x and y of each corner, in pixels.
    corners: tuple[tuple[float, float], ...]
    # Width and height of the picture that it was drawn in; None where nothing says it, (1, 1) where corners are shares.
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if not self.corners or not np.isfinite(self.corners).all():
            raise ValueError("an outline needs corners that are numbers")

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """The pixels whose centres are inside; where there are none, for it is a line or thinner than a pixel, those
        that its sides run through."""
        from skimage.draw import line, polygon  # here, because scikit-image takes a while to load

        width, height = size
        x, y = np.array(self.corners, float).T
        if self.size == (1, 1):
            x, y = x * width, y * height
        elif self.size is not None:
            check_size(self.file, self.size, size)
        inside = np.zeros((height, width), bool)
        if abs((x * np.roll(y, 1) - np.roll(x, 1) * y).sum()) > 0:  # otherwise it has no area
            inside[polygon(y - 0.5, x - 0.5, (height, width))] = True
        if not inside.any():
            column, row = (np.clip(v.astype(int), 0, most - 1) for v, most in ((x, width), (y, height)))
            for k in range(len(row)):
                inside[line(row[k - 1], column[k - 1], row[k], column[k])] = True
        return inside


@dataclass(frozen=True)
class RunLengths:
    """COCO's run lengths: how many pixels are outside, then inside, and so on, column by column."""

    file: Path
    label: str
    counts: tuple[int, ...]
    # Width and height of the picture.
    size: tuple[int, int]

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """As `Marking.mask`."""
        check_size(self.file, self.size, size)
        if sum(self.counts) != size[0] * size[1]:
            raise RLIError(f"{shown(self.file)}: the run lengths of {self.label or 'a defect'} do not fill its picture")
        flat = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts)
        return flat.reshape(size).T


def box(file: Path, label: str, corners: Sequence[float], size: tuple[int, int] | None = None) -> Outline:
    """A rectangle.

    Args:
        file: The file that says it.
        label: Its class.
        corners: x and y of two opposite corners.
        size: As `Outline.size`.
    """
    left, top, right, bottom = corners
    return Outline(file, label, ((left, top), (right, top), (right, bottom), (left, bottom)), size)


def check_size(file: Path, own: tuple[int, int], size: tuple[int, int]) -> None:
    """Raises RLIError unless an annotation was made for a picture of the photograph's size."""
    if own != size:
        raise RLIError(
            f"{shown(file)}: the annotation is of {own[0]}×{own[1]} pixels and its photograph has {size[0]}×{size[1]}; "
            "they must have the same size"
        )
