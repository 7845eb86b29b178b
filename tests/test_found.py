"""What is told of photographs before the work: counted from names, a few looked at, mistakes said aloud."""

from dataclasses import replace

import numpy as np
import pytest
from builders import EVIL, box, files_of, grey, noise, row, write_images, write_surface
from command import QUICK, SMALL, run

from rli.images import write_png
from rli.photos.look import drawn, has_two_levels, look
from rli.photos.photo import Photo
from rli.photos.sources import photos
from rli.reports.comparison import comparison
from rli.reports.examples import examples_of
from rli.reports.page import write_report
from rli.reports.results import frame_of
from rli.reports.sweep import PUBLISHED
from rli.runs.found import EXAMPLES, LONG, LOOKED_AT, find

SIZE = (64, 64)


def lines_of(kind, path, **settings):
    """The table's lines as what → (count, examples)."""
    found = find(photos(kind, path, **settings), SIZE)
    assert all(text in found.table for line in found.lines for text in (line.what, line.examples))
    return {line.what: (line.count, line.examples) for line in found.lines}


def warnings_of(path, **settings):
    return find(photos("folder", path, **settings), SIZE).warnings


def test_everything_in_a_folder_is_counted(tmp_path):
    write_images(tmp_path, "train/rust/a.png", "train/rust/b.png", "train/good/c.png", "test/dent/d.png", image=noise())
    write_images(tmp_path, "train/rust/a_mask.png", image=box(32, 48))
    write_images(tmp_path, ".hidden/x.png", "#recycle/v.png", "runs/.hydra/y.png", "runs/z.png")
    (tmp_path / "notes.txt").write_text("no picture")
    lines = lines_of("folder", tmp_path)
    assert lines["photographs"] == (4, "test/dent/d, train/good/c, train/rust/a, …")
    assert lines["good"] == (1, "train/good/c")
    assert lines["class rust"] == (2, "train/rust/a, train/rust/b") and lines["class dent"][0] == 1
    assert lines["split train"][0] == 3 and lines["split test"][0] == 1
    assert lines["with a mask"] == (1, "train/rust/a (a_mask.png)")
    assert lines["masks, % of the picture"] == (1, "25 to 25, median 25: train/rust/a 25")
    assert lines["sizes in pixels"] == (1, "48×32 (4)")
    assert lines["looked at"] == (4, "")
    assert lines["not read: .txt"] == (1, "notes.txt")
    assert lines["not read: hidden or a system's"] == (2, "#recycle, .hidden")
    assert lines["not read: folders that runs fill"] == (1, "runs")
    assert not any(what.startswith("not read: pictures") for what in lines)


def test_groups_regions_and_problems_are_counted(tmp_path):
    write_images(tmp_path, "a.png", "b.png", "c.png", image=noise())
    write_images(tmp_path, "r.png", image=box(32, 48))
    (tmp_path / "l.csv").write_text("path,region,group\na.png,r.png,one\nb.png,,one\nc.png,,two\n,,\n")
    lines = lines_of("list", tmp_path / "l.csv")
    assert lines["groups"] == (2, "the largest: one (2), two (1)")
    assert lines["with a region"] == (1, "a~1 (r.png)") and lines["regions, % of the picture"][0] == 1
    assert lines["cannot be used"][0] == 1 and lines["class unknown"][0] == 4


def test_good_photographs_that_a_reader_leaves_out_are_named(tmp_path):
    write_images(tmp_path, "test/hole/a.png", "test/good/b.png", "train/good/c.png", image=noise())
    write_images(tmp_path, "ground_truth/hole/a_mask.png", image=box(32, 48))
    assert lines_of("mvtec_ad", tmp_path)["not read: pictures (see data.good)"] == (
        2,
        "test/good/b.png, train/good/c.png",
    )
    assert not any(what.startswith("not read") for what in lines_of("mvtec_ad", tmp_path, good=True))


def test_many_are_counted_by_names_and_few_are_opened(tmp_path, monkeypatch):
    write_images(tmp_path, *(f"k{k}/p{k}.png" for k in range(40)), image=noise())
    opened = []
    monkeypatch.setattr("rli.runs.found.look", lambda photo, size: opened.append(photo.name) or look(photo, size))
    lines = lines_of("folder", tmp_path)
    assert lines["photographs"][0] == 40 and lines["class: 30 others"][0] == 30
    assert lines["looked at"] == (LOOKED_AT, "drawn from all; what follows is about these")
    assert len(opened) == LOOKED_AT < 40 and max(opened) > "k30"
    assert all(text.count(", ") <= EXAMPLES for _, text in lines.values())


