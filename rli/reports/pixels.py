"""Pictures of a report: difference maps, heat overlays, masks, loss charts, data URIs, and the contact sheet.

Scales are fixed, so that maps of different pages can be compared: pixel differences from 0 to 64 of 255 grey levels,
edge differences from 0 to 0.2 of the Sobel magnitude of luminance in [0,1].
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.color import rgb2gray
from skimage.filters import sobel
from skimage.measure import approximate_polygon, find_contours

from rli.metrics.columns import ORIGINAL
from rli.store.records import PhotoResult

PIXEL_SCALE = 64  # grey levels of 255 at which the map of pixel differences ends
EDGE_SCALE = 0.2  # Sobel magnitude at which the map of edge differences ends
CELL = 224  # longer side of a picture of the contact sheet, in pixels
Tile = tuple[str, Image.Image]


@dataclass(frozen=True)
class Inline:
    """A picture inside a page."""

    # A data URI.
    uri: str
    # In pixels.
    width: int
    height: int


def difference_map(photo: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean absolute difference of two (H,W,3) uint8 pictures over the channels, in jet: (H,W,3) uint8."""
    difference = np.abs(photo.astype(np.float32) - other.astype(np.float32)).mean(axis=2)
    return coloured(difference / PIXEL_SCALE, "jet")


