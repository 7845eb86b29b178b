"""What the experiments on data sets share: drawn photographs that no training saw, a job for them, where tables go."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from experiments import harness
from experiments.harness import SOURCE, targets
from rli.images import to_tensor
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings
from rli.models.diffusion import Model
from rli.models.mini import SIDE
from rli.models.mini.classifier import judge_of, load_classifier
from rli.models.mini.surfaces import UNSEEN, Surface, surface
from rli.photos.sources import Photo
from rli.progress import shown
from rli.runs.job import Job, Selection
from rli.runs.quality_gate import Gate
from rli.runs.runner import Runner
from rli.runs.shards import pending
from rli.store.records import PhotoResult, read_photo

WORDS = ("rust", "corrosion", "dent", "blistering", "peeling")
# The published table's settings, which come from SDXL, and the demo's, with which the miniature shows more.
EDITS = {"table": EditSettings(), "demo": EditSettings(cross=0.4, replace=0.0)}
# All edits are made under a gate that keeps each of them, so that any gate can be tried on what was made.
OPEN = Selection(Gate(0.0, -1.0, 0.0, 0.0, None, 0.0, 1.0, 0.0), max_retries=0)
# But for one (surface-4 of the samples) apart from other experiments' surfaces, some of which settings were chosen on.
FIRST = UNSEEN + 5000


def drawn(k: int) -> Surface:
    """The k-th cracked surface."""
    return surface(FIRST + k, ("crack",), SIDE, SIDE)


def clean(k: int) -> np.ndarray:
    """The same surface without its crack, (H,W,3) uint8."""
    return surface(FIRST + k, (), SIDE, SIDE).image


@dataclass(frozen=True)
class SurfacePhoto(Photo):
    """A cracked surface as a photograph that knows its crack."""

    number: int = 0

    def read(self, height: int, width: int) -> Tensor:
        return to_tensor(drawn(self.number).image)

    def truth(self, height: int, width: int) -> np.ndarray:
        return drawn(self.number).mask


def photo(k: int) -> Photo:
    """The k-th cracked surface as a photograph."""
    return SurfacePhoto(f"surface-{k:03d}", label="crack", stamp=str(FIRST + k), number=k)


def job(cache: Path, edit: EditSettings, selection: Selection, steps: int, words: Sequence[str] = WORDS) -> Job:
    """The miniature's job of a data set: reconstruction and an edit to each word."""
    return Job(
        model="mini",
        height=SIDE,
        width=SIDE,
        source=SOURCE,
        targets=targets(words),
        original=True,
        inversion=InversionSettings(steps=steps),
        edit=edit,
        cache=cache,
        selection=selection,
    )


def results(model: Model, work: Job, photos: Sequence[Photo], folder: Path) -> Iterator[PhotoResult]:
    """What the job makes of the photographs; what lies in the folder already is not made again."""
    todo = [*pending(work, photos, folder)]
    runner = Runner(work, model, judge=judge_of(load_classifier()))
    runner.make(shown(todo, f"photographs, {folder.name}"), folder)
    return (read_photo(folder, one.name) for one in photos)


def options(doc: str, surfaces: int) -> argparse.ArgumentParser:
    """What every one of the experiments can be asked."""
    parser = harness.options(doc, surfaces=surfaces, steps=50, out=Path(__file__).parent)
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"), help="of inversions")
    parser.add_argument("--work", type=Path, default=Path("outputs/evidence"), help="pictures; a stopped run goes on")
    return parser


def publish(folder: Path, name: str, rows: pd.DataFrame, table: str) -> None:
    """rows as <name>.csv in the folder, and the table in its evidence.md."""
    harness.record(folder, name, rows, table, page="evidence.md")
