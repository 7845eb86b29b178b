"""Magnetic tile defects: MT_Crack/Imgs/exp1_num_4727.jpg, and beside it its mask, exp1_num_4727.png."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from rli.errors import true_or_false
from rli.photos.conventions import label_of
from rli.photos.folder import FolderReader
from rli.photos.photo import GOOD, Photo
from rli.photos.walk import PhotoFolder

PREFIX = "MT_"
# exp1_num_4727: the tile's number, under the first of several exposures.
NUMBER = re.compile(r"exp[0-9]+_num_([0-9]+)$")


@dataclass(frozen=True)
class MagneticTileReader(PhotoFolder):
    """The defective tiles, with the class after MT_ in lower case. The exposures of one tile are a group."""

    expects: ClassVar[str] = "a folder with MT_Crack/Imgs/<photograph>.jpg and <photograph>.png, its mask"
    # Whether the tiles of MT_Free, whose masks are black, are read too.
    good: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        true_or_false("good", self.good)

    def filled(self) -> Iterator[Path]:
        """As a folder's."""
        return self._folder.filled()

    @property
    def _folder(self) -> FolderReader:
        return FolderReader(self.path, self.mask_path, self.truth_path)

    def __iter__(self) -> Iterator[Photo]:
        own = self.path.resolve().name
        for photo in self._folder:
            parts = (own, *photo.name.split("/"))
            folder = next((part for part in reversed(parts) if part.startswith(PREFIX)), "")
            label = label_of(folder).removeprefix(PREFIX).lower()
            number = NUMBER.search(photo.name)
            if folder and (self.good or label != GOOD):
                yield replace(photo, label=label, group=number[1] if number else "")
