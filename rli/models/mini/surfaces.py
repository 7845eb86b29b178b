"""Procedural photographs of industrial surfaces with exact defect masks.

Everything is drawn in relative units: the shorter side of the picture is 1, so that 512 pixels show the same
surface as 128 pixels, finer. One generator per layer (place, material, each defect, camera), all derived from
the one seed: the same seed with other defects keeps the surface, the place and the camera.

Shapes: y, x, height fields, covers (H, W) float32; pictures (H, W, 3) float32 in [0, 1] until the last step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MATERIALS: tuple[str, ...] = (
    "brushed metal",
    "cast metal",
    "machined metal",
    "painted steel",
    "coated carbide",
    "concrete",
)
DEFECTS: tuple[str, ...] = (
    "crack", "blistering", "dent", "rust", "peeling", "corrosion", "wear", "degradation", "scratch",
)  # fmt: skip
UNSEEN = 10_000_000  # seeds from here on are never trained on
_BOTTOM_UP = (
    "degradation",
    "wear",
    "corrosion",
    "rust",
    "dent",
    "blistering",
    "peeling",
    "scratch",
    "crack",
)
_VISIBLE = 0.04  # cover below this is not drawn at all, so that a mask says exactly where the picture differs


@dataclass(frozen=True)
class Surface:
    """One photograph: image (H, W, 3) uint8; masks {defect: (H, W) bool}, one per defect drawn."""

    image: np.ndarray
    masks: dict[str, np.ndarray]
    material: str
    caption: str

    @property
    def mask(self) -> np.ndarray:
        """The union of all masks, (H, W) bool; all False on a clean surface."""
        return functools.reduce(np.logical_or, self.masks.values(), np.zeros(self.image.shape[:2], bool))


@dataclass(frozen=True)
class Place:
    """Where a surface's defects lie: centre (y, x), radius (all in relative units), direction in radians."""

    y: float
    x: float
    radius: float
    angle: float
    light: float  # where the light comes from, radians


@dataclass(frozen=True)
class Grid:
    """Pixel centres in relative units: y, x (H, W) float32; scale = pixels per 1/128 of the shorter side."""

    y: np.ndarray
    x: np.ndarray
    scale: float

    @property
    def pixel(self) -> float:
        return 1 / (128 * self.scale)


def caption(defects: Sequence[str]) -> str:
    """The training caption of none, one or more defects."""
    if not defects:
        return "photo of a clean image"
    return f"photo of a {defects[0]} defect image" if len(defects) == 1 else f"photo of a {' '.join(defects)} image"


def surface(
    seed: int,
    defects: Sequence[str] = ("crack",),
    height: int = 128,
    width: int = 128,
    material: str | None = None,
) -> Surface:
    """Draw one photograph, deterministic in its arguments. Several defects lie in the same place."""
    unknown = [word for word in defects if word not in DEFECTS]
    if unknown:
        raise ValueError(f"unknown defect {unknown[0]!r}: choose from {', '.join(DEFECTS)}")
    if material is not None and material not in MATERIALS:
        raise ValueError(f"unknown material {material!r}: choose from {', '.join(MATERIALS)}")
    grid = _grid(height, width)
    chosen = str(_generator(seed, "material").choice(MATERIALS))  # drawn even when given: other layers stay as they are
    material = material or chosen
    place = _place(_generator(seed, "place"), grid)
    clean, part = _MATERIALS[material](_generator(seed, material), grid, place)
    pictures, covers = clean, {}
    for word in (word for word in _BOTTOM_UP if word in defects):
        pictures, cover = _DEFECTS[word](_generator(seed, word), grid, place, pictures)
        covers[word] = cover * part
        pictures = clean + (pictures - clean) * part[..., None]
    camera = _camera(_generator(seed, "camera"), grid)
    softened = {word: _blur(covers[word], 0.5 * grid.scale) > _VISIBLE for word in defects}
    image = camera(clean)
    if softened:
        union = functools.reduce(np.logical_or, softened.values())
        image = np.where(union[..., None], camera(pictures), image)
    return Surface(image, softened, material, caption(defects))


