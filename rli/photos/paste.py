"""Between a photograph and the pictures of its windows: cutting them out, and laying edits back on the photograph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from rli.errors import one_of
from rli.photos.windows import FEATHER, PASTES, View

# Of mixed: the change in grey levels below which the photograph's texture stays, and above which none of it does.
LITTLE, MUCH = 16.0, 48.0
# Of grain: how many standard deviations of the texture that the VAE lost come back at most.
MOST = 3.0


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
    """What a view shows of (H,W,3) uint8; beyond the photograph's end it is mirrored."""
    shown = Image.fromarray(picture[view.window.slices])
    if view.place.size != view.window.size:
        shown = shown.resize(view.place.size[::-1], Image.Resampling.BICUBIC)
    return np.pad(np.asarray(shown), [*_margins(view), (0, 0)], mode="symmetric")


def cut_mask(own: np.ndarray, view: View) -> np.ndarray:
    """A mask of a window's own size, (h,w) bool in the photograph's pixels, as a view shows it. What is scaled down
    stays where any of its pixels is inside, so that thin defects are kept."""
    values = torch.from_numpy(own)[None, None].float()
    shrinks = view.place.height < view.window.height or view.place.width < view.window.width
    shown = F.adaptive_max_pool2d(values, view.place.size) if shrinks else F.interpolate(values, view.place.size)
    return np.pad(shown[0, 0].numpy() > 0, _margins(view))


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
    than that, in its middle. A mask that touches the border goes on beyond it."""
    from scipy import ndimage  # here, because SciPy takes a while to load

    if mask.all() or not mask.any():
        return mask.astype(np.float32)
    depth = ndimage.distance_transform_edt(mask).astype(np.float32)
    reach = np.clip(ndimage.maximum_filter(depth, 2 * radius + 1), 1, radius)
    return _smooth_step(depth / reach)


def pasted(photo: np.ndarray, patches: Sequence[Patch], how: str) -> tuple[np.ndarray, np.ndarray]:
    """A photograph's edit in all its windows, and how much of it the photograph takes.

    Args:
        photo: (H,W,3) uint8.
        patches: The edit, a patch for each window.
        how: pixels takes the edit's own; difference adds to the photograph what the edit differs from the
            reconstruction by, so that the texture which the VAE lost stays; mixed is difference where the edit changes
            little, and pixels where it changes much.

    Returns:
        The edit (H,W,3) uint8, which is the photograph where the weights are 0; and the weights (H,W) float32 in [0,1].
    """
    one_of("how", how, PASTES[:-1])
    edited, taken = photo.copy(), np.zeros(photo.shape[:2], np.float32)
    weights = np.zeros(photo.shape[:2], np.float32)
    for patch in patches:
        inside = _within_window(patch, photo.shape[:2])
        box = _bounds(inside)
        if box is None:
            continue
        window = patch.view.window
        place = tuple(slice(s.start + o, s.stop + o) for s, o in zip(box, (window.top, window.left), strict=True))
        soft = feathered(inside[box], _radius(patch.view))
        # Where windows overlap, each counts by how far a pixel lies from its border, so that no border is seen.
        before, counts = taken[place], soft * _hill(window.size)[box]
        after = before + counts
        mean = edited[place] * before[..., None] + _values(photo[place], patch, box, how) * counts[..., None]
        taken[place] = after
        shown = (after > 0)[..., None]
        edited[place] = np.where(shown, (mean / np.maximum(after, 1e-6)[..., None]).round().clip(0, 255), edited[place])
        weights[place] = np.maximum(weights[place], soft)
    return edited, weights


def _values(photo: np.ndarray, patch: Patch, box: tuple[slice, slice], how: str) -> np.ndarray:
    """What the photograph's pixels in a part of the window become, (h,w,3) float32."""
    edit, back = (laid_back(picture, patch.view)[box] for picture in (patch.image, patch.reconstruction))
    if how == "pixels":
        return edit
    lost = photo - back
    if how == "difference":
        return edit + lost
    if how == "grain":
        limit = MOST * 1.4826 * np.median(np.abs(lost))
        return edit + lost.clip(-limit, limit)
    from scipy import ndimage

    change = ndimage.gaussian_filter(np.abs(edit - back).max(-1), 2.0 / _scale(patch.view))
    return edit + lost * (1 - _smooth_step((change - LITTLE) / (MUCH - LITTLE)))[..., None]


def _within_window(patch: Patch, photo: tuple[int, int]) -> np.ndarray:
    """The patch's mask without its window's border, but where that is the photograph's."""
    window, inside = patch.view.window, patch.mask.copy()
    inside[: int(window.top > 0)] = inside[:, : int(window.left > 0)] = False
    inside[window.height - int(window.top + window.height < photo[0]) :] = False
    inside[:, window.width - int(window.left + window.width < photo[1]) :] = False
    return inside


def _bounds(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of the smallest box that holds a mask and a pixel around it; None where it is empty."""
    along = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    if not along[0].size:
        return None
    rows, columns = (
        slice(max(0, int(found[0]) - 1), min(n, int(found[-1]) + 2)) for found, n in zip(along, mask.shape, strict=True)
    )
    return rows, columns


def _hill(size: tuple[int, int]) -> np.ndarray:
    """(h,w) float32: how far a pixel lies from the border, highest in the middle."""
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]).astype(np.float32) + 1 for n in size)
    return rows[:, None] * columns


def _smooth_step(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def _scale(view: View) -> float:
    return max(view.place.height / view.window.height, view.place.width / view.window.width)


def _radius(view: View) -> int:
    return max(1, round(FEATHER / _scale(view)))


def _margins(view: View) -> list[tuple[int, int]]:
    """What lies before and after the place, along rows and columns."""
    place, (height, width) = view.place, view.size
    return [(place.top, height - place.top - place.height), (place.left, width - place.left - place.width)]
