"""The page: self-contained, safe, complete; its pictures; and the contact sheet."""

import base64
import dataclasses
import io
import math
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data, transform

from rli.pictures import PIXEL_SCALE, contact_sheet, difference_map, edge_difference_map, outline
from rli.report import loss_chart, plan_of, write_report
from rli.results import comparison
from rli.types import EditedPhoto, PhotoResult, Row, TokenMap

HEIGHT, WIDTH = 96, 128
EVIL = "<script>alert(1)</script>"


def photograph(name="plate", defects=("rust", "dent"), size=(HEIGHT, WIDTH), resolution="96x128"):
    grey = transform.resize(data.camera(), size, anti_aliasing=True)
    picture = (np.stack([grey] * 3, axis=-1) * 255).astype(np.uint8)
    mask = np.zeros(size, bool)
    mask[20:50, 30:80] = True
    values = np.linspace(0, 1, 24 * 32, dtype=np.float32).reshape(24, 32)
    maps = {word: TokenMap(word, values) for word in ("photo", "crack", *defects)}
    edits = {
        d: EditedPhoto(
            np.where(mask[..., None], 90, picture).astype(np.uint8),
            mask,
            (maps["photo"], maps[d]),
            (maps["photo"], maps["crack"]),
        )
        for d in defects
    }
    settings = {"alpha": 0.1, "eq": 2.0, "cross": 1.0, "replace": 0.8}
    rows = [
        Row(name, d, resolution, "mini", "null_text", **settings, psnr=31.25, ssim=0.9) for d in ("original", *defects)
    ]
    rows[1:] = [dataclasses.replace(r, psnr_recon=27.75, psnr_background=29.5, lpips=0.125) for r in rows[1:]]
    prompts = {"original": "photo of a crack", **{d: f"photo of a {d}" for d in defects}}
    losses = ((1e-3, 1e-4), (5e-4,), (), (3e-4, 1e-5))
    return PhotoResult(name, picture, picture // 2 * 2, edits, tuple(rows), losses, prompts)


def write(path, photos, **changes):
    published = path.parent / "published.csv"
    published.write_text("defect,psnr_512,ssim_512,lpips_512\noriginal,28.79,0.879,0.046\nrust,27.54,0.938,0.051\n")
    rows = [r for photo in photos for r in photo.rows]
    given = {
        "comparison": comparison(rows, published),
        "settings": {"edit": {"eq": 2.0, "deep": {"x": None}}, "seed": 33},
        "versions": {"torch": "2.15"},
        "title": "Plates",
        **changes,
    }
    write_report(path, photos, **given)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page") / "report.html", [photograph()])


def images(html):
    """(alternative text, picture) of every picture in the page."""
    found = re.findall(r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]*)"', html)
    return [(alt, Image.open(io.BytesIO(base64.b64decode(uri, validate=True)))) for uri, alt in found]


def test_nothing_is_loaded_from_anywhere(page):
    outside_pictures = re.sub(r"base64,[^\"]+", "", page)
    assert not re.search(r"https?:|//[a-z]|@import|<script|<iframe|<object|\son[a-z]+=", outside_pictures)
    assert all(uri.startswith("data:") for uri in re.findall(r'src="([^"]*)"', page))
    assert all(link.startswith(("#", "data:")) for link in re.findall(r'href="([^"]*)"', page))
    assert "url(" not in outside_pictures
    assert """content="default-src 'none'; img-src data:; style-src 'unsafe-inline';""" in page


def test_names_prompts_and_settings_show_as_text(tmp_path):
    photo = photograph(EVIL, (EVIL,))
    html = write(tmp_path / "r.html", [photo], settings={EVIL: {EVIL: EVIL}}, versions={EVIL: EVIL}, title=EVIL)
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10


def test_all_parts_are_there(page):
    for part in (
        "Plates",
        "Background kept",
        "29.5 dB",
        "Results",
        "Beside the published figures",
        "plate",
        "Reconstruction",
        "<mark>rust</mark>",
        "27.75",
        "0.125",
        "pixel difference",
        "edge difference",
        "64 of 255",
        "cross-attention maps",
        "Null embedding optimization",
        "edit",
        "deep.x",
        "torch",
        "2.15",
    ):
        assert part in page, part
    assert page.count('class="outline"') == 2
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


