"""The page: self-contained, safe, complete, with its pictures."""

import base64
import dataclasses
import functools
import hashlib
import html
import io
import json
import math
import re
import weakref

import numpy as np
import pandas as pd
import pytest
from builders import EVIL, photo_result
from PIL import Image
from skimage import data, transform

from rli.reports.comparison import comparison
from rli.reports.gallery import PIXELS, Plan, plan_of
from rli.reports.page import write_report
from rli.reports.results import frame_of

HEIGHT, WIDTH = 96, 128
SVG = "http://www.w3.org/2000/svg"  # a name, of the slider's arrows


@functools.cache
def camera():
    """(H,W,3) uint8 of a photograph, whose pictures compress as photographs do."""
    small = transform.resize(data.camera(), (HEIGHT, WIDTH), anti_aliasing=True)
    return (np.stack([small] * 3, axis=-1) * 255).astype(np.uint8)


def photograph(name="plate", defects=("rust", "dent")):
    of_edit = {"psnr_recon": 27.75, "psnr_background": 29.5, "lpips": 0.125}
    return photo_result(
        name, defects, camera(), figures=lambda defect: {"psnr": 31.25, **(of_edit if defect in defects else {})}
    )


def frame(photos):
    """All rows as a run has them, or a sweep where the photographs tell their jobs."""
    rows = frame_of([row for photo in photos for row in photo.rows])
    jobs = [photo.job for photo in photos for _ in photo.rows]
    return rows.assign(job=jobs) if any(jobs) else rows


def write(path, photos, rows=None, **changes):
    published = path.parent / "published.csv"
    published.write_text("defect,psnr_512,ssim_512,lpips_512\noriginal,28.79,0.879,0.046\nrust,27.54,0.938,0.051\n")
    rows = frame(photos) if rows is None else rows
    given = {
        "comparison": comparison(rows, published),
        "settings": {"edit": {"eq": 2.0, "deep": {"x": None}}, "seed": 33},
        "versions": {"torch": "2.15"},
        "title": "Plates",
        **changes,
    }
    write_report(path, iter(photos), rows, **given)
    return path.read_text(encoding="utf-8")


def sweep(knob="edit.eq", values=(1.0, 2.0, 4.0), names=("plate", "wheel")):
    """A sweep's photographs, those of one name together, and its frame."""
    photos = [
        dataclasses.replace(
            photo, job=str(job), rows=tuple(dataclasses.replace(row, eq=value) for row in photo.rows), prompts={}
        )
        for name in names
        for job, value in enumerate(values)
        for photo in [photograph(name)]
    ]
    rows = frame(photos)
    return photos, rows.assign(**{knob: rows["eq"]})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page") / "report.html", [photograph()])


def images(text):
    """(alternative text, picture) of every picture in the page."""
    found = re.findall(r'<img src="data:image/(?:webp|png);base64,([^"]+)" alt="([^"]*)"', text)
    return [(alt, Image.open(io.BytesIO(base64.b64decode(uri, validate=True)))) for uri, alt in found]


def markup(html):
    """The page without its pictures' data and without its scripts."""
    return re.sub(r"(?s)<script>.*?</script>", "", re.sub(r"base64,[^\"]+", "", html))


def test_nothing_is_loaded_from_anywhere(page):
    assert not re.search(r"https?:|//[a-z]|@import|<script|<iframe|<object|\son[a-z]+=", markup(page).replace(SVG, ""))
    assert all(uri.startswith("data:") for uri in re.findall(r'src="([^"]*)"', markup(page)))
    assert all(link.startswith(("#", "data:")) for link in re.findall(r'href="([^"]*)"', markup(page)))
    assert set(re.findall(r"url\(([^)]{6})", markup(page))) == {'"data:'}


def test_the_policy_lets_the_page_s_own_scripts_run_and_nothing_else(page):
    policy = html.unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1])
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    scripts = re.findall(r"(?s)<script>(.*?)</script>", page)
    sums = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert parts.pop("script-src") == " ".join(f"'sha256-{one}'" for one in sums)
    assert parts.pop("img-src") == "data: blob:"
    assert parts.pop("style-src") == "'unsafe-inline'"
    assert set(parts) == {"default-src", "base-uri", "form-action", "connect-src"}
    assert set(parts.values()) == {"'none'"}


def test_names_prompts_and_settings_show_as_text(tmp_path):
    photo = photograph(EVIL, (EVIL,))
    failures = [(EVIL, EVIL)]
    text = write(
        tmp_path / "r.html",
        [photo],
        settings={EVIL: {EVIL: EVIL}},
        versions={EVIL: EVIL},
        title=EVIL,
        failures=failures,
    )
    assert "<script" not in markup(text)
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 12


def test_a_card_tells_its_edit_exactly(tmp_path):
    name = "a \"b\" 'c' & <d>,\r\n\te"
    text = write(tmp_path / "r.html", [photograph(name, ("rust",))])
    record = json.loads(html.unescape(re.search(r'data-record="([^"]*)"', text)[1]))
    assert record == {"image": name, "defect": "rust", "job": "", "file": f"images/{name}/rust.png"}


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
    # three scales; input, reconstruction and its two maps; four pictures an edit; the source's words and each target's
    assert len(found) == 3 + 4 + 2 * 4 + 2 + 2 * 2
    for picture in found.values():
        picture.load()
    assert np.array_equal(np.asarray(found["plate, photograph"].convert("RGB")), photograph().input)
    assert np.array_equal(np.asarray(found["Mask of plate, rust"]), photograph().edits["rust"].mask)


