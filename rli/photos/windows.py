"""Windows: which parts of a photograph are worked on, and at which scale. Geometry alone: no picture is touched.

A window is a box in the photograph's pixels. A view shows it in a picture of the working size: it fills the picture but
where the photograph ends before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from rli.errors import SettingError, one_of, whole, within

KINDS = ("auto", "whole", "defect", "tiles")
# How an edit is laid back on the photograph (`photos/paste.py`); none leaves it as it was worked on.
PASTES = ("texture", "difference", "pixels", "none")
# A defect's longer side in working pixels below which it is enlarged: four latent positions.
SMALL = 32
# Of an edit's soft edge, in working pixels: how far inside its mask it has its full weight.
FEATHER = 4
# Pieces of a mask that are looked at one by one.
MANY = 500

Size = tuple[int, int]


@dataclass(frozen=True)
class WindowSettings:
    """Which windows of a photograph are worked on, and how an edit comes back to it. Raises SettingError."""

    # One of KINDS. auto is defect where a mask is known and the photograph is larger than the working size, else whole.
    kind: str = "auto"
    # Of defect: the share of a window's side that lies on each side of the defects at least, but where the photograph
    # ends.
    context: float = 0.125
    # Of defect: the factor by which small defects and small photographs are enlarged at most.
    enlarge: float = 4.0
    # Of defect: windows of a photograph at most; where there are more groups of defects, they share windows.
    most: int = 8
    # Of tiles: the share of a tile's side that the next tile shows too, at least.
    overlap: float = 0.25
    # One of PASTES.
    paste: str = "texture"

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        one_of("paste", self.paste, PASTES)
        within("context", self.context, 0, 0.45)
        within("enlarge", self.enlarge, 1, 64)
        whole("most", self.most, 1, 1000)
        within("overlap", self.overlap, 0, 0.75)
        if self.paste == "none" and self.kind != "whole":
            raise SettingError("paste", "none", "pictures can stay as they were worked on with window=whole alone")


@dataclass(frozen=True)
class Window:
    """A box, in pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Its rows and columns: `picture[window.slices]` is what it shows."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @property
    def size(self) -> Size:
        """Height and width."""
        return self.height, self.width

    @property
    def corner(self) -> Size:
        """Top and left."""
        return self.top, self.left

    def union(self, other: Window) -> Window:
        """The smallest box that holds both."""
        top, left = min(self.top, other.top), min(self.left, other.left)
        bottom = max(self.top + self.height, other.top + other.height)
        right = max(self.left + self.width, other.left + other.width)
        return Window(top, left, bottom - top, right - left)


@dataclass(frozen=True)
class View:
    """A window, and where a picture of the working size shows it."""

    # In the photograph's pixels, inside the photograph.
    window: Window
    # In the picture's pixels; what is left of the picture continues the photograph.
    place: Window
    # Of the picture: height and width.
    size: Size
    # Whether the photograph is mirrored around the place; otherwise its border is repeated.
    mirrors: bool = True


def is_larger(photo: Size, size: Size) -> bool:
    """Whether a photograph has a side that is longer than the working size's."""
    return photo[0] > size[0] or photo[1] > size[1]


def views_of(
    photo: Size, size: Size, settings: WindowSettings, defects: np.ndarray | None = None, fit: str = "resize"
) -> list[tuple[View, np.ndarray]]:
    """What is worked on of a photograph.

    Args:
        photo: Its height and width.
        size: The working height and width.
        settings: Which windows are wanted.
        defects: Where its defects are, or what may change: (H,W) bool; None where nobody knows.
        fit: How the whole photograph is brought to the working size.

    Returns:
        The views, each with its own part of the defects, (h,w) bool of its window's size; without known defects it is
        empty.
    """
    is_known = defects is not None and bool(defects.any())
    mask = np.zeros(photo, bool) if defects is None else defects
    is_near = settings.kind == "defect" or (settings.kind == "auto" and is_larger(photo, size))
    if is_known and is_near:
        return defect_views(mask, size, settings)
    if settings.kind == "tiles":
        views = tile_views(photo, size, settings.overlap, settings.enlarge)
    else:
        views = [whole_view(photo, size, fit)]
    return [(view, mask[view.window.slices]) for view in views]


def parts_of(views: Sequence[View], photo: Size) -> tuple[View, ...]:
    """The views that show a part of a photograph (height and width); none where they show all of it, as tiles do."""
    area = sum(view.window.height * view.window.width for view in views)
    return tuple(views) if area < photo[0] * photo[1] else ()


def whole_view(photo: Size, size: Size, fit: str = "resize") -> View:
    """The whole photograph in one picture.

    Args:
        photo: Its height and width.
        size: The working height and width.
        fit: As in `rli.images.fitted`: resize stretches; letterbox keeps the aspect ratio.
    """
    window, inner = Window(0, 0, *photo), size
    if fit == "letterbox":
        scale = min(size[0] / photo[0], size[1] / photo[1])
        inner = (_scaled(photo[0], scale, size[0]), _scaled(photo[1], scale, size[1]))
    return View(window, _centred(inner, size), size, mirrors=False)


def defect_views(mask: np.ndarray, size: Size, settings: WindowSettings) -> list[tuple[View, np.ndarray]]:
    """A view of each group of defects that one window can show with their context.

    Args:
        mask: Where the photograph's defects are: (H,W) bool, not empty.
        size: The working height and width.
        settings: The context, the largest factor of enlargement, and the most windows.

    Returns:
        The views, those of the largest groups first, each with its group's own pixels within its window, (h,w) bool.
    """
    labels, pieces = _pieces(mask)
    room = _room(size, settings.context)
    views = []
    for box, members in _grouped(pieces, room, settings.most):
        view = view_around(box, mask.shape, size, settings)
        views.append((view, np.isin(labels[view.window.slices], members)))
    return sorted(views, key=lambda pair: -int(pair[1].sum()))


