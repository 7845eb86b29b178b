"""What each defect looks like, in whatever footprint it lies.

Every painter returns the changed picture (H, W, 3) and its cover (H, W) in [0, 1]: where it has painted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.spatial import Voronoi

from rli.models.mini.drawing import (
    Grid,
    Stroke,
    blur,
    colour,
    line_noise,
    mix,
    noise,
    rgb,
    shifted,
    slope,
    smoothstep,
    strokes,
    tint,
)
from rli.models.mini.footprints import Footprint, walk

Painter = Callable[[np.random.Generator, Grid, Footprint, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _ragged(rng: np.random.Generator, grid: Grid, footprint: Footprint, rough: float) -> np.ndarray:
    """The footprint's inside with an irregular outline, finer the narrower it is."""
    cells = min(0.4 / footprint.depth, 12)
    wobble = 0.6 * noise(rng, grid, cells) + 0.55 * noise(rng, grid, 2.3 * cells) + 0.4 * noise(rng, grid, 5 * cells)
    return np.minimum(footprint.inside, 1) + rough * wobble


def _crazed(rng: np.random.Generator, footprint: Footprint, width: float) -> list[Stroke]:
    """The borders of a mosaic in the footprint's spots: a net of cracks."""
    spread = rng.normal(0, 0.25 * footprint.depth, (2, len(footprint.spots), 2))
    spots = np.concatenate([footprint.spots[:, :2], *(footprint.spots[:, :2] + spread)])
    net = Voronoi(spots)
    centre, reach = spots.mean(0), np.hypot(*(spots - spots.mean(0)).T).max()
    lines = []
    for first, last in net.ridge_vertices:
        ends = net.vertices[[first, last]]
        if first < 0 or (np.hypot(*(ends - centre).T) > 1.15 * reach).any():
            continue
        bent = ends.mean(0) + rng.normal(0, 0.12, 2) * np.hypot(*(ends[1] - ends[0]))
        lines.append(Stroke(np.array([ends[0], bent, ends[1]]), (width * rng.uniform(0.25, 0.75),) * 2))
    return lines


def _crack_lines(rng: np.random.Generator, footprint: Footprint) -> list[Stroke]:
    """A crack and its branches on a path; a net in a patch; short ones from an edge inwards, or scattered."""
    width = rng.uniform(0.005, 0.0095)
    if footprint.kind == "patch":
        return _crazed(rng, footprint, width)
    if footprint.kind == "path":
        lines = []
        for line in footprint.spine:
            middle = len(line.points) // 2
            halves = (line.points[: middle + 1][::-1], line.points[middle:]) if line.widths[0] < 0.5 else (line.points,)
            top = 1.0 if line.widths[0] < 0.5 else 0.55
            lines += [Stroke(half, (width * top, width * 0.2)) for half in halves]
        return lines
    angle = footprint.place.angle
    lines = []
    for y, x, radius in footprint.spots[:: 2 if footprint.kind == "edge" else 1][:8]:
        heading = angle + (np.pi / 2 if footprint.kind == "edge" else 0) + rng.normal(0, 0.5)
        length = rng.uniform(3, 5) * radius if footprint.kind == "edge" else rng.uniform(1.8, 3.2) * radius
        start = np.array([y, x]) - length * 0.45 * np.array([math.sin(heading), math.cos(heading)])
        lines.append(Stroke(walk(rng, start, heading, length, 5, 0.4), (width * 0.9, width * 0.25)))
    return lines


