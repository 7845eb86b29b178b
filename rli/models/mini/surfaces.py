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

from rli.models.mini import defects as painted
from rli.models.mini import materials
from rli.models.mini.drawing import Grid, Place, blur, layer_generator, pixel_grid

MATERIALS = tuple(materials.PAINTERS)
DEFECTS = tuple(painted.PAINTERS)
UNSEEN = 10_000_000  # seeds from here on are never trained on
_BOTTOM_UP = ("degradation", "wear", "corrosion", "rust", "dent", "blistering", "peeling", "scratch", "crack")
_VISIBLE = 0.04  # cover below this is not drawn at all, so that a mask says exactly where the picture differs


@dataclass(frozen=True)
class Surface:
    """One drawn photograph."""

    image: np.ndarray  # (H, W, 3) uint8
    masks: dict[str, np.ndarray]  # (H, W) bool for each defect, where the picture differs from a clean one
    material: str  # one of MATERIALS
    caption: str  # what the miniature was told of such a picture in its training

    @property
    def mask(self) -> np.ndarray:
        """The union of all masks, (H, W) bool; all False on a clean surface."""
        return functools.reduce(np.logical_or, self.masks.values(), np.zeros(self.image.shape[:2], bool))


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
    """Draws one photograph. The same arguments give the same picture on every machine.

    Args:
        seed: What sets this surface apart from others; from UNSEEN on, surfaces that no training has seen.
        defects: Words of DEFECTS; all lie in the same place, and none makes a clean surface.
        height: Pixels.
        width: Pixels.
        material: One of MATERIALS; drawn at random from the seed where left out.

    Raises:
        ValueError: An unknown defect or material.
    """
    for kind, words, known in (("defect", defects, DEFECTS), ("material", filter(None, [material]), MATERIALS)):
        for word in words:
            if word not in known:
                raise ValueError(f"unknown {kind} {word!r}; expected one of {', '.join(known)}")
    grid = pixel_grid(height, width)
    material = material or str(layer_generator(seed, "material").choice(MATERIALS))
    place = random_place(layer_generator(seed, "place"), grid)
    clean, part = materials.PAINTERS[material](layer_generator(seed, material), grid, place)
    covers: dict[str, np.ndarray] = {}
    pictures = clean
    for word in (word for word in _BOTTOM_UP if word in defects):
        pictures, cover = painted.PAINTERS[word](layer_generator(seed, word), grid, place, pictures)
        covers[word] = cover * part
        pictures = clean + (pictures - clean) * part[..., None]
    camera = random_camera(layer_generator(seed, "camera"), grid)
    softened = {word: blur(covers[word], 0.5 * grid.scale) > _VISIBLE for word in defects}
    image = camera(clean)
    if softened:
        union = functools.reduce(np.logical_or, softened.values())
        image = np.where(union[..., None], camera(pictures), image)
    return Surface(image, softened, material, caption(defects))


def random_defects(rng: np.random.Generator) -> tuple[str, ...]:
    """The defects of a training picture: 8 % have none, 57 % one, 26 % a crack and another, 9 % any two."""
    kind = rng.random()
    if kind < 0.08:
        return ()
    if kind < 0.65:
        return (str(rng.choice(DEFECTS)),)
    if kind < 0.91:
        return ("crack", str(rng.choice(DEFECTS[1:])))
    first, second = rng.choice(len(DEFECTS), 2, replace=False)
    return DEFECTS[first], DEFECTS[second]


def random_place(rng: np.random.Generator, grid: Grid) -> Place:
    """Somewhere in the middle of the picture, lit from above."""
    high, wide = grid.y[-1, -1], grid.x[-1, -1]
    y, x = high * rng.uniform(0.3, 0.7), wide * rng.uniform(0.3, 0.7)
    return Place(y, x, rng.uniform(0.078, 0.14), rng.uniform(0, np.pi), rng.uniform(-2.6, -0.5))


def random_camera(rng: np.random.Generator, grid: Grid) -> Callable[[np.ndarray], np.ndarray]:
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
        seen = blur(np.clip(picture, 0, 1.2), focus) * gain
        return (np.clip(seen + grain, 0, 1) * 255 + 0.5).astype(np.uint8)

    return take
