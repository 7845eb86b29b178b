"""How processes share a run's photographs: which are finished, which are pending, and which process does what.

What is made lies in the run's folder photograph by photograph, so that any number of processes may share the work and
any of them may stop.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rli.errors import SettingError, shown
from rli.files import locked
from rli.photos.sources import Photo, PhotoSource
from rli.runs.job import Job
from rli.store.failures import Failure, read_failure
from rli.store.records import PhotoRecord, read_record, record_path

DECIMAL = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Shard:
    """One of `count` equal parts of the photographs: every count-th, from `index` (0 … count-1)."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """From "0/4"; None is all photographs. Raises SettingError."""
        if text is None:
            return cls()
        index, _, count = str(text).partition("/")
        if not (DECIMAL.fullmatch(index) and DECIMAL.fullmatch(count) and int(index) < int(count)):
            raise SettingError("shard", text, "expected INDEX/COUNT, such as 0/4, 1/4, 2/4 and 3/4 for four shards")
        return cls(int(index), int(count))

    @property
    def is_all(self) -> bool:
        """Whether there is no other shard."""
        return self.count == 1

    def photos(self, source: Iterable[Photo]) -> Iterator[Photo]:
        """The shard's photographs."""
        return islice(source, self.index, None, self.count)


def outcome(job: Job, photo: Photo, folder: Path) -> PhotoRecord | Failure | None:
    """What a run's folder has of a photograph: its record, its failure, or None while it is pending."""
    key = job.key(photo)
    return read_record(folder, photo.name, key) or read_failure(folder, photo.name, key)


def pending(job: Job, photos: Iterable[Photo], folder: Path, retry_failed: bool = False) -> Iterator[Photo]:
    """The photographs that are still to be done. Those whose failure may have passed are among them.

    Args:
        job: The run's.
        photos: The photographs to look through.
        folder: The run's.
        retry_failed: Whether those that would fail again are tried again all the same.

    Yields:
        The photographs, in order.
    """
    for photo in photos:
        found = outcome(job, photo, folder)
        if found is None or (isinstance(found, Failure) and (retry_failed or not found.is_lasting)):
            yield photo


def is_complete(job: Job, source: PhotoSource, folder: Path) -> bool:
    """Whether every photograph of the source has its record or its failure."""
    return all(outcome(job, photo, folder) is not None for photo in source)


def without_damage(job: Job, photos: Iterable[Photo], folder: Path) -> Iterator[Photo]:
    """All photographs. Where a picture of one is lost, damaged or another's, its record is taken away first, so that
    the photograph is pending again; its inversion is in the cache."""
    for photo in photos:
        record = read_record(folder, photo.name, job.key(photo))
        if record is not None and (damage := record.damage()):
            print(f"made again: {record.name}: {damage}", file=sys.stderr, flush=True)
            record_path(folder, photo.name).unlink(missing_ok=True)
        yield photo


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One process at a time writes a run's tables; the others wait."""
    place = folder / "records"
    place.mkdir(parents=True, exist_ok=True)
    with locked(place / ".lock", f"another process writes the tables of {shown(folder)}"):
        yield
