"""Procedural photographs of industrial surfaces with exact defect masks.

Everything is drawn in relative units: the shorter side of the picture is 1, so that 512 pixels show the same
surface as 128 pixels, finer. One generator per layer (place, material, each defect, camera), all derived from
the one seed: the same seed with other defects keeps the surface, the place and the camera.

Shapes: y, x, height fields, covers (H, W) float32; pictures (H, W, 3) float32 in [0, 1] until the last step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rli.models.mini import defects as painted
from rli.models.mini import materials
from rli.models.mini.drawing import Grid, Place, blur, layer_generator, pixel_grid
from rli.models.mini.footprints import KINDS

MATERIALS = tuple(materials.PAINTERS)
DEFECTS = tuple(painted.PAINTERS)
FOOTPRINTS = tuple(KINDS)
NOUNS = {
    "brushed metal": "metal",
    "cast metal": "metal",
    "machined metal": "metal",
    "painted steel": "steel",
    "coated carbide": "carbide",
    "concrete": "concrete",
}
ADJECTIVES = {
    "crack": "cracked",
    "blistering": "blistered",
    "dent": "dented",
    "rust": "rusty",
    "peeling": "peeling",
    "corrosion": "corroded",
    "wear": "worn",
    "degradation": "degraded",
    "scratch": "scratched",
}
_FOOTPRINT_SHARES = (0.46, 0.26, 0.13, 0.15)  # in the order of FOOTPRINTS
_REACH = 0.36  # no defect lies further from its place, relative units
UNSEEN = 10_000_000  # seeds from here on are never trained on
_BOTTOM_UP = ("degradation", "wear", "corrosion", "rust", "dent", "blistering", "peeling", "scratch", "crack")
Box = tuple[slice, slice]
_EVERYWHERE = (slice(None), slice(None))
_VISIBLE = 0.04  # cover below this is not drawn at all, so that a mask says exactly where the picture differs


@dataclass(frozen=True)
class Surface:
    """One drawn photograph."""

    image: np.ndarray  # (H, W, 3) uint8
    masks: dict[str, np.ndarray]  # (H, W) bool for each defect, where the picture differs from a clean one
    material: str  # one of MATERIALS
    caption: str  # one of the two that the miniature was told of such a picture: the one that names no material

    @property
    def mask(self) -> np.ndarray:
        """The union of all masks, (H, W) bool; all False on a clean surface."""
        return functools.reduce(np.logical_or, self.masks.values(), np.zeros(self.image.shape[:2], bool))


def caption(defects: Sequence[str], material: str | None = None) -> str:
    """A training caption of none, one or more defects.

    Args:
        defects: Words of DEFECTS.
        material: One of MATERIALS, for a caption that names it: "photo of a cracked metal surface"; left out, the
            caption speaks of an image: "photo of a crack defect image".
    """
    return " ".join(word for word, _ in caption_words(defects, material))


def caption_words(defects: Sequence[str], material: str | None = None) -> list[tuple[str, int | None]]:
    """The words of `caption`, each with the index of the defect that it speaks of, or None."""
    spoken: list[tuple[str, int | None]] = [("photo", None), ("of", None), ("a", None)]
    if material:
        spoken += [(ADJECTIVES[word], k) for k, word in enumerate(defects)]
        return [*spoken, (NOUNS[material], None), ("surface", None)]
    spoken += [(word, k) for k, word in enumerate(defects)] or [("clean", None)]
    return [*spoken, *([("defect", 0)] if len(defects) == 1 else []), ("image", None)]


def surface(
    seed: int,
    defects: Sequence[str] = ("crack",),
    height: int = 128,
    width: int = 128,
    material: str | None = None,
    footprint: str | None = None,
) -> Surface:
    """Draws one photograph. The same arguments give the same picture on every machine.

    Args:
        seed: What sets this surface apart from others; from UNSEEN on, surfaces that no training has seen.
        defects: Words of DEFECTS; all lie in the same place, and none makes a clean surface.
        height: Pixels.
        width: Pixels.
        material: One of MATERIALS; drawn at random from the seed where left out.
        footprint: One of FOOTPRINTS, in which all defects lie. Where left out, the seed draws one; in a third of the
            surfaces each defect draws its own.

    Raises:
        ValueError: An unknown defect, material or footprint.
    """
    _refuse("defect", defects, DEFECTS)
    _refuse("material", [material] if material else [], MATERIALS)
    _refuse("footprint", [footprint] if footprint else [], FOOTPRINTS)
    grid = pixel_grid(height, width)
    material = material or str(layer_generator(seed, "material").choice(MATERIALS))
    place = random_place(layer_generator(seed, "place"), grid)
    clean, part = materials.PAINTERS[material](layer_generator(seed, material), grid, place)
    camera = random_camera(layer_generator(seed, "camera"), grid)
    image = camera(clean, _EVERYWHERE)
    box = grid.around(place, _REACH)
    near, beneath, within = grid.cut(box), clean[box], part[box]
    picture, softened = beneath, {}
    for word in (word for word in _BOTTOM_UP if word in defects):
        kind = footprint or _kind(seed, word)
        lying = KINDS[kind](layer_generator(seed, kind), near, place)
        changed, cover = painted.PAINTERS[word](layer_generator(seed, word), near, lying, picture)
        if word == "crack" and len(defects) > 1:  # in part filled or worn off by what came over it
            changed = picture + (changed - picture) * layer_generator(seed, "crack among others").uniform(0.4, 1)
        picture = beneath + (changed - beneath) * within[..., None]
        softened[word] = blur(cover * within, 0.5 * grid.scale) > _VISIBLE
    masks = {word: np.zeros((height, width), bool) for word in defects}
    if softened:
        union = functools.reduce(np.logical_or, softened.values())
        image[box] = np.where(union[..., None], camera(picture, box), image[box])
        for word, mask in softened.items():
            masks[word][box] = mask
    return Surface(image, masks, material, caption(defects))


def _refuse(kind: str, words: Sequence[str], known: Sequence[str]) -> None:
    """Raises ValueError at a word that is not known."""
    for word in words:
        if word not in known:
            raise ValueError(f"unknown {kind} {word!r}; expected one of {', '.join(known)}")


def _kind(seed: int, word: str) -> str:
    """The footprint in which a defect of this surface lies: two surfaces in three have one for all defects."""
    common = layer_generator(seed, "footprint")
    drawn = str(common.choice(FOOTPRINTS, p=_FOOTPRINT_SHARES))
    own = layer_generator(seed, f"footprint of {word}")
    return drawn if common.random() < 2 / 3 else str(own.choice(FOOTPRINTS, p=_FOOTPRINT_SHARES))


def random_defects(rng: np.random.Generator) -> tuple[str, ...]:
    """The defects of a training picture: 8 % have none, 46 % one, 37 % a crack and another, 9 % any two."""
    kind = rng.random()
    if kind < 0.08:
        return ()
    if kind < 0.54:
        return (str(rng.choice(DEFECTS)),)
    if kind < 0.91:
        return ("crack", str(rng.choice(DEFECTS[1:])))
    first, second = rng.choice(len(DEFECTS), 2, replace=False)
    return DEFECTS[first], DEFECTS[second]


def random_place(rng: np.random.Generator, grid: Grid) -> Place:
    """Somewhere in the middle of the picture, lit from above."""
    high, wide = float(grid.y[-1, -1]), float(grid.x[-1, -1])
    y, x = high * rng.uniform(0.3, 0.7), wide * rng.uniform(0.3, 0.7)
    return Place(y, x, rng.uniform(0.085, 0.16), rng.uniform(0, np.pi), rng.uniform(-2.6, -0.5))


def random_camera(rng: np.random.Generator, grid: Grid) -> Callable[[np.ndarray, Box], np.ndarray]:
    """One fixed camera: light, vignette, white balance, focus and noise, the same for every picture it takes.

    It takes a picture of the whole grid or of a box of rows and columns, whose border it sees a little less sharp.
    """
    high, wide = float(grid.y[-1, -1]), float(grid.x[-1, -1])
    angle = rng.uniform(0, 2 * np.pi)
    across = (grid.x / wide - 0.5) * math.cos(angle) + (grid.y / high - 0.5) * math.sin(angle)
    corner = (grid.x / wide - 0.5) ** 2 + (grid.y / high - 0.5) ** 2
    light = rng.uniform(0.85, 1.12) * (1 + rng.uniform(0, 0.35) * across) * (1 - rng.uniform(0, 0.5) * corner)
    gain = light[..., None] * rng.normal(1, 0.025, 3).astype(np.float32)
    focus = rng.uniform(0.3, 0.75) * grid.scale
    shape = grid.y.shape
    grain = rng.uniform(0.003, 0.011) * rng.standard_normal((*shape, 1), np.float32)
    grain = grain + np.float32(0.003) * rng.standard_normal((*shape, 3), np.float32)

    def take(picture: np.ndarray, box: Box) -> np.ndarray:
        seen = blur(np.clip(picture, 0, 1.2).astype(np.float32, copy=False), focus) * gain[box]
        return (np.clip(seen + grain[box], 0, 1) * 255 + 0.5).astype(np.uint8)

    return take
