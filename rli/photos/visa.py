"""VisA: candle/Data/Images/{Normal,Anomaly}, candle/Data/Masks/Anomaly, and tables of classes and splits.

candle/image_anno.csv names each photograph's class, such as burnt; split_csv/1cls.csv beside the categories its split.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar

from rli.errors import RLIError, shown, true_or_false
from rli.files import look_at
from rli.photos.conventions import label_of, split_of
from rli.photos.naming import as_text
from rli.photos.photo import GOOD, Photo
from rli.photos.walk import Directory, MaskFolders, PhotoFolder, categories, contents_of, folders_in, photos_in


@dataclass(frozen=True)
class VisaReader(PhotoFolder):
    """The defective photographs of the category in `path`, or of every category in it, as they are downloaded.

    Names are [category/]<Anomaly or Normal>/<stem>.
    """

    expects: ClassVar[str] = "a folder with candle/Data/Images/Anomaly/<photograph> and Data/Masks/Anomaly/<mask>"
    # Whether the photographs in Normal/ are read too.
    good: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        true_or_false("good", self.good)

    def __iter__(self) -> Iterator[Photo]:
        for folder, category in categories(self.path, "Data/Images"):
            labels = _column(folder.path / "image_anno.csv", "label")
            splits = _column(folder.path.resolve().parent / "split_csv" / "1cls.csv", "split")
            images = folder.child("", "Data").child("", "Images")
            for part, entry in folders_in(images):
                here = images.child(part, entry)
                for photo in self._photos_in(here, folder, entry):
                    own = "/".join((category, *here.parts[-3:], Path(photo.source).name))
                    label = label_of(labels.get(own, entry))
                    if self.good or label != GOOD:
                        split = split_of(splits.get(own, ""))
                        yield replace(photo, label=label, category=as_text(category), split=split)

    def _photos_in(self, here: Directory, folder: Directory, entry: str) -> Iterator[Photo]:
        given = self.masks.below(*here.parts)
        masks = MaskFolders(given.truth or folder.path / "Data" / "Masks" / entry, given.region)
        return photos_in(here, contents_of(here), masks)


def _column(file: Path, name: str) -> Mapping[str, str]:
    """A column of one of VisA's tables, by the photographs' paths below the data set; empty where there is no table.

    Raises:
        RLIError: The table cannot be read, or has no such column.
    """
    if not file.is_file():
        return {}
    try:
        look_at(file)
        with open(file, newline="", encoding="utf-8-sig") as table:
            return {PurePosixPath(row["image"]).as_posix(): row[name] or "" for row in csv.DictReader(table)}
    except (OSError, ValueError, KeyError, csv.Error):
        raise RLIError(f"{shown(file)} cannot be read: expected a table with the columns image and {name}") from None
