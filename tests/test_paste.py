"""Edits laid back on the photograph: outside their masks nothing changes, and windows leave no seams."""

from __future__ import annotations

import numpy as np
import pytest
from builders import noise

from rli.photos.paste import (
    WAYS,
    Patch,
    cut,
    cut_mask,
    difference,
    feathered,
    laid_back,
    mask_laid_back,
    pasted,
    pixels,
)
from rli.photos.windows import Window, WindowSettings, defect_views, tile_views, view_around, whole_view

SIZE = (64, 64)


def smooth(height: int, width: int) -> np.ndarray:
    """(H,W,3) uint8 that changes slowly."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([128 + 60 * np.sin(rows / 40 + k) * np.cos(columns / 50) for k in range(3)], -1).astype(np.uint8)


def every(view) -> np.ndarray:
    return np.ones(view.window.size, bool)


@pytest.mark.parametrize("photo", [(200, 150), (64, 64), (20, 300), (40, 40)])
def test_tiles_of_a_picture_laid_back_are_the_picture(photo):
    picture, views = noise(*photo), tile_views(photo, SIZE, 0.25)
    patches = [Patch(view, cut(picture, view), cut(picture, view), every(view)) for view in views]
    edited, weights = pasted(np.zeros_like(picture), patches, pixels)
    assert np.array_equal(edited, picture) and (weights == 1).all()


def test_tiles_that_differ_fade_into_each_other():
    photo, views = np.zeros((64, 300, 3), np.uint8), tile_views((64, 300), SIZE, 0.25)
    flat = [np.full((*SIZE, 3), 100 + 20 * (k % 2), np.uint8) for k in range(len(views))]
    edited, _ = pasted(photo, [Patch(v, f, f, every(v)) for v, f in zip(views, flat, strict=True)], pixels)
    assert np.abs(np.diff(edited[32, :, 0].astype(int))).max() <= 4  # of 20, over 16 shared pixels


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("seed", range(3))
def test_outside_the_masks_the_photograph_stays_and_no_change_is_no_change(how, seed):
    rng, photo = np.random.default_rng(seed), noise(190, 230, seed)
    mask = np.zeros(photo.shape[:2], bool)
    for _ in range(4):
        top, left = rng.integers(0, 180), rng.integers(0, 220)
        mask[top : top + rng.integers(1, 90), left : left + rng.integers(1, 20)] = True
    views = defect_views(mask, SIZE, WindowSettings())
    other = [Patch(view, 255 - cut(photo, view), cut(photo, view), own) for view, own in views]
    edited, weights = pasted(photo, other, WAYS[how])
    assert not weights[~mask].any() and np.array_equal(edited[weights == 0], photo[weights == 0])
    assert weights[mask].max() == 1
    same = [Patch(view, cut(photo, view), cut(photo, view), own) for view, own in views]
    if all(view.window.size == SIZE for view, _ in views) or how != "pixels":
        assert np.array_equal(pasted(photo, same, WAYS[how])[0], photo)


def test_the_difference_keeps_the_texture_that_a_scaled_picture_lost():
    photo = (smooth(300, 400) + noise(300, 400) // 12).astype(np.uint8)
    view = whole_view((300, 400), SIZE)
    back = cut(photo, view)
    edited, _ = pasted(photo, [Patch(view, back + 10, back, every(view))], difference)
    assert np.abs(edited.astype(int) - photo - 10).max() <= 1


def test_masks_come_back_as_they_were_cut_and_thin_ones_survive():
    view = view_around(Window(100, 100, 1, 300), (500, 500), SIZE, WindowSettings())
    line = np.zeros(view.window.size, bool)
    line[view.window.height // 2] = True
    shown = cut_mask(line, view)
    assert shown.shape == SIZE and shown.any(0)[1:-1].all()
    near = view_around(Window(100, 100, 40, 40), (500, 500), SIZE, WindowSettings())
    own = np.zeros(near.window.size, bool)
    own[10:30, 12:40] = True
    assert np.array_equal(mask_laid_back(cut_mask(own, near), near), own)


def test_a_soft_edge_lies_inside_and_a_thin_mask_has_its_full_weight_in_the_middle():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 5:25] = mask[19:22, 25:55] = True
    weights = feathered(mask, 4)
    assert not weights[~mask].any() and (weights[mask] > 0).all()
    assert weights[20, 15] == 1 and weights[20, 40] == 1 and weights[10, 15] < 0.3
    assert (feathered(np.ones((5, 5), bool), 4) == 1).all() and not feathered(np.zeros((5, 5), bool), 4).any()


def test_a_picture_laid_back_from_a_smaller_one_is_near_to_what_was_cut_out():
    photo = smooth(200, 300)
    view = whole_view((200, 300), SIZE, "letterbox")
    assert np.abs(laid_back(cut(photo, view), view) - photo).max() < 6


def test_texture_becomes_as_strong_in_the_edit_as_it_is_around_it():
    rng, photo = np.random.default_rng(0), smooth(64, 64).astype(float)
    mask = np.zeros((64, 64), bool)
    mask[20:44, 20:44] = True
    photo = (photo + rng.normal(0, np.where(mask, 3, 6)[..., None], photo.shape)).round().astype(np.uint8)
    view, back = whole_view((64, 64), SIZE), smooth(64, 64)
    patch = Patch(view, back + 40, back, mask)
    spread = {how: (pasted(photo, [patch], way)[0] - (back + 40.0))[26:38, 26:38].std() for how, way in WAYS.items()}
    assert spread["pixels"] == 0 and 2.5 < spread["difference"] < 3.5 < 5 < spread["texture"] < 7


def test_texture_does_not_bring_the_old_defect_s_fine_lines_back():
    rng, mask = np.random.default_rng(0), np.zeros((64, 64), bool)
    mask[16:48, 16:48] = True
    line = np.zeros((64, 64, 1))
    line[20:44, 32] = 60  # as fine as a VAE loses: the reconstruction does not show it
    back = smooth(64, 64).astype(np.uint8)
    photo = (back + rng.normal(0, 4, (64, 64, 1)) - line).round().clip(0, 255).astype(np.uint8)
    patch = Patch(whole_view((64, 64), SIZE), back + 30, back, mask)
    dark = {how: (back + 30.0 - pasted(photo, [patch], way)[0])[20:44, 32].mean() for how, way in WAYS.items()}
    assert dark["difference"] > 50 and abs(dark["texture"]) < 3
