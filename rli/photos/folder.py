"""A folder of photographs, at any depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from rli.errors import true_or_false
from rli.photos.conventions import is_photo_folder, label_of, split_of
from rli.photos.pairing import IMAGE_SUFFIXES
from rli.photos.photo import Photo
from rli.photos.walk import Directory, PhotoFolder, contents_of, filled_folders, photos_in, walk


@dataclass(frozen=True)
class FolderReader(PhotoFolder):
    """A folder's photographs before those of its sub-folders: [train|val|test/][label/]…/photograph.

    Masks of the photographs' own defects, or annotations (labelme, Pascal VOC, YOLO), lie beside them or in a folder of
    their own. Where `path` holds images/ and masks/ (or the like: see `conventions`), the photographs are those below
    images/ and their masks lie in the other.
    """

    expects: ClassVar[str] = f"a folder of photographs ({', '.join(IMAGE_SUFFIXES)})"
    # Whether photographs in sub-folders are read too.
    recursive: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        true_or_false("recursive", self.recursive)

    def filled(self) -> Iterator[Path]:
        """The folders that are passed over because runs have their output there."""
        return filled_folders(self.path) if self.recursive else iter(())

    def __iter__(self) -> Iterator[Photo]:
        start = self._start()
        for here, contents in walk(start, recursive=self.recursive, without=self.masks):
            parts = [part for part in here.parts if not is_photo_folder(part)]
            split = split_of(parts[0]) if parts else ""
            label = next(map(label_of, parts[1:] if split else parts), "")
            own_masks = self.masks.below(*here.parts[len(start.parts) :])
            yield from photos_in(here, contents, own_masks, split=split, label=label)

    def _start(self) -> Directory:
        """The folder itself; or that of the photographs where it holds one of these, and one of their masks."""
        here = Directory(self.path)
        contents = contents_of(here)
        photos = [(part, entry) for part, entry in contents.folders() if is_photo_folder(entry)]
        if not contents.mask_folders or len(photos) != 1:
            return here
        return replace(here.child(*photos[0], masks=contents.mask_folders), name="")