def test_many_photographs_stay_small(tmp_path):
    photos = [photograph(f"p{i}") for i in range(30)]
    text = write(tmp_path / "r.html", photos)
    assert len(re.findall(r'<details class="photo"', text)) == 30
    assert max(dict(images(text))["Edge difference of dent to the photograph"].size) == 112
    assert "Attention of “photo”" not in text
    assert "Attention of “rust”" in text


def test_a_large_page_reduces_its_pictures():
    one = frame([photograph()]).assign(job="", resolution="512")
    rows = pd.concat([one.assign(image=f"p{i}") for i in range(500)], ignore_index=True)
    assert plan_of(rows[:3]).quality is None
    assert plan_of(rows[: 3 * 20]).quality == 90
    assert 160 <= plan_of(rows).side < 512
    assert plan_of(rows).side ** 2 * 500 * 4 <= PIXELS
    assert plan_of(rows[: 3 * 150]) == plan_of(rows[: 3 * 120]) == Plan(4096, 82, 112, 64, False)
    assert plan_of(rows[:3].assign(resolution="2048x4096")).quality == 90


def test_photographs_are_taken_one_after_the_other(tmp_path):
    photos, alive, most = [photograph(f"p{i}") for i in range(6)], 0, 0

    def one_by_one():
        nonlocal alive, most
        for photo in photos:
            photo = dataclasses.replace(photo, input=photo.input.copy())
            alive += 1
            most = max(most, alive)
            weakref.finalize(photo.input, done)
            yield photo
            del photo

    def done():
        nonlocal alive
        alive -= 1

    write_report(tmp_path / "r.html", one_by_one(), frame(photos), pd.DataFrame(), {}, {})
    assert most <= 2


def test_the_tables_may_be_about_more_than_is_shown(tmp_path):
    rows = frame([photograph(f"p{i}") for i in range(7)])
    text = write(tmp_path / "r.html", [photograph("p2")], rows=rows, total=7)
    assert "1 of 7 results are shown" in text
    assert "All 21 rows" in text
    assert re.findall(r'id="(edit-\d+)"', text) == ["edit-7", "edit-8"]
    assert "results are shown" not in write(tmp_path / "r.html", [photograph()], total=1)


def test_a_sweep_shows_each_photograph_once_and_every_job_s_edits(tmp_path):
    photos, rows = sweep()
    text = write(tmp_path / "r.html", photos, rows=rows, knobs=["edit.eq"])
    alts = [alt for alt, _ in images(text)]
    for name in ("plate", "wheel"):
        assert alts.count(f"{name}, photograph") == alts.count(f"{name}, reconstruction") == 1
        assert [alt for alt in alts if alt.startswith(f"{name}, rust")] == [f"{name}, rust, job {j}" for j in range(3)]
    assert len(set(re.findall(r'id="edit-(\d+)"', text))) == 2 * 3 * 2
    assert text.count('<span title="edit.eq">eq <b>4</b></span>') == 2 * 2
    assert "varied: edit.eq" in text
    assert "2 photographs" not in text and "3 jobs · 12 edits" in text
    assert text.count("<td>4</td>") == 3 + 6  # in the means, and in all rows


def test_word_maps_that_jobs_share_are_shown_once(tmp_path):
    photos, rows = sweep(names=("plate",))
    prompts = photograph().prompts
    photos = [dataclasses.replace(photo, prompts=prompts) for photo in photos]
    text = write(tmp_path / "r.html", photos, rows=rows, knobs=["edit.eq"])
    alts = [alt for alt, _ in images(text)]
    assert alts.count("Attention of “crack” for source") == 1
    assert alts.count("Attention of “rust” for rust") == 1
    assert 'data-rows="1 4 7"' in text and 'data-rows="1 2 4 5 7 8"' in text


def test_reconstructions_that_differ_are_all_shown_with_what_made_them(tmp_path):
    photos, rows = sweep("rli.alpha", values=(1.0, 2.0))
    photos = [dataclasses.replace(p, reconstruction=p.input // (2 + int(p.job))) for p in photos]
    text = write(tmp_path / "r.html", photos, rows=rows, knobs=["rli.alpha"])
    assert [alt for alt, _ in images(text)].count("plate, reconstruction") == 2
    assert text.count('<span title="rli.alpha">alpha <b>2</b></span>') == 2 * (1 + 2)


def test_names_of_knobs_that_end_alike_are_told_in_full(tmp_path):
    photos, rows = sweep(names=("plate",))
    rows = rows.assign(**{"a.method": rows["eq"], "b.method": rows["eq"], "c.list": [[1, 2]] * len(rows)})
    text = write(tmp_path / "r.html", photos, rows=rows, knobs=["a.method", "b.method", "c.list"])
    assert '<span title="a.method">a.method <b>1</b></span><span title="b.method">b.method' in text
    assert "list <b>1, 2</b>" in text


def test_failures_are_told(tmp_path):
    text = write(tmp_path / "r.html", [photograph()], failures=[("7", "out of range"), ("8", "no such file")])
    assert "2 failed." in text
    assert '<th scope="row">7</th><td class="reason">out of range</td>' in text


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


def test_what_cannot_be_measured_is_left_out(tmp_path):
    # A mask of the whole image has no background.
    photo = photograph(defects=("rust",))
    rows = (dataclasses.replace(photo.rows[1], psnr_background=math.nan, ssim_background=math.nan),)
    text = markup(write(tmp_path / "r.html", [dataclasses.replace(photo, rows=rows)]))
    assert not re.search(r"\bnan\b", text)
    assert "Background kept" not in text
    assert "1 edit · 1 defect<" in text
