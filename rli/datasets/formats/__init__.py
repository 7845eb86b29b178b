"""Labelled data sets on disk, each in the format that its consumers read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from rli.datasets.annotations import IGNORE, Item, too_many_classes
from rli.datasets.formats.anomalib_folder import AnomalibFolder
from rli.datasets.formats.coco import Coco
from rli.datasets.formats.huggingface import HuggingFace
from rli.datasets.formats.imagefolder import ImageFolder
from rli.datasets.formats.mvtec_ad import MvtecAd
from rli.datasets.formats.segmentation import Segmentation
from rli.datasets.formats.voc import Voc
from rli.datasets.formats.writer import Writer, folder_name, load, put_image, write_text
from rli.datasets.formats.written import MARK, Kept, keep_changes, list_files
from rli.datasets.formats.yolo import Yolo
from rli.errors import RLIError, one_of, shortened
from rli.photos.photo import GOOD

__all__ = ["FORMATS", "ORIGINALS", "Count", "check_classes", "write"]

FORMATS: dict[str, type[Writer]] = {
    "mvtec_ad": MvtecAd,
    "anomalib_folder": AnomalibFolder,
    "imagefolder": ImageFolder,
    "segmentation": Segmentation,
    "yolo": Yolo,
    "coco": Coco,
    "huggingface": HuggingFace,
    "voc": Voc,
}
# What becomes of photographs: copies, hard links (copies where there can be none), or nothing.
ORIGINALS = ("copy", "link", "none")
# Of a file's name, in bytes; what formats add still fits into the 255 that file systems take.
_LONGEST = 200
# Of a class's folder in bytes: file systems take 255.
_LONGEST_CLASS = 200


@dataclass(frozen=True)
class Count:
    """What one format holds."""

    images: int
    # Images by split.
    train: int
    val: int
    test: int
    # Masks, polygons or annotations.
    objects: int
    # Images that the format cannot hold: defective ones without a known region.
    left_out: int


def write(
    formats: Sequence[str],
    items: Iterable[Item],
    out: Path,
    *,
    originals: str = "copy",
    classes: Sequence[str],
    is_own: bool = False,
) -> dict[str, Count]:
    """Writes out/<format>/ for each format, in one pass over the items.

    An image that not every consumer reads alike (rotated by EXIF, 16 bits, transparent, GIF) is written as an 8-bit
    PNG. Memory holds one image's masks, and the names of items and of an earlier export's files. The same items give
    the same bytes, but what somebody changed in an earlier export since it was written is kept, and said on stderr. The
    export is built beside `out` and replaces it at the end: an interrupted one leaves the old one as it was.

    Args:
        formats: Names of FORMATS.
        items: The images.
        out: The folder to write; an earlier export in it is replaced.
        originals: What becomes of photographs, one of ORIGINALS. Of a hard link, changing the file changes the
            photograph, and some trainers do: ultralytics repairs JPEG files in their place. Reconstructions and edits
            are always linked.
        classes: The defects' names in the order of their indices; images and regions have no others.
        is_own: Whether `out` is an earlier export in any case, also where the file that says so is lost.

    Returns:
        What each format holds, by its name.

    Raises:
        RLIError: A bad value, an item that cannot be read or is named twice, or an `out` that holds anything else.
    """
    for name in formats:
        one_of("formats", name, tuple(FORMATS))
    one_of("originals", originals, ORIGINALS)
    check_classes(classes)
    out = Path(os.path.realpath(out))
    part, old = (out.with_name(f".{out.name}.{word}") for word in ("part", "old"))
    if old.is_dir() and not out.exists():  # killed between the two moves below
        os.replace(old, out)
    is_own = is_own or (out / MARK).is_file()
    if out.exists() and not is_own and (not out.is_dir() or any(not path.is_dir() for path in out.rglob("*"))):
        raise RLIError(f"{out} holds files that are not an export and would be deleted; choose another folder")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        chosen = (item for item in items if item.kind != "original" or originals != "none")
        counts = _fill(part, list(dict.fromkeys(formats)), chosen, copy_originals=originals == "copy", classes=classes)
        write_text(part / MARK, _contents(counts, classes))
        list_files(part)
        kept = keep_changes(out, part) if out.exists() else Kept()
        _swap(part, out, old)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for line in kept.lines(out):
        print(line, file=sys.stderr, flush=True)
    return counts


def _contents(counts: Mapping[str, Count], classes: Sequence[str]) -> str:
    """What an export says of itself."""
    contents = {
        "formats": {name: asdict(count) for name, count in counts.items()},
        "classes": list(classes),
        # What folders are named after classes that no file system takes as they are.
        "folders": {label: folder_name(label) for label in classes},
    }
    return json.dumps(contents, indent=1) + "\n"


def _fill(
    part: Path, formats: Sequence[str], items: Iterable[Item], *, copy_originals: bool, classes: Sequence[str]
) -> dict[str, Count]:
    counts: dict[str, Counter[str]] = {name: Counter() for name in formats}
    put = partial(put_image, copy_originals=copy_originals)
    with ExitStack() as stack:
        writers = {}
        for name in formats:
            (part / name).mkdir()
            writers[name] = FORMATS[name](part / name, tuple(classes), put)
            stack.callback(writers[name].close)
        for item, stem in _named(items):
            sample = load(item, stem, classes)
            for name, writer in writers.items():
                objects = writer.add(sample)
                counts[name].update(
                    {"left_out": 1} if objects is None else {"images": 1, item.split: 1, "objects": objects}
                )
    fields = Count.__dataclass_fields__
    return {name: Count(**{field: count[field] for field in fields}) for name, count in counts.items()}


def _swap(part: Path, out: Path, old: Path) -> None:
    """Replaces the old export by the new one; where that fails, the old one comes back."""
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    try:
        os.replace(part, out)
    except OSError:
        if old.exists():
            os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _named(items: Iterable[Item]) -> Iterator[tuple[Item, str]]:
    """Each item with its file's stem: the name in one piece, numbered where another has it already up to case."""
    names: set[str] = set()
    stems: set[str] = set()
    for item in items:
        if item.name in names:
            raise RLIError(f"two images of the data set are named {item.name}; names must differ")
        names.add(item.name)
        first = stem = stem_of(item.name)
        count = 1
        while stem.casefold() in stems:
            count += 1
            stem = f"{first}-{count}"
        stems.add(stem.casefold())
        yield item, stem


def stem_of(name: str) -> str:
    """An item's name as one file's stem: bolt/part.01 → bolt__part_01.

    Without dots, readers that sort images and masks with other suffixes find them in the same order.

    Raises:
        RLIError: The name leaves its folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or not name.isprintable():
        raise RLIError(f"“{name}” cannot name an image; expected a relative path such as bolt/part01")
    stem = "__".join(folder_name(part).replace(".", "_") or "_" for part in parts)
    if len(stem.encode()) > _LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        stem = stem.encode()[: _LONGEST - 13].decode(errors="ignore") + "-" + digest
    return stem


def check_classes(classes: Sequence[str]) -> None:
    """Raises RLIError where a class has no folder's name, or two would be the same in some format."""
    if len(classes) >= IGNORE:
        raise too_many_classes(len(classes))
    taken = {GOOD}
    for label in classes:
        folder = folder_name(label).casefold()
        if len(folder.encode()) > _LONGEST_CLASS:
            raise RLIError(f"the class “{shortened(label)}” is too long for a folder's name; rename it")
        if folder in taken or not folder or not label.isprintable():
            raise RLIError(
                f"the class “{label}” would have the same folder name as “{GOOD}” or another class; rename it"
            )
        taken.add(folder)
