"""Generic procedural textures: they teach the autoencoder what no industrial surface shows (masonry, pebbles, foliage).

Every painter maps (rng, grid) to a picture (H, W, 3) float32, about [0, 1].
"""

from __future__ import annotations

import functools

import numpy as np
import skimage.data
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from rli.models.mini.drawing import Grid, layer_generator, mix, noise, pixel_grid, slope, smoothstep, tint


def texture(seed: int, height: int = 128, width: int = 128) -> np.ndarray:
    """One random texture, (H, W, 3) uint8, deterministic in its arguments."""
    rng, grid = layer_generator(seed, "texture"), pixel_grid(height, width)
    painters = (_spectrum, _spectrum, _pebbles, _masonry, _polygons, _stripes)
    picture = painters[rng.integers(len(painters))](rng, grid)
    if rng.random() < 0.3:
        other = painters[rng.integers(len(painters))](rng, grid)
        picture = mix(picture, other, smoothstep(noise(rng, grid, rng.uniform(1, 8)), -0.1, 0.1))
    picture = picture.mean(-1, keepdims=True).repeat(3, -1) if rng.random() < 0.3 else picture
    picture = 0.5 + (picture - picture.mean()) * rng.uniform(0.5, 1.3) + rng.uniform(-0.15, 0.15)
    picture = ndimage.gaussian_filter(picture, (*[rng.uniform(0, 0.9)] * 2, 0), truncate=2.5)
    return (np.clip(picture + rng.normal(0, 0.006, picture.shape), 0, 1) * 255 + 0.5).astype(np.uint8)


# Photographs that scikit-image ships in the public domain or under CC0, and that nothing here is measured on.
FREE_PHOTOGRAPHS = ("astronaut", "camera", "cat", "coffee", "grass", "rocket")


@functools.lru_cache(maxsize=len(FREE_PHOTOGRAPHS))
def _free_photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def photograph_cut(seed: int, side: int) -> np.ndarray:
    """A random square of one of FREE_PHOTOGRAPHS at a random scale, (side, side, 3) uint8."""
    rng = layer_generator(seed, "photograph")
    picture = _free_photograph(FREE_PHOTOGRAPHS[rng.integers(len(FREE_PHOTOGRAPHS))])
    shorter = min(picture.size)
    edge = int(shorter * rng.uniform(min(1, 0.6 * side / shorter), 1))
    left, top = (int(rng.integers(0, room - edge + 1)) for room in picture.size)
    box = (left, top, left + edge, top + edge)
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS, box))


def _any_colour(rng: np.random.Generator) -> np.ndarray:
    """Mostly dull colours, now and then a vivid one."""
    grey, vivid = rng.uniform(0.1, 0.95), rng.uniform(0, 1, 3)
    return (grey + (vivid - vivid.mean()) * rng.uniform(0, 1) ** 2).astype(np.float32)


