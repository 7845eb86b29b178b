"""Manifests for tests."""

from pathlib import Path

from rli.datasets.annotations import Item, Region
from rli.datasets.manifest import ManifestWriter

FACTS = {"source": str, "seed": int, "psnr": float, "again": bool, "settings": str}


def item(folder: Path, k: int, **values) -> Item:
    facts = {
        "source": f"photo {k}, “é”\nsecond line",
        "seed": 2**60 + k,
        "psnr": None if k % 3 == 0 else 30 + k / 7,
        "again": k % 2 == 0,
        "settings": {"eq": 2.0, "words": ["a", "b"]},
    }
    given = {
        "image": folder / "images" / f"part {k}" / "rust.png",
        "kind": ("original", "reconstruction", "edit")[k % 3],
        "photo": f"part {k // 3}",
        "name": f"bolt/part-{k}",
        "category": "bolt",
        "label": ("good", "good", "rust")[k % 3],
        "split": ("train", "val", "test")[k % 5 % 3],
        "regions": (Region("rust", folder / "images" / f"{k}_mask.png"),) if k % 3 == 2 else (),
        "facts": facts,
    }
    return Item(**given | values)


def write(folder: Path, count: int) -> list[Item]:
    items = [item(folder, k) for k in range(count)]
    with ManifestWriter(folder, FACTS) as manifest:
        for k, one in enumerate(items):
            manifest.add(one, "background 24.1 dB, under 28" if k % 4 == 3 else None)
    return items
