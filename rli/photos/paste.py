"""Between a photograph and the pictures of its windows: cutting them out, and laying edits back on the photograph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from rli.images import resized_mask
from rli.images.picture import LUMINANCE
from rli.photos.windows import FEATHER, View

# How far around a mask the photograph's texture is measured, in the photograph's pixels.
AROUND = 12
# The noise in grey levels that rounding to whole ones adds.
ROUNDING = 0.35
# The difference of two Laplacians, which finds noise.
LAPLACIANS = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
# The change in grey levels from which on texture is that of the mask's surroundings, and the smallest and the largest
# factor that brings it to its strength there.
MUCH, WEAKEST, STRONGEST = 8.0, 0.4, 2.0
# The side of the pieces that texture is laid from, how many of them are enough, and how far they stay from the mask.
PIECE, PIECES, CLEAR = 8, 512, 2


@dataclass(frozen=True)
class Patch:
    """A picture of a window, as it was worked on, and where it goes."""

    view: View
    # (H,W,3) uint8 of the working size, both.
    image: np.ndarray
    reconstruction: np.ndarray
    # Where the photograph may change: (h,w) bool of the window's size, in the photograph's pixels.
    mask: np.ndarray


def cut(picture: np.ndarray, view: View) -> np.ndarray:
    """What a view shows of (H,W,3) uint8; beyond its end the photograph is continued."""
    shown = Image.fromarray(picture[view.window.slices])
    if view.place.size != view.window.size:
        shown = shown.resize(view.place.size[::-1], Image.Resampling.BICUBIC)
    return np.pad(np.asarray(shown), [*_margins(view), (0, 0)], mode="symmetric" if view.mirrors else "edge")


def cut_mask(own: np.ndarray, view: View) -> np.ndarray:
    """A mask of a window's own size, (h,w) bool in the photograph's pixels, as a view shows it: outside beyond the
    photograph's end."""
    return np.pad(resized_mask(own, *view.place.size), _margins(view))


def laid_back(picture: np.ndarray, view: View) -> np.ndarray:
    """A picture of the working size as its window has it.

    Args:
        picture: (H,W,…), any numbers.
        view: Where it was cut out.

    Returns:
        (h,w,…) float32 of the window's size.
    """
    values = picture[view.place.slices].astype(np.float32)
    if view.place.size == view.window.size:
        return values
    planes = torch.from_numpy(values.reshape(*values.shape[:2], -1)).permute(2, 0, 1)[None]
    scaled = F.interpolate(planes, view.window.size, mode="bicubic", antialias=True, align_corners=False)
    return scaled[0].permute(1, 2, 0).numpy().reshape(*view.window.size, *values.shape[2:])


def mask_laid_back(mask: np.ndarray, view: View) -> np.ndarray:
    """A mask of the working size, (H,W) bool, as (h,w) bool of its window's size, with smooth borders."""
    return laid_back(mask, view) > 0.5


def feathered(mask: np.ndarray, radius: int) -> np.ndarray:
    """(h,w) bool as float32 weights: 0 outside, rising to 1 within `radius` pixels inside, or where the mask is thinner
    than twice that, half-way to its middle: a defect and its margin hold the edit alone where the defect was. A mask
    that touches the border goes on beyond it."""
    from scipy import ndimage  # here, because SciPy takes a while to load

    if mask.all() or not mask.any():
        return mask.astype(np.float32)
    depth = ndimage.distance_transform_edt(mask).astype(np.float32)
    reach = np.clip(ndimage.maximum_filter(depth, 4 * radius + 1) / 2, 1, radius)
    return _smooth_step(depth / reach)


def pasted(photo: np.ndarray, patches: Sequence[Patch], way: Way) -> tuple[np.ndarray, np.ndarray]:
    """A photograph's edit in all its windows, and how much of it the photograph takes.

    Args:
        photo: (H,W,3) uint8.
        patches: The edit, a patch for each window.
        way: One of WAYS.

    Returns:
        The edit (H,W,3) uint8, which is the photograph where the weights are 0; and the weights (H,W) float32 in [0,1].
    """
    edited, taken = photo.copy(), np.zeros(photo.shape[:2], np.float32)
    weights = np.zeros(photo.shape[:2], np.float32)
    for patch in patches:
        inside, radius = _within_window(patch, photo.shape[:2]), _in_photo(FEATHER, patch.view)
        box = bounds(inside, AROUND)
        if box is None:
            continue
        window = patch.view.window
        place = tuple(slice(s.start + o, s.stop + o) for s, o in zip(box, (window.top, window.left), strict=True))
        edit, back = (laid_back(picture, patch.view)[box] for picture in (patch.image, patch.reconstruction))
        values = way(photo[place].astype(np.float32), edit, back, inside[box])
        soft = feathered(inside[box], radius)
        # Where windows overlap, each counts by how far a pixel lies from its border, so that no border is seen.
        before, counts = taken[place], soft * _hill(window.size)[box]
        after = before + counts
        mean = (edited[place] * before[..., None] + values * counts[..., None]) / np.maximum(after, 1e-6)[..., None]
        taken[place] = after
        edited[place] = np.where((after > 0)[..., None], mean.round().clip(0, 255), edited[place])
        weights[place] = np.maximum(weights[place], soft)
    return edited, weights


