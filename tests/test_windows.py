"""Windows: every defect is shown, nothing lies outside the photograph, and what comes back is the photograph's own."""

from __future__ import annotations

import numpy as np
import pytest

from rli.errors import SettingError
from rli.photos.windows import (
    SMALL,
    View,
    Window,
    WindowSettings,
    defect_views,
    is_larger,
    tile_views,
    view_around,
    whole_view,
)

SIZE = (64, 96)
DEFAULT = WindowSettings()
PHOTOS = ((300, 400), (64, 96), (65, 97), (20, 20), (40, 900), (700, 50), (16, 3000), (5000, 33))


def drawn(photo: tuple[int, int], seed: int, count: int = 5) -> np.ndarray:
    """A mask of a few boxes anywhere, some of one pixel."""
    rng, mask = np.random.default_rng(seed), np.zeros(photo, bool)
    for _ in range(count):
        tall, wide = (rng.integers(1, 1 + max(1, side // rng.integers(2, 12))) for side in photo)
        top, left = rng.integers(0, photo[0] - tall + 1), rng.integers(0, photo[1] - wide + 1)
        mask[top : top + tall, left : left + wide] = True
    return mask


def is_inside(window: Window, size: tuple[int, int]) -> bool:
    fits = window.top + window.height <= size[0] and window.left + window.width <= size[1]
    return window.top >= 0 and window.left >= 0 and window.height > 0 and window.width > 0 and fits


def scales(view: View) -> tuple[float, float]:
    return view.place.height / view.window.height, view.place.width / view.window.width


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("seed", range(6))
def test_every_defect_is_shown_by_one_view_inside_the_photograph_with_its_aspect_kept(photo, seed):
    mask = drawn(photo, seed)
    shown = np.zeros(photo, int)
    for view, own in defect_views(mask, SIZE, DEFAULT):
        assert is_inside(view.window, photo) and is_inside(view.place, SIZE) and view.size == SIZE
        assert own.any() and own.shape == view.window.size
        shown[view.window.slices] += own
        tall, wide = scales(view)
        assert abs(tall - wide) <= 0.03 * tall + 1 / min(view.window.size)
        assert max(tall, wide) <= DEFAULT.enlarge * 1.05
    assert np.array_equal(shown, mask.astype(int))  # each pixel once


@pytest.mark.parametrize("seed", range(20))
def test_where_defect_and_context_fit_the_scale_is_the_photographs_own(seed):
    rng = np.random.default_rng(seed)
    place, size = rng.integers(0, 200, 2), (rng.integers(1, 48), rng.integers(SMALL, 72))
    box = Window(*map(int, (*place, *size)))
    view = view_around(box, (300, 300), SIZE, DEFAULT)
    assert view.window.size == view.place.size == SIZE


def test_large_defects_are_shown_smaller_and_small_ones_larger_within_bounds():
    small, tiny, large = (view_around(Window(150, 150, n, n), (400, 400), SIZE, DEFAULT) for n in (16, 2, 150))
    assert scales(small) == pytest.approx((2, 2), rel=0.02)
    assert scales(tiny) == (4, 4)
    assert scales(large) == pytest.approx((48 / 150, 48 / 150), rel=0.02)
    assert view_around(Window(5, 5, 3, 3), (400, 400), SIZE, WindowSettings(enlarge=1)).window.size == SIZE


def test_a_photograph_smaller_than_the_window_is_enlarged_and_one_that_is_too_narrow_is_continued():
    small = view_around(Window(5, 5, 24, 36), (32, 48), SIZE, DEFAULT)
    assert small == View(Window(0, 0, 32, 48), Window(0, 0, *SIZE), SIZE)
    narrow = view_around(Window(100, 2, 10, 4), (900, 12), SIZE, DEFAULT)
    assert narrow.window.width == 12 and narrow.place.width == 48 and narrow.place.left == 24


def test_near_defects_share_a_window_far_ones_do_not_and_many_share_few():
    mask = np.zeros((1000, 1000), bool)
    mask[100:104, 100:110] = mask[120:124, 140:150] = mask[800:804, 800:810] = True
    views = defect_views(mask, SIZE, DEFAULT)
    assert len(views) == 2 and [own.sum() for _, own in views] == [80, 40]
    scattered = np.zeros((1000, 1000), bool)
    scattered[::7, ::9] = True
    for most in (1, 3, 8):
        few = defect_views(scattered, SIZE, WindowSettings(most=most))
        assert len(few) <= most and sum(int(own.sum()) for _, own in few) == scattered.sum()


@pytest.mark.parametrize("photo", PHOTOS)
def test_tiles_lie_inside_the_photograph_and_show_every_pixel(photo):
    shown = np.zeros(photo, bool)
    for view in tile_views(photo, SIZE, 0.25, 4.0):
        assert is_inside(view.window, photo) and is_inside(view.place, SIZE)
        shown[view.window.slices] = True
    assert shown.all()


def test_a_letterboxed_photograph_keeps_its_aspect_and_a_stretched_one_fills_the_picture():
    assert whole_view((100, 50), SIZE).place == Window(0, 0, *SIZE)
    assert whole_view((100, 50), SIZE, "letterbox").place == Window(0, 32, 64, 32)
    assert is_larger((65, 10), SIZE) and not is_larger(SIZE, SIZE)


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "crop"}, {"paste": "x"}, {"paste": "none"}, {"enlarge": 0}, {"most": 0}, {"overlap": 1}],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SettingError):
        WindowSettings(**wrong)
