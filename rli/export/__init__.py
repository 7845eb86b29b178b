"""Labelled data sets on disk, each in the layout that its consumers read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rli.labels import Item, Region

__all__ = ["FORMATS", "Count", "Item", "Region", "write"]

FORMATS = ("mvtec_ad", "anomalib_folder", "imagefolder", "segmentation", "yolo", "coco")


@dataclass(frozen=True)
class Count:
    """What one format holds: images, of each split; objects: masks, polygons or annotations; left_out: images that it
    cannot tell, defective ones of which nobody knows where."""

    images: int
    train: int
    val: int
    test: int
    objects: int
    left_out: int


def write(
    formats: Sequence[str], items: Iterable[Item], out: Path, *, originals: str = "link", classes: Sequence[str]
) -> dict[str, Count]:
    """One pass over the items → out/<format>/ for each format; the counts by format."""
    raise NotImplementedError
