"""MVTec AD and what is laid out like it (MPDD, BTAD, MVTec LOCO), of one category or of several.

test/<class>/000.png has its mask in ground_truth/<class>/: 000_mask.png, 000.png, or several in a folder 000/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from PIL import Image

from rli.errors import RLIError, shown, true_or_false
from rli.files import look_at
from rli.images.decoding import FORMATS
from rli.photos.conventions import label_of, split_of
from rli.photos.markings import MaskFile
from rli.photos.naming import as_text
from rli.photos.photo import GOOD, Photo
from rli.photos.walk import Directory, MaskFolders, PhotoFolder, categories, contents_of, folders_in, photos_in

# In a category of MVTec LOCO: its classes, each with the value of its pixels in masks.
CLASSES = "defects_config.json"


@dataclass(frozen=True)
class MvtecAdReader(PhotoFolder):
    """The defective test images of the category in `path`, or of every category in it.

    Names are [category/]<class>/<stem>, of train [category/]train/good/<stem>. Good ones may lie in ok or normal too.
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
        for category_folder, category in categories(self.path, "test"):
            classes = _classes(category_folder.path)
            for split in ("train", "validation", "test") if self.good else ("test",):
                for photo in self._photos_of(category_folder, category, split):
                    yield _classed(photo, classes) if classes and photo.label != GOOD else photo

    def _photos_of(self, category_folder: Directory, category: str, split: str) -> Iterator[Photo]:
        split_folder = category_folder.child("" if split == "test" else split, split)
        for part, entry in folders_in(split_folder) if split_folder.path.is_dir() else ():
            label = label_of(entry)
            is_wanted = self.good if label == GOOD else split == "test"
            if not is_wanted:
                continue
            here = split_folder.child(part, entry)
            given = self.masks.below(*here.parts)
            masks = MaskFolders(given.truth or category_folder.path / "ground_truth" / entry, given.region)
            facts = {"label": label, "category": as_text(category), "split": split_of(split)}
            yield from photos_in(here, contents_of(here), masks, **facts)


def _classes(category_folder: Path) -> dict[int, str]:
    """MVTec LOCO's classes by the value of their masks' pixels; none where no list of them lies in the category.

    Raises:
        RLIError: The list is there, but cannot be read.
    """
    file = category_folder / CLASSES
    if not file.is_file():
        return {}
    try:
        return {int(one["pixel_value"]): label_of(str(one["defect_name"])) for one in json.loads(file.read_bytes())}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise RLIError(f"{shown(file)} cannot be read: expected a list of defect_name and pixel_value") from None


def _classed(photo: Photo, classes: Mapping[int, str]) -> Photo:
    """A photograph whose masks have the classes that their pixels' values say; it has that of the first."""
    masks = [marking.file for marking in photo.markings if isinstance(marking, MaskFile)]
    try:
        named = tuple(MaskFile(mask, classes.get(_value(mask), "")) for mask in masks)
    except RLIError as error:
        return replace(photo, problem=str(error))
    labels = [mask.label for mask in named if mask.label]
    return replace(photo, truths=named, label=labels[0]) if labels else photo


def _value(mask: Path) -> int:
    """The highest value in a grey mask."""
    try:
        look_at(mask)
        with Image.open(mask, formats=FORMATS) as image:
            top = image.convert("L").getextrema()[1]
    except Exception as error:  # decoders meet broken files with errors of every type
        raise RLIError(f"{shown(mask)} cannot be read as an image: {shown(error)[:120]}") from None
    return int(top) if isinstance(top, (int, float)) else 0
