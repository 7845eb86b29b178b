"""Gathers runs from the files in their folders: at the end of a sweep, and later over any folders.

rli gather outputs/sweeps/2026-01-31_10-00-00-000000
rli gather outputs/sweeps/monday outputs/sweeps/tuesday --out outputs/both
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rli.errors import RLIError
from rli.metrics.columns import NAMES
from rli.package_files import resource_folder
from rli.reports.experiment_table import spec_of, write_table
from rli.reports.outputs import Outcome, write_outcome
from rli.reports.results import frame_of
from rli.reports.sweep_job import SweepJob, read_job
from rli.store.failures import Failure
from rli.store.paths import inside
from rli.store.records import PhotoRecord
from rli.tracking.tracker import Tracker

# Settings that differ between jobs and are no knobs: columns of the rows, or where things are.
NOT_KNOBS = (
    *("defect.", "resolution.", "data.", "dataset.", "tracking.", "report.", "table.", "model.", "runtime.", "out"),
    *("task", "export", "relabel", "shard", "dry_run", "retry_failed"),
)
# Settings that are columns of the rows under other names.
ROW_COLUMNS = {"resolution.height": "resolution", "resolution.width": "resolution", "model.name": "model"}
# Settings of those groups that are knobs all the same.
ALWAYS_KNOBS = ("defect.source", "model.weights", "model.vae", "runtime.dtype", "runtime.seed", *ROW_COLUMNS)
PUBLISHED = resource_folder("published") / "defect_comparison" / "published.csv"


@dataclass(frozen=True)
class Sweep:
    """The jobs of one or several folders."""

    # In the order of their names.
    jobs: tuple[SweepJob, ...]
    # The settings that differ between them, with dotted names ("edit.eq").
    knobs: tuple[str, ...]

    @property
    def failed(self) -> tuple[SweepJob, ...]:
        """The jobs that failed."""
        return tuple(job for job in self.jobs if job.reason)


def gather(folders: Sequence[Path]) -> Sweep:
    """Reads every job below the folders, whatever state it is in.

    Raises:
        RLIError: there are no jobs, or a folder is missing.
    """
    jobs = tuple(
        read_job(job, f"{prefix}{job.relative_to(folder).as_posix()}")
        for folder, prefix in zip(folders, _prefixes(folders), strict=True)
        for job in _job_folders(folder)
    )
    if not jobs:
        raise RLIError(f"no runs found in {' or '.join(map(str, folders))}")
    return Sweep(jobs, _knobs([job.settings for job in jobs if job.settings]))


def frame(sweep: Sweep, settings: Sequence[str] = ()) -> pd.DataFrame:
    """All rows of all jobs: their columns, then job, then one for each knob and each of `settings` (dotted names)."""
    names = dict.fromkeys(name for name in (*sweep.knobs, *settings) if name not in (*NAMES, "job"))
    parts = [
        frame_of(job.rows).assign(job=job.name, **{name: _cell(job.settings.get(name)) for name in names})
        for job in sweep.jobs
        if job.rows
    ]
    return pd.concat(parts, ignore_index=True) if parts else frame_of(())


def _cell(setting: Any) -> Any:
    """A setting as a table's cell: lists, and numbers of any length, as text."""
    is_plain = setting is None or isinstance(setting, (bool, float, str))
    is_plain = is_plain or (isinstance(setting, int) and abs(setting) < 2**53)
    return setting if is_plain else json.dumps(setting, default=str)


def records_of(sweep: Sweep) -> list[PhotoRecord]:
    """The record of every photograph of every job, those of the same name one after the other."""
    records = {(job.name, record.name): record for job in sweep.jobs for record in job.records}
    names = dict.fromkeys(row.image for job in sweep.jobs for row in job.rows)
    pairs = [(job.name, name) for name in names for job in sweep.jobs]
    return [records[pair] for pair in pairs if pair in records]


def failures_of(sweep: Sweep) -> list[Failure]:
    """The jobs that failed, with what was typed for them alone, and the photographs of all that could not be done or
    gathered."""
    typed = [job.overrides.split(", ") for job in sweep.jobs]
    common = set(typed[0]).intersection(*typed)
    lost = []
    for job, own in zip(sweep.jobs, typed, strict=True):
        if job.reason:
            lost.append(Failure(job.name, job.reason, " ".join(word for word in own if word not in common)))
        lost += [Failure(f"{job.name}/{photo.name}", photo.reason) for photo in job.lost]
    return lost


