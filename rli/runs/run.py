"""The story of a run: make the photographs' files, then write tables, page and data set.

What is asked for comes from `config.read_config`, which checks plain nested values. A sweep's story, after its runs, is
`gather`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rli.datasets.dataset import write_dataset
from rli.errors import RLIError
from rli.files import write_whole
from rli.photos.sources import Photo
from rli.progress import shown
from rli.reports.outputs import Outcome, write_outcome
from rli.reports.results import frame_of
from rli.reports.sweep import PUBLISHED, write_sweep
from rli.runs.config import RunConfig, card_settings
from rli.runs.dry_run import forecast
from rli.runs.ray_cluster import make_on_ray
from rli.runs.runner import Runner
from rli.runs.shards import exclusive, is_complete, outcome, pending
from rli.store.records import Failure, PhotoRecord, write_status
from rli.tracking.tracker import Tracker, open_tracker

# Where the configuration of a run lies in its folder.
CONFIG = Path(".hydra", "config.yaml")


def work(config: RunConfig, folder: Path, group: str | None = None) -> bool:
    """One run. What an earlier run of the same settings has made in the folder stays.

    Args:
        config: What is asked for, checked.
        folder: Where everything goes that the run leaves. Shards share another one, which the configuration names.
        group: The sweep's name; None outside of a sweep.

    Returns:
        Whether the tables are there: they are not after a dry run, nor where other shards are not done yet.

    Raises:
        RLIError: The folder holds the photographs, the model cannot be had, or no photograph could be done.
    """
    folder = folder if config.shard.is_all else config.out
    _check_folder(config, folder)
    if config.dry_run:
        print(forecast(config.job, config.model, config.source, folder, config.dataset))
        return False
    if not config.shard.is_all and not (folder / CONFIG).exists():
        # In a multirun Hydra writes it elsewhere; it tells the folder from one of photographs.
        write_whole(folder / CONFIG, yaml.safe_dump(dict(config.settings), sort_keys=False, allow_unicode=True))
    make(config, folder)
    if not config.shard.is_all and not is_complete(config.job, config.source, folder):
        print(f"shard {config.settings['shard']} is done: the shard that ends last writes the tables in {folder}")
        return False
    with exclusive(folder), tracked(config, folder, group) as tracker:
        finish(config, folder, tracker)
    if not config.shard.is_all:
        write_status(folder)  # in a multirun the shard's own folder is another
    if group is None:
        print((folder / "comparison.md").read_text())
    print(f"results: {folder / 'results.csv'}; page: {folder / 'report.html'}")
    return True


def _check_folder(config: RunConfig, folder: Path) -> None:
    path = config.settings["data"]["path"]
    if path and Path(path).resolve() == folder.resolve():
        raise RLIError(f"{folder} holds the photographs: let the results go to another folder")


def make(config: RunConfig, folder: Path) -> None:
    """The files of the shard's photographs that are pending, here or on a cluster's machines."""
    job = config.job

    def todo() -> Iterator[Photo]:
        return pending(job, config.shard.photos(config.source), folder, config.retry_failed)

    total = sum(1 for _ in todo())
    if total and config.cluster:
        make_on_ray(config.cluster, job, config.model, shown(todo(), "photographs", total), folder)
    elif total > 1:
        Runner.open(job, config.model).make(shown(todo(), "photographs", total), folder)
    elif total:
        Runner.open(job, config.model).make(todo(), folder, shown)


def finish(config: RunConfig, folder: Path, tracker: Tracker) -> None:
    """Tables, page and data set of what lies in the folder, which the tracker is told too.

    Raises:
        RLIError: No photograph could be done.
    """
    job, made, lost = config.job, *_outcomes(config, folder)
    outcome_of_run = Outcome(
        rows=frame_of([row for _, record in made for row in record.rows]),
        records=[record for _, record in made],
        failures=lost,
        settings=config.settings,
        title=f"{job.model}, {job.resolution} pixels",
    )
    write_outcome(
        folder, outcome_of_run, PUBLISHED, edits=config.edits_shown, floor_db=config.floor_db, tracker=tracker
    )
    if not made:
        many = f"none of {len(lost)} photographs could be done: see {folder / 'failed.csv'}"
        raise RLIError(lost[0].reason if len(lost) == 1 else many)
    if config.dataset is not None:
        card = card_settings(config.settings)
        counts = write_dataset(made, folder, config.dataset, card, job.inversion.seed)
        for name, count in counts.items():
            left_out = f", {count.left_out} left out (no known region)" if count.left_out else ""
            print(f"data set: {folder / 'dataset' / name}: {count.images} images, {count.objects} objects{left_out}")


def _outcomes(config: RunConfig, folder: Path) -> tuple[list[tuple[Photo, PhotoRecord]], list[Failure]]:
    """The photographs that are done, each with its record, and those that could not be."""
    made, lost = [], []
    for photo in config.source:
        found = outcome(config.job, photo, folder)
        if isinstance(found, Failure):
            lost.append(found)
        elif found is not None:
            made.append((photo, found))
    return made, lost


def gather(settings: Mapping[str, Any], folder: Path) -> None:
    """What the jobs of a sweep left, gathered into the sweep's folder and told to the tracker.

    Args:
        settings: The sweep's configuration, as plain values; of it model, tracking and report count.
        folder: The sweep's.

    Raises:
        RLIError: There are no jobs, or some failed; the others are gathered all the same.
    """
    report, model = settings["report"], settings["model"]["name"]
    tracking = _tracking(settings, folder.name, [model], f"{folder.name} summary", "summary")
    with open_tracker(folder=folder, config=settings, **tracking) as tracker:
        sweep = write_sweep([folder], folder, edits=report["edits"], floor_db=report["floor_db"], tracker=tracker)
    table = folder / "table.md"
    if table.is_file():
        print(table.read_text())
    if (folder / "results.csv").is_file():
        print(f"sweep: {folder / 'results.csv'}; page: {folder / 'report.html'}")
    if sweep.failed:
        where, first = folder / "failed.csv", sweep.failed[0].reason
        raise RLIError(f"{len(sweep.failed)} of {len(sweep.jobs)} jobs failed: see {where} ({first})")


@contextmanager
def tracked(config: RunConfig, folder: Path, group: str | None) -> Iterator[Tracker]:
    """The run's tracker; the runs of a sweep are a group of their own."""
    job = config.job
    tags = [job.model, job.inversion.method.name, *(target.name for target in job.targets)]
    name, kind = (f"{group}/{folder.name}", "job") if group else (None, "run")
    tracking = _tracking(config.settings, group, tags, name, kind)
    with open_tracker(folder=folder, config=config.settings, **tracking) as tracker:
        yield tracker


def _tracking(
    settings: Mapping[str, Any], group: str | None, tags: Iterable[str], name: str | None, job_type: str
) -> dict[str, Any]:
    """The tracker's options: the configuration's, with what a run adds to them."""
    options = dict(settings["tracking"])
    return {
        **options,
        "group": options["group"] or group,
        "tags": [*options["tags"], *tags],
        "name": name,
        "job_type": job_type,
        "floor_db": settings["report"]["floor_db"],
    }
