"""The defects of procedural photographs: each paints over a picture of a surface.

Every painter returns the changed picture (H, W, 3) and its cover (H, W) in [0, 1]: where it has painted.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rli.models.mini.drawing import (
    Grid,
    Place,
    blur,
    colour,
    line_noise,
    mix,
    noise,
    rgb,
    slope,
    smoothstep,
    tint,
    turned,
)

Painter = Callable[[np.random.Generator, Grid, Place, np.ndarray], tuple[np.ndarray, np.ndarray]]
# A piece of a path: where it starts and ends, and its half widths there.
Piece = tuple[np.ndarray, np.ndarray, tuple[float, float]]


def _blob(
    rng: np.random.Generator, grid: Grid, place: Place, rough: float, cells: float, stretch: float = 1.25
) -> np.ndarray:
    """A ragged patch: 1 at its centre, 0 on its ragged outline, negative outside."""
    along, across = turned(grid, place, place.angle)
    distance = np.hypot(along / stretch, across * stretch) / place.radius
    ragged = 1 + rough * (0.7 * noise(rng, grid, cells) + 0.5 * noise(rng, grid, 2.3 * cells))
    return np.minimum(1 - distance * np.clip(ragged, 0.55, None), 1.6 - distance)  # no islands far away


def _segments(grid: Grid, starts: np.ndarray, ends: np.ndarray, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to tapered segments less their half width, and the side (+/-) of the nearest; (n, 2) points."""
    pad = 0.05
    low, high = np.minimum(starts, ends).min(0) - pad, np.maximum(starts, ends).max(0) + pad
    box = (
        slice(*np.searchsorted(grid.y[:, 0], (low[0], high[0]))),
        slice(*np.searchsorted(grid.x[0], (low[1], high[1]))),
    )
    y, x = grid.y[box][None], grid.x[box][None]
    ay, ax = (starts.T[:, :, None, None]).astype(np.float32)
    by, bx = ((ends - starts).T[:, :, None, None]).astype(np.float32)
    t = np.clip(((y - ay) * by + (x - ax) * bx) / (by**2 + bx**2 + 1e-9), 0, 1)
    dy, dx = y - ay - t * by, x - ax - t * bx
    width = widths[:, 0, None, None] + (widths[:, 1] - widths[:, 0])[:, None, None] * t
    distance = np.sqrt(dy * dy + dx * dx) - width.astype(np.float32)
    far, side = np.full(grid.y.shape, 1, np.float32), np.zeros(grid.y.shape, np.float32)
    if distance.size:
        far[box] = distance.min(0)
        nearest = distance.argmin(0)[None]
        side[box] = np.take_along_axis(dx * by - dy * bx, nearest, 0)[0]
    return far, side


def _walk(
    rng: np.random.Generator, start: np.ndarray, angle: float, length: float, width: float, steps: int
) -> list[Piece]:
    """A jagged, tapering path: (start, end, (width, width)) of each step."""
    path, lean = [], 0.0
    for k in range(steps):
        lean = 0.5 * lean + rng.normal(0, 0.42)
        stride = length / steps * rng.uniform(0.6, 1.4)
        end = start + stride * np.array([np.sin(angle + lean), np.cos(angle + lean)])
        path.append((start, end, (width * (1 - 0.75 * k / steps), width * (1 - 0.75 * (k + 1) / steps))))
        start = end
    return path


