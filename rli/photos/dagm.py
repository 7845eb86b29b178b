"""DAGM 2007: Class1/Train/0576.PNG, whose mask is Class1/Train/Label/0576_label.PNG where it has a defect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from rli.errors import true_or_false
from rli.photos.conventions import split_of
from rli.photos.naming import as_text
from rli.photos.photo import GOOD, Photo
from rli.photos.walk import PhotoFolder, categories, contents_of, photos_in

HALVES = ("Train", "Test")


@dataclass(frozen=True)
class DagmReader(PhotoFolder):
    """The defective photographs of the class of surfaces in `path`, or of every one in it; it is their category.

    Whether a photograph is defective only its mask says; where there is no folder Label nothing says it."""

    expects: ClassVar[str] = "a folder with Class1/Train/<photograph> and Class1/Train/Label/<mask>"
    # Whether photographs without a mask are read too.
    good: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        true_or_false("good", self.good)

    def __iter__(self) -> Iterator[Photo]:
        for folder, category in categories(self.path, *HALVES):
            for half in (half for half in HALVES if (folder.path / half).is_dir()):
                here = folder.child(half, half)
                contents = contents_of(here)
                facts = {"category": as_text(category), "split": split_of(half)}
                for photo in photos_in(here, contents, self.masks.below(*here.parts), **facts):
                    label = "defect" if photo.truth_file else GOOD if contents.mask_folders else ""
                    if self.good or label != GOOD:
                        yield replace(photo, label=label)
