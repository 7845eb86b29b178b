"""How processes share a run's photographs: which are finished, which are pending, and which process does what.

What is made lies in the run's folder photograph by photograph, so that any number of processes may share the work and
any of them may stop.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from filelock import FileLock

from rli.errors import SettingError
from rli.photos.sources import Photo, PhotoSource
from rli.runs.job import Job
from rli.store.records import Failure, PhotoRecord, read_failure, read_record

# Seconds after which nobody is writing a file that still has its temporary name.
STALE = 600


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
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
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
    record = read_record(folder, photo.name, key)
    if record is None and (reason := read_failure(folder, photo.name, key)) is not None:
        return Failure(photo.name, reason)
    return record


def pending(job: Job, photos: Iterable[Photo], folder: Path, retry_failed: bool = False) -> Iterator[Photo]:
    """The photographs that are still to be done.

    Args:
        job: The run's.
        photos: The photographs to look through.
        folder: The run's.
        retry_failed: Whether those that failed before are tried again.

    Yields:
        The photographs, in order.
    """
    for photo in photos:
        found = outcome(job, photo, folder)
        if found is None or (retry_failed and isinstance(found, Failure)):
            yield photo


def is_complete(job: Job, source: PhotoSource, folder: Path) -> bool:
    """Whether every photograph of the source has its record or its failure."""
    return next(pending(job, source, folder), None) is None


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One process at a time writes a run's tables; the others wait.

    What a killed process left half written is removed, once nobody can be writing it any more.
    """
    place = folder / "records"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):
        for part in folder.rglob(".part-*"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > STALE:
                    part.unlink()
        yield
