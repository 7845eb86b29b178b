"""What surfaces and textures are drawn with: a grid of pixels in relative units, noise, light and colour.

The shorter side of a picture is 1. Shapes: coordinates, height fields and covers (H, W) float32; pictures (H, W, 3)
float32, about [0, 1].
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage


@dataclass(frozen=True)
class Place:
    """Where a surface's defects lie, in relative units and radians."""

    y: float  # the centre, downwards
    x: float  # the centre, to the right
    radius: float
    angle: float  # the direction in which what is long runs
    light: float  # the direction from which the light comes


@dataclass(frozen=True)
class Grid:
    """Pixel centres in relative units."""

    y: np.ndarray  # (H, W) float32
    x: np.ndarray  # (H, W) float32
    scale: float  # pixels in 1/128 of the shorter side

    @property
    def pixel(self) -> float:
        """A pixel's side in relative units."""
        return 1 / (128 * self.scale)

    def cut(self, box: tuple[slice, slice]) -> Grid:
        """The part of the grid in a box of rows and columns."""
        return Grid(self.y[box], self.x[box], self.scale)

    def around(self, place: Place, reach: float) -> tuple[slice, slice]:
        """The box of rows and columns no further than `reach` from the place; whole 32nds, so alike at any size."""
        rows, columns = (
            slice(*np.searchsorted(axis, (np.floor((at - reach) * 32) / 32, np.ceil((at + reach) * 32) / 32)).tolist())
            for axis, at in ((self.y[:, 0], place.y), (self.x[0], place.x))
        )
        return rows, columns


@dataclass(frozen=True)
class Stroke:
    """A polyline and how thick it is drawn."""

    points: np.ndarray  # (n, 2): y and x in relative units
    widths: tuple[float, float]  # half the thickness at its start and end, relative units


def layer_generator(seed: int, layer: str) -> np.random.Generator:
    """The random numbers of one layer of a picture: what another layer draws does not move them."""
    return np.random.default_rng([seed, *layer.encode()])


@functools.lru_cache(maxsize=32)
def pixel_grid(height: int, width: int) -> Grid:
    """The grid of a picture of this many pixels."""
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


def noise(rng: np.random.Generator, grid: Grid, cells: float, across: float | None = None) -> np.ndarray:
    """Smooth noise, about unit variance: `cells` bumps per unit downwards, `across` per unit to the right."""
    height, width = grid.y.shape
    side = 128 * grid.scale
    rows = _spline(height, height / side, cells)
    columns = _spline(width, width / side, across or cells)
    return rows @ rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32) @ columns.T * 2


def fractal(rng: np.random.Generator, grid: Grid, cells: float, octaves: int = 3) -> np.ndarray:
    """Noise of `cells` bumps per unit and, weaker, of twice and four times as many."""
    return functools.reduce(np.add, (noise(rng, grid, cells * 2**k) * 0.6**k for k in range(octaves)))


def line_noise(rng: np.random.Generator, u: np.ndarray, cells: float) -> np.ndarray:
    """Noise along one coordinate u, about unit variance: streaks where u is constant."""
    table = ndimage.gaussian_filter1d(rng.standard_normal(4096).astype(np.float32), 4) * 3.7
    return table[(u * (cells * 8)).astype(np.int32) % 4096]


def smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at low to 1 at high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(below: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """One picture over another, opaque where the cover (H, W) is 1."""
    return below + (above - below) * cover[..., None]


def colour(rng: np.random.Generator, *choices: Sequence[float], spread: float = 0.03) -> np.ndarray:
    """One of the colours, a little off, (3,) float32."""
    return (np.array(choices[rng.integers(len(choices))]) + rng.normal(0, spread, 3)).astype(np.float32)


def rgb(red: float, green: float, blue: float) -> np.ndarray:
    """(3,) float32."""
    return np.array([red, green, blue], np.float32)


def tint(level: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(H, W) brightness in one colour (3,): a picture (H, W, 3)."""
    return level[..., None] * colour


def slope(height: np.ndarray, grid: Grid, light: float) -> np.ndarray:
    """Shading of a height field lit from direction `light`: positive where it faces the light."""
    down, right = np.gradient(height, grid.pixel)
    return -(down * math.sin(light) + right * math.cos(light)).astype(np.float32)


def strokes(grid: Grid, lines: Sequence[Stroke], sharpness: int = 4) -> np.ndarray:
    """How much of each pixel the lines cover, (H, W) float32 in [0, 1].

    sharpness: subpixels a side. A line is at least one of them wide, unless both its widths are 0: then it is exactly
    one pixel wide at sharpness 1.
    """
    height, width = grid.y.shape
    unit = grid.pixel / sharpness
    canvas = Image.new("L", (width * sharpness, height * sharpness))
    pen = ImageDraw.Draw(canvas)
    corner = np.array([grid.y[0, 0], grid.x[0, 0]]) - grid.pixel / 2
    for line in lines:
        at = (line.points - corner) / unit
        halves = np.linspace(*line.widths, len(at)) / unit
        for (y0, x0), (y1, x1), half in zip(at, at[1:], halves, strict=False):
            pen.line((x0, y0, x1, y1), 255, max(1, round(2 * half)))
            if half >= 1:
                pen.ellipse((x1 - half, y1 - half, x1 + half, y1 + half), 255)
    return np.asarray(canvas.reduce(sharpness), np.float32) / 255


def shifted(field: np.ndarray, grid: Grid, light: float, by: float) -> np.ndarray:
    """The field (H, W) moved away from the light by so many relative units."""
    return ndimage.shift(field, (-by * math.sin(light) / grid.pixel, -by * math.cos(light) / grid.pixel), order=1)


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of a picture or a field; sigma in pixels."""
    return ndimage.gaussian_filter(picture, (sigma, sigma, 0)[: picture.ndim], truncate=2.5)


def turned(grid: Grid, place: Place, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a direction through the place."""
    dy, dx = grid.y - place.y, grid.x - place.x
    return dx * math.cos(angle) + dy * math.sin(angle), dy * math.cos(angle) - dx * math.sin(angle)
