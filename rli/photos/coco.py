"""COCO: a JSON file with the photographs, their defects (polygons, run lengths or boxes) and the classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from rli.errors import RLIError, SettingError, shown
from rli.files import look_at
from rli.photos.conventions import label_of, split_of
from rli.photos.markings import Marking, Outline, RunLengths, box
from rli.photos.naming import as_text, joined, safe
from rli.photos.pairing import annotated
from rli.photos.photo import Photo

KEYS = ("images", "annotations", "categories")
# Bytes of the longest file that is read.
MOST = 2**31
# What a file that is broken, or was made up, raises.
_UNLIKE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError)


@dataclass(frozen=True)
class CocoReader:
    """The photographs of a COCO file, or of every one in a folder, in its annotations/ and in its other sub-folders.

    Photographs lie where file_name says, seen from the file's folder, from the folder that it lies in, or in the folder
    images, or one that is called after the split, of these. Names are [split/]<file_name>.

    Raises:
        SettingError: There is no such file or folder.
        RLIError: While iterating: a file cannot be read.
    """

    expects: ClassVar[str] = "a COCO file (.json), or a folder with annotations/<name>.json and images/"

    path: Path

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise SettingError("path", shown(self.path), "there is no such file or folder")

    def __iter__(self) -> Iterator[Photo]:
        files = [*self._files()]
        splits = [*map(_split_of, files)]
        for file, split in zip(files, splits, strict=True):
            told = _told(file)
            if told is not None:
                own = split if splits.count(split) == 1 else safe(file.name)
                yield from _photos_of(file, told, split, own)
            elif not self.path.is_dir():
                raise RLIError(f"{shown(file)} is no COCO file: it needs {', '.join(KEYS)}")

    def _files(self) -> Iterator[Path]:
        if not self.path.is_dir():
            return iter([self.path])
        return chain(sorted(self.path.glob("*.json")), sorted(self.path.glob("*/*.json")))


def _photos_of(file: Path, told: Mapping[str, Any], split: str, above: str) -> Iterator[Photo]:
    """The photographs of one file; `above` is the beginning of their names."""
    places = _places(file, split)
    try:
        labels = {one["id"]: label_of(str(one["name"])) for one in told["categories"]}
        defects: dict[Any, list[Any]] = {}
        for one in told["annotations"]:
            defects.setdefault(one["image_id"], []).append(one)
        images = sorted(((str(one["file_name"]).replace("\\", "/"), one) for one in told["images"]), key=itemgetter(0))
    except _UNLIKE as error:
        raise RLIError(f"{shown(file)} cannot be read as COCO: {shown(repr(error))[:120]}") from None
    taken: Counter[str] = Counter()
    for path, image in images:
        *folders, last = PurePosixPath(path).parts or ("photo",)
        parts = [safe(f"{part}/") for part in folders if part not in ("/", "..", above)]
        name = joined(above, *parts, safe(last))
        taken[name.casefold()] += 1
        number = taken[name.casefold()]
        photo = Photo(name if number == 1 else f"{name}~{number}", source=as_text(path), split=split)
        yield _read(replace(photo, file=_found(path, places)), path, file, image, defects, labels)


def _read(
    photo: Photo,
    path: str,
    file: Path,
    image: Mapping[str, Any],
    defects: Mapping[Any, Sequence[Any]],
    labels: Mapping[Any, str],
) -> Photo:
    """A photograph with what its annotations mark, or with the problem."""
    if photo.file is None:
        return replace(photo, problem=f"{shown(file)}: file_name “{shown(path)}” must lead to a file below its folder")
    try:
        size = (int(image["width"]), int(image["height"]))
        marks = [mark for one in defects.get(image["id"], ()) for mark in _markings(file, one, labels, size)]
    except _UNLIKE as error:
        reason = shown(repr(error))[:120]
        return replace(photo, problem=f"{shown(file)}: an annotation of {shown(path)} cannot be read: {reason}")
    return annotated(photo, file, marks)


def _found(path: str, places: Sequence[Path]) -> Path | None:
    """Where a photograph lies; None where its path leads out of the folder, or to nothing."""
    parts = PureWindowsPath(path)
    if parts.drive or parts.root or ".." in parts.parts or "\0" in path:
        return None
    return next((place / path for place in places if (place / path).is_file()), None)


def is_coco(file: Path) -> bool:
    """Whether the beginning of a JSON file has one of COCO's keys."""
    try:
        look_at(file)
        with open(file, "rb") as opened:
            head = opened.read(65_536)
    except (OSError, RLIError):
        return False
    return sum(f'"{key}"'.encode() in head for key in KEYS) >= 2 or b'"file_name"' in head


def decoded(text: str) -> tuple[int, ...]:
    """COCO's compressed run lengths as counts: numbers in groups of five bits, from the third on as differences.

    Raises:
        ValueError: The text ends within a number.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode("ascii"):
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("the run lengths end within a number")
    return tuple(counts)


def _told(file: Path) -> Mapping[str, Any] | None:
    """What a COCO file says; None for a file that is none."""
    try:
        look_at(file, MOST)
        told = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RLIError(f"{shown(file)} cannot be read as JSON: {shown(error)[:120]}") from None
    return told if isinstance(told, dict) and all(isinstance(told.get(key), list) for key in KEYS) else None


def _markings(
    file: Path, one: Mapping[str, Any], labels: Mapping[Any, str], size: tuple[int, int]
) -> Iterator[Marking]:
    """One annotation: its polygons, its run lengths, or its box where it has neither."""
    label, drawn = labels.get(one["category_id"], ""), one.get("segmentation")
    if isinstance(drawn, Mapping):
        counts = drawn["counts"]
        runs = decoded(counts) if isinstance(counts, str) else tuple(map(int, counts))
        height, width = drawn["size"]
        yield RunLengths(file, label, runs, (int(width), int(height)))
    elif drawn:
        for numbers in drawn:
            values = [float(number) for number in numbers]
            yield Outline(file, label, tuple(zip(values[::2], values[1::2], strict=True)), size)
    else:
        x, y, width, height = map(float, one["bbox"])
        yield box(file, label, (x, y, x + width, y + height), size)


def _split_of(file: Path) -> str:
    """The split in a file's name, as in instances_train2017.json, or in its folder's."""
    words = file.stem.rstrip("0123456789").replace("-", "_").split("_")
    return next(filter(None, map(split_of, (*words, file.parent.name))), "")


def _places(file: Path, split: str) -> tuple[Path, ...]:
    """Where a file's photographs may lie, in the order in which they are looked for."""
    named = file.stem.rpartition("_")[2]
    tops = dict.fromkeys((file.parent, file.parent.parent) if file.parent.name == "annotations" else (file.parent,))
    inner = dict.fromkeys(("", "images", split, named, f"images/{split}", f"images/{named}"))
    return tuple(top / place for top in tops for place in inner)
