"""What readers share: listing folders in a fixed order, and finding the masks of photographs.

At most one folder's file names are held at a time, and the names of sub-folders that are still to come: memory grows
with the largest folder (by about 300 bytes a file), not with the number of photographs. A photograph's name depends on
the folders on the way to it and on nothing beside them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rli.errors import RLIError, SettingError, shown
from rli.images import kind_of
from rli.photos.conventions import is_photo_folder
from rli.photos.naming import as_text, by_name, joined, numbered
from rli.photos.pairing import (
    Truths,
    is_annotation,
    is_image,
    mask_folders_among,
    truths_beside,
    truths_in,
    with_truth,
)
from rli.photos.photo import Photo

# Thumbnails, waste and metadata that network storage and operating systems lay beside people's files, in any case.
SYSTEM_FOLDERS = frozenset(
    {"@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "$recycle.bin", "recycler"}
    | {"system volume information", "__macosx", "lost+found", "network trash folder", "temporary items"}
)


@dataclass(frozen=True)
class MaskFolders:
    """Folders that hold masks in the same relative places as the photographs lie in theirs."""

    # Masks of the photographs' own defects; None where there is no such folder.
    truth: Path | None = None
    # Masks of what edits may change; None where there is no such folder.
    region: Path | None = None

    def below(self, *parts: str) -> MaskFolders:
        return MaskFolders(self.truth and self.truth.joinpath(*parts), self.region and self.region.joinpath(*parts))


@dataclass(frozen=True)
class PhotoFolder:
    """The settings of every reader of a folder.

    Raises:
        SettingError: One of the folders is not there, or masks are looked for in `path` itself.
    """

    path: Path
    # The folder of masks of what edits may change.
    mask_path: Path | None = None
    # The folder of masks of the photographs' own defects.
    truth_path: Path | None = None

    def __post_init__(self) -> None:
        check_folder("path", self.path)
        for name, folder in (("mask_path", self.mask_path), ("truth_path", self.truth_path)):
            if folder is not None:
                check_folder(name, folder)
                if folder.samefile(self.path):
                    problem = (
                        "the photographs' own folder; leave it out, masks beside photographs are found by themselves"
                    )
                    raise SettingError(name, shown(folder), problem)

    @property
    def masks(self) -> MaskFolders:
        return MaskFolders(self.truth_path, self.mask_path)

    def filled(self) -> Iterator[Path]:
        """The folders that are passed over because runs have their output there."""
        return iter(())


@dataclass(frozen=True)
class Directory:
    """A folder on the way through a layout."""

    path: Path
    # The folders that lead to it from the layout's own.
    parts: tuple[str, ...] = ()
    # The same as the beginning of its photographs' names; "" for the layout's own folder.
    name: str = ""
    # Device and inode of every folder that it lies in.
    above: frozenset[tuple[int, int]] = frozenset()
    # Folders of masks or annotations that belong to it.
    twins: tuple[Path, ...] = ()

    def child(
        self, part: str, entry: str, above: frozenset[tuple[int, int]] = frozenset(), masks: Iterable[str] = ()
    ) -> Directory:
        """The folder `entry` in it, which is `part` of its photographs' names; `masks` are the folders of masks beside
        it."""
        beside = [self.path / name for name in masks]
        inner = self.twins if is_photo_folder(entry) else (*self.twins, *beside)
        twins = [twin / entry if (twin / entry).is_dir() else twin for twin in inner]
        twins += beside if is_photo_folder(entry) else []
        return Directory(self.path / entry, (*self.parts, entry), joined(self.name, part), above, tuple(twins))

    def source(self, *entry: str) -> str:
        """The path of a file in it, relative to the layout's folder, as `Photo.source` has it."""
        return as_text("/".join((*self.parts, *entry)))


@dataclass(frozen=True)
class Contents:
    """What a folder holds, without hidden files."""

    # Photographs and sub-folders (with a / at their end), in the order of their names.
    entries: list[str] = field(default_factory=list)
    # Masks and annotations that lie beside their photographs.
    truths: Truths = field(default_factory=Truths)
    # Sub-folders of masks or annotations, which are no folders of photographs.
    mask_folders: tuple[str, ...] = ()
    # Why it could not be listed; "" where it was.
    problem: str = ""

    def photos(self) -> Iterator[tuple[str, str]]:
        """Each photograph as part of its name, and its file's name."""
        return ((part, entry) for part, entry in numbered(self.entries) if not entry.endswith("/"))

    def folders(self) -> list[tuple[str, str]]:
        """Each sub-folder as part of its photographs' names, and its own name."""
        return [(part, entry[:-1]) for part, entry in numbered(self.entries) if entry.endswith("/")]


def check_folder(setting: str, path: Path) -> None:
    """Raises SettingError where there is no such folder."""
    if path.is_file():
        known = kind_of(path)
        raise SettingError(setting, shown(path), f"it is {known}" if known else "it is a file; expected a folder")
    if not path.is_dir():
        raise SettingError(setting, shown(path), "there is no such folder")


