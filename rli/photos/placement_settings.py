"""What may be asked of the places that photographs without a defect get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from rli.errors import SettingError, one_of, true_or_false, whole, within
from rli.photos.placement_shapes import SHAPES

# Where regions may lie, beside a folder of masks.
PARTS = ("found", "everywhere")


@dataclass(frozen=True)
class Placement:
    """What all ways of placing share. Raises SettingError."""

    # found, everywhere, or a folder with a mask of the part for each photograph, in the same relative place.
    part: str = "found"
    # The fewest and the most regions of a photograph.
    count: Sequence[int] = (1, 1)
    # Whether regions may lie on top of each other.
    overlap: bool = False

    def __post_init__(self) -> None:
        _check_range("count", self.count)
        for end in self.count:
            whole("count", end, 1, 100)
        true_or_false("overlap", self.overlap)
        if self.part not in PARTS and not Path(self.part).expanduser().is_dir():
            raise SettingError(
                "part", self.part, f"there is no such folder; expected one of {', '.join(PARTS)}, or a folder of masks"
            )


@dataclass(frozen=True)
class Shapes(Placement):
    """Drawn shapes. Raises SettingError."""

    # Names of SHAPES, drawn from evenly.
    shapes: Sequence[str] = tuple(SHAPES)
    # The smallest and the largest length of a shape, as shares of the photograph's shorter side.
    size: Sequence[float] = (0.2, 0.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.shapes, str) or not self.shapes:
            raise SettingError("shapes", self.shapes, f"expected a list of some of {', '.join(SHAPES)}")
        for name in self.shapes:
            one_of("shapes", name, tuple(SHAPES))
        _check_range("size", self.size)
        for end in self.size:
            within("size", end, 0.01, 1)


@dataclass(frozen=True)
class Pool(Placement):
    """Masks of the data set's own defects: of the photograph's category where it has any. Raises SettingError."""

    # The classes whose masks are taken; None is all.
    classes: Sequence[str] | None = None
    # The smallest and the largest factor on a mask's sides.
    scale: Sequence[float] = (0.7, 1.4)
    # How far a region reaches around its mask, in pixels: a thin mask alone leaves an edit no room.
    margin: float = 8.0
    # Whether masks are turned by any angle, and whether every second is flipped.
    turn: bool = True
    flip: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("scale", self.scale)
        for end in self.scale:
            within("scale", end, 0.05, 20)
        within("margin", self.margin, 0, 10_000)
        true_or_false("turn", self.turn)
        true_or_false("flip", self.flip)


PLACEMENTS: dict[str, type[Placement]] = {"pool": Pool, "shapes": Shapes}


def _check_range(name: str, ends: object) -> None:
    if not _is_pair(ends) or not ends[0] <= ends[1]:
        raise SettingError(name, ends, "expected a range [LOW,HIGH]")


def _is_pair(ends: object) -> TypeGuard[Sequence[float]]:
    return isinstance(ends, list | tuple) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends)
