"""labelme: part.json beside part.jpg, with polygons, rectangles, circles, lines and pixel masks."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rli.errors import RLIError, shown
from rli.photos.conventions import label_of
from rli.photos.markings import Marking, Outline, box, check_size

# Corners of the polygon that stands for a circle.
CIRCLE = 64


@dataclass(frozen=True)
class Patch:
    """A mask of a part of the photograph."""

    file: Path
    label: str
    left: int
    top: int
    # A PNG: what is not black is inside.
    png: bytes
    # Width and height of the picture; None where nothing says it.
    size: tuple[int, int] | None

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        """As `Marking.mask`."""
        if self.size is not None:
            check_size(self.file, self.size, size)
        width, height = size
        try:
            with Image.open(io.BytesIO(self.png), formats=("PNG",)) as image:
                patch = np.asarray(image.convert("L")) > 0
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise RLIError(f"{shown(self.file)}: the mask of {self.label} cannot be read") from None
        inside = np.zeros((height, width), bool)
        there = inside[self.top : self.top + patch.shape[0], self.left : self.left + patch.shape[1]]
        there |= patch[: there.shape[0], : there.shape[1]]
        return inside


def markings(file: Path) -> tuple[Marking, ...] | None:
    """What a labelme file marks.

    Args:
        file: A JSON file.

    Returns:
        A marking for each shape; None where it is no labelme file.

    Raises:
        RLIError: It is one, but a shape in it is of a kind that marks no pixels, or damaged.
        OSError: It cannot be read.
    """
    try:
        told = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None
    shapes = told.get("shapes") if isinstance(told, dict) else None
    if not isinstance(shapes, list):
        return None
    size = (told.get("imageWidth"), told.get("imageHeight"))
    known = (int(size[0]), int(size[1])) if all(isinstance(side, int) for side in size) else None
    try:
        return tuple(_marking(file, shape, known) for shape in shapes)
    except RLIError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        raise RLIError(f"{shown(file)} cannot be read as labelme's: a shape lacks its label or its points") from None


def _marking(file: Path, shape: Mapping[str, Any], size: tuple[int, int] | None) -> Marking:
    label, kind = label_of(str(shape["label"])), shape.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if kind == "mask":
        (left, top), *_ = points
        return Patch(file, label, max(0, round(left)), max(0, round(top)), base64.b64decode(shape["mask"]), size)
    if kind == "rectangle":
        (left, top), (right, bottom) = points
        return box(file, label, (left, top, right, bottom), size)
    if kind == "circle":
        (x, y), rim = points
        radius, turn = math.dist((x, y), rim), 2 * math.pi / CIRCLE
        points = [(x + radius * math.cos(k * turn), y + radius * math.sin(k * turn)) for k in range(CIRCLE)]
    elif kind == "linestrip":
        points += points[-2:0:-1]  # back along itself, so that its ends are not joined
    elif kind not in ("polygon", "line", "point"):
        raise RLIError(f"{shown(file)}: a shape is a {shown(kind)}; expected polygons, rectangles, circles or masks")
    return Outline(file, label, tuple(points), size)
