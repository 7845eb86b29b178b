"""Shapes of defects, drawn, and masks of defects, turned and scaled: each (h,w) bool, as large as what it holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rli.images import resized_mask
from rli.photos.region import grown

# Draws a shape of about this length in pixels.
Draw = Callable[[np.random.Generator, float], np.ndarray]
# A shape is at least so many pixels long: below, nothing could be seen in it.
SHORTEST = 6.0


def line(rng: np.random.Generator, length: float) -> np.ndarray:
    """A band along a jagged path, as a crack or a scratch runs."""
    from skimage.draw import line as stroke
    from skimage.morphology import dilation, disk

    steps = 8
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.3, steps))
    strides = np.stack([np.sin(turns), np.cos(turns)], 1) * length / steps
    radius = max(1, round(length * rng.uniform(0.06, 0.1)))
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(strides, 0)])
    points = np.round(points - points.min(0)).astype(int) + radius
    canvas = np.zeros(points.max(0) + radius + 1, bool)
    for (y, x), (y_end, x_end) in zip(points, points[1:], strict=False):
        canvas[stroke(y, x, y_end, x_end)] = True
    return cropped(dilation(canvas, disk(radius)))


def blob(rng: np.random.Generator, length: float) -> np.ndarray:
    """A patch with a wavy outline, longer than wide."""
    from skimage.draw import polygon

    around = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    waves = [rng.normal(0, 0.25 / k) * np.cos(k * around + rng.uniform(0, 2 * np.pi)) for k in range(2, 6)]
    reach = length / 2 * np.clip(1 + np.sum(waves, 0), 0.4, 1.6)
    squeeze, turn = rng.uniform(0.5, 1), rng.uniform(0, np.pi)
    y, x = reach * np.sin(around) * squeeze, reach * np.cos(around)
    y, x = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
    y, x = y - y.min(), x - x.min()
    shape = int(np.ceil(y.max())) + 1, int(np.ceil(x.max())) + 1
    canvas = np.zeros(shape, bool)
    canvas[polygon(y, x, shape)] = True
    return cropped(canvas)


def scatter(rng: np.random.Generator, length: float) -> np.ndarray:
    """Several small spots side by side."""
    from skimage.draw import disk

    side = max(3, round(length))
    canvas = np.zeros((side, side), bool)
    for _ in range(rng.integers(5, 12)):
        radius = max(1.5, length * rng.uniform(0.05, 0.12))
        far, angle = (length / 2 - radius) * np.sqrt(rng.uniform()), rng.uniform(0, 2 * np.pi)
        centre = side / 2 + far * np.sin(angle), side / 2 + far * np.cos(angle)
        canvas[disk(centre, radius, shape=canvas.shape)] = True
    return cropped(canvas)


# An edge is a patch that lies across the edge of the part.
SHAPES: dict[str, Draw] = {"line": line, "blob": blob, "scatter": scatter, "edge": blob}


def moved(mask: np.ndarray, *, is_flipped: bool, turn: float, scale: float, margin: float) -> np.ndarray:
    """A mask that is flipped, then turned, then scaled, then grown. Thin marks stay.

    Args:
        mask: (H,W) bool, not empty.
        is_flipped: Whether left and right change places.
        turn: In degrees, counter-clockwise.
        scale: Factor on its sides.
        margin: How far it grows, in pixels.
    """
    from skimage.transform import rotate

    own = cropped(mask)
    own = own[:, ::-1] if is_flipped else own
    if turn % 360:
        # A quarter of a pixel counts as inside: half would break lines that are one pixel thin.
        own = cropped(rotate(np.pad(own, 1).astype(np.float32), turn, resize=True, order=1) > 0.25)
    height, width = (max(1, round(side * scale)) for side in own.shape)
    return cropped(grown(np.pad(resized_mask(own, height, width), int(np.ceil(margin))), margin))


def cropped(mask: np.ndarray) -> np.ndarray:
    """The smallest box of (H,W) bool that holds what is inside. Empty masks stay as they are."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if rows.size else mask
