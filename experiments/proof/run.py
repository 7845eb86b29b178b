"""What both experiments do: photographs, synthetic images of them, and a network for each row, data and seed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from experiments import harness
from experiments.proof import makers
from experiments.proof.makers import EXAMPLE, INPAINTED, LEDITS, OURS, PASTED, Making
from experiments.proof.networks import IMAGENET, SCRATCH
from experiments.proof.photographs import WORDS, drawn, real
from experiments.proof.protocol import Divided, divided
from experiments.proof.rows import Row, write_training_set
from experiments.proof.sizes import SIZES, Size
from experiments.proof.training import READINGS, Epoch, Measured
from rli.datasets.annotations import Item
from rli.errors import RLIError
from rli.files import whole_file
from rli.models.device import pick_device
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.photos.photo import GOOD, Photo
from rli.photos.sources import READERS
from rli.progress import shown
from rli.reports.format import counted

DRAWN = "drawn"
# What --data takes, see `photographs`.
DATA = "drawn, drawn=N with N defective photographs to learn from, or READER=FOLDER"
# The columns that say which training it was.
KEY = ("data", "row", "seed", "size", "network", "weights", "model")


@dataclass(frozen=True)
class Task:
    """What is learned."""

    # segmentation or classification; the folder of its table.
    name: str
    # The format of data sets that its networks read.
    format: str
    # Names of networks that can learn it.
    networks: tuple[str, ...]
    # Builds one of them by its name, with weights that it begins with. Raises RLIError where they cannot be had.
    network: Callable[[str, str], nn.Module]
    # From the defects to the rows.
    rows: Callable[[Sequence[str]], dict[str, Row]]
    # Trains a network on a written data set, and measures it.
    measure: Callable[[Asked, Path, Row, int], Measured]
    # The metrics that the page shows.
    shown: tuple[str, ...]
    # Whether a photograph says nothing to it without the places of its defects.
    by_place: bool = False


@dataclass(frozen=True)
class Asked:
    """What was asked for, checked."""

    # One of SIZES, and its name.
    size_name: str
    size: Size
    # What learns, where, and with which weights it begins.
    network: str
    weights: str
    device: torch.device
    # Of the command that edits.
    settings: tuple[str, ...]
    # Where pictures go, and where the table goes.
    work: Path
    out: Path
    # Which photographs belong together, see `rli.datasets.groups.grouped_by`.
    group: str | None
    # The defects that are edited to; None is the photographs' own classes.
    words: tuple[str, ...] | None
    # Names of rows; None is all.
    rows: tuple[str, ...] | None
    # Trainings of each row.
    seeds: int
    # Trainings at once.
    jobs: int = 1

    @property
    def told(self) -> dict[str, str]:
        """The command's settings by their keys; of one that is given twice the later."""
        return dict(setting.split("=", 1) for setting in self.settings if "=" in setting)

    @property
    def key(self) -> dict[str, str]:
        """What rows of the table have in common."""
        own = {"size": self.size_name, "network": self.network, "weights": self.weights}
        return own | {"model": self.told["model"]}


