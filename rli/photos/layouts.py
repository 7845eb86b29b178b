"""Which reader a folder is laid out for, by the marks of known data sets."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from rli.photos.coco import is_coco

# For each reader sets of patterns; a folder that has a file or a folder for every pattern of a set is laid out for it.
MARKS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "visa": (("Data/Images", "Data/Masks"), ("*/Data/Images", "*/Data/Masks")),
    "magnetic_tile": (("MT_*/Imgs",),),
    "dagm": (("Class*/Train/Label",), ("Train/Label", "Test/Label")),
    "kolektor_sdd": (("kos*/Part*_label.bmp",), ("train/*_GT.png", "test/*_GT.png")),
    "mvtec_ad": (("test/*/", "ground_truth/*/"), ("*/test/*/", "*/ground_truth/*/")),
}
COCO_FILES = ("*.json", "annotations/*.json", "*/_annotations.coco.json")
# How many JSON files are looked into.
MOST_FILES = 5


def layout_of(folder: Path) -> str | None:
    """The reader that a folder is laid out for; None where it has no data set's marks.

    Args:
        folder: The folder of photographs.
    """
    for reader, sets in MARKS.items():
        if any(all(_has(folder, pattern) for pattern in patterns) for patterns in sets):
            return reader
    files = (file for pattern in COCO_FILES for file in sorted(folder.glob(pattern)))
    return "coco" if any(map(is_coco, islice(files, MOST_FILES))) else None


def _has(folder: Path, pattern: str) -> bool:
    return next(folder.glob(pattern), None) is not None
