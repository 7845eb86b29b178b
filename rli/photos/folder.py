"""A folder of photographs, at any depth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rli.errors import true_or_false
from rli.photos.naming import as_text
from rli.photos.photo import SPLITS, Photo
from rli.photos.walk import IMAGE_SUFFIXES, Directory, MaskFolders, PhotoFolder, filled_folders, photos_in, walk


@dataclass(frozen=True)
class FolderReader(PhotoFolder):
    """A folder's photographs before those of its sub-folders: [train|val|test/][label/]…/photograph.

    Masks of the photographs' own defects lie beside them or in a folder of their own. Where `path` holds images/ and
    masks/ (or ground_truth/), the photographs are those below images/ and their masks lie in the other.
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
        start, masks = Directory(self.path), self.masks
        candidates = [folder for name in ("masks", "ground_truth") if (folder := self.path / name).is_dir()]
        if candidates and (self.path / "images").is_dir():
            start = Directory(self.path / "images", ("images",))
            masks = MaskFolders(masks.truth or candidates[0], masks.region)
        for here, contents in walk(start, recursive=self.recursive, without=masks):
            parts = [part for part in here.parts if part != "images"]
            split = parts.pop(0) if parts and parts[0] in SPLITS else ""
            label = as_text(parts[0]) if parts else ""
            own_masks = masks.below(*here.parts[len(start.parts) :])
            yield from photos_in(here, contents, own_masks, split=split, label=label)
