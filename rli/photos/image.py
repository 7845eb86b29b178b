"""One photograph, a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rli.errors import SettingError, shown
from rli.photos.naming import as_text, safe
from rli.photos.pairing import IMAGE_SUFFIXES, truths_in, with_truth, with_truth_file
from rli.photos.photo import Photo
from rli.photos.walk import Directory, contents_of


@dataclass(frozen=True)
class ImageReader:
    """The photograph in `path`; the mask of its own defect lies beside it, or where `truth_path` says.

    Raises:
        SettingError: A file or folder is not there.
    """

    expects: ClassVar[str] = f"a photograph ({', '.join(IMAGE_SUFFIXES)})"

    path: Path
    # The mask of what an edit may change, or a folder that holds it.
    mask_path: Path | None = None
    # The mask of the photograph's own defect, or a folder that holds it.
    truth_path: Path | None = None

    def __post_init__(self) -> None:
        check_file("path", self.path)
        for name, mask in (("mask_path", self.mask_path), ("truth_path", self.truth_path)):
            if mask is not None and not (mask.is_file() or mask.is_dir()):
                raise SettingError(name, shown(mask), "there is no such file or folder")

    def __iter__(self) -> Iterator[Photo]:
        photo = Photo(safe(self.path.name), self.path, as_text(self.path.name), region_file=self._mask(self.mask_path))
        if self.truth_path is None:
            yield with_truth(photo, self.path.name, [contents_of(Directory(self.path.parent)).truths])
        elif self.truth_path.is_dir():
            yield with_truth(photo, self.path.name, [truths_in(self.truth_path)])
        else:
            yield with_truth_file(photo, self.truth_path)

    def _mask(self, mask: Path | None) -> Path | None:
        return next(iter(truths_in(mask).masks_of(self.path.name)), None) if mask and mask.is_dir() else mask


def check_file(setting: str, path: Path) -> None:
    """Raises SettingError where there is no such file."""
    if path.is_dir():
        raise SettingError(setting, shown(path), "it is a folder; expected a file, or use data=folder")
    if not path.is_file():
        raise SettingError(setting, shown(path), "there is no such file")
