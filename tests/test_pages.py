"""The page in a real browser: viewer, review, keyboard, what is stored, saved and printed; nothing leaves it."""

import dataclasses
import io
import shutil
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from builders import EVIL, photo_result
from PIL import Image

from rli.datasets.review import read_review
from rli.reports.page import write_report
from rli.reports.results import frame_of

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.integration, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

SIDE = 36
NAME = f'{EVIL} "quoted", it\'s\nnew line'
WIDTHS = {"phone": 390, "desktop": 1440}


def photograph(name="plate", defects=("rust", "dent"), job="", eq=2.0, shift=0):
    """A drawn photograph: every pixel another colour, so that what is shown where can be read from the screen."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.uint8)
    picture = np.stack([x * 7, y * 7, np.full_like(x, 40 + shift)], axis=-1)
    return photo_result(name, defects, picture, figures=lambda defect: {"eq": eq}, job=job)


def frame(photos):
    rows = frame_of([row for photo in photos for row in photo.rows])
    jobs = [photo.job for photo in photos for _ in photo.rows]
    return rows.assign(job=jobs, **{"edit.eq": rows["eq"]}) if any(jobs) else rows


def write(path, photos, **changes):
    rows = frame(photos)
    changes = {"knobs": ["edit.eq"] if "edit.eq" in rows else [], **changes}
    write_report(path, iter(photos), rows, pd.DataFrame(), {"seed": 33}, {"torch": "2"}, "Plates", **changes)
    return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """run: three photographs with two edits each; sweep: two photographs in three jobs; many: 500 edits."""
    folder = tmp_path_factory.mktemp("pages")
    jobs = [photograph(name, job=str(j), eq=float(j)) for name in ("plate", "wheel") for j in range(3)]
    many = [photograph(f"photo {i}", ("rust", "dent", "wear", "peeling", "scratch"), shift=i) for i in range(100)]
    many = [dataclasses.replace(photo, losses=(), prompts={}) for photo in many]
    return {
        "run": write(folder / "run.html", [photograph(f"plate {i}", shift=i) for i in range(3)]),
        "sweep": write(folder / "sweep.html", jobs, failures=[("3", "eq is out of range")]),
        "many": write(folder / "many.html", many),
        "evil": write(folder / "evil.html", [photograph(NAME, (NAME, "dent"))], failures=[(NAME, NAME)]),
    }


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, pages):
    """Opens a page; at the test's end, nothing has left it, and the browser had nothing to object to."""
    contexts, requests, complaints = [], [], []

    def opened(name="run", **options):
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        context.on("request", lambda request: requests.append(request.url))
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(pages[name].as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert {url.split(":")[0] for url in requests} <= {"file", "data", "blob"}
    assert complaints == []


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def saved(page, path, how=lambda page: page.click("#save")):
    with page.expect_download() as download:
        how(page)
    assert download.value.suggested_filename == "review.csv"
    download.value.save_as(path)
    return read_review(path)


def counts(page):
    return {b.get_attribute("data-show"): int(b.locator("b").inner_text()) for b in page.locator("[data-show]").all()}


def colour(page, x, y):
    """Of one pixel on the screen."""
    shot = page.screenshot(clip={"x": int(x), "y": int(y), "width": 1, "height": 1})
    return Image.open(io.BytesIO(shot)).convert("RGB").getpixel((0, 0))


def stage(page):
    return page.locator(".stage").bounding_box()


def test_the_slider_moves_the_border_between_two_pictures(visit):
    page = visit()
    press(page, "j", "Enter")
    page.select_option("select.left", "mask")
    page.select_option("select.right", "input")
    box, slider = stage(page), page.locator(".stage input")
    # Picture pixel (20, 20): the mask is black there, the photograph is not.
    side = min(box["width"], box["height"])
    x = box["x"] + (box["width"] - side) / 2 + side * 20.5 / SIDE
    y = box["y"] + side * 20.5 / SIDE
    slider.focus()
    press(page, "End")
    assert colour(page, x, y) == (0, 0, 0)
    press(page, "Home")
    red, green, _ = colour(page, x, y)
    assert abs(red - 140) <= 4 and abs(green - 140) <= 4
    borders = []
    for _ in range(3):
        press(page, "ArrowRight")
        borders.append(page.locator(".border").bounding_box()["x"])
    assert all(a < b for a, b in pairwise(borders))


def test_the_slider_s_thumb_can_be_dragged(visit):
    page = visit()
    press(page, "j", "Enter")
    box = stage(page)
    middle, height = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle, height)
    page.mouse.down()
    page.mouse.move(middle + 150, height, steps=3)
    page.mouse.up()
    border = page.locator(".border").bounding_box()
    assert border["x"] + border["width"] / 2 == pytest.approx(middle + 150, abs=4)


