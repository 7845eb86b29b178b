"""The page of an evaluation: the answer, the table, curves, and pictures missed before and found after."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader
from PIL import Image
from scipy import ndimage

from experiments.proof.answer import Answer
from experiments.proof.run import figure
from experiments.proof.training import READINGS
from rli.errors import RLIError
from rli.files import write_whole

# What people call the metrics.
HEADS = {
    "miou": "mIoU",
    "pixel_ap": "AP of pixels",
    "image_auroc": "AUROC of photographs",
    "accuracy": "accuracy",
    "class_accuracy": "accuracy, mean of classes",
}
# Pictures of each kind, and their side in pixels.
MOST, SIDE = 12, 160
FOUND, TRUE = (255, 60, 0), (0, 200, 80)


@dataclass(frozen=True)
class Seen:
    """What a network said of the test photographs."""

    # (N,H,W) bool, or (N,) classes.
    truth: np.ndarray
    # (N,H,W) scores, or (N,) classes.
    found: np.ndarray
    # From which on a pixel counts.
    threshold: float

    @classmethod
    def read(cls, file: Path) -> Seen:
        """As `run.write_found` keeps it. Raises RLIError where it is gone."""
        if not file.is_file():
            raise RLIError(f"{file} is gone; remove table.csv, and everything is measured again")
        with np.load(file, allow_pickle=False) as kept:
            return cls(kept["truth"], kept["found"], float(kept["threshold"]))

    @property
    def defective(self) -> np.ndarray:
        """(N,) bool: of maps, whether there is a defect; of classes, which are all alike here, true."""
        return self.truth.any((1, 2)) if self.truth.ndim > 1 else np.ones(len(self.truth), bool)

    @property
    def right(self) -> np.ndarray:
        """(N,) bool: of maps, whether a defect is there and touched, or none is there and none found; of classes,
        whether it is the right one."""
        if self.truth.ndim == 1:
            return self.truth == self.found
        marked = self.found >= self.threshold
        touched = (marked & self.truth).any((1, 2))
        return np.where(self.truth.any((1, 2)), touched, ~marked.any((1, 2)))


def write_page(path: Path, **values: Any) -> None:
    """Writes the page from page.html.j2, in which every text is escaped."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    write_whole(path, environment.get_template("page.html.j2").render(**values))


def lines(table: pd.DataFrame, metrics: Sequence[str], answers: Mapping[str, Answer]) -> list[dict[str, Any]]:
    """A line for each row of the table: its figures by each of READINGS, and its answer."""
    return [
        {
            "name": row,
            "synthetic": f"{own['synthetic'].mean():.0f}",
            "cells": [figure(own, f"{name}{reading}") for name in metrics for reading in READINGS],
            "verdict": answers[row].verdict if row in answers else "",
        }
        for row, own in table.groupby("row", sort=False)
    ]


def curves(seen: Mapping[str, Seen]) -> str:
    """Precision over recall of the defects' pixels, a curve for each row, as a data URI."""
    chart, axis = plt.subplots(figsize=(6, 4))
    for name, one in seen.items():
        precision, recall = precision_and_recall(one.truth, one.found)
        axis.plot(recall, precision, label=name)
    axis.set(xlabel="defective pixels found (recall)", ylabel="found pixels defective (precision)")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    stream = BytesIO()
    chart.tight_layout()
    chart.savefig(stream, dpi=110, format="png")
    plt.close(chart)
    return _uri(stream.getvalue())


def precision_and_recall(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Over 101 thresholds from 1 to 0: truth bool and scores in [0,1], of one shape. NaN where nothing is found."""
    levels = np.minimum((scores.astype(np.float32) * 100).astype(int), 100)
    hits, every = (np.bincount(levels[own], minlength=101)[::-1].cumsum() for own in (truth, truth | ~truth))
    return np.where(every > 0, hits / np.maximum(every, 1), np.nan), hits / max(1, truth.sum())


def pictures(files: Sequence[Path], chosen: np.ndarray, seen: Seen) -> list[dict[str, str]]:
    """The chosen test photographs, at most MOST, with what was found (red) and what is there (green) outlined."""
    told = []
    for k in np.flatnonzero(chosen)[:MOST]:
        with Image.open(files[k]) as file:
            image = np.asarray(file.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)).copy()
        if seen.truth.ndim > 1:
            for mask, colour in ((seen.truth[k], TRUE), (seen.found[k] >= seen.threshold, FOUND)):
                image[outline(mask)] = colour
        stream = BytesIO()
        Image.fromarray(image).save(stream, "WEBP", quality=85)
        told.append({"uri": _uri(stream.getvalue(), "webp"), "name": files[k].stem.rpartition("__")[2]})
    return told


def outline(mask: np.ndarray) -> np.ndarray:
    """(SIDE,SIDE) bool: the border of a mask (h,w)."""
    large = Image.fromarray(mask.astype(np.uint8) * 255).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    inside = np.asarray(large) > 0
    return ndimage.binary_dilation(inside) & ~inside


def _uri(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
