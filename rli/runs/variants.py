"""Several settings for each photograph, drawn from ranges: the same everywhere, in any order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rli.errors import RLIError, whole
from rli.method.records import EditSettings

KNOBS = ("eq", "cross", "replace", "threshold")
Range = Sequence[float] | None


@dataclass(frozen=True)
class Variants:
    """count: edits of each photograph to each defect. eq, cross, replace, threshold: from and to between which each is
    drawn, evenly; None keeps what the edit's settings say. Raises RLIError."""

    count: int = 1
    eq: Range = None
    cross: Range = None
    replace: Range = None
    threshold: Range = None

    def __post_init__(self) -> None:
        whole("dataset.variants.count", self.count, 1, 10_000)
        for name, ends in self.ranges.items():
            is_pair = isinstance(ends, Sequence) and len(ends) == 2 and all(isinstance(e, (int, float)) for e in ends)
            if not is_pair or ends[0] > ends[1]:
                raise RLIError(f"dataset.variants.{name}={ends}: write where it begins and ends, such as [1,2]")
            for end in ends:
                EditSettings(**{name: end})
        if self.count > 1 and all(low == high for low, high in self.ranges.values()):
            raise RLIError(
                f"dataset.variants.count={self.count} edits would all be the same: give a range, such as "
                "dataset.variants.eq=[1,3]"
            )

    @property
    def ranges(self) -> dict[str, Sequence[float]]:
        return {name: ends for name in KNOBS if (ends := getattr(self, name)) is not None}

    def draw(self, base: EditSettings, seed: int, photo: str, k: int) -> EditSettings:
        """The settings of a photograph's variant k, from 0; they depend on nothing but the arguments."""
        return replace(
            base,
            **{
                name: round(low + (high - low) * _share(f"{seed}\0{photo}\0{k}\0{name}"), 4)
                for name, (low, high) in self.ranges.items()
            },
        )


def name_of(defect: str, k: int) -> str:
    """How variant k of a defect is called: rust, rust-2, rust-3 …"""
    return f"{defect}-{k + 1}" if k else defect


def _share(words: str) -> float:
    """In [0,1)."""
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:6]) / 2**48
