"""The materials of procedural photographs: what a clean surface looks like.

Every painter draws a picture (H, W, 3) float32, and the part (H, W) of it in [0, 1] where defects may lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from rli.models.mini.drawing import (
    Grid,
    Place,
    colour,
    fractal,
    line_noise,
    mix,
    noise,
    rgb,
    slope,
    smoothstep,
    tint,
    turned,
)

Painter = Callable[[np.random.Generator, Grid, Place], tuple[np.ndarray, np.ndarray]]


def _brushed(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Fine parallel streaks, broken up along their length."""
    angle = float(rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]))
    along, across = turned(grid, Place(-9, -9, 0, 0, 0), angle)
    wave = across + 0.002 * noise(rng, grid, 4)
    streaks = line_noise(rng, wave + 40, 90) + 0.7 * line_noise(rng, wave + 40, 30) * (1 + 0.4 * noise(rng, grid, 5))
    sheen = 0.05 * noise(rng, grid, 1.5) + 0.08 * np.sin(along * rng.uniform(1, 4) + rng.uniform(0, 6))
    level = rng.uniform(0.45, 0.72) + rng.uniform(0.018, 0.045) * streaks + sheen
    metal = colour(rng, (1, 1, 1.02), (1.02, 0.98, 0.93), (0.95, 1, 1.05), spread=0.015)
    return tint(level, metal), np.ones_like(level)


