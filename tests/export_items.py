"""Images of a small data set for tests of what is exported, and what lies in the export."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from builders import box
from PIL import Image

from rli.datasets.annotations import Item, Region, class_index
from rli.datasets.formats.writer import load
from rli.images import write_png
from rli.models.mini.surfaces import surface

CLASSES = ("crack", "rust", "oil stain")
SIZE = (48, 64)
RING = box(*SIZE, slice(10, 30), slice(10, 30)) & ~box(*SIZE, slice(15, 20), slice(15, 20))


def region(folder: Path, name: str, label: str, mask: np.ndarray) -> Region:
    write_png(folder / f"{name}.png", mask)
    return Region(label, folder / f"{name}.png")


def drawn_items(folder: Path) -> list[Item]:
    """Two categories, photographs in every split, each with its reconstruction and an edit; a ring for a hole."""
    found = []
    for k, split in enumerate(("train", "train", "val", "test", "train", "val", "test")):
        category, photo = ("bolt", "wood nut")[k % 2], f"part.{k:02d}"
        good = k in (1, 2, 3, 4, 6)
        drawn = surface(k, () if good else ("crack",), *SIZE)
        edited = surface(k, ("rust",) if good else ("crack", "rust"), *SIZE)
        write_png(folder / f"{k}.png", drawn.image)
        write_png(folder / f"{k}_rust.png", edited.image)
        truth = () if good else (region(folder, f"{k}_mask", "crack", drawn.mask),)
        new = region(folder, f"{k}_rust_mask", "rust", edited.masks["rust"])
        label, name = "good" if good else "crack", f"{category}/{photo}"
        common = {"photo": photo, "category": category, "split": split}
        shown = {"label": label, "regions": truth} | common
        found += [
            Item(folder / f"{k}.png", "original", name=name, **shown),
            Item(folder / f"{k}.png", "reconstruction", name=f"{name}__back", **shown),
            Item(folder / f"{k}_rust.png", "edit", name=f"{name}__rust", label="rust", regions=(*truth, new), **common),
        ]
    ring = region(folder, "ring", "oil stain", RING)
    found.append(
        replace(found[-1], name="bolt/ring", category="bolt", label="oil stain", split="train", regions=(ring,))
    )
    return found


def truth(item: Item) -> np.ndarray:
    """(H,W) class indices that the item's masks say."""
    return class_index(load(item, "", CLASSES).masks, CLASSES, SIZE)


def inside(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside, even and odd."""
    found = np.zeros(shape, bool)
    x, y = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        rows = np.flatnonzero((y0 > y) != (y1 > y))
        at = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0) if len(rows) else np.zeros(0)
        found[rows] ^= at[:, None] < x
    return found


def told_by_coco(folder: Path, split: str) -> dict[str, dict[str, np.ndarray]]:
    """For each image's stem the pixels (H,W) bool of each class, drawn from polygons and run lengths."""
    told = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
    names = {category["id"]: category["name"] for category in told["categories"]}
    images = {image["id"]: image for image in told["images"]}
    found: dict[str, dict[str, np.ndarray]] = {Path(image["file_name"]).stem: {} for image in images.values()}
    for one in told["annotations"]:
        image, shape = images[one["image_id"]], one["segmentation"]
        if isinstance(shape, dict):
            values = np.arange(len(shape["counts"])) % 2 == 1
            mask = np.repeat(values, shape["counts"]).reshape(shape["size"][::-1]).T
        else:
            mask = inside(np.reshape(shape, (-1, 2)), (image["height"], image["width"]))
        of_image, label = found[Path(image["file_name"]).stem], names[one["category_id"]]
        of_image[label] = of_image.get(label, False) | mask
    return found


def told_by_yolo(folder: Path, split: str, size: tuple[int, int]) -> dict[str, dict[str, np.ndarray]]:
    """The same of lines of shares of the width and height; classes as CLASSES has them."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for file in sorted((folder / "labels" / split).iterdir()):
        of_image = found.setdefault(file.stem, {})
        for line in file.read_text().splitlines():
            index, *shares = line.split()
            mask = inside(np.reshape([float(share) for share in shares], (-1, 2)) * size[::-1], size)
            label = CLASSES[int(index)]
            of_image[label] = of_image.get(label, False) | mask
    return found


def seen(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def stem(item: Item) -> str:
    return item.name.replace("/", "__").replace(".", "_")
