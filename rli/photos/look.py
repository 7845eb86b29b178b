"""A first look at a photograph's pixels: its size, how much of it its masks cover, and whether it looks like a mask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from heapq import nsmallest
from operator import itemgetter

import numpy as np

from rli.errors import RLIError
from rli.images import fitted, read_picture, resized_mask, to_uint8
from rli.photos.photo import Photo

# The longer side in pixels at which what was looked at is kept, at most.
SIDE = 512
# Levels this near to the darkest or the brightest one are it, as JPEG blurs them; where the two are this far apart.
NEAR, APART = 16, 96
# Of a picture of two levels: the share of pixels that may have others, at the edges of what is drawn.
BETWEEN = 0.01


@dataclass(frozen=True)
class Mask:
    """A photograph's mask as it is read."""

    # (h,w) bool, of the size of the look's picture.
    inside: np.ndarray
    # How much of the photograph it covers, from 0 to 1.
    share: float


@dataclass(frozen=True)
class Look:
    """What a first look at a photograph shows."""

    photo: Photo
    # Height and width in pixels, as it is seen; None where it cannot be read.
    size: tuple[int, int] | None = None
    # (h,w,3) uint8, reduced to SIDE; None where it cannot be read.
    picture: np.ndarray | None = None
    # Whether it has two levels, as masks have.
    is_like_a_mask: bool = False
    # Its own defect, and what an edit may change; None where nothing says it.
    truth: Mask | None = None
    region: Mask | None = None
    # Why it cannot be used; "" where it can.
    problem: str = ""


def look(photo: Photo, otherwise: tuple[int, int]) -> Look:
    """Looks at a photograph and its masks.

    Args:
        photo: Read at its own size.
        otherwise: Height and width of one that is no file, in pixels.

    Returns:
        What there is to see; what is wrong with it is its `problem`.
    """
    if photo.problem:
        return Look(photo, problem=photo.problem)
    try:
        pixels = read_picture(photo.file).rgb if photo.file else to_uint8(photo.read(*otherwise))
    except (RLIError, OSError, MemoryError) as error:
        return Look(photo, problem=_reason(photo, error))
    size, masks, problem = pixels.shape[:2], [], ""
    scale = min(1.0, SIDE / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    try:
        for mask_of in (photo.truth, photo.region):
            inside = mask_of(*size)
            masks.append(None if inside is None else Mask(resized_mask(inside, height, width), float(inside.mean())))
    except (RLIError, OSError, MemoryError) as error:
        problem = _reason(photo, error)
    truth, region = (*masks, None, None)[:2]
    return Look(photo, size, fitted(pixels, height, width), has_two_levels(pixels), truth, region, problem)


def has_two_levels(pixels: np.ndarray) -> bool:
    """Whether a picture has two colours at most, or a dark and a bright level and little between: masks have,
    photographs do not.

    Args:
        pixels: (H,W,3) uint8; of large ones every so-manieth row and column is looked at.
    """
    step = -(-max(pixels.shape[:2]) // SIDE)
    few = pixels[::step, ::step].astype(np.int32)
    if len(np.unique(few[..., 0] << 16 | few[..., 1] << 8 | few[..., 2])) <= 2:
        return True
    level = few.max(2)
    darkest, brightest = level.min(), level.max()
    between = (level - darkest > NEAR) & (brightest - level > NEAR)
    return bool(brightest - darkest > APART and between.mean() < BETWEEN)


def drawn(photos: Iterable[Photo], most: int) -> list[Photo]:
    """At most so many of the photographs, in their order and the same ones each time; in one pass, whatever their
    number. Which ones hangs on their names alone: in a folder where every second picture is a mask both are met."""

    def draw(numbered: tuple[int, Photo]) -> bytes:
        return sha256(numbered[1].name.encode(errors="surrogateescape")).digest()

    return [photo for _, photo in sorted(nsmallest(most, enumerate(photos), key=draw), key=itemgetter(0))]


def _reason(photo: Photo, error: Exception) -> str:
    return str(error) or f"{photo.name}: there was too little memory to read it"