@pytest.mark.parametrize("most", [1, 5, 24, 200])
def test_the_same_photographs_are_drawn_in_order_and_both_of_pairs_are_met(most):
    every = [Photo(f"p{k}") for k in range(100)]
    some = drawn(iter(every), most)
    assert some == sorted(some, key=every.index) == drawn(iter(every), most)
    assert len(some) == min(most, 100)
    assert most < 5 or {every.index(photo) % 2 for photo in some} == {0, 1}


def test_masks_that_say_nothing_are_said_aloud_but_not_of_good_photographs(tmp_path):
    write_images(tmp_path, "a.png", "b.png", "c.png", "good/d.png", image=noise())
    write_images(tmp_path, "a_mask.png", "good/d_mask.png", image=np.zeros((32, 48), bool))
    write_images(tmp_path, "b_mask.png", image=np.ones((32, 48), bool))
    write_images(tmp_path, "c_mask.png", image=box(32, 48))
    assert warnings_of(tmp_path) == (
        "1 of the 3 masks that were looked at is all black, so that nothing is marked: a_mask.png",
        "1 of the 3 masks that were looked at is all white, so that the whole picture is marked: b_mask.png",
    )


def test_masks_that_are_taken_for_photographs_are_said_aloud(tmp_path):
    write_images(tmp_path, "a.png", "b.png", "c.png", image=noise())
    assert warnings_of(tmp_path) == ()
    write_images(tmp_path, "truths/a.png", "truths/b.png", "truths/c.png", image=box(32, 48))
    (warning,) = warnings_of(tmp_path)
    assert "3 of the 6 photographs that were looked at are like masks" in warning and "data.truth_path" in warning
    assert warnings_of(tmp_path, truth_path=tmp_path / "truths") == ()


def test_pictures_of_two_levels_are_told_from_photographs():
    ramp = np.linspace(0, 255, 600).astype(np.uint8)[None, :, None].repeat(600, 0).repeat(3, 2)
    drawn_mask = np.where(box(600, 600)[..., None], 250, 4).astype(np.uint8).repeat(3, 2)
    blurred = (drawn_mask + np.random.default_rng(0).integers(-4, 5, drawn_mask.shape)).astype(np.uint8)
    dim = np.where(box()[..., None], 1, 0).astype(np.uint8).repeat(3, 2)
    assert all(map(has_two_levels, (grey(), drawn_mask, blurred, dim)))
    assert not any(map(has_two_levels, (noise(), ramp, grey(level=120) + noise()[:1, :1] // 255 + ramp[:40, :60] // 8)))


def test_a_look_at_what_cannot_be_read_says_why(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    write_png(tmp_path / "b.png", noise())
    write_png(tmp_path / "b_mask.png", np.zeros((32, 48), bool))
    a, b = photos("folder", tmp_path)
    assert "a.png cannot be read" in look(a, SIZE).problem and look(a, SIZE).size is None
    seen = look(replace(b, default_region="truth"), SIZE)
    assert seen.size == (32, 48) and seen.truth.share == 0 and "is empty" in seen.problem


def test_the_page_shows_photographs_beside_their_masks_and_escapes_names(tmp_path):
    write_images(tmp_path, "a.png", "b.png", image=noise())
    write_images(tmp_path, "a_mask.png", image=box(32, 48))
    marked, plain = photos("folder", tmp_path)
    examples = examples_of([replace(marked, name=EVIL, label=EVIL), plain], SIZE)
    assert [seen.photo.name for seen in examples] == [EVIL]
    frame = frame_of([row()])
    for shown in (examples, ()):
        write_report(tmp_path / "p.html", [], frame, comparison(frame, PUBLISHED), {}, {}, examples=shown)
        page = (tmp_path / "p.html").read_text()
        assert EVIL not in page and ("What was read" in page) == ("own defect: 25 %" in page) == bool(shown)


@pytest.mark.integration
def test_a_dry_run_and_a_long_run_begin_with_the_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rli.metrics.lpips.load_lpips", lambda: None)
    write_surface(tmp_path / "d" / "p.png")
    write_images(tmp_path / "d", "p_mask.png", image=np.zeros((64, 64), bool))
    for k in range(LONG):
        (tmp_path / "d" / f"m{k}.png").write_text("no picture")
    before = files_of(tmp_path)
    folder = (*QUICK, *SMALL, "data=folder", "data.path=d", "defect=original", "inversion=direct", "hydra.run.dir=r")
    answer = run(*folder, "dry_run=true")
    table, _, forecast = answer.stdout.partition("\n\n")
    assert table.splitlines()[0].split() == ["photographs", str(LONG + 1), "m0,", "m1,", "m2,", "…"]
    assert forecast.startswith("photographs: 11") and files_of(tmp_path) == before
    done = run(*folder)
    assert all(line in done.stderr.splitlines() for line in table.splitlines())
    for told in (answer, done):
        assert "warning: 1 of the 1 masks that were looked at is all black" in told.stderr
    again = run(*folder)  # nothing is left to do
    assert again.status == 0 and not again.stderr
