"""Photographs as they lie in folders and data sets: found one by one, in a fixed order, without opening one.

At most one folder's file names are held at a time, and the names of sub-folders that are still to come: memory grows
with the largest folder (by about 300 bytes a file), not with the number of photographs. A photograph's name depends on
the folders on the way to it and on nothing beside them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rli.errors import RLIError
from rli.images import is_marked, shown
from rli.photos.naming import as_text, by_name, joined, numbered, stem

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
    *(".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"),
)
# What a photograph's stem is followed by in its mask's name, in any case.
MARKS = ("_mask", "_label", ".mask", "_gt")
SPLITS = ("train", "test", "val")
GOOD = "good"


@dataclass(frozen=True)
class Found:
    """A photograph's files and what its place says of it (see dataset.Photo).

    truth, region: masks of its defect, and of what may change. problem: why it cannot be used, where that is known.
    """

    name: str
    file: Path
    source: str
    truth: Path | None = None
    region: Path | None = None
    label: str = ""
    category: str = ""
    split: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Twins:
    """Folders that hold masks in the same place below them as their photographs have below data.path."""

    truth: Path | None = None
    region: Path | None = None

    def below(self, *parts: str) -> Twins:
        return Twins(self.truth and self.truth.joinpath(*parts), self.region and self.region.joinpath(*parts))


@dataclass(frozen=True)
class Folder:
    """parts lead to it from data.path; name says the same in the output, "" for data.path itself. above: device and
    inode of every folder that it lies in."""

    path: Path
    parts: tuple[str, ...] = ()
    name: str = ""
    above: frozenset[tuple[int, int]] = frozenset()

    def child(self, part: str, entry: str, above: frozenset[tuple[int, int]] = frozenset()) -> Folder:
        return Folder(self.path / entry, (*self.parts, entry), joined(self.name, part), above)

    def source(self, *entry: str) -> str:
        return as_text("/".join((*self.parts, *entry)))


@dataclass(frozen=True)
class Listing:
    """What a folder holds, hidden files left out: photographs and sub-folders (with a / at their end) in the order of
    their names; masks beside their photographs, by the photograph's stem. problem: why it could not be listed."""

    entries: list[str] = field(default_factory=list)
    masks: dict[str, str] = field(default_factory=dict)
    problem: str = ""

    def photos(self) -> Iterator[tuple[str, str]]:
        """(name in the output, file name)."""
        return ((part, entry) for part, entry in numbered(self.entries) if not entry.endswith("/"))

    def folders(self) -> list[tuple[str, str]]:
        """(name in the output, name)."""
        return [(part, entry[:-1]) for part, entry in numbered(self.entries) if entry.endswith("/")]


def in_folder(root: Path, twins: Twins, recursive: bool = True) -> Iterator[Found]:
    """Photographs at any depth, a folder's before those of its sub-folders; [split/][label/]…/stem.

    Masks lie beside (MARKS) or in twin folders. Where `root` holds images/ and masks/ (or ground_truth/), the
    photographs are those below images/. Links are followed unless they lead to a folder that they lie in.
    """
    start, mates = Folder(root), [mate for name in ("masks", "ground_truth") if (mate := root / name).is_dir()]
    if mates and (root / "images").is_dir():
        start, twins = Folder(root / "images", ("images",)), Twins(twins.truth or mates[0], twins.region)
    for here, inside in _walk(start, recursive, {_identity(twin) for twin in (twins.truth, twins.region) if twin}):
        parts = [part for part in here.parts if part != "images"]
        split = parts.pop(0) if parts and parts[0] in SPLITS else ""
        masks = twins.below(*here.parts[len(start.parts) :])
        yield from _photos(here, inside, masks, split=split, label=(*parts, "")[0])


def in_mvtec_ad(root: Path, twins: Twins, good: bool = False) -> Iterator[Found]:
    """Defective test images of the category at `root`, or of those in it: [category/]class/stem. good: also the good
    ones of test/ ([category/]good/stem) and train/ ([category/]train/good/stem)."""
    for here, category in _categories(root):
        for split in ("train", "test") if good else ("test",):
            above = here.child("train" if split == "train" else "", split)
            for part, label in _folders(above) if above.path.is_dir() else ():
                if good if label == GOOD else split == "test":
                    inner = above.child(part, label)
                    masks = twins.below(*inner.parts)
                    masks = Twins(masks.truth or here.path / "ground_truth" / label, masks.region)
                    yield from _photos(inner, _listed(inner), masks, label=label, category=category, split=split)


def in_kolektor_sdd(root: Path, twins: Twins, good: bool = False) -> Iterator[Found]:
    """KolektorSDD (kos01/Part0) and KolektorSDD2 (train/10000). Only a mask tells whether one is defective: masks are
    opened here, photographs are not. Without a mask one has no label and is not left out."""
    for found in in_folder(root, twins):
        label, problem = "", found.problem
        if found.truth:
            try:
                label = "defect" if is_marked(found.truth) else GOOD
            except RLIError as error:
                problem = str(error)
        if good or label != GOOD:
            yield replace(found, label=label, problem=problem)


