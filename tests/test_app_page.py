"""The page of `rli app` in a real browser; skipped where Gradio or a browser is not installed."""

import shutil
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import command
import pytest
from builders import EVIL, write_surface

from rli.app.serve import HOST, served
from rli.app.workbench import Workbench
from rli.cli.browser import composed
from rli.images import image_size, is_marked

pytest.importorskip("gradio", reason="the extra app is not installed")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]
# Milliseconds that an edit on the miniature may take on a busy machine.
PATIENCE = 120_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def address(folder):
    given = [*command.QUICK, *command.SMALL, f"runtime.cache={folder / 'cache'}", f"out={folder / 'run'}"]
    with pytest.MonkeyPatch.context() as patch:
        # What an environment says must not open the page to others.
        for name, value in {"ALLOWED_PATHS": "/", "SHARE": "True", "SERVER_NAME": "0.0.0.0"}.items():
            patch.setenv(f"GRADIO_{name}", value)
        patch.setenv("GRADIO_TEMP_DIR", str(folder / "unused"))
        with served(Workbench.open(given, composed, folder / "photographs")) as address:
            yield address


@pytest.fixture(scope="module")
def browser():
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    playwright.expect.set_options(timeout=30_000)
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=CHROMIUM, args=quiet)
        yield opened
        opened.close()


@contextmanager
def visited(browser, address):
    """The page; afterwards nothing was asked of any other machine, and no script failed."""
    hosts, failures = set(), []
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page = context.new_page()
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(address)
    yield page
    context.close()
    assert hosts - {None} == {HOST}
    assert failures == []


def drop(page, file: Path) -> None:
    page.set_input_files("#photograph input[type=file]", str(file))


def test_a_photograph_is_dropped_brushed_edited_and_saved(browser, address, folder, tmp_path):
    photo = write_surface(tmp_path / "plate.png", size=(96, 160))
    with visited(browser, address) as page:
        with page.expect_response(lambda answer: "/file=" in answer.url and answer.request.resource_type != "document"):
            drop(page, photo)
        playwright.expect(page.locator("#region")).to_contain_text("%")
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        box = page.locator("#region canvas").first.bounding_box()
        across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(across - 30, down)
        page.mouse.down()
        page.mouse.move(across + 30, down, steps=5)
        page.mouse.up()
        page.click("#make")
        for place in ("#before", "#after"):
            page.locator(f"{place} img").wait_for(timeout=PATIENCE)
            sides = page.locator(f"{place} img").evaluate(
                "async i => (await i.decode(), [i.naturalHeight, i.naturalWidth])"
            )
            assert sides == [96, 160]
        playwright.expect(page.locator("#figures")).to_contain_text("PSNR to photograph")
        page.click("#tell")
        playwright.expect(page.locator("#command")).to_contain_text("defect.name=corrosion")
        playwright.expect(page.locator("#command")).to_contain_text("data.mask_path=")
        page.click("#save")
        playwright.expect(page.locator("#saved")).to_contain_text(str(folder / "run" / "report.html"), timeout=PATIENCE)
    assert (folder / "run" / "report.html").is_file()
    (region,) = folder.glob("photographs/*/regions/*.png")
    assert is_marked(region)
    assert image_size(folder / "run" / "images" / "plate" / "corrosion.png") == (160, 96)


def test_what_is_wrong_is_said_as_text(browser, address, tmp_path):
    file = tmp_path / "broken.png"
    file.write_text("no picture")
    with visited(browser, address) as page:
        page.click("#make")
        playwright.expect(page.get_by_text("drop a photograph first")).to_be_visible()
        drop(page, file)
        playwright.expect(page.get_by_text("broken.png").last).to_be_visible()
        evil = f"photo of a {EVIL}"
        for place in ("#source", "#target"):
            page.locator(f"{place} textarea").fill(evil)
        playwright.expect(page.locator("#target")).to_contain_text(
            f"the target prompt “{evil}” equals the source prompt"
        )
        assert page.locator("#target script").count() == 0


def status_of(address: str, path: object) -> int:
    try:
        with urllib.request.urlopen(f"{address}gradio_api/file={path}") as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_no_file_is_served_that_the_page_did_not_make(address, folder, tmp_path):
    assert urlsplit(address).hostname == HOST
    write_surface(tmp_path / "plate.png")
    for path in (tmp_path / "plate.png", command.ROOT / "pyproject.toml", "pyproject.toml", "/etc/passwd", folder):
        assert status_of(address, path) in (403, 404)
    with urllib.request.urlopen(f"{address}gradio_api/info") as answer:
        assert answer.read() == b'{"named_endpoints":{},"unnamed_endpoints":{}}'