def edge_difference_map(photo: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Absolute difference of the Sobel magnitudes of two (H,W,3) uint8 pictures, in hot: (H,W,3) uint8."""
    return coloured(np.abs(sobel(rgb2gray(photo)) - sobel(rgb2gray(other))) / EDGE_SCALE, "hot")


def heat(photo: np.ndarray, values: np.ndarray, side: int) -> np.ndarray:
    """A word's attention map, in magma up to its own maximum, over the darkened photograph.

    Args:
        photo: (H,W,3) uint8.
        values: (h,w), at least 0.
        side: longer side of what is returned, in pixels, at most.

    Returns:
        (H',W',3) uint8 with the photograph's proportions.
    """
    size = fitted(photo.shape, side)
    ground = np.asarray(Image.fromarray(photo).convert("L").resize(size, Image.Resampling.BOX), np.float32)[..., None]
    peak = float(values.max()) or 1.0
    shares = Image.fromarray((values / peak).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    weight = np.clip(np.asarray(shares), 0, 1)
    blended = 0.3 * ground + 0.8 * coloured(weight, "magma").astype(np.float32)
    return np.clip(blended, 0, 255).astype(np.uint8)


def outline(mask: np.ndarray) -> str:
    """The border of a mask (H,W) bool as the data of an SVG path, in pixels from the picture's upper left corner."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return ""
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # A rim of background closes the contours that touch the part's edge.
    contours = find_contours(np.pad(part, 1).astype(np.float32), 0.5)
    corner = np.array([rows[0], columns[0]]) - 0.5
    lines = (approximate_polygon(contour, 0.35) + corner for contour in contours)
    return " ".join("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in line[:-1]) + "Z" for line in lines)


def loss_chart(losses: Sequence[Sequence[float]], width: int = 520, height: int = 210) -> dict[str, Any] | None:
    """Loss before and after the optimization of each step, on a logarithmic axis, as coordinates for an SVG drawing.

    Args:
        losses: of each step, at its start and after each iteration, noisiest first.
        width: of the drawing, in its own units.
        height: of the drawing.

    Returns:
        None where nothing was optimized.
    """
    steps = [(i, step[0], step[-1]) for i, step in enumerate(losses) if len(step)]
    values = [v for _, *pair in steps for v in pair if math.isfinite(v) and v > 0]
    if not values:
        return None
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    left, right, top, bottom = 58, width - 14, 14, height - 34

    def x(step: float) -> float:
        return left + (right - left) * step / max(len(losses) - 1, 1)

    def y(exponent: float) -> float:
        return bottom - (bottom - top) * (exponent - low) / (high - low)

    def line(which: int) -> str:
        points = ((step[0], step[which]) for step in steps if math.isfinite(step[which]))
        return " ".join(f"{x(i):.1f},{y(math.log10(max(v, 10.0**low))):.1f}" for i, v in points)

    every = max(1, math.ceil((high - low) / 5))
    return {
        "width": width,
        "height": height,
        "left": left,
        "right": right,
        "top": top,
        "bottom": bottom,
        "before": line(1),
        "after": line(2),
        "y": [{"at": round(y(e), 1), "power": str(e).replace("-", "−")} for e in range(low, high + 1, every)],
        "x": [
            {"at": round(x(i), 1), "label": i + 1} for i in range(0, len(losses), max(1, round((len(losses) - 1) / 5)))
        ],
        "iterations": sum(len(step) - 1 for step in losses if step),
        "mean": tuple(f"{np.mean([step[k] for step in steps]):.1e}".replace("e-0", "e-") for k in (1, 2)),
    }


def contact_sheet(photos: Sequence[Sequence[Tile]], cell: int = CELL, columns: int = 5) -> np.ndarray:
    """Photographs with their reconstructions and edits as one labelled picture.

    Args:
        photos: each photograph's `tiles`.
        cell: longer side of a tile in pixels.
        columns: tiles in a line before the next one begins.

    Returns:
        (H,W,3) uint8, on white.
    """
    gap, label, font = cell // 16, cell // 8, _font(cell // 13)
    lines = [own[i : i + columns] for own in photos for i in range(0, len(own), columns)]
    width = max((sum(t.width + gap for _, t in line) for line in lines), default=0) + gap
    heights = [max(tile.height for _, tile in line) + label + gap for line in lines]
    sheet = Image.new("RGB", (width, sum(heights) + gap), "white")
    draw, top = ImageDraw.Draw(sheet), gap // 2
    for line, height in zip(lines, heights, strict=True):
        left = gap
        for name, tile in line:
            draw.text((left, top + label // 2), name, fill=(40, 44, 52), font=font, anchor="lm")
            sheet.paste(tile, (left, top + label))
            left += tile.width + gap
        top += height
    return np.asarray(sheet)


def tiles(photo: PhotoResult, cell: int = CELL) -> list[Tile]:
    """A photograph's pictures for `contact_sheet`, enlarged or reduced to `cell` pixels, with their labels; of one with
    windows what the first window shows."""
    part = photo.parts[0].window.slices if photo.parts else ...
    pictures = {
        "input": photo.input,
        "reconstruction": photo.reconstruction,
        **{name: edit.image for name, edit in photo.edits.items() if name != ORIGINAL},
    }
    size = fitted(photo.input[part].shape, cell, enlarge=True)
    return [(name, Image.fromarray(p[part]).resize(size, Image.Resampling.LANCZOS)) for name, p in pictures.items()]


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def coloured(values: np.ndarray, colormap: str) -> np.ndarray:
    """Values (H,W), clipped to [0,1], as (H,W,3) uint8."""
    return (_colormap(colormap)(np.clip(values, 0, 1))[..., :3] * 255).round().astype(np.uint8)


@cache  # matplotlib gives a copy each time, which makes its table of colours anew
def _colormap(name: str) -> Any:
    return matplotlib.colormaps[name]


def fitted(shape: tuple[int, ...], side: int, enlarge: bool = False) -> tuple[int, int]:
    """(width, height) with the proportions of (H,W,…) and `side` as the longer one; smaller ones stay, or grow."""
    scale = side / max(shape[:2])
    scale = scale if enlarge else min(1.0, scale)
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def bar(colormap: str) -> str:
    """A colour map from its lowest to its highest value, as a data URI."""
    return webp(coloured(np.linspace(0, 1, 128)[None].repeat(2, 0), colormap)).uri


def inlined(pixels: np.ndarray, side: int, quality: int | None) -> Inline:
    """A picture for a page.

    Args:
        pixels: (H,W,3) uint8.
        side: the longer side in pixels, at most.
        quality: WebP's; None for lossless.
    """
    size = fitted(pixels.shape, side)
    if size != (pixels.shape[1], pixels.shape[0]):
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    return webp(pixels, quality)


def inlined_mask(mask: np.ndarray, side: int) -> Inline:
    """A mask (H,W) bool, white on black, at most `side` pixels wide and high."""
    image = Image.fromarray(mask)
    image = image.resize(fitted(mask.shape, side), Image.Resampling.NEAREST)
    return _inline(image, "PNG", optimize=True)


def webp(pixels: np.ndarray, quality: int | None = None) -> Inline:
    """(H,W,3) uint8 as WebP, lossless where quality is None."""
    options = {"lossless": True, "quality": 60} if quality is None else {"quality": quality}
    return _inline(Image.fromarray(pixels), "WEBP", method=4, **options)


def _inline(image: Image.Image, kind: str, **options: Any) -> Inline:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    text = base64.b64encode(buffer.getvalue()).decode()
    return Inline(f"data:image/{kind.lower()};base64,{text}", *image.size)
