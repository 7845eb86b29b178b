"""Rows and pictures as wandb's tables and charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rli.metrics.columns import BY_NAME, NAMES, ORIGINAL
from rli.store.records import PhotoResult
from rli.tracking.tracker import Gallery, Thumbnails

if TYPE_CHECKING:
    from pandas import DataFrame

# The keys under which a run's table is logged; a sweep's tables; its plot, as a picture and as a native chart.
RESULTS = "results"
COMPARISON, SWEEP_RESULTS, FAILED = "comparison", "sweep_results", "failed"
TRADE_OFF, SCATTER = "trade_off", "strength_background"
# The columns of pictures beside a row's own.
PICTURES = ("input", "reconstruction", "edit", "mask")
SIDE = 512  # longer side of a picture in pixels, for the tables are for browsing


def thumbnails_of(photo: PhotoResult) -> Thumbnails:
    """A photograph's pictures, at most SIDE pixels wide and high; the edit of `original` is the reconstruction."""
    reconstruction = _thumbnail(photo.reconstruction)
    return {
        ("input",): _thumbnail(photo.input),
        ("reconstruction",): reconstruction,
        ("edit", ORIGINAL): reconstruction,
        **{("edit", name): _thumbnail(edit.image) for name, edit in photo.edits.items()},
        **{("mask", name): _thumbnail(edit.mask.astype(np.uint8) * 255) for name, edit in photo.edits.items()},
    }


def columns_of(frame: DataFrame) -> dict[str, list[Any]]:
    """The frame's columns as lists, by name."""
    return {str(name): frame[name].tolist() for name in frame}


def table_of(columns: Mapping[str, Sequence[Any]], pictures: Gallery | None = None) -> Any:
    """Builds a wandb.Table.

    Args:
        columns: of one length, by name.
        pictures: where the columns are rows of results, the thumbnails that stand beside them, by job and image.
    """
    import wandb

    typed = {name: _typed(values) for name, values in columns.items()}
    if pictures is not None:
        # Each picture becomes one object however many rows show it: wandb then stores it once.
        images = {id(x): wandb.Image(x) for thumbnails in pictures.values() for x in thumbnails.values()}
        jobs = columns.get("job") or [""] * len(columns["image"])
        lines = [
            [images.get(id(pictures.get((job, image), {}).get(key))) for key in _keys(defect)]
            for job, image, defect in zip(jobs, columns["image"], columns["defect"], strict=True)
        ]
        typed |= {name: [line[k] for line in lines] for k, name in enumerate(PICTURES)}
    return wandb.Table(columns=[*typed], data=[list(line) for line in zip(*typed.values(), strict=True)])


def _keys(defect: str) -> tuple[tuple[str, ...], ...]:
    """What a photograph's thumbnails call the PICTURES of a defect's row."""
    return ("input",), ("reconstruction",), ("edit", defect), ("mask", defect)


def scatter_of(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The native chart of strength against background, a point for each edit; empty where there is none."""
    import wandb

    x, y = "psnr_background", "strength"
    names = [name for name in columns if name not in NAMES or name in ("image", "defect")]
    known = [k for k, pair in enumerate(zip(columns[x], columns[y], strict=True)) if not any(map(_missing, pair))]
    if not known:
        return {}
    points = {name: [columns[name][k] for k in known] for name in names}
    points |= {name: [min(columns[name][k], BY_NAME[name].cap or math.inf) for k in known] for name in (x, y)}
    return {SCATTER: wandb.plot.scatter(table_of(points), x, y, "Strength against background PSNR (dB)")}


def _typed(values: Sequence[Any]) -> list[Any]:
    """A table's column has one type: numbers, NaN where missing, if there is nothing else; otherwise text."""
    if all(_missing(v) or (isinstance(v, Real) and not isinstance(v, bool)) for v in values):
        return [math.nan if _missing(v) else v for v in values]
    return ["" if _missing(v) else str(v) for v in values]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _thumbnail(pixels: np.ndarray) -> Image.Image:
    """(H,W,3) or (H,W) uint8, reduced where it is larger than SIDE."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    return image
