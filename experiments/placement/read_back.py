"""Whether a data set is read back, by its formats' own consumers, as its manifest says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from rli.photos.sources import photos


def expected(run: Path, manifest: pd.DataFrame) -> Iterator[tuple[str, str, str, np.ndarray | None]]:
    """Of every kept image its file's stem, its class, its split and its defect (H,W) bool; None where it has none."""
    for row in manifest[manifest["kept"].astype(str) == "True"].itertuples():
        masks = [_mask(run / path) for _, path in json.loads(row.regions)]
        mask = np.logical_or.reduce(masks) if masks else None
        if row.label == "good" or (mask is not None and mask.any()):
            yield row.name.replace("/", "__").replace(".", "_"), row.label, row.split, mask


def mvtec_ad(run: Path, manifest: pd.DataFrame) -> bool:
    """By this project's reader: classes and masks."""
    found = [*photos("mvtec_ad", run / "dataset" / "mvtec_ad", good=True)]
    read = sorted(
        _digest(photo.label, photo.truth(*photo.size()) if photo.label != "good" else None) for photo in found
    )
    return read == sorted(_digest(label, mask) for _, label, _, mask in expected(run, manifest))


def anomalib_folder(run: Path, manifest: pd.DataFrame) -> bool:
    """Masks of the same stem as the abnormal images."""
    place = run / "dataset" / "anomalib_folder"
    abnormal = sorted(path.stem for path in place.glob("*/abnormal/**/*.*"))
    masks = {path.stem: _mask(path) for path in place.glob("*/mask/**/*.png")}
    wanted = {stem: mask for stem, label, _, mask in expected(run, manifest) if label != "good"}
    return abnormal == sorted(wanted) and all(np.array_equal(masks[stem], mask) for stem, mask in wanted.items())


def imagefolder(run: Path, manifest: pd.DataFrame) -> bool:
    """By torchvision: the class of every image."""
    from torchvision.datasets import ImageFolder

    read = {}
    for split in sorted(path.name for path in (run / "dataset" / "imagefolder").iterdir() if path.is_dir()):
        folder = ImageFolder(run / "dataset" / "imagefolder" / split)
        read |= {Path(path).stem: folder.classes[k] for path, k in folder.samples}
    return {stem: label for stem, label, *_ in expected(run, manifest)}.items() <= read.items()


def segmentation(run: Path, manifest: pd.DataFrame) -> bool:
    """Masks of class indices."""
    place = run / "dataset" / "segmentation" / "masks"
    return all(
        np.array_equal(np.asarray(Image.open(place / split / f"{stem}.png")) > 0, False if mask is None else mask)
        or (mask is None and not np.asarray(Image.open(place / split / f"{stem}.png")).any())
        for stem, _, split, mask in expected(run, manifest)
    )


def yolo(run: Path, manifest: pd.DataFrame) -> bool:
    """A label file for every image, with polygons for the defective ones."""
    place = run / "dataset" / "yolo" / "labels"
    return all(
        bool((place / split / f"{stem}.txt").read_text()) == (label != "good")
        for stem, label, split, _ in expected(run, manifest)
    )


def coco(run: Path, manifest: pd.DataFrame) -> bool:
    """By pycocotools: every image's pixels."""
    from pycocotools.coco import COCO

    read = {}
    for file in sorted((run / "dataset" / "coco" / "annotations").glob("*.json")):
        told = COCO(str(file))
        for image in told.loadImgs(told.getImgIds()):
            mask = np.zeros((image["height"], image["width"]), bool)
            for one in told.loadAnns(told.getAnnIds(image["id"])):
                mask |= told.annToMask(one).astype(bool)
            read[Path(image["file_name"]).stem] = mask
    return all(
        np.array_equal(read[stem], np.zeros_like(read[stem]) if mask is None else mask)
        for stem, _, _, mask in expected(run, manifest)
    )


def _mask(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")) > 127


def _digest(label: str, mask: np.ndarray | None) -> tuple[str, bytes]:
    return label, b"" if mask is None else np.packbits(mask).tobytes()


READ_BACK: dict[str, Callable[[Path, pd.DataFrame], bool]] = {
    "mvtec_ad": mvtec_ad,
    "anomalib_folder": anomalib_folder,
    "imagefolder": imagefolder,
    "segmentation": segmentation,
    "yolo": yolo,
    "coco": coco,
}


def is_read_back(format: str, run: Path, manifest: pd.DataFrame) -> bool:
    """Whether a format is read as the manifest says; not so where its consumer is not installed."""
    try:
        return READ_BACK[format](run, manifest)
    except ImportError:
        return False
