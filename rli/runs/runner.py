"""From photographs to a folder of results, and from that to labelled data sets.

Making and writing are apart: what is made lies in the folder photograph by photograph, so that any number of processes
may share the work and any of them may stop; a data set is a function of what lies there, and of nothing else.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from filelock import FileLock

from rli.datasets.dataset import Dataset
from rli.errors import RLIError
from rli.metrics import lpips as perceptual
from rli.metrics.columns import Judge
from rli.metrics.lpips import Lpips
from rli.models.diffusion import Model, compiled, load
from rli.photos.sources import Photo, PhotoSource
from rli.progress import Progress, quiet
from rli.runs.job import Job, run
from rli.store.records import Failure, Told, read_failure, read_record, write_failure, write_photo

# Seconds after which nobody is writing a file that still has its temporary name.
STALE = 600


@dataclass(frozen=True)
class Maker:
    """A job and where its model comes from: plain values, so that another process can make the same."""

    job: Job
    weights: str | None = None
    vae: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False

    def open(self) -> Studio:
        """Loads the model and whatever judges its pictures."""
        model = load(
            self.job.model,
            self.weights,
            vae=self.vae,
            device=self.device,
            dtype=self.dtype,
            offload=True,  # nothing is placed before the job's plan says what has room
        )
        lpips, judge = perceptual.load_lpips(), None
        if lpips is None:
            say("warning: LPIPS stays empty: its VGG-16 weights are neither kept on this machine nor within reach")
        if self.job.model == "mini":
            from rli.models.mini.classifier import judge_of, load_classifier

            judge = judge_of(load_classifier())
        return Studio(self.job, compiled(model) if self.compile else model, lpips, judge)


@dataclass(frozen=True)
class Studio:
    """A job with its model loaded."""

    job: Job
    model: Model
    lpips: Lpips | None
    judge: Judge | None

    def make(self, photos: Iterable[Photo], folder: Path, progress: Progress) -> None:
        """Each photograph's files in `folder`, or why there are none."""
        keys: dict[str, str] = {}

        def noted() -> Iterator[Photo]:
            for photo in photos:
                keys[photo.name] = self.job.key(photo)
                yield photo

        for result in run(self.model, self.job, noted(), self.lpips, progress, self.judge):
            key = keys.pop(result.name)
            if isinstance(result, Failure):
                say(f"skipped: {result.reason}")
                write_failure(folder, result.name, key, result.reason)
            else:
                write_photo(folder, result)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Part:
    """One of `of` equal parts of the photographs: every of-th, from `index` (0 … of-1)."""

    index: int = 0
    of: int = 1

    @classmethod
    def read(cls, text: str | None) -> Part:
        """From "0/4"; None is all. Raises RLIError."""
        if text is None:
            return cls()
        index, _, of = str(text).partition("/")
        if not (index.isdecimal() and of.isdecimal() and int(index) < int(of)):
            raise RLIError(f"shard={text}: write which part of how many, from 0/4 to 3/4 for four")
        return cls(int(index), int(of))

    def of_photos(self, photos: Iterable[Photo]) -> Iterator[Photo]:
        return islice(photos, self.index, None, self.of)


def foreseen(maker: Maker, source: PhotoSource, folder: Path, dataset: Dataset | None) -> str:
    """What a run would come to, in words: how many images, how long by one photograph that is made for it and thrown
    away, and how much disk. Raises RLIError where not one photograph can be made."""
    job, photos = maker.job, source.count()
    left = sum(1 for _ in pending(job, source, folder))
    each = len(job.targets) * job.variants.count
    studio = maker.open()
    for photo in source:
        with tempfile.TemporaryDirectory() as place:
            trial, began = replace(studio, job=replace(job, cache=Path(place, "cache"))), time.perf_counter()
            trial.make([photo], Path(place, "run"), quiet)
            seconds = time.perf_counter() - began
            sizes = {name: _bytes(Path(place, name)) for name in ("run", "cache")}
            if read_record(Path(place, "run"), photo.name, trial.job.key(photo)) is not None:
                break
    else:
        raise RLIError(f"none of {photos} photographs could be done")
    lines = [
        f"photographs: {photos}, of which {left} are to be done",
        f"images: {photos * each} edits" + (f" and {photos} reconstructions" if job.original else ""),
        f"time: {left * seconds / 3600:.3g} h, {seconds:.3g} s a photograph ({photo.name}, on this machine)",
        f"disk: {photos * sizes['run'] / 2**30:.3g} GB in {folder}",
        f"      {photos * sizes['cache'] / 2**30:.3g} GB in {job.cache}",
    ]
    if dataset is not None:
        lines.append(f"data sets: {', '.join(dataset.formats)}, by links where the file system has them")
    return "\n".join(lines)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def outcome(job: Job, photo: Photo, folder: Path) -> Told | Failure | None:
    """What lies in the folder of a photograph; None where it is still to be done."""
    key = job.key(photo)
    told = read_record(folder, photo.name, key)
    if told is None and (reason := read_failure(folder, photo.name, key)) is not None:
        return Failure(photo.name, reason)
    return told


def pending(job: Job, photos: Iterable[Photo], folder: Path, retry_failed: bool = False) -> Iterator[Photo]:
    """The photographs that are neither done nor known to fail."""
    for photo in photos:
        found = outcome(job, photo, folder)
        if found is None or (retry_failed and isinstance(found, Failure)):
            yield photo


def is_complete(job: Job, source: PhotoSource, folder: Path) -> bool:
    return next(pending(job, source, folder), None) is None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time: the others wait. What a killed one left half written is removed, once nobody can be at it
    any more."""
    place = folder / "records"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):
        for part in folder.rglob(".part-*"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > STALE:
                    part.unlink()
        yield