def write_sweep(
    folders: Sequence[Path],
    out: Path,
    published: Path = PUBLISHED,
    *,
    edits: int = 500,
    floor_db: float = 32.0,
    tracker: Tracker | None = None,
) -> Sweep:
    """Gathers the folders' jobs, whatever there is of them, also after a crash.

    Args:
        folders: of multiruns or single runs.
        out: where everything goes that `outputs.write_outcome` writes, the experiment's own table, and the pictures.
        published: the published comparison table; the folders beside its own hold those of other experiments.
        edits: `outputs.write_outcome`'s.
        floor_db: `outputs.write_outcome`'s.
        tracker: `outputs.write_outcome`'s.

    Returns:
        The jobs.

    Raises:
        RLIError: there are no jobs.
    """
    sweep = gather(folders)
    records, failures = records_of(sweep), failures_of(sweep)
    for record in records:
        try:
            _link(record, out)
        except (RLIError, IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            failures.append(Failure(f"{record.job}/{record.name}", str(error)))
    outcome = Outcome(
        rows=frame(sweep),
        records=records,
        failures=failures,
        settings={"jobs": {job.name: job.overrides for job in sweep.jobs}},
        title=f"Sweep of {len(sweep.jobs)} jobs",
        knobs=sweep.knobs,
    )
    write_outcome(out, outcome, published, edits=edits, floor_db=floor_db, tracker=tracker)
    spec = spec_of([job.settings for job in sweep.jobs if job.settings])
    if spec is not None and not outcome.rows.empty:
        write_table(out, frame(sweep, spec.rows), spec, published.parents[1])
    return sweep


def _job_folders(folder: Path) -> list[Path]:
    """The folders at or below `folder` that hold a job, in natural order."""
    if not folder.is_dir():
        raise RLIError(f"{folder}: there is no such folder")
    found = [folder, *(p.parent for p in folder.rglob(".hydra"))]
    jobs = {p for p in found if (p / ".hydra").is_dir()}
    return sorted(jobs, key=lambda p: _natural(p.relative_to(folder)))


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in path.parts]


def _prefixes(folders: Sequence[Path]) -> list[str]:
    """What precedes the jobs' names: nothing for a single folder, else the folder's name, numbered where two clash."""
    if len(folders) == 1:
        return [""]
    names = [folder.resolve().name for folder in folders]
    return [f"{name}-{k}/" if names.count(name) > 1 else f"{name}/" for k, name in enumerate(names, start=1)]


def _knobs(settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Settings with more than one value among the jobs, in the configuration's order; of size and model the rows'
    own columns."""
    names = dict.fromkeys(name for job in settings for name in job)
    varied = [name for name in names if len({repr(job.get(name)) for job in settings}) > 1]
    knobs = (ROW_COLUMNS.get(name, name) for name in varied if name in ALWAYS_KNOBS or not name.startswith(NOT_KNOBS))
    return tuple(dict.fromkeys(knobs))


def _link(record: PhotoRecord, out: Path) -> None:
    """A photograph's pictures under the sweep's folder: hard links, copies where the file system has none.

    Raises:
        RLIError: They would come to lie outside of it.
    """
    for stem in record.pictures:
        source, goal = record.picture(stem), inside(out, f"images/{record.job}/{record.name}/{stem}.png")
        if source.resolve() == goal.resolve():
            continue
        goal.parent.mkdir(parents=True, exist_ok=True)
        goal.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), goal)
        except OSError:
            shutil.copy2(source, goal)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 2 and one line on stderr for what the user can correct."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of sweeps or of single runs")
    parser.add_argument(
        "--out", type=Path, help="the folder for the tables and the page; by default the one that is gathered"
    )
    parser.add_argument("--edits", type=int, default=500, help="the most edits that the page shows")
    parser.add_argument(
        "--floor", type=float, default=32.0, help="background PSNR in dB that a good setting must reach"
    )
    args = parser.parse_args(arguments)
    if args.out is None and len(args.folders) > 1:
        parser.error("several folders need --out, the folder for the tables and the page")
    out = args.out or args.folders[0]
    try:
        sweep = write_sweep(args.folders, out, edits=args.edits, floor_db=args.floor)
    except (RLIError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for job in sweep.failed:
        print(f"failed: job {job.name}: {job.reason}", file=sys.stderr)
    print(f"{len(sweep.jobs)} jobs, {len(sweep.failed)} failed: {out / 'results.csv'}; page: {out / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
