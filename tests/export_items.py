"""Images of a small data set for tests of what is exported, and what lies in the export."""

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


def seen(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def stem(item: Item) -> str:
    return item.name.replace("/", "__").replace(".", "_")
