"""Images and masks of class indices, as mmseg, segmentation-models-pytorch and ultralytics semantic read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rli.datasets.annotations import class_index
from rli.datasets.formats.writer import PutImage, Sample, write_grey, write_text
from rli.datasets.formats.yolo import data_yaml


class Segmentation:
    """images/<split>/<image>, masks/<split>/<the image's stem>.png, classes.txt and data.yaml.

    A mask's values are the lines of classes.txt, counted from 0, the background; later regions lie over earlier ones.
    A defective image without a known region is 255, ignore, everywhere.
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None:
        self.folder, self.put_image, self.classes = folder, put_image, classes
        self.splits: set[str] = set()
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in ("background", *classes)))

    def add(self, sample: Sample) -> int:
        split = sample.item.split
        self.splits.add(split)
        self.put_image(sample, self.folder / "images" / split / f"{sample.stem}{sample.suffix}")
        ignore = None if sample.located else np.ones(sample.size, bool)
        index = class_index(sample.masks, self.classes, sample.size, ignore)
        write_grey(self.folder / "masks" / split / f"{sample.stem}.png", index)
        return len(sample.masks)

    def close(self) -> None:
        write_text(
            self.folder / "data.yaml", data_yaml(self.splits, ("background", *self.classes)) + "masks_dir: masks\n"
        )
