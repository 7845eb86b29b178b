"""A multirun's jobs, gathered from the files that each of them left: at its end, and later over any folders.

python -m rli.sweep outputs/sweeps/2026-01-31_10-00-00-000000
python -m rli.sweep outputs/sweeps/monday outputs/sweeps/tuesday --out outputs/both
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from rli.outputs import STATUS
from rli.results import frame_of, read_results
from rli.types import ORIGINAL, EditedPhoto, PhotoResult, RLIError, Row

# Settings that tell jobs apart, and are no knobs: a row's own columns, or where things are.
NOT_KNOBS = ("defect.", "resolution.", "data.", "tracking.", "report.", "model.name", "runtime.")
KNOB_AFTER_ALL = ("defect.source", "runtime.dtype", "runtime.seed")


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


def frame(sweep: Sweep) -> pd.DataFrame:
    """All rows of all jobs: COLUMNS, then job, then a column for each knob (dotted name), as the jobs had them."""
    parts = [
        frame_of(job.rows).assign(job=job.name, **{knob: job.settings.get(knob) for knob in sweep.knobs})
        for job in sweep.jobs
        if job.rows
    ]
    return pd.concat(parts, ignore_index=True) if parts else frame_of(())


def photo_of(job: SweepJob, name: str) -> PhotoResult:
    """A photograph of a job from its files; token maps and losses are on the job's own page."""
    place = job.folder / "images" / name
    rows = tuple(row for row in job.rows if row.image == name)

    def read(stem: str) -> np.ndarray:
        with Image.open(place / f"{stem}.png") as image:
            return np.asarray(image)

    edits = {
        row.defect: EditedPhoto(read(row.defect), read(f"{row.defect}_mask") > 0)
        for row in rows
        if row.defect != ORIGINAL
    }
    return PhotoResult(name, read("input"), read("reconstruction"), edits, rows)


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
    reason, rows = _reason(folder), ()
    try:
        if (folder / "results.csv").is_file():
            rows = _rows(folder / "results.csv")
    except (ValueError, TypeError, OSError) as error:
        reason = reason or f"results.csv cannot be read ({type(error).__name__})"
    return SweepJob(name, folder, _overrides(folder), _settings(folder), reason, rows)


def _reason(folder: Path) -> str | None:
    try:
        return json.loads((folder / STATUS).read_text())["reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return "it was stopped before its end, or is still running"


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
    """Settings with more than one value among the jobs, in the configuration's order."""
    names = dict.fromkeys(name for one in settings for name in one)
    told = [name for name in names if name in KNOB_AFTER_ALL or not name.startswith(NOT_KNOBS)]
    return tuple(name for name in told if len({repr(one.get(name)) for one in settings}) > 1)


def _rows(path: Path) -> tuple[Row, ...]:
    names = {f.name for f in fields(Row)}
    return tuple(
        Row(**{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in record.items() if k in names})
        for record in read_results(path).to_dict("records")
    )
