"""Several edits of each photograph to each target, with settings drawn from ranges; the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from rli.errors import SettingError, whole
from rli.method.records import EditSettings

DRAWN = ("eq", "cross", "replace", "threshold", "fresh")
Range = Sequence[float] | None


@dataclass(frozen=True)
class Variants:
    """How many edits of each photograph to each target, and with which settings. Raises SettingError."""

    # Edits of each photograph to each target.
    count: int = 1
    # The lowest and the highest value of an edit setting, which is drawn evenly between the two for each edit;
    # None keeps the setting as it is.
    eq: Range = None
    cross: Range = None
    replace: Range = None
    threshold: Range = None
    fresh: Range = None

    def __post_init__(self) -> None:
        whole("count", self.count, 1, 10_000)
        for name, ends in self.ranges.items():
            _check_range(name, ends)

    @property
    def ranges(self) -> dict[str, Sequence[float]]:
        """The settings that are drawn, each with its lowest and highest value."""
        return {name: ends for name in DRAWN if (ends := getattr(self, name)) is not None}

    def check_differ(self, base: EditSettings) -> None:
        """Whether the variants of edits with these settings differ: by a range, or by their noise.

        Raises:
            SettingError: They do not.
        """
        if self.count > 1 and not base.fresh and all(low == high for low, high in self.ranges.values()):
            problem = "these edits would be equal; give them fresh noise (edit.fresh=0.5), or a range, such as eq=[1,3]"
            raise SettingError("count", self.count, problem)

    def draw(self, base: EditSettings, seed: int, photo: str, k: int) -> EditSettings:
        """The settings of one variant; they depend on nothing but the arguments.

        Args:
            base: What is kept where no range is given.
            seed: The run's.
            photo: The photograph's name.
            k: Which variant, from 0.

        Returns:
            The settings, drawn values rounded to four digits.
        """
        drawn: dict[str, Any] = {
            name: round(low + (high - low) * _fraction(f"{seed}\0{photo}\0{k}\0{name}"), 4)
            for name, (low, high) in self.ranges.items()
        }
        return replace(base, **drawn)


def variant_name(defect: str, k: int) -> str:
    """The name of a defect's variant k, from 0: rust, rust-2, rust-3 …"""
    return f"{defect}-{k + 1}" if k else defect


def _check_range(name: str, ends: object) -> None:
    if not _is_pair(ends) or not ends[0] <= ends[1]:
        raise SettingError(name, ends, "expected a range [LOW,HIGH], such as [1,2]")
    for end in ends:
        setting: dict[str, Any] = {name: end}
        try:
            EditSettings(**setting)
        except SettingError as error:
            raise SettingError(name, ends, f"{end} is {error.problem}") from None


def _is_pair(ends: object) -> TypeGuard[Sequence[float]]:
    return isinstance(ends, Sequence) and len(ends) == 2 and all(isinstance(end, (int, float)) for end in ends)


def _fraction(words: str) -> float:
    """A number in [0,1) that follows from the words."""
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:6]) / 2**48