def main(task: Task, doc: str, arguments: Sequence[str] | None = None) -> int:
    """One experiment, from what is typed to its table.

    Returns:
        The exit status: 2 after one line for what the user can correct.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=[DRAWN], metavar="NAME", help=DATA)
    add_options(parser, task.networks, harness.ROOT / "experiments" / task.name)
    typed = parser.parse_intermixed_args(arguments)
    try:
        measure(task, asked_of(task, typed), typed.data)
    except RLIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def add_options(parser: argparse.ArgumentParser, networks: Sequence[str], out: Path) -> None:
    """What everything that trains can be asked; its settings come last."""
    parser.add_argument("--size", choices=SIZES, default="small", help="how much is done")
    for name, default in {"device": "auto", "out": out}.items():
        parser.add_argument(f"--{name}", default=default, **harness.OPTIONS[name])
    parser.add_argument("--group", help="photographs that belong together: a pattern on their names, or folder")
    parser.add_argument("--words", nargs="+", help="defects to edit to; the data's own classes unless named")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="rows of the table; the size's unless named")
    parser.add_argument("--seeds", type=int, help="trainings of each row")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at once, each in a process of its own")
    parser.add_argument("--network", choices=networks, help="what learns")
    parser.add_argument("--weights", choices=(SCRATCH, IMAGENET), default=SCRATCH, help="what it begins with")
    parser.add_argument("--work", type=Path, help="pictures; a stopped run goes on")
    parser.add_argument("settings", nargs="*", help="of the command that edits, such as model=sdxl; model=mini")


def measure(task: Task, asked: Asked, data: Sequence[str]) -> pd.DataFrame:
    """The table, which is written after every row; what it has already is not measured again."""
    if line := remark():
        print(line, file=sys.stderr)
    file = asked.out / "table.csv"
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=[*KEY])
    for name in data:
        own = {"data": name_of(name), "row": "", "seed": 0, **asked.key}
        place, sides = place_of(asked, name), sides_of(task, asked, name)
        words = words_of(asked, sides)
        known = task.rows(words)
        rows = [known[row] for row in asked.rows or known if row in known]
        keys = [(row, seed, {**own, "row": row.name, "seed": seed}) for seed in range(asked.seeds) for row in rows]
        todo = [(row, seed, key) for row, seed, key in keys if not is_in(table, key)]
        if todo:
            task.network(asked.network, asked.weights)  # what is missing is said before hours of making images
        made = images(sides, words, place, asked, {row.maker for row, *_ in todo})
        given = [(task, asked, place, sides, made, row, seed) for row, seed, _ in todo]
        ended = harness.together(train, given, asked.jobs)
        for number, told in shown(ended, f"{task.name}, {own['data']}", len(todo)):
            table = pd.DataFrame([*table.to_dict("records"), todo[number][-1] | told])
            harness.write_csv(file, table)
    harness.record(asked.out, "table", table, summary(table, task.shown))
    return table


def train(
    task: Task, asked: Asked, place: Path, sides: Divided, made: Sequence[Item], row: Row, seed: int
) -> dict[str, float]:
    """One training: how many real and synthetic images it learned from, and the metrics. What it learned from, and what
    it said of the test photographs, are kept beside the pictures."""
    data = training_set(place, task, row.name, seed)
    counts = write_training_set(data.parent, task.format, row, sides, made, seed)
    found = task.measure(asked, data, row, seed)
    write_found(found_file(place, task, row.name, seed), found.honest)
    return dict(zip(("real", "synthetic"), counts, strict=True)) | found.metrics


def sides_of(task: Task, asked: Asked, data: str) -> Divided:
    """A data set's photographs by what they may be used for; a line says how many cannot be used."""
    found = photographs(data, place_of(asked, data), asked)
    usable = [photo for photo in found if not task.by_place or photo.label == GOOD or has_place(photo)]
    if len(usable) < len(found):
        left_out = counted(len(found) - len(usable), "photograph")
        print(f"left out, since no mask shows their defects: {left_out}", file=sys.stderr)
    return divided(usable, asked.group, near=kind_of(data) != DRAWN)


def has_place(photo: Photo) -> bool:
    """Whether anything says where a photograph's defects are."""
    truth = photo.truth_full()
    return truth is not None and bool(truth.any())


def words_of(asked: Asked, sides: Divided) -> tuple[str, ...]:
    """The defects that are edited to: those asked for, or the photographs' own classes."""
    return asked.words or tuple(sorted({photo.label for photo in sides.train} - {GOOD, ""}))


def place_of(asked: Asked, data: str) -> Path:
    """Where the pictures of a data set go, by its name."""
    return asked.work / asked.size_name / name_of(data)


def kind_of(data: str) -> str:
    """How a data set is read: drawn, or a reader."""
    return data.partition("=")[0]


def name_of(data: str) -> str:
    """What the table calls a data set, and the folder of its pictures: its reader, or drawn with the number."""
    return data if kind_of(data) == DRAWN else kind_of(data)


def training_set(place: Path, task: Task, row: str, seed: int) -> Path:
    """The data set, with the photographs for testing, that a network learns from."""
    return place / "sets" / task.name / file_name(row, seed) / task.format


def found_file(place: Path, task: Task, row: str, seed: int) -> Path:
    """Where what a network said of the test photographs is kept."""
    return place / "found" / task.name / f"{file_name(row, seed)}.npz"


def file_name(row: str, seed: int) -> str:
    """A training's, as part of a path."""
    return f"{''.join(c if c.isalnum() else '_' for c in row)}-{seed}"


def write_found(file: Path, epoch: Epoch) -> None:
    """Keeps what a network said of the test photographs: truth and found as in `Epoch`, and the threshold."""
    with whole_file(file) as part, part.open("wb") as stream:
        np.savez_compressed(stream, truth=epoch.truth, found=epoch.found, threshold=epoch.threshold)


def is_in(table: pd.DataFrame, key: Mapping[str, object]) -> bool:
    """Whether the table has a row of this key."""
    return bool(np.logical_and.reduce([table[name] == value for name, value in key.items()]).any())


