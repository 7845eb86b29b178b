"""Photographs with windows: kept and read back, shown on the page, and their rows pooled."""

from __future__ import annotations

import numpy as np
import pytest
from builders import box, noise, photo_result, row

from rli.images import read_picture, write_png
from rli.metrics.columns import pooled
from rli.metrics.image import psnr
from rli.photos.windows import View, Window
from rli.reports.details import SIDE, frames, map_place, pixels_shown, shown, window_cards
from rli.reports.page import write_report
from rli.reports.pixels import tiles
from rli.reports.results import frame_of
from rli.runs.quality_gate import Scores
from rli.store.records import read_photo, read_record, write_photo
from rli.store.results import EditedWindow, PhotoResult, WindowResult

VIEWS = (
    View(Window(10, 40, 32, 32), Window(0, 0, 64, 64), (64, 64)),
    View(Window(0, 0, 20, 48), Window(12, 0, 40, 64), (64, 64), mirrors=False),
)


def windowed(height: int = 60, width: int = 90, **values) -> PhotoResult:
    """A photograph with two windows and one edit."""
    made = [
        WindowResult(
            v, noise(64, 64, k), noise(64, 64, k + 5), {"rust": EditedWindow(noise(64, 64, k + 9), box(64, 64))}
        )
        for k, v in enumerate(VIEWS)
    ]
    return photo_result("sub/part", picture=noise(height, width), windows=tuple(made), key="k", **values)


def test_windows_are_read_back_as_they_were_written(tmp_path):
    written = windowed()
    write_photo(tmp_path, written)
    record, back = read_record(tmp_path, "sub/part", "k"), read_photo(tmp_path, "sub/part")
    assert record.windows == VIEWS and record.size == (60, 90) and record.damage() is None
    assert np.array_equal(back.input, written.input)
    for one, other in zip(back.windows, written.windows, strict=True):
        assert one.view == other.view and np.array_equal(one.input, other.input)
        assert np.array_equal(one.reconstruction, other.reconstruction)
        assert np.array_equal(one.edits["rust"].image, other.edits["rust"].image)
        assert np.array_equal(one.edits["rust"].mask, other.edits["rust"].mask)
    (tmp_path / "images/sub/part/window-2/rust.png").unlink()
    assert "rust.png is missing" in record.damage()


def test_a_picture_in_the_photographs_own_mode_is_written_and_read_in_it(tmp_path):
    write_png(tmp_path / "own.png", np.arange(60 * 90, dtype=np.uint16).reshape(60, 90) * 12)
    picture = read_picture(tmp_path / "own.png")
    own = {"input": picture, "reconstruction": picture, "rust": picture}
    write_photo(tmp_path, windowed(own=own))
    assert np.array_equal(read_picture(tmp_path / "images/sub/part/rust.png").samples, picture.samples)
    assert np.array_equal(read_photo(tmp_path, "sub/part").edits["rust"].image, picture.rgb)


def test_a_large_photograph_is_shown_small_with_its_windows_as_they_are():
    photo = windowed(300, 2 * SIDE)
    small = shown(photo, photo.input, 4096, None)
    assert (small["picture"].width, small["picture"].height) == (SIDE, 150) and small["own"] == (2 * SIDE, 300)
    assert [(part["picture"].width, part["picture"].height) for part in small["details"]] == [(32, 32), (48, 20)]
    left, top, width, height = map(float, small["details"][0]["place"].split())
    assert (left * 2 * SIDE, top * 300, width * 2 * SIDE, height * 300) == pytest.approx((40, 10, 32, 32), rel=1e-4)
    assert not shown(windowed(), windowed().input, 4096, None)["details"]
    assert frames(photo).count("M") == 2 and map_place(photo) == small["details"][0]["place"]
    assert [card["shape"] for card in window_cards(photo, photo.input, photo.edits["rust"].mask, 64)] == [
        (32, 32),
        (20, 48),
    ]
    assert pixels_shown((300, 2 * SIDE), VIEWS) == SIDE * 150 + 32 * 32 + 20 * 48
    assert [tile.size for _, tile in tiles(photo, 100)] == [(100, 100)] * 3


def test_the_page_has_the_photograph_its_windows_and_where_maps_lie(tmp_path):
    photo = windowed(300, 2 * SIDE)
    write_report(tmp_path / "page.html", [photo], frame_of(photo.rows), frame_of(photo.rows).iloc[:0], {}, {})
    page = (tmp_path / "page.html").read_text()
    assert f"{2 * SIDE}×300 px" in page and page.count('class="frame"') == 2
    assert page.count('class="detail"') == 3 * 2  # photograph, reconstruction and edit
    assert f'data-width="{2 * SIDE}"' in page and "Window of sub/part, rust" in page


def test_rows_of_windows_are_pooled_as_if_they_were_one_picture():
    pictures, others = [noise(16, 16, k) for k in range(3)], [noise(16, 16, k + 3) // 2 for k in range(3)]
    each = [psnr(a, b) for a, b in zip(pictures, others, strict=True)]
    rows = [row(psnr=value, seconds_edit=2.0, strength=k, peak_memory_gb=k) for k, value in enumerate(each)]
    one = pooled(rows)
    assert one.psnr == pytest.approx(psnr(np.vstack(pictures), np.vstack(others)))
    assert (one.seconds_edit, one.strength, one.peak_memory_gb, one.lpips) == (6.0, 1.0, 2, None)
    assert pooled(rows[:1]) is rows[0]
    scores = [Scores(value, 0.9, float("nan"), 4.0, 0.1 * k, 1.0) for k, value in enumerate(each)]
    assert Scores.pooled(scores).background_psnr == pytest.approx(one.psnr)
    assert Scores.pooled(scores).share == pytest.approx(0.1) and np.isnan(Scores.pooled(scores).reconstruction_psnr)
