"""KolektorSDD (kos01/Part0.jpg with Part0_label.bmp) and KolektorSDD2 (train/10000.png with 10000_GT.png)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from rli.errors import RLIError, true_or_false
from rli.images import is_marked
from rli.photos.folder import FolderReader
from rli.photos.pairing import IMAGE_SUFFIXES
from rli.photos.photo import GOOD, SPLITS, Photo
from rli.photos.walk import PhotoFolder


@dataclass(frozen=True)
class KolektorSddReader(PhotoFolder):
    """Defective photographs. Only a mask shows whether a photograph is defective: masks are opened here, photographs
    are not. A photograph without a mask has no label, and is read.

    The photographs of one folder kosNN show one part, which is their group."""

    expects: ClassVar[str] = f"a folder of photographs with masks beside them ({', '.join(IMAGE_SUFFIXES)})"
    # Whether photographs whose masks are empty are read too.
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
        for photo in self._folder:
            part = photo.name.rpartition("/")[0]
            labelled = _labelled(replace(photo, group="" if part in SPLITS else part))
            if self.good or labelled.label != GOOD:
                yield labelled


def _labelled(photo: Photo) -> Photo:
    """The photograph with the label that its mask gives it; an annotation gives it itself."""
    if photo.truths:
        return photo
    if photo.truth_file is None:
        return replace(photo, label="")
    try:
        return replace(photo, label="defect" if is_marked(photo.truth_file) else GOOD)
    except RLIError as error:
        return replace(photo, label="", problem=str(error))
