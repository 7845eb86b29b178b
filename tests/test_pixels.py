"""A page's pictures: difference maps, outlines, loss charts, and the contact sheet."""

import re

import numpy as np
import pytest
from builders import noise, photo_result

from rli.reports.pixels import (
    PIXEL_SCALE,
    contact_sheet,
    difference_map,
    edge_difference_map,
    loss_chart,
    outline,
    tiles,
)


def test_difference_maps_follow_their_scales():
    black, step = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    step[:, 4:] = PIXEL_SCALE
    shown = difference_map(black, step)
    assert tuple(shown[0, 0]) == (0, 0, 128)  # jet's lowest and highest
    assert tuple(shown[0, 7]) == (128, 0, 0)
    assert np.array_equal(difference_map(black, step * 3)[0, 7], shown[0, 7])
    edges = edge_difference_map(black, step).sum(axis=2)
    assert edges[4, 3:5].min() > edges[4, 0] == edges[4, 7]
    assert len(np.unique(edge_difference_map(step, step))) <= 2


def test_outline_lies_on_the_pixels_borders():
    mask = np.zeros((6, 6), bool)
    mask[2:4, 0:6] = True
    numbers = np.array(re.findall(r"-?\d+\.\d", outline(mask)), float).reshape(-1, 2)
    assert numbers.min(axis=0) == pytest.approx([0, 2])
    assert numbers.max(axis=0) == pytest.approx([6, 4])
    assert outline(np.zeros((4, 4), bool)) == ""


def test_loss_chart_is_logarithmic_and_skips_steps_without_iterations():
    chart = loss_chart(((1e-2, 1e-4), (), (1e-3, 0.0)))
    before = [tuple(map(float, p.split(","))) for p in chart["before"].split()]
    assert len(before) == 2
    assert before[0][1] < before[1][1]
    assert {tick["power"] for tick in chart["y"]} == {"−4", "−3", "−2"}
    assert chart["iterations"] == 2
    assert loss_chart(()) is loss_chart(((), ())) is None


def test_contact_sheet_holds_every_picture():
    photo = photo_result(defects=("rust", "dent"), picture=noise(64, 64))
    wide = photo_result(defects=("rust", "dent", "wear", "peeling"), picture=noise(96, 128))
    sheet = contact_sheet([tiles(photo, 64), tiles(wide, 64)], cell=64, columns=3)
    assert sheet.dtype == np.uint8
    # three lines of three: four pictures make two lines, six make two
    assert sheet.shape == (2 * (64 + 12) + 2 * (48 + 12) + 4, 3 * (64 + 4) + 4, 3)
    shown = sheet[2 + 8 : 2 + 8 + 64, 4 : 4 + 64]
    assert np.abs(shown.astype(int) - photo.input).mean() < 1