def random_defects(rng: np.random.Generator) -> tuple[str, ...]:
    """What a training picture shows: 8 % nothing, 57 % one defect, 26 % a crack and another, 9 % any two."""
    kind = rng.random()
    if kind < 0.08:
        return ()
    if kind < 0.65:
        return (str(rng.choice(DEFECTS)),)
    if kind < 0.91:
        return ("crack", str(rng.choice(DEFECTS[1:])))
    first, second = rng.choice(len(DEFECTS), 2, replace=False)
    return DEFECTS[first], DEFECTS[second]


# --- atoms -----------------------------------------------------------------------------------------------------------


def _generator(seed: int, layer: str) -> np.random.Generator:
    return np.random.default_rng([seed, *layer.encode()])


@functools.lru_cache(maxsize=32)
def _grid(height: int, width: int) -> Grid:
    side = min(height, width)
    y, x = np.meshgrid((np.arange(height) + 0.5) / side, (np.arange(width) + 0.5) / side, indexing="ij")
    return Grid(y.astype(np.float32), x.astype(np.float32), side / 128)


@functools.lru_cache(maxsize=512)
def _spline(pixels: int, extent: float, cells: float) -> np.ndarray:
    """Cubic B-spline weights (pixels, knots): `pixels` samples over `extent` with `cells` knots per unit."""
    at = (np.arange(pixels) + 0.5) / pixels * extent * cells
    distance = np.abs(at[:, None] - (np.arange(int(np.ceil(extent * cells)) + 3) - 1)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def _noise(rng: np.random.Generator, grid: Grid, cells: float, across: float | None = None) -> np.ndarray:
    """Smooth noise, about unit variance: `cells` bumps per unit downwards, `across` per unit to the right."""
    height, width = grid.y.shape
    side = 128 * grid.scale
    rows = _spline(height, height / side, cells)
    columns = _spline(width, width / side, across or cells)
    return rows @ rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32) @ columns.T * 2


def _fractal(rng: np.random.Generator, grid: Grid, cells: float, octaves: int = 3) -> np.ndarray:
    return sum(_noise(rng, grid, cells * 2**k) * 0.6**k for k in range(octaves))


def _line_noise(rng: np.random.Generator, u: np.ndarray, cells: float) -> np.ndarray:
    """Noise along one coordinate u, about unit variance: streaks where u is constant."""
    table = ndimage.gaussian_filter1d(rng.standard_normal(4096).astype(np.float32), 4) * 3.7
    return table[(u * (cells * 8)).astype(np.int32) % 4096]


