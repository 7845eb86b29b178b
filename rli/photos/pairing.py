"""Which masks and annotations belong to which photographs, by their names; where these leave it open, by a look.

A mask is never a photograph. One whose name says so is known by it; of two pictures of one stem (part.jpg and part.png)
it is the one that is black and holds hardly any other values.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from rli.errors import RLIError, shown
from rli.files import look_at
from rli.images.decoding import FORMATS
from rli.photos import labelme, pascal_voc, yolo
from rli.photos.conventions import MASK_FOLDERS, folded, is_photo_folder, marked_photo
from rli.photos.markings import Marking, MaskFile
from rli.photos.naming import stem
from rli.photos.photo import GOOD, Photo

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
    *(".avif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"),
)
ANNOTATION_SUFFIXES = (".json", ".xml", ".txt")
# Masks are kept without loss, so that of two pictures of one stem these are looked at.
LOSSLESS_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".pbm")
# A mask has this share of its pixels in so few values, black among them; the rest is the softness of its edges.
MASK_SHARE, MASK_VALUES, MOST_VALUES = 0.9, 8, 1024
# How many pictures of a folder are looked at before the rest is taken to be like them.
LOOKS = 20
# Bytes of the longest annotation of one photograph.
MOST = 64_000_000


@dataclass(frozen=True)
class Truths:
    """What one folder holds of photographs' own defects."""

    folder: Path = Path()
    # Masks by the stem of their photograph, or by its whole name; a folder of them has a / at its end.
    masks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Annotations by the stem of their photograph.
    annotations: Mapping[str, str] = field(default_factory=dict)
    # Masks whose photograph is not there.
    orphans: frozenset[str] = frozenset()

    @property
    def mask_names(self) -> set[str]:
        """Every file that is a mask."""
        return {*self.orphans, *(name for several in self.masks.values() for name in several)}

    def masks_of(self, photo: str) -> tuple[Path, ...]:
        """The masks of the photograph with this file name, in the order of their names."""
        names = self.masks.get(photo) or self.masks.get(stem(photo)) or ()
        return tuple(file for name in names for file in _files(self.folder / name, name))

    def markings_of(self, photo: str) -> tuple[Path, tuple[Marking, ...]] | None:
        """The annotation of the photograph with this file name, and what it marks; None where there is none.

        Raises:
            RLIError: It cannot be read.
        """
        name = self.annotations.get(stem(photo))
        if name is None:
            return None
        file = self.folder / name
        try:
            look_at(file, MOST)
            found = self._read(file)
        except OSError as error:
            raise RLIError(f"{shown(file)} cannot be read: {error.strerror}") from None
        return None if found is None else (file, found)

    def _read(self, file: Path) -> tuple[Marking, ...] | None:
        match file.suffix.lower():
            case ".json":
                return labelme.markings(file)
            case ".xml":
                return pascal_voc.markings(file)
        return yolo.markings(file, self._class_names)

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        return yolo.class_names(self.folder)


def truths_beside(folder: Path, names: Collection[str]) -> Truths:
    """The masks and annotations among a folder's files.

    Args:
        folder: The folder.
        names: Its files' names.
    """
    names = frozenset(names)  # it is asked for each photograph, and a folder may hold 100,000
    by_stem: dict[str, list[str]] = {}
    for name in sorted(filter(is_image, names)):
        by_stem.setdefault(stem(name), []).append(name)
    marked = {name: base for same in by_stem.values() for name in same if (base := marked_photo(name))}
    paired = {name: base for name, base in marked.items() if base in by_stem or base in names}
    left = ((own, [name for name in same if name not in paired]) for own, same in by_stem.items())
    # part.jpg and part.png, or part.jpg.png.
    unclear = [(own, same, own in names) for own, same in left if own in names or len(same) > 1]
    paired |= {name: own for own, found in _looked_at(folder, unclear) for name in found}
    masks: dict[str, tuple[str, ...]] = {}
    for name, base in sorted(paired.items()):
        masks[base] = (*masks.get(base, ()), name)
    orphans = frozenset(name for name in marked.keys() - paired.keys() if looks_like_mask(folder / name))
    annotations = {stem(name): name for name in sorted(names) if is_annotation(name) and stem(name) in by_stem}
    return Truths(folder, masks, annotations, orphans)


def truths_in(folder: Path | None) -> Truths:
    """The masks and annotations in a folder of them, named like their photographs or with a mark; a photograph's folder
    holds several. None where there is no such folder.

    Raises:
        RLIError: The folder cannot be listed.
    """
    try:
        names = sorted(os.listdir(folder)) if folder else []
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as error:
        raise RLIError(f"{shown(folder)}: the masks cannot be listed: {error.strerror}") from None
    if folder is None or not names:
        return Truths()
    masks: dict[str, tuple[str, ...]] = {}
    for name in names:
        if is_image(name) and (base := marked_photo(name)):
            masks[base] = (*masks.get(base, ()), name)
    exact = {stem(name): (name,) for name in reversed(names) if is_image(name)}
    several = {name: (f"{name}/",) for name in names if "." not in name and (folder / name).is_dir()}
    return Truths(
        folder, {**several, **masks, **exact}, {stem(name): name for name in reversed(names) if is_annotation(name)}
    )


