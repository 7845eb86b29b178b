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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from rli.errors import RLIError
from rli.metrics.columns import COLUMNS, Row
from rli.reports.outputs import TRADEOFF, read, shown_places, write_failures, write_outcome
from rli.reports.results import frame_of, read_results
from rli.reports.table import spec_of, write_table
from rli.resources import resource_folder
from rli.store.records import Failure, PhotoRecord, read_failures, read_record, read_status
from rli.tracking.tracker import Tracker

# Settings that tell jobs apart, and are no knobs: a row's own columns, or where things are.
NOT_KNOBS = (
    *("defect.", "resolution.", "data.", "dataset.", "tracking.", "report.", "table.", "model.", "runtime.", "out"),
    *("task", "export", "relabel", "shard", "dry_run", "retry_failed"),
)
ROW_S_OWN = {"resolution.height": "resolution", "resolution.width": "resolution", "model.name": "model"}
KNOB_AFTER_ALL = ("defect.source", "model.weights", "model.vae", "runtime.dtype", "runtime.seed", *ROW_S_OWN)
PUBLISHED = resource_folder("published") / "defect_comparison" / "published.csv"


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep, as its folder tells it.

    name: the folder's name below the sweep's; overrides: what was typed for it ("edit.eq=2, edit.cross=0.6");
    settings: its whole configuration with dotted names; reason: why it failed, None where it did not; rows: its
    results.csv, empty where there is none.
    """

    name: str
    folder: Path
    overrides: str
    settings: Mapping[str, Any]
    reason: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Sweep:
    """Jobs in their order, and the settings that differ between them, with dotted names ("edit.eq")."""

    jobs: tuple[SweepJob, ...]
    knobs: tuple[str, ...]

    @property
    def failed(self) -> tuple[SweepJob, ...]:
        return tuple(job for job in self.jobs if job.reason)


def gather(folders: Sequence[Path]) -> Sweep:
    """Every job below the folders, whatever state it is in. Raises RLIError where there is none, or no folder."""
    names = _labels(folders)
    jobs = tuple(
        _job(place, f"{prefix}{place.relative_to(folder).as_posix()}")
        for folder, prefix in zip(folders, names, strict=True)
        for place in _places(folder)
    )
    if not jobs:
        raise RLIError(f"{' and '.join(map(str, folders))}: there are no jobs of a run in it")
    return Sweep(jobs, _knobs([job.settings for job in jobs]))


def frame(sweep: Sweep, settings: Sequence[str] = ()) -> pd.DataFrame:
    """All rows of all jobs: COLUMNS, then job, then a column for each knob and each of `settings` (dotted names)."""
    told = dict.fromkeys(name for name in (*sweep.knobs, *settings) if name not in COLUMNS)
    parts = [
        frame_of(job.rows).assign(job=job.name, **{name: job.settings.get(name) for name in told})
        for job in sweep.jobs
        if job.rows
    ]
    return pd.concat(parts, ignore_index=True) if parts else frame_of(())


def places_of(sweep: Sweep) -> list[PhotoRecord]:
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
            lost += [Failure(f"{job.name}/{one.name}", one.reason) for one in read_failures(job.folder)]
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
    """Gather the folders' jobs into `out`: tables of all rows, the experiment's own table, pictures, the page.

    Works on whatever is there, also after a crash. published: the published comparison table, beside whose folder those
    of other experiments lie. tracker: is told the same. The rest is `outputs.write_outcome`'s. Raises RLIError where
    there are no jobs.
    """
    sweep = gather(folders)
    lost, told = failures_of(sweep), frame(sweep)
    if told.empty:
        write_failures(lost, out)
        return sweep
    for job in sweep.jobs:
        for name in dict.fromkeys(row.image for row in job.rows):
            _link(job.folder / "images" / name, out / "images" / job.name / name)
    places = places_of(sweep)
    table = write_outcome(
        out,
        told,
        places,
        {"jobs": {job.name: job.overrides for job in sweep.jobs}},
        published,
        f"Sweep of {len(sweep.jobs)} jobs",
        knobs=sweep.knobs,
        failures=lost,
        edits=edits,
        floor_db=floor_db,
    )
    spec = spec_of([job.settings for job in sweep.jobs])
    if spec is not None:
        write_table(out, frame(sweep, spec.rows), spec, published.parents[1])
    if tracker is not None:
        plot = out / TRADEOFF
        tracker.log_sweep(table, told, read(shown_places(told, places, edits)), plot if plot.is_file() else None, lost)
    return sweep


def _places(folder: Path) -> list[Path]:
    """The folders at or below `folder` that hold a job, in natural order."""
    if not folder.is_dir():
        raise RLIError(f"{folder}: there is no such folder")
    found = [folder, *(p.parent for p in folder.rglob(".hydra"))]
    places = {p for p in found if (p / ".hydra" / "config.yaml").is_file()}
    return sorted(places, key=lambda p: _natural(p.relative_to(folder)))


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in path.parts]


def _labels(folders: Sequence[Path]) -> list[str]:
    """What precedes the jobs' names: nothing for one folder, for several their own names, numbered where they clash."""
    if len(folders) == 1:
        return [""]
    names = [folder.resolve().name for folder in folders]
    return [f"{name}-{k}/" if names.count(name) > 1 else f"{name}/" for k, name in enumerate(names, start=1)]


def _job(folder: Path, name: str) -> SweepJob:
    reason, rows = read_status(folder), ()
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
    names = dict.fromkeys(name for one in settings for name in one)
    varied = [name for name in names if len({repr(one.get(name)) for one in settings}) > 1]
    told = (ROW_S_OWN.get(name, name) for name in varied if name in KNOB_AFTER_ALL or not name.startswith(NOT_KNOBS))
    return tuple(dict.fromkeys(told))


def _rows(path: Path) -> tuple[Row, ...]:
    names = {f.name for f in fields(Row)}
    return tuple(
        Row(**{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in record.items() if k in names})
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="of multiruns or of single runs")
    parser.add_argument("--out", type=Path, help="where the tables and the page go: the folder itself if it is one")
    parser.add_argument("--edits", type=int, default=500, help="on the page at most")
    parser.add_argument("--floor", type=float, default=32.0, help="background PSNR of a good setting, dB")
    asked = parser.parse_args(arguments)
    if asked.out is None and len(asked.folders) > 1:
        parser.error("several folders need --out: where the tables and the page go")
    out = asked.out or asked.folders[0]
    try:
        sweep = write_sweep(asked.folders, out, edits=asked.edits, floor_db=asked.floor)
    except RLIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for job in sweep.failed:
        print(f"failed: job {job.name}: {job.reason}", file=sys.stderr)
    print(f"{len(sweep.jobs)} jobs, {len(sweep.failed)} failed: {out / 'results.csv'}; page: {out / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
