"""A multirun's jobs, gathered from the files that each of them left: at its end, and later over any folders.

python -m rli.reports.sweep outputs/sweeps/2026-01-31_10-00-00-000000
python -m rli.reports.sweep outputs/sweeps/monday outputs/sweeps/tuesday --out outputs/both
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from rli.errors import RLIError
from rli.metrics.columns import NAMES, Row
from rli.package_files import resource_folder
from rli.reports.experiment_table import spec_of, write_table
from rli.reports.outputs import Outcome, write_outcome
from rli.reports.results import frame_of, read_results
from rli.store.records import Failure, PhotoRecord, read_failures, read_record, read_status
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
class SweepJob:
    """One job of a sweep, read from its folder."""

    # The folder's path below the sweep's.
    name: str
    folder: Path
    # What was typed for it: "edit.eq=2, edit.cross=0.6".
    overrides: str
    # Its whole configuration, with dotted names.
    settings: Mapping[str, Any]
    # Why it failed; None where it did not.
    reason: str | None
    # Its results.csv; empty where there is none.
    rows: tuple[Row, ...]


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
        _job(job, f"{prefix}{job.relative_to(folder).as_posix()}")
        for folder, prefix in zip(folders, _prefixes(folders), strict=True)
        for job in _job_folders(folder)
    )
    if not jobs:
        raise RLIError(f"{' and '.join(map(str, folders))}: no jobs of a run found")
    return Sweep(jobs, _knobs([job.settings for job in jobs]))


def frame(sweep: Sweep, settings: Sequence[str] = ()) -> pd.DataFrame:
    """All rows of all jobs: their columns, then job, then one for each knob and each of `settings` (dotted names)."""
    names = dict.fromkeys(name for name in (*sweep.knobs, *settings) if name not in NAMES)
    parts = [
        frame_of(job.rows).assign(job=job.name, **{name: job.settings.get(name) for name in names})
        for job in sweep.jobs
        if job.rows
    ]
    return pd.concat(parts, ignore_index=True) if parts else frame_of(())


def records_of(sweep: Sweep) -> list[PhotoRecord]:
    """The record of every photograph of every job, those of the same name one after the other."""
    names = dict.fromkeys(row.image for job in sweep.jobs for row in job.rows)
    made = {job.name: {row.image for row in job.rows} for job in sweep.jobs}
    jobs = [(job, name) for name in names for job in sweep.jobs if name in made[job.name]]
    records = (read_record(job.folder, name, job=job.name) for job, name in jobs)
    return [record for record in records if record is not None]


def failures_of(sweep: Sweep) -> list[Failure]:
    """The jobs that failed, with what was typed for them alone, and the photographs that other jobs could not do."""
    typed = [job.overrides.split(", ") for job in sweep.jobs]
    common = set(typed[0]).intersection(*typed)
    lost = []
    for job, own in zip(sweep.jobs, typed, strict=True):
        if job.reason:
            lost.append(Failure(job.name, job.reason, " ".join(word for word in own if word not in common)))
        else:
            lost += [Failure(f"{job.name}/{photo.name}", photo.reason) for photo in read_failures(job.folder)]
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
    for job in sweep.jobs:
        for name in dict.fromkeys(row.image for row in job.rows):
            _link(job.folder / "images" / name, out / "images" / job.name / name)
    outcome = Outcome(
        rows=frame(sweep),
        records=records_of(sweep),
        failures=failures_of(sweep),
        settings={"jobs": {job.name: job.overrides for job in sweep.jobs}},
        title=f"Sweep of {len(sweep.jobs)} jobs",
        knobs=sweep.knobs,
    )
    write_outcome(out, outcome, published, edits=edits, floor_db=floor_db, tracker=tracker)
    spec = spec_of([job.settings for job in sweep.jobs])
    if spec is not None and not outcome.rows.empty:
        write_table(out, frame(sweep, spec.rows), spec, published.parents[1])
    return sweep


def _job_folders(folder: Path) -> list[Path]:
    """The folders at or below `folder` that hold a job, in natural order."""
    if not folder.is_dir():
        raise RLIError(f"{folder}: no such folder")
    found = [folder, *(p.parent for p in folder.rglob(".hydra"))]
    jobs = {p for p in found if (p / ".hydra" / "config.yaml").is_file()}
    return sorted(jobs, key=lambda p: _natural(p.relative_to(folder)))


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in path.parts]


def _prefixes(folders: Sequence[Path]) -> list[str]:
    """What precedes the jobs' names: nothing for a single folder, else the folder's name, numbered where two clash."""
    if len(folders) == 1:
        return [""]
    names = [folder.resolve().name for folder in folders]
    return [f"{name}-{k}/" if names.count(name) > 1 else f"{name}/" for k, name in enumerate(names, start=1)]


def _job(folder: Path, name: str) -> SweepJob:
    reason = read_status(folder)
    rows: tuple[Row, ...] = ()
    try:
        if (folder / "results.csv").is_file():
            rows = _rows(folder / "results.csv")
    except (ValueError, TypeError, OSError) as error:
        reason = reason or f"results.csv cannot be read ({type(error).__name__})"
    return SweepJob(name, folder, _overrides(folder), _settings(folder), reason, rows)


def _overrides(folder: Path) -> str:
    typed = _yaml(folder / ".hydra" / "overrides.yaml")
    return ", ".join(map(str, typed)) if isinstance(typed, list) else ""


def _settings(folder: Path) -> dict[str, Any]:
    tree = _yaml(folder / ".hydra" / "config.yaml")
    return dict(_leaves(tree)) if isinstance(tree, dict) else {}


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError):
        return None


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _knobs(settings: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Settings with more than one value among the jobs, in the configuration's order; of size and model the rows'
    own columns."""
    names = dict.fromkeys(name for job in settings for name in job)
    varied = [name for name in names if len({repr(job.get(name)) for job in settings}) > 1]
    knobs = (ROW_COLUMNS.get(name, name) for name in varied if name in ALWAYS_KNOBS or not name.startswith(NOT_KNOBS))
    return tuple(dict.fromkeys(knobs))


def _rows(path: Path) -> tuple[Row, ...]:
    return tuple(
        Row(**{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in record.items() if k in NAMES})
        for record in read_results(path).to_dict("records")
    )


def _link(source: Path, goal: Path) -> None:
    """The same files under another folder: hard links, copies where the file system has none."""

    def link(a: str, b: str) -> None:
        Path(b).unlink(missing_ok=True)
        try:
            os.link(a, b)
        except OSError:
            shutil.copy2(a, b)

    if source.is_dir() and source.resolve() != goal.resolve():
        shutil.copytree(source, goal, copy_function=link, dirs_exist_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status: 2 and one line on stderr for what the user can mend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="of multiruns or of single runs")
    parser.add_argument("--out", type=Path, help="where the tables and the page go; a single folder itself by default")
    parser.add_argument("--edits", type=int, default=500, help="on the page at most")
    parser.add_argument("--floor", type=float, default=32.0, help="background PSNR of a good setting, dB")
    args = parser.parse_args(arguments)
    if args.out is None and len(args.folders) > 1:
        parser.error("several folders need --out: where the tables and the page go")
    out = args.out or args.folders[0]
    try:
        sweep = write_sweep(args.folders, out, edits=args.edits, floor_db=args.floor)
    except RLIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for job in sweep.failed:
        print(f"failed: job {job.name}: {job.reason}", file=sys.stderr)
    print(f"{len(sweep.jobs)} jobs, {len(sweep.failed)} failed: {out / 'results.csv'}; page: {out / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