def test_zoom_reaches_single_pixels_and_pans(visit):
    page = visit()
    press(page, "j", "Enter")
    page.select_option("select.left", "input")
    page.select_option("select.right", "input")
    page.locator(".stage").focus()
    press(page, *"++++++++++++")
    image = page.locator(".layer.left img")
    pixel = image.bounding_box()["width"] / SIDE
    assert pixel >= 40
    assert image.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    press(page, *["ArrowLeft", "ArrowUp"] * 20)
    box, at = stage(page), image.bounding_box()
    assert (at["x"], at["y"]) == pytest.approx((box["x"], box["y"]), abs=1)

    def shown(x, y):
        return colour(page, box["x"] + (x + 0.5) * pixel, box["y"] + (y + 0.5) * pixel)

    # Pixels are flat and have their own colours: x·7, y·7.
    assert shown(3, 5) == shown(3.3, 5.3) == (21, 35, 40)
    assert shown(4, 6) == (28, 42, 40)
    page.mouse.move(box["x"] + 3.5 * pixel, box["y"] + 5.5 * pixel)
    assert page.locator(".pixel").inner_text() == "x 3, y 5 · left 21 35 40 · right 21 35 40"
    page.mouse.down()
    page.mouse.move(box["x"] + 1.5 * pixel, box["y"] + 4.5 * pixel, steps=3)
    page.mouse.up()
    assert shown(1, 4) == (21, 35, 40)
    press(page, "0")
    assert image.bounding_box()["width"] == pytest.approx(min(box["width"], box["height"]), abs=1)


def test_the_wheel_zooms_where_the_pointer_is(visit):
    page = visit()
    press(page, "j", "Enter")
    page.select_option("select.left", "input")
    page.select_option("select.right", "input")
    box, image = stage(page), page.locator(".layer.left img")
    x, y = box["x"] + box["width"] / 2 + 100, box["y"] + 200
    before, wide = image.bounding_box(), image.bounding_box()["width"]
    page.mouse.move(x, y)
    page.mouse.wheel(0, -900)
    page.wait_for_function(
        "before => document.querySelector('.layer.left img').getBoundingClientRect().width > before", arg=wide
    )
    after = image.bounding_box()
    assert (x - before["x"]) / before["width"] == pytest.approx((x - after["x"]) / after["width"], abs=0.01)
    assert (y - before["y"]) / before["height"] == pytest.approx((y - after["y"]) / after["height"], abs=0.01)


def test_a_sweep_s_exploration_runs_under_the_page_s_policy(visit, pages, tmp_path):
    explore = pytest.importorskip("rli.reports.explore")
    jobs = [photograph(job=str(j), eq=float(j)) for j in range(3)]
    rows = frame(jobs)
    pages["explored"] = write(tmp_path / "r.html", jobs, explore=explore.explore_context(rows, ["edit.eq"], 32.0))
    page = visit("explored")
    playwright.expect(page.locator("#explore")).to_be_visible()
    assert len(page.locator("script:not([type])").all()) >= 3
    press(page, "j", "a")
    assert counts(page)["keep"] == 1


