"""The photographs that are learned from and tested on: drawn surfaces, or a data set of real ones."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rli.datasets.annotations import UNKNOWN, Item, Region
from rli.files import write_whole
from rli.images import image_size, write_png
from rli.models.mini.surfaces import UNSEEN, surface
from rli.photos.photo import GOOD, Photo
from rli.photos.sources import photos

# Apart from the surfaces of all other experiments.
FIRST = UNSEEN + 2_000_000
# Defects that drawn surfaces show, each alone.
WORDS = ("crack", "rust", "dent", "blistering")
# Of the drawn photographs for testing one in so many is good.
GOOD_SHARE = 5


def drawn(folder: Path, learned: int, tested: int, side: int) -> list[Photo]:
    """Drawn surfaces, the defects of WORDS in turn, as files with their masks.

    Args:
        folder: Where they are written.
        learned: Defective photographs for training; there are as many good ones.
        tested: Photographs for testing, a fifth of them good.
        side: Pixels.

    Returns:
        The photographs, each with its split.
    """
    good = tested // GOOD_SHARE
    labels = {"train": turns(learned) + [GOOD] * learned, "test": turns(tested - good) + [GOOD] * good}
    rows, list_file = [], folder / "list.csv"
    # What is written anew would be worked on anew; of other numbers of photographs a file may show another defect.
    before = {photo.file: photo.label for photo in photos("list", list_file)} if list_file.is_file() else {}
    list_file.unlink(missing_ok=True)
    for k, (split, label) in enumerate((split, label) for split, own in labels.items() for label in own):
        image, mask = folder / f"{k:04d}.png", folder / f"{k:04d}_mask.png"
        if before.get(image) != label or not image.is_file() or image_size(image) != (side, side):
            picture = surface(FIRST + k, () if label == GOOD else (label,), side, side)
            write_png(mask, picture.mask)
            write_png(image, picture.image)
        rows.append((image.name, "" if label == GOOD else mask.name, label, split, ""))
    return listed(list_file, rows)


def turns(count: int) -> list[str]:
    """So many defects, those of WORDS in turn."""
    return [WORDS[k % len(WORDS)] for k in range(count)]


def real(kind: str, path: Path, most: int | None = None) -> list[Photo]:
    """A data set's photographs, the good ones too.

    Args:
        kind: The name of its reader.
        path: Its folder.
        most: Photographs of each class at most, the first by name; None is all.
    """
    found, counts = [], Counter[str]()
    for photo in sorted(photos(kind, path, good=True), key=lambda photo: photo.name):
        counts[photo.label] += 1
        if most is None or counts[photo.label] <= most:
            found.append(photo)
    return found


def rewritten(folder: Path, own: Iterable[Photo]) -> Path:
    """A list of photographs with their masks as files, whatever they were before: list.csv in the folder."""
    rows = []
    for k, photo in enumerate(own):
        mask = None if photo.label == GOOD else photo.truth_full()
        file = folder / "masks" / f"{k:04d}.png"
        if mask is not None and not file.is_file():
            write_png(file, mask)
        path = "" if mask is None else str(file.resolve())
        rows.append((str(photo.file.resolve()), path, photo.label, "train", photo.group))
    listed(folder / "list.csv", rows)
    return folder / "list.csv"


def listed(path: Path, rows: Sequence[Sequence[str]]) -> list[Photo]:
    """Writes a list of path, mask, label, split and group, and reads it."""
    lines: list[str] = []

    class Lines:
        write = staticmethod(lines.append)

    csv.writer(Lines, lineterminator="\n").writerows([("path", "mask", "label", "split", "group"), *rows])
    write_whole(path, "".join(lines))
    return [*photos("list", path)]


def original(photo: Photo, split: str) -> Item:
    """A photograph as an image of a data set."""
    label = photo.label or UNKNOWN
    regions: tuple[Region, ...] = ()
    if label != GOOD and photo.markings:
        regions = (Region(label, photo.truth_file or photo.file, drawn=photo.truth),)
    facts = {"sha256": photo.sha256(), "maker": "photographs"}
    return Item(photo.file, "original", photo.name, f"photographs/{photo.name}", "", label, split, regions, facts=facts)
