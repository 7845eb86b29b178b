"""A photograph with windows on a page: scaled down for display, with its windows at their own scale, and outlined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rli.photos.windows import Size, View, Window, parts_of
from rli.reports.pixels import inlined, outline
from rli.store.results import EditedPhoto, PhotoResult, WindowResult

# The longer side at which a photograph with windows is shown at most, in pixels; its windows are shown as they are.
SIDE = 1536


def shown(photo: PhotoResult, picture: np.ndarray, side: int, quality: int | None) -> dict[str, Any]:
    """A picture of the photograph's size for a page.

    Args:
        photo: Whose picture it is.
        picture: (H,W,3) uint8.
        side: The longer side in pixels, at most.
        quality: WebP's; None for lossless.

    Returns:
        The picture; its own width and height; and, where it is scaled down, its windows as they are, with their places.
    """
    whole = inlined(picture, min(side, SIDE) if photo.windows else side, quality)
    details: list[dict[str, Any]] = []
    if whole.width < picture.shape[1]:
        for view in photo.parts:
            cut = inlined(np.ascontiguousarray(picture[view.window.slices]), side, quality)
            details.append({"picture": cut, "place": place_of(view.window, picture.shape)})
    return {"picture": whole, "details": details, "own": (picture.shape[1], picture.shape[0])}


def window_cards(photo: PhotoResult, picture: np.ndarray, mask: np.ndarray, side: int) -> list[dict[str, Any]]:
    """What an edit looks like in each of the photograph's windows.

    Args:
        photo: Whose edit it is.
        picture: The edit, (H,W,3) uint8.
        mask: Its blend mask, (H,W) bool.
        side: The longer side in pixels, at most.

    Returns:
        For each window that shows a part of the photograph its picture, its place, and the mask's outline in it.
    """
    cards = []
    for view in photo.parts:
        part = mask[view.window.slices]
        cut = inlined(np.ascontiguousarray(picture[view.window.slices]), side, 90)
        place = place_of(view.window, picture.shape)
        cards.append({"picture": cut, "place": place, "outline": outline(part), "shape": part.shape})
    return cards


def example_card(edit: EditedPhoto, side: int) -> dict[str, Any] | None:
    """The example that an edit was to look like, with its mask's outline; None where there is none.

    Args:
        edit: The edit.
        side: The longer side in pixels, at most.
    """
    seen = edit.example_picture
    if seen is None or edit.example is None:
        return None
    return {
        "name": edit.example.name,
        "picture": inlined(seen.image, side, 90),
        "outline": outline(seen.mask),
        "shape": seen.mask.shape,
    }


def worked_on(photo: PhotoResult) -> WindowResult:
    """What maps of a photograph show: its first window as it was worked on, or, without windows, the photograph."""
    if photo.windows:
        return photo.windows[0]
    return WindowResult(None, photo.input, photo.reconstruction, {})


def edit_worked_on(photo: PhotoResult, defect: str) -> np.ndarray:
    """The edit that belongs to `worked_on`."""
    return photo.windows[0].edits[defect].image if photo.windows else photo.edits[defect].image


def map_place(photo: PhotoResult) -> str:
    """Where such maps lie on the photograph, as `place_of` says it; "" for all of it."""
    view = photo.windows[0].view if photo.windows else None
    return "" if view is None or view.window.size == photo.input.shape[:2] else place_of(view.window, photo.input.shape)


def place_of(window: Window, shape: Sequence[int]) -> str:
    """Left, top, width and height of a window as shares of the photograph's."""
    shares = (
        window.left / shape[1],
        window.top / shape[0],
        window.width / shape[1],
        window.height / shape[0],
    )
    return " ".join(f"{share:.6g}" for share in shares)


def frames(photo: PhotoResult) -> str:
    """The borders of the windows that show a part, as the data of an SVG path in the photograph's pixels."""
    boxes = (view.window for view in photo.parts)
    return " ".join(f"M{b.left} {b.top}h{b.width}v{b.height}h{-b.width}Z" for b in boxes)


def pixels_shown(size: Size, views: Sequence[View]) -> int:
    """How many pixels of a photograph's picture a page shows at most."""
    scale = min(1.0, SIDE / max(size)) if views else 1.0
    whole = int(size[0] * scale) * int(size[1] * scale)
    parts = parts_of(views, size) if scale < 1 else ()
    return whole + sum(view.window.height * view.window.width for view in parts)