def test_every_picture_of_an_edit_can_be_chosen(visit):
    page = visit()
    press(page, "j", "Enter")
    labels = page.locator("select.left option").all_inner_texts()
    told = ("photograph", "reconstruction", "edit", "mask", "pixel difference", "edge difference")
    assert labels[: len(told)] == list(told)
    assert {"“crack” in the source prompt", "“rust” in the target prompt", "dent"} <= set(labels)
    for value in page.locator("select.left option").evaluate_all("options => options.map(o => o.value)"):
        page.select_option("select.left", value)
        assert page.locator(".layer.left img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_a_sweep_s_edits_are_seen_beside_one_another(visit):
    page = visit("sweep")
    page.locator("#edit-1 .pic").first.click()
    others = page.locator("select.right optgroup[label='Other edits'] option").all_inner_texts()
    assert others == [f"{d} · job {j} · eq {j}" for j in range(3) for d in ("rust", "dent")][1:]
    page.select_option("select.left", "edit-4")
    assert page.locator(".tag.left").inner_text() == "rust · job 1 · eq 1"
    press(page, "Escape")
    page.locator("#edit-4 .maps .pic").first.click()
    assert page.locator("select.left").input_value() == "mask"
    assert page.locator("#viewer-title").inner_text() == "plate: rust · job 1 · eq 1"


def test_the_viewer_closes_and_the_focus_goes_back(visit):
    page = visit()
    press(page, "j", "j", "Enter")
    playwright.expect(page.locator(".stage input")).to_be_focused()
    press(page, "Escape")
    playwright.expect(page.locator("#edit-2")).to_be_focused()
    press(page, "Enter", "j", "Escape")
    playwright.expect(page.locator("#edit-4")).to_be_focused()
    page.locator("#reconstruction-1-0 .pic").first.click()
    assert page.locator("#viewer-title").inner_text() == "plate 1"
    assert page.locator("#viewer .decide").is_hidden()
    press(page, "Escape")
    playwright.expect(page.locator("#reconstruction-1-0 .pic").first).to_be_focused()


def test_a_review_by_keyboard_alone(visit, tmp_path):
    page = visit()
    press(page, *"j a j r ArrowRight x j a u k ArrowLeft j Enter j j a Escape".split())
    playwright.expect(page.locator("#edit-7")).to_be_focused()
    assert counts(page) == {"all": 6, "open": 2, "keep": 2, "reject": 2}
    expected = {
        ("", "plate 0", "rust"): True,
        ("", "plate 0", "dent"): False,
        ("", "plate 1", "rust"): False,
        ("", "plate 2", "rust"): True,
    }
    page.locator("#save").focus()
    assert saved(page, tmp_path / "review.csv", lambda page: press(page, "Enter")) == expected
    lines = (tmp_path / "review.csv").read_bytes().decode().split("\r\n")
    assert lines[:2] == ["image,defect,job,decision,file", "plate 0,rust,,keep,images/plate 0/rust.png"]
    assert page.locator("#edit-1 .verdict").text_content() == "kept"
    assert page.locator("#edit-2 .reject").get_attribute("aria-pressed") == "true"


def test_a_review_by_mouse(visit, tmp_path):
    page = visit("sweep")
    page.click("#edit-1 .keep")
    page.click("#edit-5 .reject")
    page.click("#edit-7 .keep")
    page.click("#edit-7 .keep")  # and back
    page.locator("#edit-10 .pic").first.click()
    page.click("#viewer .reject")
    page.click("#viewer [data-do=close]")
    assert saved(page, tmp_path / "review.csv") == {
        ("0", "plate", "rust"): True,
        ("1", "plate", "dent"): False,
        ("0", "wheel", "rust"): False,
    }
    assert "images/1/plate/dent.png" in (tmp_path / "review.csv").read_text()


def test_choices_survive_a_reload_and_are_this_page_s_own(visit, pages):
    page = visit()
    press(page, "j", "a", "j", "r")
    made = {"all": 6, "open": 4, "keep": 1, "reject": 1}
    assert counts(page) == made  # and the keys have been handled before the page is loaded anew
    page.reload()
    assert counts(page) == made
    assert page.locator("#edit-1").get_attribute("data-decided") == "keep"
    page.goto(pages["sweep"].as_uri())
    assert counts(page)["open"] == 12


def test_choices_can_be_loaded(visit, tmp_path):
    page = visit()
    press(page, "j", "a", "j", "r")
    expected = saved(page, tmp_path / "review.csv")
    other = visit()
    press(other, "j", "r")
    (tmp_path / "more.csv").write_text((tmp_path / "review.csv").read_text() + "elsewhere,rust,,keep,x\n")
    other.set_input_files("#file", tmp_path / "more.csv")
    playwright.expect(other.locator(".told")).to_have_text("Loaded 2 of 3 choices; the others are not of this page.")
    assert saved(other, tmp_path / "again.csv") == expected
    (tmp_path / "bad.csv").write_text("image,defect\nplate 0,rust\n")
    other.set_input_files("#file", tmp_path / "bad.csv")
    playwright.expect(other.locator(".told")).to_have_text("bad.csv was not loaded: the column job is missing.")
    assert counts(other)["keep"] == 1


def test_where_storage_is_blocked_the_page_says_so_and_works(visit, tmp_path):
    page = visit()
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('blocked'); } })")
    page.reload()
    press(page, "j", "a")
    assert "save them before you leave" in page.locator(".told").inner_text()
    assert len(saved(page, tmp_path / "review.csv")) == 1