def test_every_picture_decodes_and_has_its_size(page):
    found = dict(images(page))
    for alt in (
        "plate, photograph",
        "plate, reconstruction",
        "plate, rust",
        "Pixel difference of rust to the photograph",
    ):
        assert found[alt].size == (WIDTH, HEIGHT), alt
    assert {"Attention of “crack” for source", "Attention of “rust” for rust"} <= set(found)
    # three scales; input, reconstruction and its two maps; three pictures an edit; the source's words and each target's
    assert len(found) == 3 + 4 + 2 * 3 + 2 + 2 * 2
    for picture in found.values():
        picture.load()
    assert np.array_equal(np.asarray(found["plate, photograph"].convert("RGB")), photograph().input)


def test_many_photographs_stay_small_and_closed(tmp_path):
    photos = [photograph(f"p{i}") for i in range(30)]
    html = write(tmp_path / "r.html", photos)
    assert len(re.findall(r'<details class="photo" id="photo-\d+" open', html)) == 3
    assert len(re.findall(r'<details class="photo"', html)) == 30
    assert max(dict(images(html))["Edge difference of dent to the photograph"].size) == 112
    assert "Attention of “photo”" not in html
    assert "Attention of “rust”" in html


def test_a_large_page_reduces_its_pictures():
    photo = photograph(size=(512, 512))
    assert plan_of([photo]).quality is None
    assert plan_of([photo] * 20).quality == 90
    many = plan_of([photo] * 500)
    assert 160 <= many.side < 512
    assert many.side**2 * 500 * 4 <= 80e6


def test_the_tables_may_be_about_more_than_is_shown(tmp_path):
    rows = [r for i in range(7) for r in photograph(f"p{i}").rows]
    html = write(tmp_path / "r.html", [photograph("p0")], rows=rows)
    assert "The first 1 of 7 results are shown" in html
    assert "All 21 rows" in html


def test_a_sweep_s_settings_are_told_apart(tmp_path):
    one, other = photograph(), photograph()
    other = dataclasses.replace(other, rows=tuple(dataclasses.replace(r, eq=4.0) for r in other.rows))
    html = write(tmp_path / "r.html", [one, other])
    assert html.count("<td>4.0</td>") == 3 * 2  # in the means and in all rows
    assert "<span>eq 4.0</span>" in html


def test_little_makes_a_page_too(tmp_path):
    bare = dataclasses.replace(photograph(), edits={}, rows=(), losses=(), prompts={})
    assert "plate, photograph" in write(tmp_path / "bare.html", [bare])
    assert "No photographs." in write(tmp_path / "none.html", [], comparison=pd.DataFrame(), settings={}, versions={})


def test_a_failure_leaves_the_page_before(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("before")
    broken = dataclasses.replace(photograph(), reconstruction=np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="broadcast"):
        write(path, [photograph(), broken])
    assert path.read_text() == "before"
    assert {p.name for p in tmp_path.iterdir()} == {"report.html", "published.csv"}


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
    photo, wide = photograph(size=(64, 64)), photograph(defects=("rust", "dent", "wear", "peeling"))
    sheet = contact_sheet([photo, wide], cell=64, columns=3)
    assert sheet.dtype == np.uint8
    # three lines of three: four pictures make two lines, six make two
    assert sheet.shape == (2 * (64 + 12) + 2 * (48 + 12) + 4, 3 * (64 + 4) + 4, 3)
    shown = sheet[2 + 8 : 2 + 8 + 64, 4 : 4 + 64]
    assert np.abs(shown.astype(int) - photo.input).mean() < 1


def test_what_cannot_be_measured_is_left_out(tmp_path):
    # A mask of the whole image has no background.
    photo = photograph(defects=("rust",))
    rows = (dataclasses.replace(photo.rows[1], psnr_background=math.nan, ssim_background=math.nan),)
    html = write(tmp_path / "r.html", [dataclasses.replace(photo, rows=rows)])
    assert not re.search(r"\bnan\b", html)
    assert "Background kept" not in html
    assert "1 edit, 1 defect<" in html