def walk(start: Directory, *, recursive: bool, without: MaskFolders) -> Iterator[tuple[Directory, Contents]]:
    """Every folder from `start` on, each before its sub-folders. Folders of masks and those that runs fill are left
    out; links are followed unless they lead to a folder that they lie in.

    Args:
        start: Where to begin; it is gone through whatever it is.
        recursive: Whether sub-folders are gone through too.
        without: Folders that are left out.

    Raises:
        RLIError: `start` cannot be listed. Of any other folder it is the `problem` of its contents.
    """
    skipped = {_identity(folder) for folder in (without.truth, without.region) if folder}
    todo = [iter([start])]
    while todo:
        here = next(todo[-1], None)
        if here is None:
            todo.pop()
            continue
        try:
            own = _identity(here.path)
            if here is not start and (own in skipped or _is_run(here.path)):
                continue
        except OSError as error:
            yield here, Contents(problem=f"{shown(here.path)} cannot be listed: {error.strerror}")
            continue
        if own in here.above:
            problem = f"{shown(here.path)} is a link to a folder that it lies in: it is not followed"
            yield here, Contents(problem=problem)
            continue
        contents = contents_of(here)
        if contents.problem and here is start:
            raise RLIError(contents.problem)
        yield here, contents
        if recursive:
            todo.append(_children(here, contents, here.above | {own}))


def filled_folders(top: Path) -> Iterator[Path]:
    """The folders below `top` that `walk` leaves out because runs have their output there."""
    for folder, names, _ in os.walk(top):
        visible = sorted(name for name in names if not is_passed_over(name))
        filled = {name for name in visible if _is_run(Path(folder, name))}
        yield from (Path(folder, name) for name in visible if name in filled)
        names[:] = [name for name in visible if name not in filled]


def unreadable_file(top: Path) -> tuple[Path, str] | None:
    """A file below `top` that is no photograph that can be read, and what it is; None where none is known."""
    for folder, names, files in os.walk(top):
        names[:] = sorted(name for name in names if not is_passed_over(name))
        for path in (Path(folder, name) for name in sorted(files) if not name.startswith(".")):
            try:
                if known := kind_of(path):
                    return path, known
            except OSError:
                continue
    return None


def contents_of(here: Directory) -> Contents:
    """What lies in a folder; a `problem` where it cannot be listed."""
    try:
        with os.scandir(here.path) as found:
            entries = [name for entry in found if (name := _name_of(entry))]
    except OSError as error:
        return Contents(problem=f"{shown(here.path)} cannot be listed: {error.strerror}")
    files = [name for name in entries if not name.endswith("/")]
    truths = truths_beside(here.path, files)
    photos = [name for name in files if is_image(name) and name not in truths.mask_names]
    folders = [name[:-1] for name in entries if name.endswith("/")]
    mask_folders = mask_folders_among(here.path, folders, photos)
    kept = {*photos, *(f"{name}/" for name in folders if name not in mask_folders)}
    return Contents(by_name(kept), truths, mask_folders)


def folders_in(here: Directory) -> list[tuple[str, str]]:
    """As `Contents.folders`.

    Raises:
        RLIError: The folder cannot be listed.
    """
    contents = contents_of(here)
    if contents.problem:
        raise RLIError(contents.problem)
    return contents.folders()


def categories(path: Path, *marks: str) -> Iterator[tuple[Directory, str]]:
    """The folder of each category of a layout, with its name: `path` itself, or the folders in it.

    Args:
        path: The layout's folder.
        marks: A category holds one of these paths.

    Raises:
        RLIError: The folder cannot be listed.
    """

    def is_category(folder: Path) -> bool:
        return any((folder / mark).is_dir() for mark in marks)

    start = Directory(path)
    if is_category(path):
        yield start, path.resolve().name
        return
    for part, entry in folders_in(start):
        if is_category(path / entry):
            yield start.child(part, entry), entry


def photos_in(here: Directory, contents: Contents, masks: MaskFolders, **facts: Any) -> Iterator[Photo]:
    """The photographs that lie directly in a folder.

    Args:
        here: The folder.
        contents: What lies in it; where it could not be listed, one photograph comes with the problem.
        masks: The folders of their masks. A truth that is not in `masks.truth` is looked for in the folders of masks
            that belong to this one, and beside the photograph.
        facts: Further fields of each Photo, such as its label.
    """
    if contents.problem:
        yield Photo(here.name, here.path, here.source(), problem=contents.problem)
        return
    twins = (*here.twins, *(here.path / name for name in contents.mask_folders))
    places = [truths_in(masks.truth), *map(truths_in, twins), contents.truths]
    regions = truths_in(masks.region)
    for part, entry in contents.photos():
        region = next(iter(regions.masks_of(entry)), None)
        photo = Photo(joined(here.name, part), here.path / entry, here.source(entry), region_file=region, **facts)
        yield with_truth(photo, entry, places)


def _children(here: Directory, contents: Contents, above: frozenset[tuple[int, int]]) -> Iterator[Directory]:
    return (here.child(part, entry, above, contents.mask_folders) for part, entry in contents.folders())


def _name_of(entry: os.DirEntry) -> str:
    """The name of what may be a photograph or an annotation, a folder's with a / at its end; "" for all else and for
    hidden files."""
    is_of_use = is_image(entry.name) or is_annotation(entry.name)
    try:
        if entry.is_dir():
            return "" if is_passed_over(entry.name) else f"{entry.name}/"
    except OSError:  # such as a ring of links: nobody knows what it is, and listing it will say why
        return entry.name if is_image(entry.name) else f"{entry.name}/"
    return entry.name if is_of_use else ""


def is_passed_over(folder: str) -> bool:
    """Whether a folder of this name is hidden, or one that a system keeps its own files in."""
    return folder.startswith(".") or folder.lower() in SYSTEM_FOLDERS


def _is_run(folder: Path) -> bool:
    """Whether a run or a multirun has its output there: it would read what it writes."""
    return any((folder / name).exists() for name in (".hydra", "multirun.yaml"))


def _identity(path: Path) -> tuple[int, int]:
    """Device and inode."""
    status = path.stat()
    return status.st_dev, status.st_ino