def mask_of(photo: Path, folder: Path | None = None) -> Path | None:
    """A photograph's mask in `folder`, of the same stem or that with one of MARKS; without a folder, beside it."""
    masks = _masks(folder) if folder else _listed(Folder(photo.parent)).masks
    name = masks.get(stem(photo.name))
    return (folder or photo.parent) / name if name else None


def _walk(start: Folder, recursive: bool, skip: set[tuple[int, int]]) -> Iterator[tuple[Folder, Listing]]:
    """Every folder but those of masks (`skip`) and those that runs fill."""
    todo = [iter([start])]
    while todo:
        here = next(todo[-1], None)
        if here is None:
            todo.pop()
            continue
        try:
            own = _identity(here.path)
            if here is not start and (own in skip or _is_run(here.path)):
                continue
        except OSError as error:
            yield here, Listing(problem=f"{shown(here.path)} cannot be listed: {error.strerror}")
            continue
        if own in here.above:
            yield here, Listing(problem=f"{shown(here.path)} is a link to a folder that it lies in: it is not followed")
            continue
        inside = _listed(here)
        if inside.problem and here is start:
            raise RLIError(f"data.path={inside.problem}")
        yield here, inside
        if recursive:
            todo.append(_children(here, inside.folders(), here.above | {own}))


def _children(here: Folder, folders: Iterable[tuple[str, str]], above: frozenset[tuple[int, int]]) -> Iterator[Folder]:
    return (here.child(part, entry, above) for part, entry in folders)


def _listed(here: Folder) -> Listing:
    try:
        with os.scandir(here.path) as inside:
            entries = [entry for one in inside if (entry := _entry(one))]
    except OSError as error:
        return Listing(problem=f"{shown(here.path)} cannot be listed: {error.strerror}")
    masks = _beside(entries)
    return Listing(by_name(set(entries) - set(masks)), _by_photo(masks))


def _photos(here: Folder, inside: Listing, twins: Twins, **facts: Any) -> Iterator[Found]:
    if inside.problem:
        yield Found(here.name, here.path, here.source(), problem=inside.problem)
        return
    truths, regions = _masks(twins.truth), _masks(twins.region)
    for part, entry in inside.photos():
        key, truth, region = stem(entry), None, None
        if key in truths:
            truth = twins.truth / truths[key]
        elif key in inside.masks:
            truth = here.path / inside.masks[key]
        if key in regions:
            region = twins.region / regions[key]
        yield Found(joined(here.name, part), here.path / entry, here.source(entry), truth, region, **facts)


def _masks(folder: Path | None) -> dict[str, str]:
    """The masks in a twin folder, by their photographs' stems; none where there is no such folder."""
    try:
        names = sorted(os.listdir(folder), reverse=True) if folder else []
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise RLIError(f"{shown(folder)}: the masks cannot be listed: {error.strerror}") from None
    images = [name for name in names if _is_image(name)]
    return {**_by_photo(images), **{stem(name): name for name in images}}


def _beside(names: Iterable[str]) -> list[str]:
    """The masks among a folder's files, the first last; what no photograph is there for is no mask."""
    marked = sorted((name for name in names if _is_image(name) and _base(stem(name))), reverse=True)
    bases = {_base(stem(name)) for name in marked}
    there = {key for name in names if _is_image(name) and (key := stem(name)) in bases}
    return [name for name in marked if _base(stem(name)) in there]


def _by_photo(masks: Iterable[str]) -> dict[str, str]:
    """The masks with one of MARKS, by their photographs' stems."""
    return {base: name for name in masks if (base := _base(stem(name)))}


def _base(mask: str) -> str:
    """The stem of the photograph that a stem with one of MARKS belongs to; "" for any other stem."""
    return next((mask[: -len(mark)] for mark in MARKS if mask.lower().endswith(mark)), "")


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _entry(one: os.DirEntry) -> str:
    """The name of what may be a photograph, a folder's with a / at its end; "" for all else and for hidden files."""
    try:
        if one.is_dir():
            return "" if one.name.startswith(".") else f"{one.name}/"
    except OSError:  # such as a ring of links: nobody knows what it is, and listing it will say why
        return one.name if _is_image(one.name) else f"{one.name}/"
    return one.name if _is_image(one.name) else ""


def _categories(root: Path) -> Iterator[tuple[Folder, str]]:
    """The folders of MVTec AD's categories, with their names."""
    start = Folder(root)
    if (root / "test").is_dir():
        yield start, root.resolve().name
        return
    for part, entry in _folders(start):
        if (root / entry / "test").is_dir():
            yield start.child(part, entry), entry


def _folders(here: Folder) -> list[tuple[str, str]]:
    """As Listing.folders; raises RLIError where it cannot be listed."""
    inside = _listed(here)
    if inside.problem:
        raise RLIError(inside.problem)
    return inside.folders()


def _is_run(folder: Path) -> bool:
    """Whether a run or a multirun has its output there: it would read what it writes."""
    return any((folder / name).exists() for name in (".hydra", "multirun.yaml"))


def _identity(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_dev, told.st_ino