def _crack(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Thin dark jagged lines; the lip that faces the light catches it."""
    lines = _crack_lines(rng, footprint)
    open_ = np.clip(blur(strokes(grid, lines), 0.3 * grid.scale) * 1.25, 0, 1)
    lip = np.clip(shifted(open_, grid, footprint.place.light, 0.006) - open_, 0, 1)
    picture = picture * (1 + 0.28 * lip[..., None])
    dark = picture * 0.16 + rgb(0.035, 0.03, 0.028)
    return mix(picture, dark, open_ * rng.uniform(0.88, 0.97)), np.maximum(open_, smoothstep(lip, 0.2, 0.5))


def _scratch_lines(rng: np.random.Generator, footprint: Footprint) -> list[Stroke]:
    """Long parallel ones on a path; short parallel ones in a patch or across an edge; scattered ones at any angle."""
    place = footprint.place
    counts, reach, turn, spread = {
        "path": ((2, 5), 1.5, 0.02, 0.3),
        "patch": ((7, 13), 0.8, 0.06, 1.0),
        "edge": ((5, 10), 0.6, 0.12, 1.0),
        "scattered": ((4, 9), 0.65, 1.5, 1.0),
    }[footprint.kind]
    count = int(rng.integers(*counts))
    heading = place.angle + (np.pi / 2 if footprint.kind == "edge" else 0)
    if footprint.kind in ("path", "patch"):
        across = np.array([math.cos(heading), -math.sin(heading)])
        offsets = (np.arange(count) - (count - 1) / 2) / count * 2 * place.radius * spread + rng.normal(0, 0.007, count)
        centres = np.array([place.y, place.x]) + offsets[:, None] * across
    else:
        centres = footprint.spots[rng.choice(len(footprint.spots), min(count, len(footprint.spots)), False), :2]
    lines = []
    for centre in centres + rng.normal(0, 0.012, centres.shape):
        angle, half = heading + rng.normal(0, turn), place.radius * reach * rng.uniform(0.55, 1.05)
        along = np.array([math.sin(angle), math.cos(angle)])
        width = rng.uniform(0.002, 0.0048)
        lines.append(Stroke(centre + np.array([[-half], [half * 0.2], [half]]) * along, (width * 0.6, width)))
    return lines


def _scratch(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Straight thin lines: a bright core beside a dark groove."""
    cover = strokes(grid, _scratch_lines(rng, footprint))
    core = np.clip(blur(cover, 0.25 * grid.scale) * 1.5, 0, 1)
    light = footprint.place.light + (0.4 if abs(np.sin(footprint.place.light - footprint.place.angle)) < 0.3 else 0)
    groove = np.clip(shifted(core, grid, light, 0.007) - core, 0, 1)
    picture = picture * (1 - 0.55 * groove[..., None])
    bright = np.clip(picture * 0.25 + rgb(0.72, 0.72, 0.715), 0, 1.1)
    return mix(picture, bright, core * 0.92), np.maximum(core, smoothstep(groove, 0.08, 0.3))


def _rust(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Grainy orange-brown, darkest at the core, with a stippled outline and a faint orange halo."""
    body = _ragged(rng, grid, footprint, 0.42) + 0.08
    grain = 0.6 * noise(rng, grid, 60) + 0.5 * noise(rng, grid, 110)
    cover = smoothstep(body + 0.16 * grain, 0.02, 0.30)
    tone = smoothstep(0.55 * noise(rng, grid, 14) + 0.45 * grain + 0.9 * body, -0.5, 1.7)
    light = colour(rng, (0.74, 0.44, 0.20), (0.70, 0.38, 0.14), (0.66, 0.42, 0.24), spread=0.02)
    dark = colour(rng, (0.40, 0.20, 0.10), (0.34, 0.17, 0.09), (0.46, 0.24, 0.12), spread=0.02)
    rust = tint(1 - tone, light) + tint(tone, dark)
    halo = smoothstep(body, -0.35, 0.15) * 0.35
    stained = mix(picture, picture * rgb(1.0, 0.78, 0.52), halo)
    through = 0.12 * (picture / (picture.mean() + 1e-6) - 1)  # the surface's own relief goes on below the rust
    rust = rust * (1 + through) + 0.05 * grain[..., None] * rgb(1, 0.8, 0.55)
    return mix(stained, rust, cover * 0.95), np.maximum(cover, halo * 0.9)


def _corrosion(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Dull green-grey, eaten by small pits lit at one side, with crusts of pale salts."""
    body = _ragged(rng, grid, footprint, 0.42) + 0.08
    cover = smoothstep(body + 0.12 * noise(rng, grid, 40), 0.0, 0.28)
    holes = noise(rng, grid, 40) + 0.25 * np.clip(body, -1, 1)
    pits = smoothstep(holes, 0.9, 1.5)
    salts = smoothstep(noise(rng, grid, 24) + 0.5 * noise(rng, grid, 70) - 0.3 * body, 0.55, 1.25) * (1 - pits)
    skin = colour(rng, (0.40, 0.50, 0.43), (0.36, 0.50, 0.49), (0.46, 0.52, 0.42), spread=0.02)
    crust = colour(rng, (0.74, 0.84, 0.74), (0.70, 0.85, 0.82), (0.82, 0.86, 0.76), spread=0.015)
    eaten = tint(1 + 0.10 * noise(rng, grid, 15) + 0.08 * noise(rng, grid, 75), skin)
    eaten = mix(eaten, np.broadcast_to(crust, eaten.shape), salts * 0.85)
    eaten = mix(eaten, eaten * rgb(0.42, 0.42, 0.40), pits)
    relief = slope(0.5 * salts - pits, grid, footprint.place.light) * 0.004
    return mix(picture, eaten * (1 + np.clip(relief, -0.3, 0.3))[..., None], cover * 0.94), cover


def _dent(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth hollows: dark towards the light, bright away from it, a raised rim; the surface goes on inside."""
    inside = footprint.inside
    if footprint.kind == "patch":
        inside = inside * 1.15 + 0.12
    elif footprint.kind == "path":  # a crease: wider than the line that others lie on
        inside = blur(inside * 0.7 + 0.4, 2.0 * grid.scale)
    else:
        inside = blur(inside * 0.8 + 0.3, 1.0 * grid.scale)
    level = np.clip(inside, 0, 1)
    bowl = -(level**1.5) * (2.5 - 1.5 * level)
    rim = 0.22 * np.exp(-(((inside + 0.05) / 0.13) ** 2))
    shade = slope(bowl + rim, grid, footprint.place.light) * footprint.depth
    shade = np.clip(shade * rng.uniform(0.3, 0.45), -0.6, 0.75)
    cover = smoothstep(inside, -0.34, -0.2)
    shade = shade * cover
    dark, bright = np.minimum(shade, 0), np.maximum(shade, 0)
    lit = picture * (1 + dark * 0.95 + 0.30 * bright - 0.07 * level)[..., None] + (bright * 0.34)[..., None]
    gleam = smoothstep(shade, 0.45, 0.8) * 0.22
    return lit + gleam[..., None], smoothstep(inside, -0.26, -0.14)


def _blistering(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Raised bubbles, each with a highlight towards the light and a shadow behind."""
    light = footprint.place.light
    largest = 0.45 * footprint.place.radius
    top, toward = np.zeros(grid.y.shape, np.float32), np.zeros(grid.y.shape, np.float32)
    shadow = np.zeros(grid.y.shape, np.float32)
    for y, x, radius in footprint.spots:
        size = np.float32(np.clip(radius * rng.uniform(0.85, 1.35), 0.018, largest))
        dy, dx = (grid.y - np.float32(y)) / size, (grid.x - np.float32(x)) / size
        dome = 1 - dy * dy - dx * dx
        toward = np.where(dome > top, dx * math.cos(light) + dy * math.sin(light), toward)
        np.maximum(top, dome, out=top)
        behind = (dy + 0.4 * math.sin(light)) ** 2 + (dx + 0.4 * math.cos(light)) ** 2
        np.maximum(shadow, smoothstep(-behind, -1.2, -0.7), out=shadow)
    bubble = smoothstep(top, 0.0, 0.22)
    shadow = shadow * (1 - bubble)
    shine = np.exp(-(((toward - 0.45) / 0.2) ** 2)) * smoothstep(top, 0.35, 0.75)
    level = 1 + 0.38 * toward * bubble - 0.35 * bubble * (1 - smoothstep(top, 0.0, 0.5)) - 0.45 * shadow
    lifted = picture * level[..., None] + (0.03 * bubble + 0.42 * shine)[..., None]
    return lifted, np.maximum(bubble, shadow)


def _peeling(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The coat has flaked off: crisp angular holes, another layer below, a curled bright edge and its shadow."""
    cells, depth, light = max(9.0, 0.5 / footprint.depth), footprint.depth, footprint.place.light
    chips = np.abs(noise(rng, grid, cells)) + 0.6 * np.abs(noise(rng, grid, min(2.2 * cells, 45)))
    edge = footprint.inside * (1.2 if footprint.kind == "scattered" else 1) + 0.36 * (0.95 - chips)
    edge = np.minimum(edge, 0.9) * depth / 0.1  # in tenths of a unit: lips are as thick on narrow strips
    hole = smoothstep(edge, 0.0, 0.05)
    facing = slope(np.clip(edge, -0.5, 0.5), grid, light) * 0.1
    curl = np.exp(-(((edge + 0.035) / 0.05) ** 2)) * smoothstep(facing, -0.3, 0.5)
    shadow = np.exp(-(((edge - 0.06) / 0.09) ** 2)) * smoothstep(-facing, -0.2, 0.6)
    bright = (picture.mean(-1) * hole).sum() > 0.62 * hole.sum()
    primers = ((0.42, 0.40, 0.38), (0.50, 0.44, 0.38)) if bright else ((0.84, 0.80, 0.70), (0.80, 0.79, 0.76))
    below = tint(1 + 0.05 * noise(rng, grid, 20) + 0.05 * noise(rng, grid, 60), colour(rng, *primers, spread=0.025))
    picture = mix(picture, below * (1 - 0.6 * shadow[..., None]), hole)
    outside = 0.25 * (curl * (edge < 0))[..., None]
    lifted = picture * (1 - outside) + (0.34 * curl * smoothstep(edge, -0.1, 0.0))[..., None]
    return lifted, np.maximum(hole, smoothstep(curl, 0.06, 0.2))


def _wear(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rubbed bare: smoother and greyer than its surroundings, with soft borders and fine marks along it."""
    place = footprint.place
    body = np.minimum(footprint.inside, 1) + 0.12 * noise(rng, grid, 0.4 / footprint.depth)
    if footprint.kind in ("path", "edge"):
        body = body + 0.5
    cover = smoothstep(body, 0.0, 0.6)
    across = (grid.y - place.y) * math.cos(place.angle) - (grid.x - place.x) * math.sin(place.angle)
    smooth = blur(picture, 2.5 * grid.scale)
    grey = smooth.mean(-1, keepdims=True)
    marks = 0.07 * line_noise(rng, across + 40, 70) + 0.04 * line_noise(rng, across + 40, 180)
    bright = (grey * cover[..., None]).sum() > 0.62 * cover.sum()  # nothing is lighter than white: bare metal shows
    bare = rgb(0.0, 0.005, 0.02) if bright else rgb(0.37, 0.375, 0.385)
    sheen = 0.08 * np.cos(across / (1.6 * footprint.depth))
    polished = 0.25 * smooth + 0.32 * grey + bare + (marks + sheen)[..., None]
    return mix(picture, polished, cover * 0.9), smoothstep(body, 0.0, 0.1)


def _degradation(
    rng: np.random.Generator, grid: Grid, footprint: Footprint, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Chemical stains: bleached yellowish islands with violet-brown tide lines and mottles."""
    body = _ragged(rng, grid, footprint, 0.34) + 0.06
    cover = smoothstep(body, 0.0, 0.2)
    mottle = 0.8 * noise(rng, grid, 22) + 0.5 * noise(rng, grid, 50)
    bleached = picture * 0.40 + colour(rng, (0.50, 0.47, 0.29), (0.52, 0.48, 0.33), spread=0.015)
    stained = picture * 0.36 + colour(rng, (0.17, 0.11, 0.18), (0.20, 0.12, 0.17), spread=0.015)
    tides = np.exp(-(((body - 0.12) / 0.09) ** 2)) + 0.6 * np.exp(-(((body - 0.5) / 0.07) ** 2))
    dark = np.clip(smoothstep(mottle, 0.25, 0.9) + tides, 0, 1)
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
