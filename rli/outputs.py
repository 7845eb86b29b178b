"""What a run leaves in its folder, and what a sweep's folder gathers from its jobs' folders."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from rli.files import write_whole
from rli.images import write_png
from rli.job import Failure
from rli.pictures import contact_sheet
from rli.report import write_report
from rli.results import comparison, heading, read_results, write_comparison, write_results
from rli.types import ORIGINAL, EditedPhoto, PhotoResult, RLIError, Row

PACKAGES = ("torch", "diffusers", "transformers", "hydra-core", "omegaconf", "scikit-image", "lpips", "wandb", "numpy")
STATUS = "status.json"


def write_outcome(
    rows: Sequence[Row],
    photos: Sequence[PhotoResult],
    settings: Mapping[str, Any],
    folder: Path,
    published: Path,
    title: str,
) -> None:
    """Tables of all rows (results.csv, comparison.csv, comparison.md); overview.png and report.html show `photos`."""
    write_results(rows, folder / "results.csv")
    write_png(folder / "overview.png", contact_sheet(photos[:4]))
    frame = comparison(rows, published)
    write_comparison(frame, folder, heading(rows))
    write_report(folder / "report.html", photos, frame, settings, versions(), title, rows)


def write_failures(failures: Sequence[Failure], folder: Path) -> None:
    """failed.csv: what could not be done, and why; no file where everything was."""
    if failures:
        frame = pd.DataFrame([vars(failure) for failure in failures])
        write_whole(folder / "failed.csv", frame.to_csv(index=False, lineterminator="\n"))


def write_status(folder: Path, reason: str | None = None) -> None:
    """How a job ended: done, or failed with its reason."""
    write_whole(folder / STATUS, json.dumps({"status": "failed" if reason else "done", "reason": reason}))


def aggregate(folder: Path, published: Path, shown: int = 24) -> list[Failure]:
    """Gather a sweep: every job's rows, images and failures from the jobs' own files, into `folder`.

    Works on whatever is there, also after a crash; a job that left no status counts as failed. Returns the failed jobs.
    Raises RLIError when there is no job in the folder.
    """
    jobs = sorted((f for f in folder.iterdir() if f.is_dir() and (f / ".hydra").is_dir()), key=_natural)
    if not jobs:
        raise RLIError(f"{folder} holds no jobs of a multirun")
    failures = [Failure(job.name, reason) for job in jobs if (reason := _reason(job))]
    rows, photos = [], []
    for job in jobs:
        if not (job / "results.csv").is_file():
            continue
        own = _rows(job / "results.csv")
        rows += own
        for name in dict.fromkeys(row.image for row in own):
            _link(job / "images" / name, folder / "images" / job.name / name)
            if len(photos) < shown:
                photos.append(_photo(job, name, [row for row in own if row.image == name]))
    write_failures(failures, folder)
    if rows:
        overrides = {job.name: _overrides(job) for job in jobs}
        write_outcome(rows, photos, {"jobs": overrides}, folder, published, f"Sweep of {len(jobs)} jobs")
    return failures


def versions() -> dict[str, str]:
    """Of Python and the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _natural(folder: Path) -> tuple[int, str]:
    return (int(folder.name) if folder.name.isdigit() else -1, folder.name)


def _reason(job: Path) -> str | None:
    try:
        return json.loads((job / STATUS).read_text())["reason"]
    except (OSError, ValueError, KeyError):
        return "it ended without saying how"


def _overrides(job: Path) -> str:
    path = job / ".hydra" / "overrides.yaml"
    return path.read_text().replace("\n- ", ", ").removeprefix("- ").strip() if path.is_file() else ""


def _rows(path: Path) -> list[Row]:
    frame = read_results(path)
    names = {f.name for f in fields(Row)}
    return [
        Row(**{k: None if isinstance(v, float) and np.isnan(v) else v for k, v in record.items() if k in names})
        for record in frame.to_dict("records")
    ]


def _photo(job: Path, name: str, rows: Sequence[Row]) -> PhotoResult:
    """A job's photograph from its files; token maps and losses are on the job's own page."""
    place = job / "images" / name

    def read(stem: str) -> np.ndarray:
        return np.asarray(Image.open(place / f"{stem}.png"))

    edits = {
        row.defect: EditedPhoto(read(row.defect), read(f"{row.defect}_mask") > 0)
        for row in rows
        if row.defect != ORIGINAL
    }
    return PhotoResult(
        f"{name} · {_overrides(job) or job.name}", read("input"), read("reconstruction"), edits, tuple(rows)
    )


def _link(source: Path, goal: Path) -> None:
    """The same files under another folder: hard links, copies where the file system has none."""

    def link(a: str, b: str) -> None:
        Path(b).unlink(missing_ok=True)
        try:
            os.link(a, b)
        except OSError:
            shutil.copy2(a, b)

    if source.is_dir():
        shutil.copytree(source, goal, copy_function=link, dirs_exist_ok=True)
