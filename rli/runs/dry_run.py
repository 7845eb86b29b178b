"""Estimate of a run's images, time and disk, by making the results of one photograph and deleting them."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rli.datasets.dataset import Dataset
from rli.errors import RLIError
from rli.photos.sources import PhotoSource
from rli.runs.job import Job
from rli.runs.model_spec import ModelSpec
from rli.runs.runner import Runner
from rli.runs.shards import pending
from rli.store.records import read_record


def forecast(job: Job, spec: ModelSpec, source: PhotoSource, folder: Path, dataset: Dataset | None) -> str:
    """How many images a run would make, how long it would take and how much disk space it needs.

    Args:
        job: The run's job.
        spec: Its model.
        source: The photographs.
        folder: The run's; nothing is written there.
        dataset: The data set that is asked for, or None.

    Returns:
        A few lines for the user.

    Raises:
        RLIError: Every photograph failed.
    """
    count, left = source.count(), sum(1 for _ in pending(job, source, folder))
    edits = sum(len(job.edits(job.prompts(photo))) for photo in source)
    runner = Runner.open(job, spec)
    for photo in source:
        with tempfile.TemporaryDirectory() as place:
            trial, began = replace(runner, job=replace(job, cache=Path(place, "cache"))), time.perf_counter()
            trial.make([photo], Path(place, "run"))
            seconds = time.perf_counter() - began
            run_bytes, cache_bytes = (_bytes(Path(place, name)) for name in ("run", "cache"))
            if read_record(Path(place, "run"), photo.name, trial.job.key(photo)) is not None:
                break
    else:
        raise RLIError(f"all {count} photographs failed")
    lines = [
        f"photographs: {count}, of which {left} are pending",
        f"images: {edits} edits" + (f" and {count} reconstructions" if job.original else ""),
        f"time: {left * seconds / 3600:.3g} h, {seconds:.3g} s a photograph ({photo.name}, on this machine)",
        f"disk: {_in_words(count * run_bytes)} in {folder}",
        f"      {_in_words(count * cache_bytes)} in {job.cache}",
    ]
    if dataset is not None:
        lines.append(f"data sets: {', '.join(dataset.formats)}; photographs in them: {dataset.originals}")
    return "\n".join(lines)


def _in_words(size: int) -> str:
    """A number of bytes in GB, and in MB where it is less than a tenth of one."""
    return f"{size / 2**30:.3g} GB" if size >= 0.1 * 2**30 else f"{size / 2**20:.2g} MB"


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
