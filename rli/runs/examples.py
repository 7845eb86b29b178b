"""Which photograph's defect is an edit's example: one for all, or one of many, drawn by the seed."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rli.errors import RLIError, SettingError, shown
from rli.method.fresh_noise import seed_of
from rli.photos.layouts import layout_of
from rli.photos.listing import LIST_SUFFIXES
from rli.photos.photo import GOOD, Photo
from rli.photos.sources import photos

# Photographs that a pool holds at most, drawn by the seed from all that there are.
MOST = 200


@dataclass(frozen=True)
class ExampleSettings:
    """Where examples come from; `find_examples` says what is wrong with them."""

    # A photograph's file, or the name of one of the data set's. None: no example, or the pool's.
    example: str | None = None
    # The mask of its defect; None where that lies beside it, or is known.
    example_mask: str | None = None
    # A folder or a list of photographs with masks, of which each edit has one.
    example_pool: str | None = None

    @property
    def are_wanted(self) -> bool:
        """Whether there are to be examples."""
        return self.example is not None or self.example_pool is not None


@dataclass(frozen=True)
class Examples:
    """Photographs whose defects are known: what edits are to look like."""

    # At least one.
    photos: tuple[Photo, ...]
    # The run's.
    seed: int

    def of(self, photo: Photo, label: str, k: int) -> Photo:
        """The example of a photograph's variant k, from 0.

        Those of the wanted class come first into question, and all where none is of it; of several never the photograph
        itself. The choice depends on the seed and on names alone.

        Args:
            photo: What is edited.
            label: The class of its new defect.
            k: The variant; each has another one, until all have had their turn.
        """
        of_class = [one for one in self.photos if one.label.casefold() == label.casefold()] or self.photos
        others = [one for one in of_class if one.file != photo.file] or [*of_class]
        order = sorted(others, key=lambda one: seed_of(self.seed, photo.name, one.name))
        return order[k % len(order)]

    def stamp(self, photo: Photo, labels: Iterable[str], count: int) -> list[str]:
        """What the edits of a photograph, `count` variants of each class, depend on: it changes when a file does."""
        chosen = [self.of(photo, label, k) for label in labels for k in range(count)]
        return [f"{one.name} {one.stamp} {one.label}" for one in chosen]


def find_examples(settings: ExampleSettings, data: Iterable[Photo], seed: int) -> Examples | None:
    """The examples that are wanted; no photograph is opened. None where none are.

    Args:
        settings: Where they come from.
        data: The data set, gone through where an example is named by its name.
        seed: The run's.

    Raises:
        SettingError: They are not there, or nothing says where their defects are.
    """
    if settings.example is not None and settings.example_pool is not None:
        raise SettingError("example_pool", settings.example_pool, "there is an example already; leave one of them out")
    if settings.example_mask is not None and settings.example is None:
        raise SettingError("example_mask", settings.example_mask, "it needs edit.example, the photograph that it is of")
    if settings.example_pool is not None:
        return Examples(_pool(settings.example_pool, seed), seed)
    if settings.example is None:
        return None
    one = _named(settings.example, settings.example_mask, data)
    if not one.markings:
        problem = "nothing says where its defect is; name its mask with edit.example_mask"
        raise SettingError("example", shown(settings.example), problem)
    return Examples((one,), seed)


def _named(name: str, mask: str | None, data: Iterable[Photo]) -> Photo:
    """The photograph in a file, or the one of the data set with this name."""
    file = Path(name).expanduser()
    if file.is_file():
        return _image(file, mask)
    for photo in data:
        if name in (photo.name, photo.source):
            return photo if mask is None or photo.file is None else _image(photo.file, mask)
    raise SettingError("example", shown(name), "there is no such file, and no photograph of the data set has that name")


def _image(file: Path, mask: str | None) -> Photo:
    try:
        (photo,) = photos("image", file, truth_path=mask)
    except SettingError as error:
        raise error.renamed("example_mask" if error.name == "truth_path" else "example") from None
    return photo


def _pool(path: str, seed: int) -> tuple[Photo, ...]:
    """The defective photographs with masks in a folder, of whichever layout, or in a list."""
    place = Path(path).expanduser()
    is_list = place.suffix.lower() in LIST_SUFFIXES
    try:
        found = photos("list" if is_list else layout_of(place) or "folder", place)
    except RLIError as error:
        raise SettingError("example_pool", shown(path), str(error)) from None
    usable = (one for one in found if one.markings and one.label != GOOD and not one.problem)
    kept = heapq.nsmallest(MOST, usable, key=lambda one: seed_of(seed, "example", one.name))
    if not kept:
        raise SettingError("example_pool", shown(path), "none of its photographs has the mask of a defect")
    return tuple(kept)
