"""A small finished run whose files can be harmed, commands in this process, and whether all is as it was."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from experiments.datasets.runs import differences
from rli.cli.app import command
from rli.datasets.formats.written import ASIDE, LIST
from rli.images import write_png
from rli.models.mini.surfaces import UNSEEN, surface

SETTINGS = (
    "model=mini",
    "runtime=cpu",
    "tracking=off",
    "inversion.steps=2",
    "inversion.inner_steps=1",
    "resolution.height=64",
    "resolution.width=64",
    "data=folder",
    "data.path=photos",
    "defect=rust",
    "export=[coco]",
    "dataset.gate.min_reconstruction_psnr=0",
    "dataset.gate.min_background_psnr=0",
    "dataset.gate.min_background_ssim=-1",
    "dataset.gate.min_strength=0",
    "dataset.review=review.csv",
    "runtime.cache=cache",
    "out=run",
)
GATHER = ("gather", "run", "--out", "gathered")
# What a run keeps; review.csv is the user's own.
KEPT = ("run", "cache")


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    status: int
    stderr: str

    @property
    def fault(self) -> str | None:
        """What no command may do: end otherwise than well, or in one line of error; None where it does not."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        if "Traceback" in self.stderr or self.status not in (0, 2):
            return f"status {self.status}: {self.stderr.strip().splitlines()[-1:]}"
        return None if len(lines) == (self.status == 2) else f"{len(lines)} lines of error"


def run(place: Path, *arguments: str) -> Answer:
    """A command that is typed in a folder, carried out in this process."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    try:
        sys.argv = ["rli"]
        with chdir(place), redirect_stdout(out), redirect_stderr(err):
            status = command(arguments)
    except BaseException as error:  # a campaign goes on after what it looks for
        return Answer(1, f"{err.getvalue()}\nTraceback: {type(error).__name__}: {error}")
    finally:
        sys.argv = before
    return Answer(status, err.getvalue())


def finished(place: Path, photographs: int = 2) -> Path:
    """A folder with photographs, one file that is none, a review, and a finished run of them; returns it."""
    for k in range(photographs):
        write_png(place / "photos" / f"p{k}.png", surface(UNSEEN + k, ("crack",), 64, 64).image)
    (place / "photos" / "broken.png").write_text("no photograph")
    (place / "review.csv").write_text("image,defect,job,decision\np0,rust,,keep\n")
    for file in (place / "photos").iterdir():
        os.utime(file, (0, 0))  # a record knows its photograph's
    answer = run(place, *SETTINGS)
    assert answer.status == 0, answer.stderr
    for name in KEPT:
        shutil.copytree(place / name, place / "calm" / name)
    return place


def restored(place: Path) -> None:
    """Puts back what the finished run had left."""
    for name in (*KEPT, "gathered"):
        shutil.rmtree(place / name, ignore_errors=True)
    for name in KEPT:
        shutil.copytree(place / "calm" / name, place / name)


def kept_files(place: Path) -> list[Path]:
    """Every file that the finished run had left, by its path from the folder."""
    calm = place / "calm"
    return sorted(path.relative_to(calm) for path in calm.rglob("*") if path.is_file() and path.name != ".lock")


def correctable_files(place: Path) -> set[Path]:
    """Those of them that their owner may correct: the labels and copies in the data set. The next run names what was
    changed in them and keeps it."""
    data = Path("run", "dataset")
    with (place / "calm" / data / LIST).open(newline="") as file:
        return {data / row["path"] for row in csv.DictReader(file) if row["sha256"]}


def not_healed(place: Path, answers: Sequence[Answer]) -> str | None:
    """What is wrong after the last of these commands; None where each ended as it may, and all is as it was."""
    faults = [answer.fault for answer in answers if answer.fault]
    if faults:
        return faults[0]
    if answers[-1].status:
        return f"it does not end well: {answers[-1].stderr.strip().splitlines()[-1]}"
    # What the run no longer knows to be its own is put aside.
    aside = f"dataset/{ASIDE}/"
    other = [name for name in differences(place / "calm" / "run", place / "run") if not name.startswith(aside)]
    return f"not as it was: {', '.join(other)}" if other else None