def _spectrum(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Noise with a power-law spectrum, in one direction or all, between two colours."""
    height, width = grid.y.shape
    fy, fx = np.fft.fftfreq(height)[:, None] * rng.uniform(0.4, 2.5), np.fft.rfftfreq(width)[None]
    shape = (np.hypot(fy, fx) + 0.5 / max(height, width)) ** -rng.uniform(0.3, 1.8)
    shape[0, 0] = 0
    layers = [np.fft.irfft2(np.fft.rfft2(rng.standard_normal((height, width))) * shape, (height, width)) for _ in "ab"]
    level, hue = (layer / (layer.std() + 1e-6) for layer in layers)
    level = np.abs(level) - 0.8 if rng.random() < 0.3 else level
    spread = rng.uniform(0.05, 0.22)
    first, second = _any_colour(rng), _any_colour(rng)
    picture = mix(np.broadcast_to(first, (height, width, 3)), second, smoothstep(hue, -1.5, 1.5) * rng.uniform(0, 1))
    return (picture + (spread * level)[..., None]).astype(np.float32)


def _cells(rng: np.random.Generator, grid: Grid, count: float) -> tuple[np.ndarray, np.ndarray]:
    """A Voronoi mosaic: index of the cell (H, W) and distance to its border (H, W), relative units."""
    extent = np.array([grid.y[-1, -1], grid.x[-1, -1]])
    points = rng.uniform(-0.1, 1.1, (int(count * extent.prod()) + 2, 2)) * extent
    points[:, 0] *= rng.uniform(0.6, 1.4)
    warp = 0.012 * np.stack([noise(rng, grid, 12), noise(rng, grid, 12)], -1)
    near, index = cKDTree(points).query(np.stack([grid.y, grid.x], -1) + warp, k=2)
    return index[..., 0], (near[..., 1] - near[..., 0]).astype(np.float32)


def _pebbles(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Rounded stones lit from one side, dark gaps between them."""
    index, border = _cells(rng, grid, rng.uniform(30, 600))
    dome = np.sqrt(np.clip(border, 0, 0.06)) + 0.004 * noise(rng, grid, 40)
    level = 0.3 + 0.5 * rng.random(index.max() + 1, dtype=np.float32)[index]
    level = level * smoothstep(border, 0.0, 0.02) + slope(dome, grid, rng.uniform(0, 6.28)) * rng.uniform(0.01, 0.05)
    return tint(level + 0.05 * noise(rng, grid, 60), _any_colour(rng) + 0.4)


def _masonry(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Bricks in mortar, upright or turned."""
    y, x = (grid.y, grid.x) if rng.random() < 0.7 else (grid.x, grid.y)
    rows, ratio, joint = rng.uniform(3, 14), rng.uniform(0.3, 1), rng.uniform(0.03, 0.12)
    v = (y + 0.006 * noise(rng, grid, 8)) * rows + rng.uniform(0, 1)
    u = (x + 0.006 * noise(rng, grid, 8)) * rows * ratio + 0.5 * (np.floor(v) % 2)
    gap = np.minimum(np.minimum(v % 1, 1 - v % 1), np.minimum(u % 1, 1 - u % 1) / ratio)
    shade = rng.normal(1, 0.12, (97,)).astype(np.float32)[(np.floor(v) * 31 + np.floor(u) * 17).astype(int) % 97]
    brick = tint(shade + 0.10 * noise(rng, grid, 45) + 0.10 * noise(rng, grid, 15), _any_colour(rng))
    mortar = tint(1 + 0.10 * noise(rng, grid, 60), _any_colour(rng))
    return mix(mortar, brick, smoothstep(gap, joint * 0.6, joint * 1.4))


def _polygons(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Flat or shaded patches with sharp borders, some outlined."""
    index, border = _cells(rng, grid, rng.uniform(4, 60))
    palette = np.stack([_any_colour(rng) for _ in range(index.max() + 1)])
    shading = 1 + rng.uniform(0, 0.2) * noise(rng, grid, 3) + rng.uniform(0, 0.1) * noise(rng, grid, 50)
    line = (1 - smoothstep(border, 0.004, 0.014)) * rng.choice([0, 1])
    return mix(palette[index] * shading[..., None], _any_colour(rng), line)


def _stripes(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Waves or bars of a random direction over a gradient."""
    angle, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(4, 40)
    along = grid.x * np.cos(angle) + grid.y * np.sin(angle) + rng.uniform(0, 0.03) * noise(rng, grid, 4)
    wave = np.sin(along * pitch * 2 * np.pi)
    wave = np.clip(wave * rng.uniform(1, 6), -1, 1) * smoothstep(noise(rng, grid, 3), -1.5, 0.5)
    base = mix(np.broadcast_to(_any_colour(rng), (*wave.shape, 3)), _any_colour(rng), smoothstep(grid.y + grid.x, 0, 2))
    return base + (wave * rng.uniform(0.03, 0.25))[..., None] + 0.03 * noise(rng, grid, 50)[..., None]
