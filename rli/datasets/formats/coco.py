"""COCO's instances, one JSON for each split, written as the images come."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rli.datasets.annotations import has_hole, rle
from rli.datasets.formats.writer import Piece, PutImage, Sample, write_text


class Coco:
    """<split>/<image> and annotations/instances_<split>.json.

    An annotation for each connected piece of a class (categories count from 1): its outline as a polygon, or as
    uncompressed RLE (iscrowd 0) where it has a hole; area in pixels; box as x, y, width, height. From both pycocotools
    draws exactly the piece's pixels again. A good image has none; a defective one without a known region is left out,
    for it would be taken as good.
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None:
        self.folder, self.put_image, self.classes = folder, put_image, classes
        self.splits: dict[str, _Instances] = {}

    def add(self, sample: Sample) -> int | None:
        if not sample.located:
            return None
        split, (height, width) = sample.item.split, sample.size
        if split not in self.splits:
            path = self.folder / "annotations" / f"instances_{split}.json"
            self.splits[split] = _Instances(path, self.classes)
        file = f"{sample.stem}{sample.suffix}"
        self.put_image(sample, self.folder / split / file)
        image = self.splits[split].image({"file_name": file, "width": width, "height": height})
        for piece in sample.pieces:
            category = self.classes.index(piece.label) + 1
            shape = _shape(piece, sample.size)
            self.splits[split].annotation({"image_id": image, "category_id": category, **shape})
        return len(sample.pieces)

    def close(self) -> None:
        for instances in self.splits.values():
            instances.close()


class _Instances:
    """One JSON with two lists that grow at the same time: annotations wait in a file of their own until the end."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        categories = [{"id": k, "name": name, "supercategory": "defect"} for k, name in enumerate(classes, 1)]
        head = {"info": {"description": "RLI"}, "licenses": [], "categories": categories}
        self.counts = {"images": 0, "annotations": 0}
        self.waiting = path.with_suffix(".annotations")
        write_text(path, json.dumps(head)[:-1] + ', "images": [')
        write_text(self.waiting, "")
        self.files = {"images": path.open("ab"), "annotations": self.waiting.open("ab")}

    def image(self, facts: dict) -> int:
        return self._add("images", facts)

    def annotation(self, facts: dict) -> int:
        return self._add("annotations", facts)

    def _add(self, part: str, facts: dict) -> int:
        self.counts[part] += 1
        text = json.dumps({"id": self.counts[part], **facts})
        self.files[part].write(f"{',' * (self.counts[part] > 1)}\n{text}".encode())
        return self.counts[part]

    def close(self) -> None:
        self.files["annotations"].close()
        with self.files["images"] as file, self.waiting.open("rb") as annotations:
            file.write(b'\n], "annotations": [')
            shutil.copyfileobj(annotations, file)
            file.write(b"\n]}\n")
        self.waiting.unlink()


def _shape(piece: Piece, size: tuple[int, int]) -> dict:
    """The fields of an annotation that describe a piece's shape."""
    height, width = piece.mask.shape
    segmentation: dict[str, list[int]] | list[list[float]]
    if has_hole(piece.mask):
        whole = np.zeros(size, bool)
        whole[piece.top : piece.top + height, piece.left : piece.left + width] = piece.mask
        segmentation = rle(whole)
    else:
        segmentation = [piece.outline.round(2).ravel().tolist()]
    box = [piece.left, piece.top, width, height]
    return {"segmentation": segmentation, "area": int(piece.mask.sum()), "bbox": box, "iscrowd": 0}