def _cast(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """A rough skin, lit from one side."""
    height = (
        0.45 * noise(rng, grid, 80)
        + 0.6 * noise(rng, grid, 36)
        + 0.8 * noise(rng, grid, 16)
        + 0.5 * noise(rng, grid, 6)
    )
    shade = slope(height, grid, place.light) * rng.uniform(0.0008, 0.0016)
    level = rng.uniform(0.28, 0.48) + shade + 0.04 * fractal(rng, grid, 2)
    return tint(level, colour(rng, (1, 1, 1), (0.95, 0.98, 1.05), (1.06, 1, 0.94), spread=0.015)), np.ones_like(level)


def _machined(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Turning marks: concentric arcs around a far centre, with a conical sheen."""
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 2.5)
    dy, dx = grid.y - 0.5 - far * math.sin(angle), grid.x - 0.5 - far * math.cos(angle)
    radius = np.hypot(dy, dx)
    pitch = rng.uniform(14, 34)
    marks = np.sin(2 * np.pi * pitch * radius + 0.5 * line_noise(rng, radius, 12)) + 0.7 * line_noise(rng, radius, 60)
    sheen = 0.1 * np.sin(np.arctan2(dy, dx) * rng.integers(2, 7) + rng.uniform(0, 6)) + 0.03 * noise(rng, grid, 3)
    level = rng.uniform(0.45, 0.7) + rng.uniform(0.02, 0.045) * marks + sheen
    return tint(level, colour(rng, (1, 1, 1.02), (1.05, 0.99, 0.9), (0.94, 1, 1.06), spread=0.015)), np.ones_like(level)


_PAINTS = (
    (0.20, 0.36, 0.58), (0.24, 0.46, 0.34), (0.68, 0.20, 0.17), (0.85, 0.68, 0.22), (0.62, 0.65, 0.66),
    (0.84, 0.84, 0.80), (0.33, 0.37, 0.40), (0.45, 0.60, 0.66), (0.80, 0.45, 0.20),
    (0.82, 0.48, 0.60), (0.72, 0.26, 0.48), (0.46, 0.33, 0.60), (0.60, 0.50, 0.72),
    (0.28, 0.58, 0.30), (0.20, 0.55, 0.54),
)  # fmt: skip


def _painted(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """A coat of paint: one colour, orange peel and a soft reflection."""
    peel = slope(noise(rng, grid, 22) + 0.6 * noise(rng, grid, 45), grid, place.light) * rng.uniform(0.0001, 0.0004)
    spot = np.hypot(grid.y - rng.uniform(0, 1), grid.x - rng.uniform(0, 1))
    gloss = rng.uniform(0, 0.16) * np.exp(-((spot / rng.uniform(0.3, 0.7)) ** 2))
    level = 1 + peel + 0.025 * fractal(rng, grid, 2)
    return tint(level, colour(rng, *_PAINTS)) + gloss[..., None], np.ones_like(level)


def _carbide(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """A gold-coated cutting edge before a grey table: two flanks meeting in a rounded nose, a pocket behind."""
    facing = rng.uniform(0, 2 * np.pi)
    half = rng.uniform(0.6, 1.5)
    reach = rng.uniform(0.17, 0.33)
    ahead, aside = turned(grid, place, facing)
    wobble = 0.004 * noise(rng, grid, 12)
    flanks = [(ahead * math.sin(half) + sign * aside * math.cos(half)) - reach for sign in (1, -1)]
    soft = rng.uniform(0.02, 0.06)
    inside = -soft * np.logaddexp(flanks[0] / soft, flanks[1] / soft) + wobble  # distance to the edge, > 0 on the part
    part = smoothstep(inside, -0.004, 0.008)
    table = tint(
        rng.uniform(0.4, 0.6) + 0.012 * noise(rng, grid, 2) - 0.10 * np.exp(np.minimum(inside, 0) / 0.04),
        colour(rng, (1, 1, 1), (0.97, 1, 1.02), spread=0.01),
    )
    relief = 0.5 * noise(rng, grid, 90) + 0.5 * noise(rng, grid, 48) + 0.6 * noise(rng, grid, 24)
    grain = slope(relief, grid, place.light) * rng.uniform(0.0008, 0.0022)
    level = rng.uniform(0.8, 1.1) + grain + 0.06 * fractal(rng, grid, 3)
    gold = tint(level, colour(rng, (0.74, 0.56, 0.28), (0.66, 0.50, 0.27), (0.80, 0.64, 0.36), spread=0.02))
    pocket = smoothstep(
        -np.hypot(aside, (ahead + reach + rng.uniform(0.2, 0.4)) * 0.6) + 0.12 * noise(rng, grid, 1.5), -0.2, -0.14
    )
    gold = mix(gold, gold * (0.28 + 0.1 * smoothstep(ahead, -0.6, 0.1)[..., None]), pocket * rng.choice([0, 0.9]))
    worn = smoothstep(noise(rng, grid, 30) - (inside - 0.028) * 90, -0.2, 0.8) * rng.uniform(0.3, 0.9)
    gold = mix(gold, gold * 0.35, worn * (inside < 0.06))
    gold = gold + (0.22 * np.exp(-(((inside - 0.035) / 0.006) ** 2)))[..., None] * rgb(1, 0.85, 0.6)
    rim = np.exp(-(((inside - 0.002) / 0.008) ** 2))
    return mix(table, gold, part) * (1 - 0.85 * rim[..., None]), smoothstep(inside, 0.004, 0.014)


def _concrete(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Mottled cement with sand and a few pores."""
    sand = 0.022 * noise(rng, grid, 95) + 0.018 * noise(rng, grid, 52) + 0.018 * noise(rng, grid, 26)
    level = rng.uniform(0.52, 0.74) + sand + 0.045 * fractal(rng, grid, 2.5)
    pores = smoothstep(noise(rng, grid, 26), 2.0, 2.5) * smoothstep(noise(rng, grid, 4), -0.2, 0.8)
    level = level * (1 - 0.5 * pores)
    cement = colour(rng, (1, 0.98, 0.94), (0.98, 1, 1), (1.02, 0.97, 0.90), spread=0.012)
    return tint(level, cement), np.ones_like(level)


PAINTERS: dict[str, Painter] = {
    "brushed metal": _brushed,
    "cast metal": _cast,
    "machined metal": _machined,
    "painted steel": _painted,
    "coated carbide": _carbide,
    "concrete": _concrete,
}
