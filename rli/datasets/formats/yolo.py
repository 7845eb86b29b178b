"""Text files of polygons, as ultralytics' segmentation and detection models read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from rli.datasets.formats.writer import PutImage, Sample, write_text
from rli.photos.photo import SPLITS


class Yolo:
    """images/<split>/<image>, labels/<split>/<the image's stem>.txt and data.yaml.

    A line for each connected piece of a class: the class from 0 and its outline, x and y as shares of width and height;
    a slit leads to a hole. Ultralytics draws exactly the piece's pixels again from it, at the image's own size. A good
    image's file is empty; a defective one without a known region is left out, for it would be taken as good.
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None:
        self.folder, self.put_image, self.classes = folder, put_image, classes
        self.splits: set[str] = set()

    def add(self, sample: Sample) -> int | None:
        if not sample.located:
            return None
        split, (height, width) = sample.item.split, sample.size
        self.splits.add(split)
        self.put_image(sample, self.folder / "images" / split / f"{sample.stem}{sample.suffix}")
        lines = []
        for piece in sample.pieces:
            points = (piece.outline / (width, height)).ravel()
            index = self.classes.index(piece.label)
            lines.append(f"{index} {' '.join(f'{value:.6f}' for value in points)}\n")
        write_text(self.folder / "labels" / split / f"{sample.stem}.txt", "".join(lines))
        return len(lines)

    def close(self) -> None:
        write_text(self.folder / "data.yaml", data_yaml(self.splits, self.classes))


def data_yaml(splits: Iterable[str], names: Sequence[str]) -> str:
    """What ultralytics wants to know; paths count from the file's own folder. It insists on a val: where no image is
    in it, the next best stands in."""
    found = [split for split in SPLITS if split in set(splits)]
    stand_in = next((split for split in ("val", "test", "train") if split in found), "val")
    folders = {"train": "train", "val": stand_in} | {split: split for split in found if split == "test"}
    lines = [f"{key}: images/{split}" for key, split in folders.items()]
    lines += ["names:", *(f"  {k}: {_quoted(name)}" for k, name in enumerate(names))]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    """A name in YAML, in ASCII: quoted, for no, null and 1e3 are no texts without."""
    return yaml.dump(name, default_style='"', width=math.inf).rstrip("\n")
