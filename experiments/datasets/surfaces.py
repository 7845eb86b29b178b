"""Cracked surfaces with their masks, on disk in the layouts that photographs of defects come in.

python -m experiments.datasets.surfaces FOLDER --count 60
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rli.images import write_png
from rli.models.mini import SIDE
from rli.models.mini.surfaces import UNSEEN, Surface, surface

# Each surface's material is its category.
MATERIALS = ("cast metal", "painted steel", "concrete")
# Of every ten photographs of a category: those without a defect, to learn from and to test on.
GOOD = {"train": 2, "test": 1}


@dataclass(frozen=True)
class Drawn:
    """A surface and where it belongs. number: from 0, within its category, split and label."""

    surface: Surface
    category: str
    split: str
    label: str
    number: int


def drawn(count: int, *, good: bool = True, size: int = SIDE) -> Iterator[Drawn]:
    """count cracked surfaces, the categories in turn, and with good some without a defect; size in pixels a side."""
    for k in range(count):
        material, number = MATERIALS[k % len(MATERIALS)], k // len(MATERIALS)
        picture = surface(UNSEEN + 500_000 + k, ("crack",), size, size, material)
        yield Drawn(picture, material.replace(" ", "_"), "test", "crack", number)
    for split, share in GOOD.items() if good else ():
        for k in range(len(MATERIALS) * max(1, count * share // 10 // len(MATERIALS))):
            material, number = MATERIALS[k % len(MATERIALS)], k // len(MATERIALS)
            seed = UNSEEN + (600_000 if split == "train" else 700_000) + k
            picture = surface(seed, (), size, size, material)
            yield Drawn(picture, material.replace(" ", "_"), split, "good", number)


def mvtec_ad(folder: Path, one: Drawn) -> None:
    """<category>/train/good, test/good, test/crack, ground_truth/crack."""
    place = folder / one.category
    write_png(place / one.split / one.label / f"{one.number:03d}.png", one.surface.image)
    if one.label != "good":
        write_png(place / "ground_truth" / one.label / f"{one.number:03d}_mask.png", one.surface.mask)


def kolektor_sdd(folder: Path, one: Drawn) -> None:
    """kos01/Part0.png, Part0_label.bmp: a mask for every photograph, black where there is no defect."""
    part = f"{one.split}_{one.label}_{one.number}"
    write_png(folder / one.category / f"Part_{part}.png", one.surface.image)
    write_png(folder / one.category / f"Part_{part}_label.png", one.surface.mask)


def beside(folder: Path, one: Drawn) -> None:
    """Photographs with their masks beside them."""
    write_png(folder / f"{one.category}_{one.label}_{one.split}_{one.number}.png", one.surface.image)
    write_png(folder / f"{one.category}_{one.label}_{one.split}_{one.number}_mask.png", one.surface.mask)


def twins(folder: Path, one: Drawn) -> None:
    """images/<split>/<label>/, and masks/ with the same folders and names; good photographs have no mask."""
    name = Path(one.split, one.label, f"{one.category}_{one.number}.png")
    write_png(folder / "images" / name, one.surface.image)
    if one.label != "good":
        write_png(folder / "masks" / name, one.surface.mask)


LAYOUTS: dict[str, Callable[[Path, Drawn], None]] = {
    "mvtec_ad": mvtec_ad,
    "kolektor_sdd": kolektor_sdd,
    "beside": beside,
    "twins": twins,
}


def write(folder: Path, count: int, layouts: tuple[str, ...] = tuple(LAYOUTS), **options: object) -> None:
    """The same surfaces below folder/<layout>/ for each layout; options as in `drawn`."""
    for one in drawn(count, **options):
        for name in layouts:
            LAYOUTS[name](folder / name, one)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60, help="cracked photographs")
    parser.add_argument("--size", type=int, default=SIDE, help="pixels a side")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=tuple(LAYOUTS))
    args = parser.parse_args()
    write(args.folder, args.count, tuple(args.layouts), size=args.size)
    for name in args.layouts:
        print(f"{args.folder / name}: {sum(1 for _ in (args.folder / name).rglob('*.png'))} files")


if __name__ == "__main__":
    main()
