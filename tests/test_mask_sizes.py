"""Masks at other sizes: nothing is lost, and nothing is torn."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from rli.images import resized_mask

NEIGHBOURS = np.ones((3, 3), bool)


def pieces(mask):
    return ndimage.label(mask, NEIGHBOURS)[1]


def lines(rng, size, count, width):
    """Random bent lines, as (H,W) bool."""
    image = Image.new("L", size)
    for _ in range(count):
        points = [tuple(rng.uniform(0, side) for side in size) for _ in range(rng.integers(2, 5))]
        ImageDraw.Draw(image).line(points, fill=255, width=width)
    return np.asarray(image) > 0


def reached(mask, height, width):
    """Every pixel at the other size that a true pixel reaches into."""
    found = np.zeros((height, width), bool)
    for y, x in np.argwhere(mask):
        rows = slice(int(y * height / mask.shape[0] + 1e-9), int(np.ceil((y + 1) * height / mask.shape[0] - 1e-9)))
        columns = slice(int(x * width / mask.shape[1] + 1e-9), int(np.ceil((x + 1) * width / mask.shape[1] - 1e-9)))
        found[rows, columns] = True
    return found


@pytest.mark.parametrize("seed", range(12))
def test_thin_lines_stay_whole_at_every_scale(seed):
    rng = np.random.default_rng(seed)
    size = tuple(int(side) for side in rng.integers(60, 300, 2))
    mask = lines(rng, size, rng.integers(1, 4), int(rng.integers(1, 5)))
    for _ in range(4):
        height, width = (int(side * rng.uniform(0.05, 1.6)) + 1 for side in mask.shape)
        small, touched = resized_mask(mask, height, width), reached(mask, height, width)
        assert small.any() and not (small & ~touched).any()
        assert (ndimage.binary_dilation(small, NEIGHBOURS) | ~touched).all()  # nothing is lost
        assert pieces(small) <= pieces(mask)  # nothing is torn
        labels = ndimage.label(mask, NEIGHBOURS)[0]
        for label in range(1, labels.max() + 1):
            assert pieces(resized_mask(labels == label, height, width)) == 1


@pytest.mark.parametrize("seed", range(8))
def test_areas_stay_what_they_were(seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:200, :240]
    mask = ((y - rng.uniform(60, 140)) / rng.uniform(20, 60)) ** 2 + ((x - 120) / rng.uniform(20, 100)) ** 2 < 1
    height, width = (int(side * rng.uniform(0.2, 1.5)) for side in mask.shape)
    assert resized_mask(mask, height, width).mean() == pytest.approx(mask.mean(), rel=0.03)


def test_things_apart_stay_apart():
    mask = np.zeros((100, 100), bool)
    mask[10:40, 10:90] = mask[45:90, 10:90] = True
    assert pieces(resized_mask(mask, 50, 50)) == 2


def test_a_whole_factor_repeats_every_pixel():
    mask = np.random.default_rng(0).random((20, 30)) < 0.3
    assert np.array_equal(resized_mask(mask, 60, 60), mask.repeat(3, 0).repeat(2, 1))
    assert np.array_equal(resized_mask(mask, 20, 30), mask)
    assert not resized_mask(np.zeros((20, 30), bool), 7, 9).any()


def test_a_speckled_mask_is_not_lost():
    mask = np.random.default_rng(0).random((400, 400)) < 0.05
    small = resized_mask(mask, 100, 100)
    assert (ndimage.binary_dilation(small, NEIGHBOURS) | ~reached(mask, 100, 100)).all()
