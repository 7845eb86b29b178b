"""Rows and pictures as wandb's tables and charts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rli.metrics.columns import COLUMNS
from rli.store.records import PhotoResult
from rli.tracking.summary import capped

if TYPE_CHECKING:
    from pandas import DataFrame

# What a tracked run tells beside its summary: a run's table; a sweep's tables, its plot as a picture and to look into.
RESULTS, COMPARISON, SWEEP_RESULTS, FAILED = "results", "comparison", "sweep_results", "failed"
TRADE_OFF, SCATTER = "trade_off", "strength_background"


PICTURES = ("input", "reconstruction", "edit", "mask")


def columns_of(frame: DataFrame) -> dict[str, list[Any]]:
    return {str(name): frame[name].tolist() for name in frame}


def table_of(columns: Mapping[str, Sequence[Any]], photos: Iterable[PhotoResult] | None = None) -> Any:
    """A wandb.Table of columns of one length. With `photos`, of rows: each with its pictures, by its job and image;
    `original` shows the reconstruction and no mask."""
    import wandb

    typed = {name: _typed(values) for name, values in columns.items()}
    if photos is not None:
        # Each picture becomes one object however many rows show it: wandb then stores it once.
        pictures = {(photo.job, photo.name): _pictures(photo) for photo in photos}
        jobs = columns.get("job") or [""] * len(columns["image"])
        lines = [
            [pictures.get((job, image), {}).get(key) for key in _keys(defect)]
            for job, image, defect in zip(jobs, columns["image"], columns["defect"], strict=True)
        ]
        typed |= {name: [line[k] for line in lines] for k, name in enumerate(PICTURES)}
    return wandb.Table(columns=[*typed], data=[list(line) for line in zip(*typed.values(), strict=True)])


def _keys(defect: str) -> tuple[Any, ...]:
    """What `_pictures` calls the PICTURES of a defect's row."""
    return ("input", "reconstruction", ("edit", defect), ("mask", defect))


def scatter_of(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The native chart of strength against background, a point for each edit; empty where there is none."""
    import wandb

    x, y = "psnr_background", "strength"
    told = [name for name in columns if name not in COLUMNS or name in ("image", "defect")]
    known = [k for k, pair in enumerate(zip(columns[x], columns[y], strict=True)) if not any(map(_missing, pair))]
    if not known:
        return {}
    points = {name: [columns[name][k] for k in known] for name in told}
    points |= {name: [capped(name, columns[name][k]) for k in known] for name in (x, y)}
    return {SCATTER: wandb.plot.scatter(table_of(points), x, y, "Strength against background PSNR (dB)")}


def _typed(values: Sequence[Any]) -> list[Any]:
    """A table's column has one type: numbers, NaN where missing, if there is nothing else; otherwise text."""
    if all(_missing(v) or (isinstance(v, Real) and not isinstance(v, bool)) for v in values):
        return [math.nan if _missing(v) else v for v in values]
    return ["" if _missing(v) else str(v) for v in values]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _pictures(photo: PhotoResult) -> dict[Any, Any]:
    edits = {("edit", name): _picture(edit.image) for name, edit in photo.edits.items()}
    masks = {("mask", name): _picture(edit.mask.astype(np.uint8) * 255) for name, edit in photo.edits.items()}
    reconstruction = _picture(photo.reconstruction)
    return {
        "input": _picture(photo.input),
        "reconstruction": reconstruction,
        ("edit", "original"): reconstruction,
        **edits,
        **masks,
    }


def _picture(pixels: np.ndarray, side: int = 512) -> Any:
    """(H,W,3) or (H,W) uint8 as a wandb image of at most `side` pixels: the table is for browsing."""
    import wandb

    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return wandb.Image(image)
