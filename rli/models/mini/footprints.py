"""Where a defect lies: along a path, in a patch, along an edge, scattered. What it looks like is another matter.

A footprint is laid out in relative units from a seed's numbers alone, so that every defect of a surface can lie in
the very same one: rust where the crack was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from rli.models.mini.drawing import Grid, Place, Stroke, strokes

POINT = np.ndarray  # (2,): y and x in relative units


@dataclass(frozen=True)
class Footprint:
    """One footprint on one grid of pixels."""

    kind: str  # one of KINDS
    place: Place
    inside: np.ndarray  # (H, W) float32: 1 at the core, 0 on the outline, falling on outside; in units of `depth`
    depth: float  # from the outline to the core, in relative units
    spine: tuple[Stroke, ...]  # lines of no width that it lies along
    spots: np.ndarray  # (N, 3) float: y, x and radius of evenly spread places in it


def walk(rng: np.random.Generator, start: POINT, angle: float, length: float, steps: int, wild: float) -> np.ndarray:
    """A jagged path, (steps + 1, 2), whose direction wavers by about `wild` radians."""
    lean = 0.0
    points = [start]
    for _ in range(steps):
        lean = 0.5 * lean + rng.normal(0, wild)
        stride = length / steps * rng.uniform(0.6, 1.4)
        points.append(points[-1] + stride * np.array([np.sin(angle + lean), np.cos(angle + lean)]))
    return np.array(points)


def _distance(grid: Grid, lines: tuple[Stroke, ...]) -> np.ndarray:
    """(H, W) float32, relative units: how far the nearest of the lines is."""
    drawn = strokes(grid, [Stroke(line.points, (0.0, 0.0)) for line in lines], sharpness=1) > 0
    if not drawn.any():
        return np.ones(grid.y.shape, np.float32)
    return (ndimage.distance_transform_edt(~drawn) * grid.pixel).astype(np.float32)


def _along(points: np.ndarray, count: int) -> np.ndarray:
    """(count, 2) points spread evenly along a polyline."""
    reach = np.concatenate([[0], np.hypot(*np.diff(points, axis=0).T).cumsum()])
    at = (np.arange(count) + 0.5) / count * reach[-1]
    return np.stack([np.interp(at, reach, points[:, axis]) for axis in (0, 1)], 1)


def _spots(rng: np.random.Generator, centres: np.ndarray, radius: float) -> np.ndarray:
    """(N, 3): the centres with radii about the given one."""
    return np.concatenate([centres, radius * rng.uniform(0.7, 1.25, (len(centres), 1))], 1)


def _path(rng: np.random.Generator, grid: Grid, place: Place) -> Footprint:
    """A band along a jagged path, wider here and there."""
    middle, length = np.array([place.y, place.x]), place.radius * rng.uniform(1.2, 1.8, 2)
    wild = rng.uniform(0.25, 0.55)
    arms = [
        walk(rng, middle, place.angle + turn, reach, 9, wild) for turn, reach in zip((0, np.pi), length, strict=True)
    ]
    main = np.concatenate([arms[1][::-1], arms[0][1:]])
    spine = [Stroke(main, (0.35, 0.35))]
    for k in rng.choice(np.arange(2, len(main) - 2), rng.integers(0, 5), replace=False):
        turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
        reach = place.radius * rng.uniform(0.3, 0.8)
        spine.append(Stroke(walk(rng, main[k], place.angle + turn, reach, 4, wild), (0.7, 0.2)))
    depth = place.radius * rng.uniform(0.2, 0.36)
    fade = np.hypot(grid.y - place.y, grid.x - place.x) / float(length.max())
    inside = 1 - _distance(grid, tuple(spine[:1])) / depth - 0.6 * np.clip(fade - 0.6, 0, None)
    return Footprint("path", place, inside, depth, tuple(spine), _spots(rng, _along(main, 9), depth * 0.9))


def _patch(rng: np.random.Generator, grid: Grid, place: Place) -> Footprint:
    """A rounded area, longer than wide."""
    stretch, radius = rng.uniform(1, 1.45), place.radius * rng.uniform(0.85, 1.1)
    dy, dx = grid.y - place.y, grid.x - place.x
    along = dx * math.cos(place.angle) + dy * math.sin(place.angle)
    across = dy * math.cos(place.angle) - dx * math.sin(place.angle)
    inside = (1 - np.hypot(along / stretch, across * stretch) / radius).astype(np.float32)
    count = int(rng.integers(7, 13))
    turn, far = np.arange(count) * 2.4 + rng.uniform(0, 6), 0.8 * np.sqrt((np.arange(count) + 0.3) / count)
    u, v = radius * far * np.cos(turn) * stretch, radius * far * np.sin(turn) / stretch
    cos, sin = math.cos(place.angle), math.sin(place.angle)
    centres = np.stack([place.y + u * sin + v * cos, place.x + u * cos - v * sin], 1)
    return Footprint("patch", place, inside, radius, (), _spots(rng, centres, radius * 0.9 / np.sqrt(count)))


def _edge(rng: np.random.Generator, grid: Grid, place: Place) -> Footprint:
    """What hangs on one side of a line that is almost straight: sharp there, ragged on the other side."""
    half, depth = place.radius * rng.uniform(1.3, 1.8), place.radius * rng.uniform(0.4, 0.7)
    dy, dx = grid.y - place.y, grid.x - place.x
    along = dx * math.cos(place.angle) + dy * math.sin(place.angle)
    bend = rng.normal(0, 0.35)
    off = dy * math.cos(place.angle) - dx * math.sin(place.angle) - bend * along**2
    waves = sum(rng.uniform(0.05, 0.2) * np.sin(along * f + rng.uniform(0, 6)) for f in rng.uniform(15, 70, 3))
    reach = depth * (1 + waves) * np.sqrt(np.clip(1 - (along / half) ** 2, 0, 1))
    inside = np.minimum((reach - off) / depth, (off + 0.1 * depth) / (0.25 * depth)) - 3 * np.clip(
        np.abs(along) / half - 1, 0, None
    )
    t = np.linspace(-half, half, 10)
    cos, sin = math.cos(place.angle), math.sin(place.angle)
    line = np.stack([place.y + t * sin + bend * t**2 * cos, place.x + t * cos - bend * t**2 * sin], 1)
    centres = _along(line[1:-1], 8) + depth * 0.35 * np.array([cos, -sin])
    return Footprint(
        "edge", place, inside.astype(np.float32), depth, (Stroke(line, (1, 1)),), _spots(rng, centres, depth * 0.4)
    )


def _scattered(rng: np.random.Generator, grid: Grid, place: Place) -> Footprint:
    """Small islands here and there around the place."""
    count, radius = int(rng.integers(6, 14)), place.radius * rng.uniform(0.2, 0.3)
    turn, far = np.arange(count) * 2.4 + rng.uniform(0, 6), np.sqrt((np.arange(count) + 0.2) / count)
    turn, far = turn + rng.normal(0, 0.25, count), far * place.radius * rng.uniform(1.2, 1.55)
    centres = np.stack([place.y + far * np.sin(turn), place.x + far * np.cos(turn)], 1)
    spots = np.concatenate([centres, radius * rng.uniform(0.45, 1.35, (count, 1))], 1)
    inside = np.full(grid.y.shape, -9, np.float32)
    for y, x, r in spots.astype(np.float32):
        np.maximum(inside, (r - np.hypot(grid.y - y, grid.x - x)) / np.float32(radius), out=inside)
    return Footprint("scattered", place, inside, radius, (), spots)


KINDS: dict[str, Callable[[np.random.Generator, Grid, Place], Footprint]] = {
    "path": _path,
    "patch": _patch,
    "edge": _edge,
    "scattered": _scattered,
}