def _crack(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A thin dark jagged line with branches; one lip catches the light."""
    middle = np.array([place.y, place.x])
    width = rng.uniform(0.0075, 0.0125)
    path = []
    for sign in (0, np.pi):
        arm = _walk(rng, middle, place.angle + sign, place.radius * rng.uniform(1.2, 1.65), width, 7)
        path += arm
        for k in rng.choice(np.arange(1, 6), rng.integers(1, 3), replace=False):
            turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
            path += _walk(
                rng, arm[k][0], place.angle + sign + turn, place.radius * rng.uniform(0.4, 0.8), width * 0.6, 4
            )
    starts, ends, widths = (np.array(part) for part in zip(*path, strict=True))
    distance, side = _segments(grid, starts, ends, widths)
    cover = 1 - smoothstep(distance, -0.003, 0.006)
    lip = np.exp(-(((distance - 0.008) / 0.005) ** 2)) * (side > 0)
    picture = picture * (1 + 0.22 * lip[..., None])
    dark = picture * 0.12 + rgb(0.03, 0.026, 0.024)
    return mix(picture, dark, cover * 0.96), np.maximum(cover, smoothstep(lip, 0.2, 0.5))


def _scratch(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A few straight parallel lines: a bright core beside a dark groove."""
    count = rng.integers(2, 5)
    along = np.array([np.sin(place.angle), np.cos(place.angle)])
    across = np.array([along[1], -along[0]])
    offsets = (np.arange(count) - (count - 1) / 2) * rng.uniform(0.045, 0.065) + rng.normal(0, 0.006, count)
    shift, half = rng.normal(0, 0.02, count), place.radius * rng.uniform(1.0, 1.55, count)
    lean = rng.normal(0, 0.025, count)
    middles = np.array([place.y, place.x]) + offsets[:, None] * across + shift[:, None] * along
    directions = along + lean[:, None] * across
    widths = np.tile(rng.uniform(0.004, 0.007, (count, 1)), (1, 2))
    distance, side = _segments(grid, middles - half[:, None] * directions, middles + half[:, None] * directions, widths)
    core = 1 - smoothstep(distance, -0.004, 0.005)
    groove = np.exp(-(((distance - 0.009) / 0.006) ** 2)) * (side > 0)
    picture = picture * (1 - 0.6 * groove[..., None])
    bright = np.clip(picture * 0.25 + rgb(0.74, 0.74, 0.73), 0, 1.1)
    return mix(picture, bright, core * 0.95), np.maximum(core, smoothstep(groove, 0.08, 0.3))


def _rust(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A grainy orange-brown patch with a stippled outline."""
    body = _blob(rng, grid, place, 0.25, 5)
    grain = 0.7 * noise(rng, grid, 55) + 0.5 * noise(rng, grid, 95)
    cover = smoothstep(body + 0.16 * grain, 0.0, 0.22)
    tone = smoothstep(0.5 * noise(rng, grid, 11) + 0.5 * grain + 0.8 * body, -0.7, 1.3)
    rust = tint(1 - tone, rgb(0.74, 0.40, 0.13)) + tint(tone, colour(rng, (0.46, 0.20, 0.07), spread=0.02))
    return mix(picture, rust + 0.04 * grain[..., None], cover * 0.94), cover


def _corrosion(
    rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A dark greenish patch eaten by black pits, with pale green salts."""
    body = _blob(rng, grid, place, 0.3, 6)
    cover = smoothstep(body + 0.10 * noise(rng, grid, 30), 0.0, 0.2)
    pits = smoothstep(noise(rng, grid, 34) + 0.3 * body, 0.75, 1.15)
    salts = smoothstep(noise(rng, grid, 22), 0.9, 1.4) * (1 - pits)
    skin = colour(rng, (0.25, 0.33, 0.27), (0.22, 0.31, 0.29), spread=0.02)
    eaten = tint(1 + 0.12 * noise(rng, grid, 60), skin)
    eaten = mix(eaten, eaten * 0 + rgb(0.60, 0.74, 0.62), salts * 0.8)
    eaten = mix(eaten, eaten * 0.22, pits)
    return mix(picture, eaten, cover * 0.93), cover


def _dent(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smooth round hollow: dark towards the light, bright away from it; the surface goes on inside."""
    along, across = turned(grid, place, place.angle)
    squeeze = rng.uniform(1, 1.12)
    distance = np.hypot(along / squeeze, across * squeeze) / (place.radius * 1.12)
    toward = (-(grid.x - place.x) * np.cos(place.light) - (grid.y - place.y) * np.sin(place.light)) / place.radius
    bowl = np.clip(1 - distance**2, 0, None)
    shade = np.clip(toward * 1.25, -1, 1) * np.sqrt(bowl) * smoothstep(-distance, -1.0, -0.8)
    lit = (
        picture * (1 + np.minimum(shade, 0) * 0.85 - 0.10 * bowl)[..., None] + (np.maximum(shade, 0) * 0.42)[..., None]
    )
    return lit, smoothstep(-distance, -1.0, -0.97)


def _blistering(
    rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A cluster of raised bubbles, each with a highlight towards the light and a shadow behind."""
    count = rng.integers(6, 10)
    turn = np.arange(count) * 2.4 + rng.uniform(0, 6)  # golden angle: the bubbles spread evenly
    spread = place.radius * 0.95 * np.sqrt((np.arange(count) + 0.3) / count)
    top, toward = np.zeros(grid.y.shape, np.float32), np.zeros(grid.y.shape, np.float32)
    shadow = np.zeros(grid.y.shape, np.float32)
    for t, s in zip(turn, spread, strict=True):
        size = place.radius * rng.uniform(0.26, 0.44)
        dy, dx = (grid.y - place.y - s * np.sin(t)) / size, (grid.x - place.x - s * np.cos(t)) / size
        dome = 1 - dy * dy - dx * dx
        toward = np.where(dome > top, dx * np.cos(place.light) + dy * np.sin(place.light), toward)
        top = np.maximum(top, dome)
        behind = (dy + 0.45 * np.sin(place.light)) ** 2 + (dx + 0.45 * np.cos(place.light)) ** 2
        shadow = np.maximum(shadow, smoothstep(-behind, -1.25, -0.8))
    bubble = smoothstep(top, 0.0, 0.2)
    shadow = shadow * (1 - bubble)
    shine = np.exp(-(((toward - 0.4) / 0.26) ** 2)) * smoothstep(top, 0.3, 0.75)
    level = 1 + 0.35 * toward * bubble - 0.45 * bubble * (1 - smoothstep(top, 0.0, 0.45)) - 0.55 * shadow
    lifted = picture * level[..., None] + (0.04 * bubble + 0.5 * shine)[..., None]
    return lifted, np.maximum(bubble, shadow)


def _peeling(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A flake of the coat is gone: a crisp angular hole, another layer below, a curled bright edge and its shadow."""
    turns = np.sort(rng.uniform(0, 2 * np.pi, 3)) + np.arange(6).reshape(2, 3) * 0  # two half turns of three corners
    turns = (turns + np.array([[0], [np.pi]]) + rng.normal(0, 0.25, (2, 3))).ravel()
    ragged = 0.07 * noise(rng, grid, 14) + 0.05 * noise(rng, grid, 34)
    dy, dx = (grid.y - place.y) / place.radius, (grid.x - place.x) / place.radius
    reach = rng.uniform(0.8, 1.15, 6)
    edge = np.min([r - dx * np.cos(t) - dy * np.sin(t) for t, r in zip(turns, reach, strict=True)], axis=0)
    edge = np.minimum(edge, 1.35 - np.hypot(dx, dy)) + ragged
    hole = smoothstep(edge, 0.0, 0.07)
    facing = slope(edge, grid, place.light) * place.radius  # which side of the hole looks at the light
    curl = np.exp(-(((edge + 0.02) / 0.10) ** 2)) * smoothstep(facing, -0.3, 0.5)
    shadow = np.exp(-(((edge - 0.14) / 0.13) ** 2)) * smoothstep(-facing, -0.2, 0.6)
    layer = colour(rng, (0.86, 0.82, 0.72), (0.82, 0.80, 0.74), (0.88, 0.80, 0.66), spread=0.02)
    below = tint(1 + 0.05 * noise(rng, grid, 20) + 0.05 * noise(rng, grid, 50), layer)
    picture = mix(picture, below * (1 - 0.65 * shadow[..., None]), hole)
    lifted = (
        picture * (1 - 0.35 * (curl * (edge < 0))[..., None]) + (0.42 * curl * smoothstep(edge, -0.12, 0.05))[..., None]
    )
    return lifted, np.maximum(hole, smoothstep(curl, 0.06, 0.2))


def _wear(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A long polished zone: lighter, smoother, greyer than its surroundings, with fine marks along it."""
    along, across = turned(grid, place, place.angle)
    body = 1 - np.hypot(along / 1.75, across * 1.45) / place.radius * (1 + 0.05 * noise(rng, grid, 5))
    cover = smoothstep(body, 0.0, 0.45)
    smooth = blur(picture, 2.5 * grid.scale)
    grey = smooth.mean(-1, keepdims=True)
    marks = 0.035 * line_noise(rng, across + 40, 55)
    bright = (grey * cover[..., None]).sum() > 0.64 * cover.sum()  # nothing is lighter than white: bare metal shows
    bare = rgb(0.08, 0.09, 0.11) if bright else rgb(0.36, 0.37, 0.39)
    polished = 0.35 * smooth + 0.25 * grey + bare + (marks + 0.10 * body)[..., None]
    return mix(picture, polished, cover * 0.9), smoothstep(body, 0.0, 0.08)


def _degradation(
    rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Chemical stains: bleached yellowish islands with dark violet tide lines and mottles."""
    body = _blob(rng, grid, place, 0.22, 4, stretch=1.1) + 0.06
    cover = smoothstep(body, 0.0, 0.25)
    mottle = 0.8 * noise(rng, grid, 20) + 0.5 * noise(rng, grid, 40)
    bleached = picture * 0.35 + rgb(0.56, 0.53, 0.34)
    stained = picture * 0.30 + rgb(0.15, 0.09, 0.17)
    tide = np.exp(-(((body - 0.12) / 0.10) ** 2))
    dark = np.clip(smoothstep(mottle, 0.15, 0.65) + tide, 0, 1)
    return mix(picture, mix(bleached, stained, dark), cover * 0.88), cover


PAINTERS: dict[str, Painter] = {
    "crack": _crack,
    "blistering": _blistering,
    "dent": _dent,
    "rust": _rust,
    "peeling": _peeling,
    "corrosion": _corrosion,
    "wear": _wear,
    "degradation": _degradation,
    "scratch": _scratch,
}