def mask_folders_among(folder: Path, names: Collection[str], photos: Collection[str]) -> tuple[str, ...]:
    """Which of a folder's sub-folders hold masks or annotations. A class may be called label or mask too: the name
    alone is enough only beside images/ or the like.

    Args:
        folder: The folder.
        names: Its sub-folders' names.
        photos: The file names of the photographs that lie directly in it.
    """
    named = sorted(name for name in names if folded(name) in MASK_FOLDERS)
    if any(map(is_photo_folder, names)):
        return tuple(named)
    stems, others = {*photos, *map(stem, photos)}, [name for name in names if name not in named]

    def holds_masks(name: str) -> bool:
        truths = truths_in(folder / name)
        is_paired = bool(stems & truths.masks.keys())
        is_same_tree = any((folder / name / other).is_dir() for other in others)
        return is_paired or is_same_tree or _is_of_masks(folder / name)

    return tuple(name for name in named if holds_masks(name))


def with_truth(photo: Photo, file: str, places: Iterable[Truths]) -> Photo:
    """A photograph with the masks or the annotation that belong to it.

    Args:
        photo: Without any. Its label is kept where masks are found; an annotation knows better.
        file: Its file's name.
        places: Where they may be, the first that has some is taken; masks go before annotations.
    """
    places = [*places]
    for truths in places:
        if found := truths.masks_of(file):
            several = tuple(MaskFile(mask) for mask in found) if len(found) > 1 else ()
            return replace(photo, truth_file=found[0], truths=several)
    try:
        for truths in places:
            if told := truths.markings_of(file):
                return annotated(photo, *told)
    except RLIError as error:
        return replace(photo, problem=str(error))
    return photo


def with_truth_file(photo: Photo, file: Path) -> Photo:
    """A photograph with a mask or an annotation whose file was named."""
    if not is_annotation(file.name):
        return replace(photo, truth_file=file)
    told = with_truth(photo, file.name, [Truths(file.parent, annotations={stem(file.name): file.name})])
    if told is photo:
        return replace(photo, problem=f"{shown(file)} is no annotation of labelme, Pascal VOC or YOLO")
    return told


def annotated(photo: Photo, file: Path, markings: Iterable[Marking]) -> Photo:
    """A photograph with what an annotation marks: its class is that of the first defect, good where there is none."""
    defects = tuple(marking for marking in markings if marking.label != GOOD)
    if not defects:
        return replace(photo, label=GOOD)
    return replace(photo, truth_file=file, truths=defects, label=defects[0].label or photo.label)


def looks_like_mask(path: Path) -> bool:
    """Whether a picture is black with areas of a few values; False for one that cannot be read."""
    try:
        look_at(path)
        with Image.open(path, formats=FORMATS) as image:
            colours = (image if image.mode in ("1", "L") else image.convert("RGB")).getcolors(MOST_VALUES)
    except Exception:  # decoders meet broken files with errors of every type; whoever reads the photograph says it
        return False
    if colours is None:
        return False
    common = sorted(colours, reverse=True)[:MASK_VALUES]
    is_black = any(value in (0, (0, 0, 0)) for _, value in common)
    return is_black and sum(n for n, _ in common) >= MASK_SHARE * sum(n for n, _ in colours)


def is_image(name: str) -> bool:
    """Whether a file's name is a picture's that is not hidden."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def is_annotation(name: str) -> bool:
    """Whether a file's name may be an annotation's."""
    return name.lower().endswith(ANNOTATION_SUFFIXES) and not name.startswith(".")


def _is_of_masks(folder: Path) -> bool:
    """Whether the first picture below a folder looks like a mask, or there is none."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        if images := sorted(filter(is_image, files)):
            return looks_like_mask(Path(place, images[0]))
    return True


def _looked_at(folder: Path, unclear: Iterable[tuple[str, Sequence[str], bool]]) -> Iterator[tuple[str, Sequence[str]]]:
    """Which pictures are masks where names leave it open. Where the first LOOKS have one mask each, of one suffix, so
    have the others: large folders are not read through.

    Args:
        folder: The folder.
        unclear: Stems with the pictures that have it, and whether their photograph is another.

    Yields:
        A stem and its masks.
    """
    suffixes: set[str] = set()
    for k, (own, same, has_photo) in enumerate(unclear):
        if k >= LOOKS and len(suffixes) == 1 and "" not in suffixes:
            yield own, [name for name in same if Path(name).suffix in suffixes]
            continue
        found = _masks_among(folder, same, has_photo=has_photo)
        suffixes.add(Path(found[0]).suffix if len(found) == 1 else "")
        yield own, found


def _masks_among(folder: Path, same: Collection[str], *, has_photo: bool) -> list[str]:
    """Which pictures of one stem are masks; none where all of them look so, unless their photograph is another."""
    lossless = [name for name in same if name.lower().endswith(LOSSLESS_SUFFIXES)]
    found = [name for name in lossless if looks_like_mask(folder / name)]
    return found if has_photo or len(found) < len(same) else []


def _files(path: Path, name: str) -> Iterator[Path]:
    """The mask, or those in the folder."""
    if not name.endswith("/"):
        yield path
        return
    try:
        yield from (path / entry for entry in sorted(os.listdir(path)) if is_image(entry))
    except OSError as error:
        raise RLIError(f"{shown(path)}: the masks cannot be listed: {error.strerror}") from None
