"""Where photographs come from: the readers by their names, and the options that all of them share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from rli.errors import RLIError, SettingError, one_of, shortened, shown, whole, within
from rli.images import FITS
from rli.photos.coco import CocoReader
from rli.photos.dagm import DagmReader
from rli.photos.folder import FolderReader
from rli.photos.image import ImageReader
from rli.photos.kolektor_sdd import KolektorSddReader
from rli.photos.layouts import layout_of
from rli.photos.listing import ListReader
from rli.photos.magnetic_tile import MagneticTileReader
from rli.photos.markings import MaskFile
from rli.photos.mvtec_ad import MvtecAdReader
from rli.photos.photo import REGIONS, Photo, Reader
from rli.photos.placement import Placer, placer
from rli.photos.placement_settings import Placement
from rli.photos.sample import SampleReader
from rli.photos.visa import VisaReader
from rli.photos.walk import PhotoFolder, unreadable_file

__all__ = ["READERS", "Photo", "PhotoSource", "Reader", "photos"]

READERS: dict[str, type[Reader]] = {
    "sample": SampleReader,
    "image": ImageReader,
    "folder": FolderReader,
    "mvtec_ad": MvtecAdReader,
    "kolektor_sdd": KolektorSddReader,
    "visa": VisaReader,
    "dagm": DagmReader,
    "magnetic_tile": MagneticTileReader,
    "coco": CocoReader,
    "list": ListReader,
}
# Refused where a reader has no use for them: whoever names masks wants them used.
MASK_PATHS = ("mask_path", "truth_path")
# Photographs whose classes a message names at most.
MOST_LOOKED_AT = 10_000


@dataclass(frozen=True)
class PhotoSource:
    """Photographs that can be gone through any number of times, in a fixed order; each time they are found anew, one
    by one, and none is kept.

    Raises:
        SettingError: A bad value.
    """

    reader: Reader
    # Photographs at most; None is all.
    limit: int | None = None
    # How photographs are brought to a size: resize or letterbox.
    fit: str = "resize"
    # What an edit may change where no mask file says so: one of REGIONS.
    region: str = "auto"
    # Of auto: how far the region lies around the photograph's own defect, in pixels; below 1 a share of the
    # photograph's shorter side.
    margin: float = 8.0
    # The classes whose photographs are wanted; None is all.
    classes: Sequence[str] | None = None
    # Gives photographs without a defect a place for one; None where none is asked for.
    placer: Placer | None = None

    def __post_init__(self) -> None:
        one_of("fit", self.fit, FITS)
        one_of("region", self.region, REGIONS)
        within("margin", self.margin, 0, 10_000)
        if self.limit is not None:
            whole("limit", self.limit, 1, 2**63 - 1)

    def __iter__(self) -> Iterator[Photo]:
        region = f"{self.region} {self.margin:g}" if self.region == "auto" else self.region
        for found in islice(self._wanted(), self.limit):
            photo = self.placer.placed(found) if self.placer else found
            stamp = _stamp(photo, self.fit, region)
            yield replace(photo, fit=self.fit, default_region=self.region, margin=self.margin, stamp=stamp)

    def _wanted(self) -> Iterator[Photo]:
        return (photo for photo in self.reader if self.classes is None or photo.label in self.classes)

    def placing(self, placement: Placement, seed: int) -> PhotoSource:
        """The same photographs, of which those without a defect get a place for one.

        Args:
            placement: What is wanted; a pool takes the masks of all of the reader's photographs.
            seed: Of what is drawn at random.

        Raises:
            SettingError: A pool is wanted, and no photograph has the mask of a defect.
        """
        return replace(self, placer=placer(placement, seed, self.reader))

    def filled(self) -> Iterator[Path]:
        """The folders that the reader passes over because runs have their output there."""
        return self.reader.filled() if isinstance(self.reader, PhotoFolder) else iter(())

    def remark(self) -> str | None:
        """A line about a reader that knows more of the folder than this one does; None where there is none."""
        folder = self.reader.path if isinstance(self.reader, FolderReader) else None
        layout = layout_of(folder) if folder else None
        return layout and f"{shown(folder)} is laid out as data={layout} reads it, with its classes and masks"

    def count(self) -> int:
        """How many there are, without opening a photograph (kolektor_sdd opens masks)."""
        return sum(1 for _ in islice(self._wanted(), self.limit))


def photos(
    kind: str | Reader | type[Reader],
    path: str | Path | None = None,
    *,
    mask_path: str | Path | None = None,
    truth_path: str | Path | None = None,
    limit: int | None = None,
    fit: str = "resize",
    region: str = "auto",
    margin: float = 8.0,
    classes: Sequence[str] | None = None,
    **settings: Any,
) -> PhotoSource:
    """The photographs of a source. What is wrong with a single photograph comes when that is read.

    Args:
        kind: The name of one of READERS; or a reader's class of one's own; or a reader, made with all of its settings.
        path: A photograph, a folder or a list, as the reader expects it.
        mask_path: Masks of what edits may change: a file for one image; for several a folder that holds a mask of the
            same stem in the same relative place.
        truth_path: Masks of the photographs' own defects, in the same way.
        limit: Photographs at most; None is all.
        fit: resize stretches photographs to a size, letterbox keeps their aspect ratio.
        region: What an edit may change where no mask says so: the truth, which is the photograph's own defect; auto,
            the truth with a margin around it; or what attention finds. Where no defect is known, all three are that.
        margin: Of auto, in pixels; below 1 a share of the photograph's shorter side.
        classes: The classes whose photographs are wanted; None is all.
        settings: Further fields of the reader, such as `samples`, `recursive` or `good`; those that only other READERS
            have are passed over.

    Raises:
        SettingError: A bad value, or a path that is not there.
        RLIError: No photographs are found.
    """
    given = {"path": path, "mask_path": mask_path, "truth_path": truth_path}
    paths = {name: Path(value).expanduser() for name, value in given.items() if value is not None}
    if isinstance(kind, str):
        one_of("kind", kind, tuple(READERS))
        kind = READERS[kind]
    if isinstance(kind, type):
        reader = _reader(kind, paths | settings)
    elif paths or settings:
        raise RLIError(
            "a reader that is given as an object has its paths and settings already; give them to the reader"
        )
    else:
        reader = kind
    source = PhotoSource(reader, limit, fit, region, margin, classes)
    if next(iter(source), None) is None and next(iter(reader), None) is not None:
        there = ", ".join(sorted({photo.label or "none" for photo in islice(reader, MOST_LOOKED_AT)}))
        problem = f"no photograph is of one of these classes; there are {shortened(there)}"
        raise SettingError("classes", [*(classes or ())], problem)
    if next(iter(reader), None) is None:
        where = f"{shown(path)}: " if path else ""
        filled = next(source.filled(), None)
        other = unreadable_file(Path(path)) if path and Path(path).is_dir() and not filled else None
        why = f"; {shown(filled)} is left out, because a run has its output there" if filled else ""
        why = f"; {shown(other[0])} is {other[1]}" if other else why
        raise RLIError(f"{where}no photographs found; expected {reader.expects}{why}")
    return source


def _reader(reader: type[Reader], settings: Mapping[str, Any]) -> Reader:
    """The reader with its own settings."""
    name = next((name for name, known in READERS.items() if known is reader), reader.__name__)
    own = _settings_of(reader)
    passed_over = {setting for other in READERS.values() for setting in _settings_of(other)} - set(MASK_PATHS)
    for setting, value in settings.items():
        if setting not in own | passed_over:
            problem = f"unknown setting of {name}; expected some of {', '.join(sorted(own))}"
            raise SettingError(setting, shown(value), problem)
    if "path" in own and "path" not in settings:
        raise SettingError("path", None, f"{name} needs it; expected {reader.expects}")
    return reader(**{setting: value for setting, value in settings.items() if setting in own})


def _settings_of(reader: type[Reader]) -> set[str]:
    return {field.name for field in fields(reader)}


def _stamp(photo: Photo, fit: str, region: str) -> str:
    """Text that changes when a photograph's files do, or what is done with them."""
    masks = [("truth", marking.file) for marking in photo.markings if isinstance(marking, MaskFile)]
    files = ("photo", photo.file), ("region", photo.region_file), *masks
    stamps = [f"{what} {_file_stamp(file)}" for what, file in files if file]
    # Of an annotation what it says of this photograph: one file may speak of many.
    if drawn := [marking for marking in photo.markings if not isinstance(marking, MaskFile)]:
        stamps.append(f"truth {hashlib.sha256(repr(drawn).encode()).hexdigest()}")
    # A problem that has passed, such as a mask that could not be read, leaves nothing behind.
    if photo.place is not None:
        stamps.append(f"place {photo.place.stamp}")
    return " ".join([fit, region, *stamps, *([f"problem {photo.problem}"] if photo.problem else [])])


def _file_stamp(file: Path) -> str:
    try:
        status = file.stat()
    except (OSError, ValueError):
        return file.name
    return f"{file.name} {status.st_size} {status.st_mtime_ns}"
