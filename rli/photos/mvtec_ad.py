"""MVTec AD: test/<class>/000.png and ground_truth/<class>/000_mask.png, of one category or of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from rli.errors import true_or_false
from rli.photos.naming import as_text
from rli.photos.photo import GOOD, Photo
from rli.photos.walk import Directory, MaskFolders, PhotoFolder, contents_of, folders_in, photos_in


@dataclass(frozen=True)
class MvtecAdReader(PhotoFolder):
    """The defective test images of the category in `path`, or of every category in it.

    Names are [category/]<class>/<stem>, of train [category/]train/good/<stem>.
    """

    expects: ClassVar[str] = (
        "a folder with test/<class>/<photograph>, or a folder of categories, each with test/<class>/<photograph>"
    )
    # Whether the good images of test/ and train/ are read too.
    good: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        true_or_false("good", self.good)

    def __iter__(self) -> Iterator[Photo]:
        for category_folder, category in self._categories():
            for split in ("train", "test") if self.good else ("test",):
                yield from self._photos_of(category_folder, category, split)

    def _photos_of(self, category_folder: Directory, category: str, split: str) -> Iterator[Photo]:
        split_folder = category_folder.child("train" if split == "train" else "", split)
        for part, label in folders_in(split_folder) if split_folder.path.is_dir() else ():
            is_wanted = self.good if label == GOOD else split == "test"
            if not is_wanted:
                continue
            here = split_folder.child(part, label)
            given = self.masks.below(*here.parts)
            masks = MaskFolders(given.truth or category_folder.path / "ground_truth" / label, given.region)
            yield from photos_in(
                here, contents_of(here), masks, label=as_text(label), category=as_text(category), split=split
            )

    def _categories(self) -> Iterator[tuple[Directory, str]]:
        """The folder of each category, with its name."""
        start = Directory(self.path)
        if (self.path / "test").is_dir():
            yield start, self.path.resolve().name
            return
        for part, entry in folders_in(start):
            if (self.path / entry / "test").is_dir():
                yield start.child(part, entry), entry