def photographs(name: str, place: Path, asked: Asked) -> list[Photo]:
    """The photographs of a data set by its name: see DATA. Raises RLIError."""
    kind, _, path = name.partition("=")
    learned = asked.size.learned if name == DRAWN else int(path) if path.isdecimal() else 0
    if kind == DRAWN and learned:
        return drawn(place / "photographs", learned, asked.size.tested, side_of(asked))
    if kind not in READERS or not path:
        raise RLIError(
            f"--data {name}: expected drawn, drawn=200, or a reader and its folder, such as magnetic_tile=tiles"
        )
    return real(kind, Path(path), asked.size.most)


def images(sides: Divided, words: tuple[str, ...], place: Path, asked: Asked, who: set[str]) -> list[Item]:
    """The synthetic images of the training photographs by these makers, of `makers`; "" makes none."""
    made: list[Item] = []
    if not who - {""}:
        return made
    making = Making(sides.train, words, place / "made", asked.settings, asked.size.steps, side_of(asked))
    for maker, make in {OURS: makers.ours, PASTED: makers.pasted, EXAMPLE: makers.by_example}.items():
        made += make(making) if maker in who else []
    piped = [maker for maker in (INPAINTED, LEDITS) if maker in who]
    if piped:
        model = loaded(asked)
        made += [item for maker in piped for item in makers.peers(making, model, maker)]
    return made


def loaded(asked: Asked) -> Model:
    """The model that the command's settings name."""
    told = asked.told
    options = {"device": told.get("runtime.device", "auto"), "dtype": told.get("runtime.dtype", "auto")}
    return load(told.get("model", "mini"), told.get("model.weights"), **options)


def side_of(asked: Asked) -> int:
    """Pixels a side of drawn photographs, and of what the pipelines beside ours work at: what the command was told, or
    what the loaded model was trained at."""
    known = asked.told.get("resolution.height") or asked.told.get("resolution")
    if known is not None:
        return int(known)
    model = loaded(asked)
    return int(model.unet.config.sample_size * model.pixels_per_latent)


def remark() -> str:
    """A line about what is not there; "" where everything is."""
    missing = "AUROC, AP and F1 stay empty without scikit-learn: pip install 'rli[proof]'"
    return "" if find_spec("sklearn") else missing


def summary(table: pd.DataFrame, metrics: Sequence[str]) -> str:
    """A line for each row: mean and spread over the seeds, by each of READINGS."""
    head = ["Data", "Learned from", "seeds", "synthetic"]
    head += [f"{name}{words}" for name in metrics for words in READINGS.values()]
    lines = []
    for (*rest, row), own in table.groupby(["data", "model", "network", "weights", "size", "row"], sort=False):
        cells = [figure(own, f"{name}{reading}") for name in metrics for reading in READINGS]
        what = ", ".join(word for word in rest if word != SCRATCH)
        lines.append([what, row, str(len(own)), f"{own['synthetic'].mean():.0f}", *cells])
    return harness.markdown(head, lines, words=2)


def figure(rows: pd.DataFrame, name: str) -> str:
    """Mean and, of several seeds, standard deviation of a share, in percent."""
    values = 100 * rows[name].dropna() if name in rows else pd.Series(dtype=float)
    if values.empty:
        return ""
    return f"{values.mean():.1f}" + (f" ± {values.std():.1f}" if len(values) > 1 else "")


def asked_of(task: Task, typed: argparse.Namespace) -> Asked:
    """What was typed, checked. Raises RLIError."""
    size = SIZES[typed.size]
    settings = [*size.settings(typed.settings)]
    settings += [] if typed.device == "auto" else [f"runtime.device={typed.device}"]
    known = task.rows(typed.words or WORDS)
    rows = tuple(typed.rows) if typed.rows else size.rows
    for row in rows or ():
        if row not in known and not row.startswith("edits to "):
            raise RLIError(f"--rows {row}: unknown row; expected some of {', '.join(known)}")
    if typed.jobs < 1:
        raise RLIError(f"--jobs {typed.jobs}: expected 1 or more")
    return Asked(
        size_name=typed.size,
        size=size,
        network=typed.network or size.networks[task.name],
        weights=typed.weights,
        device=pick_device(typed.device),
        settings=tuple(settings),
        work=typed.work or Path("outputs/proof"),
        out=typed.out,
        group=typed.group,
        words=tuple(typed.words) if typed.words else None,
        rows=rows,
        seeds=typed.seeds or size.seeds,
        jobs=typed.jobs,
    )