def pixels(photo: np.ndarray, edit: np.ndarray, back: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The edit's own pixels."""
    return edit


def difference(photo: np.ndarray, edit: np.ndarray, back: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The photograph with what the edit changed: the texture that the VAE lost stays."""
    return photo + (edit - back)


def texture(photo: np.ndarray, edit: np.ndarray, back: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """As `difference`; where the edit changes much, with the texture that the VAE lost around the mask, as strong as it
    is there: what it lost inside the mask has the fine lines of the old defect."""
    from scipy import ndimage

    lost = photo - back
    much = _smooth_step(ndimage.gaussian_filter(np.abs(edit - back).max(-1), 1.0) / MUCH)
    far = ndimage.distance_transform_edt(~inside)
    new, around = inside & (much > 0.5), (far > CLEAR) & (far <= AROUND)
    if not new.any() or not around.any():
        return edit + lost
    clean = _texture_from(lost, far > CLEAR)
    wanted, own, comes = (_texture_of(*pair) for pair in ((photo, around), (edit, new), (clean, new)))
    missing = max(0.0, wanted**2 - own**2 - ROUNDING**2)
    factor = np.clip(np.sqrt(missing) / max(comes, 1e-3), WEAKEST, STRONGEST)
    return edit + lost + much[..., None] * (factor * clean - lost)


def _texture_from(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Texture of the size of values (h,w,3), laid from square pieces of where (h,w) bool; the values themselves where
    no piece fits. Pieces overlap by halves; their weights' squares add up to 1, which keeps the texture's strength."""
    from scipy import ndimage

    fits = ndimage.minimum_filter(where, PIECE, origin=-(PIECE // 2), mode="constant")
    corners = np.argwhere(fits)
    if not len(corners):
        return values
    corners = corners[:: -(-len(corners) // PIECES)]
    weights = np.sin(np.pi * (np.arange(PIECE) + 0.5) / PIECE)
    pieces = np.stack([values[y : y + PIECE, x : x + PIECE] for y, x in corners])
    pieces = (pieces - pieces.mean((0, 1, 2))) * (weights[:, None] * weights)[..., None]
    generator, (height, width) = np.random.default_rng(0), where.shape  # the same edit is always laid the same
    rows, columns = (length // PIECE + 2 for length in (height, width))
    laid = np.zeros((height, width, values.shape[-1]), np.float32)
    for down, right in product((PIECE // 2, PIECE), repeat=2):
        chosen = pieces[generator.integers(len(pieces), size=(rows, columns))]
        plane = chosen.swapaxes(1, 2).reshape(rows * PIECE, columns * PIECE, -1)
        laid += plane[down:, right:][:height, :width]
    return laid


def _texture_of(values: np.ndarray, where: np.ndarray) -> float:
    """How much the luminance changes from pixel to pixel, edges and slopes left out (Immerkær 1996): the standard
    deviation of noise of that strength, in grey levels."""
    from scipy import ndimage

    found = np.abs(ndimage.convolve(values @ LUMINANCE, LAPLACIANS))[where]
    return float(found.mean() * np.sqrt(np.pi / 2) / 6)


# How an edit is laid back: photograph, edit and reconstruction, (h,w,3) float32, and the mask (h,w) bool, give what the
# photograph's pixels become.
Way = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
WAYS: dict[str, Way] = {"texture": texture, "difference": difference, "pixels": pixels}


def _within_window(patch: Patch, photo: tuple[int, int]) -> np.ndarray:
    """The patch's mask without its window's border, but where that is the photograph's."""
    window, inside = patch.view.window, patch.mask.copy()
    inside[: int(window.top > 0)] = inside[:, : int(window.left > 0)] = False
    inside[window.height - int(window.top + window.height < photo[0]) :] = False
    inside[:, window.width - int(window.left + window.width < photo[1]) :] = False
    return inside


def bounds(mask: np.ndarray, margin: int = 1) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest box that holds a mask, (h,w) bool, and a margin around it in pixels; None where
    the mask is empty."""
    along = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    if not along[0].size:
        return None
    rows, columns = (
        slice(max(0, int(found[0]) - margin), min(n, int(found[-1]) + 1 + margin))
        for found, n in zip(along, mask.shape, strict=True)
    )
    return rows, columns


def _hill(size: tuple[int, int]) -> np.ndarray:
    """(h,w) float32: how far a pixel lies from the border, highest in the middle."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]).astype(np.float32) + 1 for n in size)
    return rows[:, None] * columns


def _smooth_step(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def _in_photo(length: int, view: View) -> int:
    """A length in working pixels as one in the photograph's."""
    scale = max(view.place.height / view.window.height, view.place.width / view.window.width)
    return max(1, round(length / scale))


def _margins(view: View) -> list[tuple[int, int]]:
    """What lies before and after the place, along rows and columns."""
    place, (height, width) = view.place, view.size
    return [(place.top, height - place.top - place.height), (place.left, width - place.left - place.width)]
