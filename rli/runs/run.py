"""A run from start to end: make the photographs' files, then write tables, page and data set.

Its settings come from `config.read_config`, which checks plain nested values. After a sweep's runs, `gather` gathers
them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from rli.datasets.dataset import check_names, write_dataset
from rli.datasets.groups import check_group_rule
from rli.errors import RLIError, shortened
from rli.errors import shown as shown_path
from rli.files import write_whole
from rli.photos.sources import Photo
from rli.progress import shown
from rli.reports.examples import examples_of
from rli.reports.outputs import Outcome, write_outcome
from rli.reports.results import frame_of
from rli.reports.sweep import PUBLISHED, write_sweep
from rli.runs.class_prompts import asked_again, without_prompts
from rli.runs.config import RunConfig, card_settings
from rli.runs.dry_run import forecast
from rli.runs.found import LONG, Found, find
from rli.runs.groups import check_group, keyed
from rli.runs.ray_cluster import make_on_ray
from rli.runs.runner import Runner
from rli.runs.schema import GROUPS
from rli.runs.shards import exclusive, is_complete, outcome, pending, without_damage
from rli.store.failures import Failure, write_status
from rli.store.paths import remove_leftovers
from rli.store.records import PhotoRecord
from rli.tracking.tracker import Tracker, open_tracker

# Where the configuration of a run lies in its folder.
CONFIG = Path(".hydra", "config.yaml")
# Folders of photographs that are named at most.
MOST_NAMED = 5


def work(config: RunConfig, folder: Path, group: str | None = None) -> bool:
    """One run. What an earlier run of the same settings has made in the folder stays.

    Args:
        config: What is asked for, checked.
        folder: The run's folder. Shards share another one, which the configuration names.
        group: The sweep's name; None outside of a sweep.

    Returns:
        Whether the tables were written: not in a dry run, nor while other shards are at work.

    Raises:
        RLIError: The model cannot be loaded, or all photographs failed.
    """
    folder = folder_of(config, folder)
    if config.dataset is not None:
        job = config.job
        with keyed("dataset"):
            check_group_rule(config.dataset.group, config.source)
        check_names(config.source, lambda photo: job.edits(job.prompts(photo)), job.classes, config.dataset)
    for line in remarks(config):
        print(line, file=sys.stderr)
    if config.dry_run:
        found = find(config.source, (config.job.height, config.job.width))
        print(found.table, end="\n\n", flush=True)
        warn_of(found)
        print(forecast(config.job, config.model, config.source, folder, config.dataset))
        return False
    if not config.shard.is_all and not (folder / CONFIG).exists():
        write_config(config, folder)  # in a multirun Hydra writes it elsewhere
    make(config, folder)
    if not config.shard.is_all and not is_complete(config.job, config.source, folder):
        print(f"shard {config.settings['shard']} is finished; the last shard to finish writes the tables in {folder}")
        return False
    with exclusive(folder), tracked(config, folder, group) as tracker:
        finish(config, folder, tracker)
    if not config.shard.is_all:
        write_status(folder)  # in a multirun the shard's own folder is another
    if group is None:
        print((folder / "comparison.md").read_text())
    print(f"results: {folder / 'results.csv'}; page: {folder / 'report.html'}")
    return True


def write_config(config: RunConfig, folder: Path) -> None:
    """Writes the run's configuration into its folder, which it marks as a run's."""
    write_whole(folder / CONFIG, yaml.safe_dump(dict(config.settings), sort_keys=False, allow_unicode=True))


def folder_of(config: RunConfig, folder: Path) -> Path:
    """Where everything goes that the run writes: its folder, or that of all shards.

    Raises:
        RLIError: It holds the photographs.
    """
    folder = folder if config.shard.is_all else config.out
    check_folder(config.settings["data"]["path"], folder)
    return folder


def check_folder(photographs: str | None, folder: Path) -> None:
    """Raises RLIError where the results would go to the folder of the photographs."""
    if photographs and Path(photographs).expanduser().resolve() == folder.resolve():
        raise RLIError(f"{folder} holds the photographs; choose another folder for the results (hydra.run.dir=…)")


def remarks(config: RunConfig) -> Iterator[str]:
    """Lines about what is passed over: folders of photographs in which runs have their output, classes for which there
    are no prompts, a placement for which there is no photograph, and defects that no label will name; and about a
    reader that knows more of the folder.
    """
    if config.job.by_class and (others := without_prompts(config.job.by_class, config.source)):
        named = ", ".join(map(shortened, others[:MOST_NAMED])) + (" and others" if len(others) > MOST_NAMED else "")
        yield f"no prompts of their own, so that they have those of defect=…: {named}"
    if config.source.placer is not None and not any(photo.place for photo in config.source):
        yield "nothing is placed: no photograph is labelled good, or without a label and a mask"
    loses_labels = config.dataset is not None and config.dataset.relabel == "auto" and config.job.edit.fresh == 1
    if loses_labels and (pair := asked_again(config.source, config.job.prompts)):
        name, label = map(shortened, pair)
        yield (
            f"the prompt of {name} still asks for “{label}”, which is drawn anew with edit.fresh=1, where no label "
            "names it; let the new word take its place"
        )
    filled = [shown_path(folder) for folder in islice(config.source.filled(), MOST_NAMED + 1)]
    if filled:
        named = ", ".join(filled[:MOST_NAMED]) + (" and others" if len(filled) > MOST_NAMED else "")
        yield f"left out, because runs have their output there: {named}"
    if remark := config.source.remark():
        yield remark


def make(config: RunConfig, folder: Path) -> None:
    """Makes the files of the shard's pending photographs, here or on a cluster's machines."""
    job = config.job
    for place in (folder, job.cache):
        remove_leftovers(place)

    def todo(photos: Iterable[Photo]) -> Iterator[Photo]:
        return pending(job, photos, folder, config.retry_failed)

    def own() -> Iterator[Photo]:
        return config.shard.photos(config.source)

    total = sum(1 for _ in todo(without_damage(job, own(), folder)))
    if total and config.shard.index == 0:
        found = find(config.source, (job.height, job.width))
        if total >= LONG:
            print(found.table, file=sys.stderr, flush=True)
        warn_of(found)
    if total and config.cluster:
        make_on_ray(config.cluster, job, config.model, shown(todo(own()), "photographs", total), folder)
    elif total > 1:
        Runner.open(job, config.model).make(shown(todo(own()), "photographs", total), folder)
    elif total:
        Runner.open(job, config.model).make(todo(own()), folder, shown)


def warn_of(found: Found) -> None:
    """Says what looks like a mistake."""
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr, flush=True)


def finish(config: RunConfig, folder: Path, tracker: Tracker) -> None:
    """Writes and tracks tables, page and data set of all results in the folder.

    Args:
        config: The run's settings.
        folder: The run's, or the one that all shards share.
        tracker: Where rows and pictures are logged.

    Raises:
        RLIError: All photographs failed, or there are no images for the data set.
    """
    job, made, lost = config.job, *_outcomes(config, folder)
    outcome_of_run = Outcome(
        rows=frame_of([row for _, record in made for row in record.rows]),
        records=[record for _, record in made],
        failures=lost,
        settings=config.settings,
        title=f"{job.model}, {job.resolution} pixels",
        examples=examples_of([photo for photo, _ in made], (job.height, job.width)),
    )
    write_outcome(
        folder, outcome_of_run, PUBLISHED, edits=config.edits_shown, floor_db=config.floor_db, tracker=tracker
    )
    if not made:
        many = f"all {len(lost)} photographs failed; the reasons are in {folder / 'failed.csv'}"
        raise RLIError(lost[0].reason if len(lost) == 1 else many)
    if config.dataset is not None:
        card = card_settings(config.settings)
        counts = write_dataset(made, folder, config.dataset, card, job.inversion.seed)
        for name, count in counts.items():
            line = f"data set: {folder / 'dataset' / name}: {count.images} images, {count.objects} objects"
            left_out = f"; {count.left_out} images left out because nobody knows where their defect is"
            print(line + (left_out if count.left_out else ""))


def _outcomes(config: RunConfig, folder: Path) -> tuple[list[tuple[Photo, PhotoRecord]], list[Failure]]:
    """The photographs with results, each with its record, and the failures."""
    made, lost = [], []
    for photo in config.source:
        found = outcome(config.job, photo, folder)
        if isinstance(found, Failure):
            lost.append(found)
        elif found is not None:
            made.append((photo, found))
    return made, lost


def gather(settings: Mapping[str, Any], folder: Path) -> None:
    """Gathers the results of a sweep's jobs into the sweep's folder, and tracks them.

    Args:
        settings: The sweep's configuration, as plain values; of it model, tracking and report count.
        folder: The sweep's.

    Raises:
        RLIError: There are no jobs, or some failed (the others are gathered).
    """
    for name in ("model", "tracking", "report"):
        check_group(GROUPS[name], name, settings.get(name))
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
        raise RLIError(
            f"{len(sweep.failed)} of {len(sweep.jobs)} jobs failed; the reasons are in {where} (the first: {first})"
        )


@contextmanager
def tracked(config: RunConfig, folder: Path, group: str | None) -> Iterator[Tracker]:
    """The run's tracker; the runs of a sweep are a group of their own."""
    job = config.job
    tags = [job.model, job.inversion.method.name, *job.classes]
    name, kind = (f"{group}/{folder.name}", "job") if group else (None, "run")
    tracking = _tracking(config.settings, group, tags, name, kind)
    with open_tracker(folder=folder, config=config.settings, **tracking) as tracker:
        yield tracker


def _tracking(
    settings: Mapping[str, Any], group: str | None, tags: Iterable[str], name: str | None, job_type: str
) -> dict[str, Any]:
    """The tracker's options: the configuration's, with what a run adds to them."""
    options = dict(settings["tracking"])
    own_tags = [options["tags"]] if isinstance(options["tags"], str) else options["tags"]
    return {
        **options,
        "group": options["group"] or group,
        "tags": [*own_tags, *tags],
        "name": name,
        "job_type": job_type,
        "floor_db": settings["report"]["floor_db"],
    }