def view_around(box: Window, photo: Size, size: Size, settings: WindowSettings) -> View:
    """The view of one group of defects: at the photograph's own scale where defects and context fit; scaled down where
    they do not; scaled up where the group is smaller than SMALL, or the photograph smaller than the window.

    Args:
        box: The group's, in the photograph's pixels.
        photo: The photograph's height and width.
        size: The working height and width.
        settings: The context and the largest factor of enlargement.

    Returns:
        The view, whose window holds the box and lies inside the photograph.
    """
    fitting = _fitting(box, _room(size, settings.context))
    scale = min(1.0, fitting)
    if (longer := max(box.size)) * scale < SMALL:
        scale = min(SMALL / longer, fitting, settings.enlarge)
    filling = max(size[0] / photo[0], size[1] / photo[1])
    scale = max(scale, min(filling, fitting, settings.enlarge))
    top, height, row, rows = _along(box.top, box.height, photo[0], size[0], scale)
    left, width, column, columns = _along(box.left, box.width, photo[1], size[1], scale)
    return View(Window(top, left, height, width), Window(row, column, rows, columns), size)


def tile_views(photo: Size, size: Size, overlap: float, enlarge: float = 1.0) -> list[View]:
    """Views that cover the whole photograph at its own scale, each overlapping the next.

    Args:
        photo: The photograph's height and width.
        size: The working height and width.
        overlap: The share of a tile's side that the next shows too, at least.
        enlarge: The factor by which a photograph smaller than a tile is enlarged at most.

    Returns:
        The views, row by row.
    """
    scale = max(1.0, min(max(size[0] / photo[0], size[1] / photo[1]), enlarge))
    rows, columns = (list(_steps(photo[k], size[k], scale, overlap)) for k in (0, 1))
    return [
        View(Window(top, left, height, width), Window(row, column, tall, wide), size)
        for (top, height, row, tall), (left, width, column, wide) in product(rows, columns)
    ]


def _pieces(mask: np.ndarray) -> tuple[np.ndarray, list[tuple[Window, list[int]]]]:
    """The connected pieces of (H,W) bool: their numbers in (H,W), and for each its box and number. Where there are more
    than MANY, those that lie closer than SMALL count as one."""
    from scipy import ndimage  # here, because most runs need none of it

    touching = np.ones((3, 3), bool)
    labels, count = ndimage.label(mask, touching)
    if count > MANY:
        labels = ndimage.label(ndimage.maximum_filter(mask, SMALL), touching)[0] * mask
    found = enumerate(ndimage.find_objects(labels), 1)
    return labels, [(_window(slices), [k]) for k, slices in found if slices is not None]


def _window(slices: tuple[slice, slice]) -> Window:
    rows, columns = slices
    return Window(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)


def _room(size: Size, context: float) -> tuple[float, float]:
    """What a picture has for the defects alone."""
    return size[0] * (1 - 2 * context), size[1] * (1 - 2 * context)


def _fitting(box: Window, room: tuple[float, float]) -> float:
    """The largest scale at which a box fits into the room."""
    return min(room[0] / box.height, room[1] / box.width)


def _grouped(
    pieces: Sequence[tuple[Window, list[int]]], room: tuple[float, float], most: int
) -> list[tuple[Window, list[int]]]:
    """Pieces that one window shows at the scale which one of them needs anyway, at most 1, become one; where that
    leaves too many windows, at half that scale, and so on."""
    groups, scale = list(pieces), 1.0
    while True:
        before = len(groups)
        groups = _joined(groups, room, scale)
        if len(groups) == before or len(groups) == 1:
            if len(groups) <= most:
                return groups
            scale /= 2


def _joined(
    pieces: Sequence[tuple[Window, list[int]]], room: tuple[float, float], scale: float
) -> list[tuple[Window, list[int]]]:
    """Each piece with the first group that can take it."""
    groups: list[tuple[Window, list[int]]] = []
    for box, members in pieces:
        for k, (group, others) in enumerate(groups):
            union = group.union(box)
            if _fitting(union, room) >= min(scale, _fitting(group, room), _fitting(box, room)):
                groups[k] = union, others + members
                break
        else:
            groups.append((box, members))
    return groups


def _scaled(length: int, scale: float, most: int) -> int:
    return min(most, max(1, round(length * scale)))


def _centred(inner: Size, size: Size) -> Window:
    return Window((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2, *inner)


def _along(start: int, length: int, photo: int, size: int, scale: float) -> tuple[int, int, int, int]:
    """Along one side: where a window that holds a stretch begins and how long it is, and the same of its place."""
    wanted = max(length, round(size / scale))
    shown = min(photo, wanted)
    middle = start + length // 2 - shown // 2
    begin = min(max(middle, start + length - shown, 0), start, photo - shown)
    filled = size if shown == wanted else _scaled(shown, scale, size)
    return begin, shown, (size - filled) // 2, filled


def _steps(photo: int, size: int, scale: float, overlap: float) -> Iterator[tuple[int, int, int, int]]:
    """Along one side: the tiles' windows and places, evenly spread."""
    side = min(photo, round(size / scale))
    filled = size if side == round(size / scale) else _scaled(side, scale, size)
    shared = max(math.ceil(side * overlap), math.ceil(2 * FEATHER / scale))
    count = 1 + math.ceil((photo - side) / max(1, side - shared))
    for k in range(count):
        begin = round(k * (photo - side) / max(1, count - 1))
        yield begin, side, (size - filled) // 2, filled