def test_filters_by_decision_and_by_other_parts_of_the_page(visit):
    page = visit()
    shown = lambda: page.locator(".edit:visible").evaluate_all("cards => cards.map(card => card.id)")  # noqa: E731
    press(page, "j", "a", "j", "r")
    page.click("[data-show=keep]")
    assert shown() == ["edit-1"]
    assert page.locator(".photo:visible").count() == 1
    page.click("[data-show=open]")
    assert shown() == ["edit-4", "edit-5", "edit-7", "edit-8"]
    press(page, "j", "a")  # leaves, and the next one has the focus
    assert shown() == ["edit-5", "edit-7", "edit-8"]
    playwright.expect(page.locator("#edit-5")).to_be_focused()
    press(page, "Enter", "r")
    assert page.locator("#viewer-title").inner_text() == "plate 2: rust"
    press(page, "Escape")
    page.click("[data-show=all]")
    tell = "([name, detail]) => { document.dispatchEvent(new CustomEvent(name, { detail })); }"
    page.evaluate(tell, ["rli:filter", {"ids": [2, 7]}])
    assert shown() == ["edit-2", "edit-7"]
    page.evaluate(tell, ["rli:filter", {"ids": None}])
    assert len(shown()) == 6
    page.evaluate(tell, ["rli:open", {"id": "edit-5"}])
    assert page.locator("#viewer-title").inner_text() == "plate 1: dent"
    press(page, "Escape")
    page.evaluate(tell, ["rli:open", {"id": "edit-3"}])  # a reconstruction's row
    assert page.locator("#viewer-title").inner_text() == "plate 1"
    press(page, "Escape")
    page.evaluate(tell, ["rli:open", {"id": "edit-99"}])
    assert "This result is not on this page" in page.locator(".told").inner_text()


def test_five_hundred_edits_open_and_are_reviewed(visit, tmp_path):
    page = visit("many")
    assert page.locator(".edit").count() == 500
    for _ in range(12):
        press(page, "j", "a")
    page.evaluate("document.getElementById('edit-599').focus()")
    press(page, "r")
    assert counts(page) == {"all": 500, "open": 487, "keep": 12, "reject": 1}
    last = page.locator("#edit-599 img").first
    assert last.evaluate("image => image.decode().then(() => image.naturalWidth)") == SIDE
    reviewed = saved(page, tmp_path / "review.csv")
    assert len(reviewed) == 13
    assert reviewed["", "photo 99", "scratch"] is False
    page.select_option("#jump", label="photo 50")
    assert page.locator("#photo-50").evaluate("section => section.getBoundingClientRect().top") < 200


def test_names_show_as_text_and_come_back_exactly(visit, tmp_path):
    page = visit("evil")
    assert page.title() == "Plates"
    assert page.locator("#edit-1 .defect").evaluate("node => node.textContent") == NAME
    assert page.locator(".photo .name").evaluate("node => node.textContent") == NAME
    assert page.locator("#failures td").evaluate("node => node.textContent") == NAME
    press(page, "j", "a", "Enter")
    assert page.locator("#viewer-title").evaluate("node => node.textContent") == f"{NAME}: {NAME}"
    press(page, "Escape")
    assert saved(page, tmp_path / "review.csv") == {("", NAME, NAME): True}


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", ["run", "sweep", "evil"])
def test_no_width_or_scheme_breaks_the_page(visit, name, width):
    page = visit(name, viewport={"width": width, "height": 800})
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).reduce((a, b) => a + +b, 0)"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert (page.evaluate(background) > 600) == (scheme == "light")
    press(page, "j", "Enter")
    assert page.locator("#viewer").evaluate("dialog => dialog.scrollWidth") <= width
    for control in page.locator("#viewer button:visible, #viewer select:visible").all():
        box = control.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_it_prints_with_every_picture(visit, name, tmp_path):
    page = visit(name)
    page.locator(".photo summary").first.click()  # folded away
    press(page, "j", "r")
    page.emulate_media(media="print")
    assert page.locator("#review").is_hidden()
    assert page.locator(".edit .decide:visible").count() == 0
    pictures = page.locator("main img")
    assert pictures.evaluate_all("images => images.filter(image => !image.checkVisibility()).length") == 0
    pictures.evaluate_all("images => Promise.all(images.map(image => image.decode()))")
    assert page.locator(".verdict:visible").all_inner_texts() == ["rejected"]
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_it_reads_without_scripts(visit):
    page = visit("sweep", java_script_enabled=False)
    assert page.locator(".edit").count() == 12
    assert page.locator(".edit img").first.is_visible()
    assert page.locator("#review, .decide").locator("visible=true").count() == 0


def test_the_keys_are_told(visit):
    page = visit()
    press(page, "?")
    assert page.locator("#keys").is_visible()
    press(page, "Escape", "j", "Enter", "?")
    assert page.locator("#keys").is_visible()
    press(page, "Escape")
    assert page.locator("#keys").is_hidden() and page.locator("#viewer").is_visible()