def _step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at low to 1 at high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _mix(below: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return below + (above - below) * cover[..., None]


def _colour(rng: np.random.Generator, *choices: Sequence[float], spread: float = 0.03) -> np.ndarray:
    """One of the colours, a little off, (3,) float32."""
    return (np.array(choices[rng.integers(len(choices))]) + rng.normal(0, spread, 3)).astype(np.float32)


def _tint(level: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return level[..., None] * colour


def _slope(height: np.ndarray, grid: Grid, light: float) -> np.ndarray:
    """Shading of a height field lit from direction `light`: positive where it faces the light."""
    down, right = np.gradient(height, grid.pixel)
    return -(down * np.sin(light) + right * np.cos(light)).astype(np.float32)


def _blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(picture, (sigma, sigma, 0)[: picture.ndim], truncate=2.5)


def _turned(grid: Grid, place: Place, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a direction through the place."""
    dy, dx = grid.y - place.y, grid.x - place.x
    return dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)


def _place(rng: np.random.Generator, grid: Grid) -> Place:
    high, wide = grid.y[-1, -1], grid.x[-1, -1]
    y, x = high * rng.uniform(0.3, 0.7), wide * rng.uniform(0.3, 0.7)
    return Place(y, x, rng.uniform(0.078, 0.14), rng.uniform(0, np.pi), rng.uniform(-2.6, -0.5))


def _camera(rng: np.random.Generator, grid: Grid) -> Callable[[np.ndarray], np.ndarray]:
    """One fixed camera: light, vignette, white balance, focus and noise, the same for every picture it takes."""
    high, wide = grid.y[-1, -1], grid.x[-1, -1]
    angle = rng.uniform(0, 2 * np.pi)
    across = (grid.x / wide - 0.5) * np.cos(angle) + (grid.y / high - 0.5) * np.sin(angle)
    corner = (grid.x / wide - 0.5) ** 2 + (grid.y / high - 0.5) ** 2
    light = rng.uniform(0.85, 1.12) * (1 + rng.uniform(0, 0.35) * across) * (1 - rng.uniform(0, 0.5) * corner)
    gain = light[..., None] * rng.normal(1, 0.025, 3).astype(np.float32)
    focus = rng.uniform(0.3, 0.75) * grid.scale
    grain = rng.normal(0, rng.uniform(0.003, 0.011), (*grid.y.shape, 1)).astype(np.float32)
    grain = grain + rng.normal(0, 0.003, (*grid.y.shape, 3)).astype(np.float32)

    def take(picture: np.ndarray) -> np.ndarray:
        seen = _blur(np.clip(picture, 0, 1.2), focus) * gain
        return (np.clip(seen + grain, 0, 1) * 255 + 0.5).astype(np.uint8)

    return take


# --- materials: (rng, grid, place) -> picture (H, W, 3), part (H, W) in [0, 1]: where defects may lie -----------------


def _brushed(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Fine parallel streaks, broken up along their length."""
    angle = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
    along, across = _turned(grid, Place(-9, -9, 0, 0, 0), angle)
    wave = across + 0.002 * _noise(rng, grid, 4)
    streaks = _line_noise(rng, wave + 40, 90) + 0.7 * _line_noise(rng, wave + 40, 30) * (1 + 0.4 * _noise(rng, grid, 5))
    sheen = 0.05 * _noise(rng, grid, 1.5) + 0.08 * np.sin(along * rng.uniform(1, 4) + rng.uniform(0, 6))
    level = rng.uniform(0.45, 0.72) + rng.uniform(0.018, 0.045) * streaks + sheen
    return _tint(level, _colour(rng, (1, 1, 1.02), (1.02, 0.98, 0.93), (0.95, 1, 1.05), spread=0.015)), np.ones_like(
        level
    )


def _cast(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """A rough skin, lit from one side."""
    height = (
        0.45 * _noise(rng, grid, 80)
        + 0.6 * _noise(rng, grid, 36)
        + 0.8 * _noise(rng, grid, 16)
        + 0.5 * _noise(rng, grid, 6)
    )
    shade = _slope(height, grid, place.light) * rng.uniform(0.0008, 0.0016)
    level = rng.uniform(0.28, 0.48) + shade + 0.04 * _fractal(rng, grid, 2)
    return _tint(level, _colour(rng, (1, 1, 1), (0.95, 0.98, 1.05), (1.06, 1, 0.94), spread=0.015)), np.ones_like(level)


def _machined(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Turning marks: concentric arcs around a far centre, with a conical sheen."""
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 2.5)
    dy, dx = grid.y - 0.5 - far * np.sin(angle), grid.x - 0.5 - far * np.cos(angle)
    radius = np.hypot(dy, dx)
    pitch = rng.uniform(14, 34)
    marks = np.sin(2 * np.pi * pitch * radius + 0.5 * _line_noise(rng, radius, 12)) + 0.7 * _line_noise(rng, radius, 60)
    sheen = 0.1 * np.sin(np.arctan2(dy, dx) * rng.uniform(2, 6) + rng.uniform(0, 6)) + 0.03 * _noise(rng, grid, 3)
    level = rng.uniform(0.45, 0.7) + rng.uniform(0.02, 0.045) * marks + sheen
    return _tint(level, _colour(rng, (1, 1, 1.02), (1.05, 0.99, 0.9), (0.94, 1, 1.06), spread=0.015)), np.ones_like(
        level
    )


_PAINTS = (
    (0.20, 0.36, 0.58), (0.24, 0.46, 0.34), (0.68, 0.20, 0.17), (0.85, 0.68, 0.22), (0.62, 0.65, 0.66),
    (0.84, 0.84, 0.80), (0.33, 0.37, 0.40), (0.45, 0.60, 0.66), (0.80, 0.45, 0.20),
)  # fmt: skip


def _painted(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """A coat of paint: one colour, orange peel and a soft reflection."""
    peel = _slope(_noise(rng, grid, 22) + 0.6 * _noise(rng, grid, 45), grid, place.light) * rng.uniform(0.0001, 0.0004)
    spot = np.hypot(grid.y - rng.uniform(0, 1), grid.x - rng.uniform(0, 1))
    gloss = rng.uniform(0, 0.16) * np.exp(-((spot / rng.uniform(0.3, 0.7)) ** 2))
    level = 1 + peel + 0.025 * _fractal(rng, grid, 2)
    return _tint(level, _colour(rng, *_PAINTS)) + gloss[..., None], np.ones_like(level)


def _carbide(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """A gold-coated cutting edge before a grey table: two flanks meeting in a rounded nose, a pocket behind."""
    facing = rng.uniform(0, 2 * np.pi)
    half = rng.uniform(0.6, 1.5)
    reach = rng.uniform(0.17, 0.33)
    ahead, aside = _turned(grid, place, facing)
    wobble = 0.004 * _noise(rng, grid, 12)
    flanks = [(ahead * np.sin(half) + sign * aside * np.cos(half)) - reach for sign in (1, -1)]
    soft = rng.uniform(0.02, 0.06)
    inside = -soft * np.logaddexp(flanks[0] / soft, flanks[1] / soft) + wobble  # distance to the edge, > 0 on the part
    part = _step(inside, -0.004, 0.008)
    table = _tint(
        rng.uniform(0.4, 0.6) + 0.012 * _noise(rng, grid, 2) - 0.10 * np.exp(np.minimum(inside, 0) / 0.04),
        _colour(rng, (1, 1, 1), (0.97, 1, 1.02), spread=0.01),
    )
    relief = 0.5 * _noise(rng, grid, 90) + 0.5 * _noise(rng, grid, 48) + 0.6 * _noise(rng, grid, 24)
    grain = _slope(relief, grid, place.light) * rng.uniform(0.0008, 0.0022)
    level = rng.uniform(0.8, 1.1) + grain + 0.06 * _fractal(rng, grid, 3)
    gold = _tint(level, _colour(rng, (0.74, 0.56, 0.28), (0.66, 0.50, 0.27), (0.80, 0.64, 0.36), spread=0.02))
    pocket = _step(
        -np.hypot(aside, (ahead + reach + rng.uniform(0.2, 0.4)) * 0.6) + 0.12 * _noise(rng, grid, 1.5), -0.2, -0.14
    )
    gold = _mix(gold, gold * (0.28 + 0.1 * _step(ahead, -0.6, 0.1)[..., None]), pocket * rng.choice([0, 0.9]))
    worn = _step(_noise(rng, grid, 30) - (inside - 0.028) * 90, -0.2, 0.8) * rng.uniform(0.3, 0.9)
    gold = _mix(gold, gold * 0.35, worn * (inside < 0.06))
    gold = gold + (0.22 * np.exp(-(((inside - 0.035) / 0.006) ** 2)))[..., None] * np.float32([1, 0.85, 0.6])
    rim = np.exp(-(((inside - 0.002) / 0.008) ** 2))
    return _mix(table, gold, part) * (1 - 0.85 * rim[..., None]), _step(inside, 0.004, 0.014)


def _concrete(rng: np.random.Generator, grid: Grid, place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Mottled cement with sand and a few pores."""
    sand = 0.022 * _noise(rng, grid, 95) + 0.018 * _noise(rng, grid, 52) + 0.018 * _noise(rng, grid, 26)
    level = rng.uniform(0.52, 0.74) + sand + 0.045 * _fractal(rng, grid, 2.5)
    pores = _step(_noise(rng, grid, 26), 2.0, 2.5) * _step(_noise(rng, grid, 4), -0.2, 0.8)
    level = level * (1 - 0.5 * pores)
    return _tint(level, _colour(rng, (1, 0.98, 0.94), (0.98, 1, 1), (1.02, 0.97, 0.90), spread=0.012)), np.ones_like(
        level
    )


_MATERIALS = dict(zip(MATERIALS, (_brushed, _cast, _machined, _painted, _carbide, _concrete), strict=True))


# --- defects: (rng, grid, place, picture) -> picture, cover (H, W) in [0, 1] ------------------------------------------


def _blob(
    rng: np.random.Generator, grid: Grid, place: Place, rough: float, cells: float, stretch: float = 1.25
) -> np.ndarray:
    """A ragged patch: 1 at its centre, 0 on its ragged outline, negative outside."""
    along, across = _turned(grid, place, place.angle)
    distance = np.hypot(along / stretch, across * stretch) / place.radius
    ragged = 1 + rough * (0.7 * _noise(rng, grid, cells) + 0.5 * _noise(rng, grid, 2.3 * cells))
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
) -> list[tuple]:
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
    cover = 1 - _step(distance, -0.003, 0.006)
    lip = np.exp(-(((distance - 0.008) / 0.005) ** 2)) * (side > 0)
    picture = picture * (1 + 0.22 * lip[..., None])
    dark = picture * 0.12 + np.float32([0.03, 0.026, 0.024])
    return _mix(picture, dark, cover * 0.96), np.maximum(cover, _step(lip, 0.2, 0.5))


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
    core = 1 - _step(distance, -0.004, 0.005)
    groove = np.exp(-(((distance - 0.009) / 0.006) ** 2)) * (side > 0)
    picture = picture * (1 - 0.6 * groove[..., None])
    bright = np.clip(picture * 0.25 + np.float32([0.74, 0.74, 0.73]), 0, 1.1)
    return _mix(picture, bright, core * 0.95), np.maximum(core, _step(groove, 0.08, 0.3))


def _rust(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A grainy orange-brown patch with a stippled outline."""
    body = _blob(rng, grid, place, 0.25, 5)
    grain = 0.7 * _noise(rng, grid, 55) + 0.5 * _noise(rng, grid, 95)
    cover = _step(body + 0.16 * grain, 0.0, 0.22)
    tone = _step(0.5 * _noise(rng, grid, 11) + 0.5 * grain + 0.8 * body, -0.7, 1.3)
    rust = _tint(1 - tone, np.float32([0.74, 0.40, 0.13])) + _tint(tone, _colour(rng, (0.46, 0.20, 0.07), spread=0.02))
    return _mix(picture, rust + 0.04 * grain[..., None], cover * 0.94), cover


def _corrosion(
    rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A dark greenish patch eaten by black pits, with pale green salts."""
    body = _blob(rng, grid, place, 0.3, 6)
    cover = _step(body + 0.10 * _noise(rng, grid, 30), 0.0, 0.2)
    pits = _step(_noise(rng, grid, 34) + 0.3 * body, 0.75, 1.15)
    salts = _step(_noise(rng, grid, 22), 0.9, 1.4) * (1 - pits)
    skin = _colour(rng, (0.25, 0.33, 0.27), (0.22, 0.31, 0.29), spread=0.02)
    eaten = _tint(1 + 0.12 * _noise(rng, grid, 60), skin)
    eaten = _mix(eaten, eaten * 0 + np.float32([0.60, 0.74, 0.62]), salts * 0.8)
    eaten = _mix(eaten, eaten * 0.22, pits)
    return _mix(picture, eaten, cover * 0.93), cover


def _dent(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smooth round hollow: dark towards the light, bright away from it; the surface goes on inside."""
    along, across = _turned(grid, place, place.angle)
    squeeze = rng.uniform(1, 1.12)
    distance = np.hypot(along / squeeze, across * squeeze) / (place.radius * 1.12)
    toward = (-(grid.x - place.x) * np.cos(place.light) - (grid.y - place.y) * np.sin(place.light)) / place.radius
    bowl = np.clip(1 - distance**2, 0, None)
    shade = np.clip(toward * 1.25, -1, 1) * np.sqrt(bowl) * _step(-distance, -1.0, -0.8)
    lit = (
        picture * (1 + np.minimum(shade, 0) * 0.85 - 0.10 * bowl)[..., None] + (np.maximum(shade, 0) * 0.42)[..., None]
    )
    return lit, _step(-distance, -1.0, -0.97)


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
        shadow = np.maximum(shadow, _step(-behind, -1.25, -0.8))
    bubble = _step(top, 0.0, 0.2)
    shadow = shadow * (1 - bubble)
    shine = np.exp(-(((toward - 0.4) / 0.26) ** 2)) * _step(top, 0.3, 0.75)
    level = 1 + 0.35 * toward * bubble - 0.45 * bubble * (1 - _step(top, 0.0, 0.45)) - 0.55 * shadow
    lifted = picture * level[..., None] + (0.04 * bubble + 0.5 * shine)[..., None]
    return lifted, np.maximum(bubble, shadow)


def _peeling(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A flake of the coat is gone: a crisp angular hole, another layer below, a curled bright edge and its shadow."""
    turns = np.sort(rng.uniform(0, 2 * np.pi, 3)) + np.arange(6).reshape(2, 3) * 0  # two half turns of three corners
    turns = (turns + np.array([[0], [np.pi]]) + rng.normal(0, 0.25, (2, 3))).ravel()
    ragged = 0.07 * _noise(rng, grid, 14) + 0.05 * _noise(rng, grid, 34)
    dy, dx = (grid.y - place.y) / place.radius, (grid.x - place.x) / place.radius
    reach = rng.uniform(0.8, 1.15, 6)
    edge = np.min([r - dx * np.cos(t) - dy * np.sin(t) for t, r in zip(turns, reach, strict=True)], axis=0)
    edge = np.minimum(edge, 1.35 - np.hypot(dx, dy)) + ragged
    hole = _step(edge, 0.0, 0.07)
    facing = _slope(edge, grid, place.light) * place.radius  # which side of the hole looks at the light
    curl = np.exp(-(((edge + 0.02) / 0.10) ** 2)) * _step(facing, -0.3, 0.5)
    shadow = np.exp(-(((edge - 0.14) / 0.13) ** 2)) * _step(-facing, -0.2, 0.6)
    layer = _colour(rng, (0.86, 0.82, 0.72), (0.82, 0.80, 0.74), (0.88, 0.80, 0.66), spread=0.02)
    below = _tint(1 + 0.05 * _noise(rng, grid, 20) + 0.05 * _noise(rng, grid, 50), layer)
    picture = _mix(picture, below * (1 - 0.65 * shadow[..., None]), hole)
    lifted = picture * (1 - 0.35 * (curl * (edge < 0))[..., None]) + (0.42 * curl * _step(edge, -0.12, 0.05))[..., None]
    return lifted, np.maximum(hole, _step(curl, 0.06, 0.2))


def _wear(rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A long polished zone: lighter, smoother, greyer than its surroundings, with fine marks along it."""
    along, across = _turned(grid, place, place.angle)
    body = 1 - np.hypot(along / 1.75, across * 1.45) / place.radius * (1 + 0.05 * _noise(rng, grid, 5))
    cover = _step(body, 0.0, 0.45)
    smooth = _blur(picture, 2.5 * grid.scale)
    grey = smooth.mean(-1, keepdims=True)
    marks = 0.035 * _line_noise(rng, across + 40, 55)
    bright = (grey * cover[..., None]).sum() > 0.64 * cover.sum()  # nothing is lighter than white: bare metal shows
    bare = np.float32([0.08, 0.09, 0.11]) if bright else np.float32([0.36, 0.37, 0.39])
    polished = 0.35 * smooth + 0.25 * grey + bare + (marks + 0.10 * body)[..., None]
    return _mix(picture, polished, cover * 0.9), _step(body, 0.0, 0.08)


def _degradation(
    rng: np.random.Generator, grid: Grid, place: Place, picture: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Chemical stains: bleached yellowish islands with dark violet tide lines and mottles."""
    body = _blob(rng, grid, place, 0.22, 4, stretch=1.1) + 0.06
    cover = _step(body, 0.0, 0.25)
    mottle = 0.8 * _noise(rng, grid, 20) + 0.5 * _noise(rng, grid, 40)
    bleached = picture * 0.35 + np.float32([0.56, 0.53, 0.34])
    stained = picture * 0.30 + np.float32([0.15, 0.09, 0.17])
    tide = np.exp(-(((body - 0.12) / 0.10) ** 2))
    dark = np.clip(_step(mottle, 0.15, 0.65) + tide, 0, 1)
    return _mix(picture, _mix(bleached, stained, dark), cover * 0.88), cover


_DEFECTS = {
    "crack": _crack, "blistering": _blistering, "dent": _dent, "rust": _rust, "peeling": _peeling,
    "corrosion": _corrosion, "wear": _wear, "degradation": _degradation, "scratch": _scratch,
}  # fmt: skip
