"""The page's "explore" section in a real browser, under a policy that runs hashed scripts alone."""

import base64
import hashlib
import itertools
import os
import shutil
from pathlib import Path

import pytest
from builders import EVIL
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sweeps import KNOBS, best, sweep_frame

from rli.metrics.columns import BY_NAME, ORIGINAL
from rli.reports.analysis import measured, settings_table
from rli.reports.explore import explore_context
from rli.reports.format import number
from rli.reports.page import TEMPLATES

pytestmark = pytest.mark.integration

playwright = pytest.importorskip("playwright.sync_api")

PAGE = """\
<!doctype html>
<html lang="en" class="scripts">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>{% include "report.css" %}{% include "explore.css" %}</style>
</head>
<body>
<main>{% include "explore.html.j2" %}</main>
{% for id in cards %}<article id="edit-{{ id }}"></article>{% endfor %}
{% for script in scripts %}<script>{{ script | safe }}</script>{% endfor %}
</body>
</html>
"""
HEARD = """\
window.heard = [];
for (const name of ["rli:open", "rli:filter"]) document.addEventListener(name, (e) => heard.push([name, e.detail]));
"""


def written(path, frame, knobs=tuple(KNOBS)):
    """A page with nothing but the section and, for every edit but the last, an element with its id."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    explore = explore_context(frame, knobs)
    scripts = [*explore["libraries"], (TEMPLATES / "explore.js").read_text()]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    html = environment.from_string(PAGE).render(
        explore=explore,
        cards=[int(k) for k in edits_of(frame).index[:-1]],
        scripts=scripts,
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}",
    )
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


def edits_of(frame):
    return frame[frame["defect"] != ORIGINAL]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        if found is None and not Path(started.chromium.executable_path).is_file():
            pytest.skip("there is no Chromium")
        quiet = ["--disable-gpu", "--disable-background-networking"]
        alone = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = started.chromium.launch(executable_path=found, args=quiet + alone)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def frame():
    return sweep_frame()


@pytest.fixture(scope="module")
def address(frame, tmp_path_factory):
    return written(tmp_path_factory.mktemp("explore") / "page.html", frame)


@pytest.fixture
def open_page(browser, address):
    """Opens a page, and afterwards asserts that it complained of nothing and asked for nothing but itself."""
    contexts, complaints, asked = [], [], []

    def call(url=address, **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.add_init_script(HEARD)
        page.goto(url)
        if options.get("java_script_enabled", True):
            page.locator("#explore-points-plot svg").wait_for()
        return page

    yield call
    for context in contexts:
        context.close()
    assert complaints == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert len([url for url in asked if url.startswith("file:")]) == len(contexts)


def shown(metric, value):
    return number(value, BY_NAME[metric].digits, missing="")


def heard(page, name):
    return [detail for one, detail in page.evaluate("heard") if one == name]


def column(page, name):
    """The shown texts of a column, by its heading."""
    headings = page.locator("#explore-table thead tr:first-child th button").all_text_contents()
    place = next(k for k, text in enumerate(headings) if text.startswith(name))
    return page.locator(f"#explore-table tbody tr > :nth-child({place + 1})").all_text_contents()


def shown_ids(page):
    return page.locator("#explore-table tbody tr").evaluate_all("rows => rows.map((row) => Number(row.dataset.row))")


def test_names_show_as_text(open_page, frame):
    page = open_page()
    assert EVIL in column(page, "Defect")
    page.select_option("#explore-colour", label="defect")
    playwright.expect(page.locator("#explore-points-plot .role-legend-label")).to_contain_text(["rust", EVIL])
    # The reconstructions are no points, and their name is in no legend.
    assert ORIGINAL not in page.locator("#explore-points-plot").text_content()
    page.select_option("#explore-up", label="defect")
    playwright.expect(page.locator("#explore-cells-plot")).to_contain_text(EVIL)
    page.locator("#explore-points-plot .points_marks path").first.hover(force=True)
    assert page.locator("script").count() == 3  # the data, Vega, and the section's own


def test_headings_sort_by_mouse_and_keyboard(open_page, frame):
    page = open_page()
    values = measured(frame)["psnr_background"].dropna()
    head = page.locator("th[data-column=psnr_background]")
    assert head.get_attribute("aria-sort") is None
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    texts = [f"{v:.2f}" for v in sorted(values)]
    assert column(page, "Background PSNR") == texts + [""] * (len(frame) - len(texts))
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    # What was not measured is last all the same.
    assert column(page, "Background PSNR") == texts[::-1] + [""] * (len(frame) - len(texts))
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") is None
    assert shown_ids(page) == list(frame.index)
    page.locator("th button", has_text="edit.cross").click()
    assert column(page, "edit.cross") == ["0.6"] * 54 + ["1"] * 54
    assert heard(page, "rli:filter") == []


def test_columns_filter(open_page, frame):
    page = open_page()
    headings = ["image", "defect", "job", *KNOBS]
    figures = measured(frame)
    for name, text, keeps in (
        ("psnr_background", "≥ 36", figures["psnr_background"] >= 36),
        ("psnr_background", "<30.5", figures["psnr_background"] < 30.5),
        ("psnr_background", "= 99", figures["psnr_background"] == 99),
        ("edit.cross", "0.6", frame["edit.cross"] == 0.6),
        ("edit.eq", ">=2", frame["edit.eq"] >= 2),
        ("inversion.method", "NULL", frame["inversion.method"] == "null_text"),
        ("inversion.method", "= null", frame["inversion.method"] == "null"),
        ("defect", "<script>", frame["defect"] == EVIL),
    ):
        column_id = f"d{headings.index(name)}" if name in headings else name
        page.fill(f".filters input[data-column={column_id}]", text)
        left = frame.index[keeps].tolist()
        assert shown_ids(page) == left
        assert page.locator("#explore-rows-told").text_content() == f"{len(left)} of {len(frame)} rows left"
        assert heard(page, "rli:filter")[-1] == {"ids": left}
        page.click("#explore-clear")
        assert shown_ids(page) == list(frame.index)
        assert heard(page, "rli:filter")[-1] == {"ids": None}


def test_an_unfinished_filter_filters_nothing(open_page, frame):
    page = open_page()
    field = page.locator(".filters input[data-column=psnr_background]")
    field.fill("≥")
    assert field.get_attribute("aria-invalid") == "true"
    assert len(shown_ids(page)) == len(frame)
    field.fill("≥ 36")
    assert field.get_attribute("aria-invalid") == "false"


def test_the_search_wants_every_word(open_page, frame):
    page = open_page()
    page.fill("#explore-search", "rust PART-1")
    assert shown_ids(page) == frame.index[(frame["defect"] == "rust") & (frame["image"] == "part-1")].tolist()


def typed(table):
    """The overrides that name a table's settings."""
    return [" ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in line.items()) for line in table]


def listed(page):
    return page.locator("#explore-best-list code").all_text_contents()


def test_the_best_settings_are_those_of_python(open_page, frame):
    page = open_page()
    goals, floors = ("strength", "seconds_edit", "psnr_background"), itertools.cycle((30, 33, 35.5, 33))
    for statistic, defect, goal in itertools.product(("median", "mean"), ("all defects", "rust"), goals):
        page.select_option("#explore-statistic", statistic)
        page.select_option("#explore-defect", label=defect)
        page.select_option("#explore-goal", goal)
        own = frame if defect == "all defects" else frame[frame["defect"] == defect]
        table = settings_table(own, list(KNOBS), statistic)
        floor = next(floors)  # with three goals in turn, each goal meets each floor
        page.fill("#explore-condition-list input", str(floor))
        constraints = {"psnr_background": ("min", floor)}
        expected = best(table, constraints, goal)
        assert len(expected) > 0
        assert listed(page) == typed(expected[list(KNOBS)].to_dict("records"))
        count = len(best(table, constraints, goal, count=99))
        assert page.locator("#explore-best-told").text_content().startswith(f"{count} of 12 settings")


def test_conditions_are_added_and_removed(open_page, frame):
    page = open_page()
    table = settings_table(frame, list(KNOBS))
    page.click("#explore-add")
    second = page.locator("#explore-condition-list li").nth(1)
    assert second.locator("select").first.evaluate("element => element === document.activeElement")
    before = listed(page)
    second.locator("select").nth(1).select_option("max")
    assert listed(page) == before  # no value, no condition
    second.locator("input").fill("20")
    both = {"psnr_background": ("min", 32), "strength": ("max", 20)}
    assert listed(page) == typed(best(table, both)[list(KNOBS)].to_dict("records"))
    page.locator("#explore-condition-list button").first.click()
    assert listed(page) == typed(best(table, {"strength": ("max", 20)})[list(KNOBS)].to_dict("records"))


def test_where_none_qualifies_the_nearest_is_told(open_page, frame):
    page = open_page()
    table = settings_table(frame, list(KNOBS))
    page.fill("#explore-condition-list input", "60")
    nearest = table.loc[table["psnr_background"].idxmax()]
    assert listed(page) == typed([nearest[list(KNOBS)].to_dict()])
    told = page.locator("#explore-best-told").text_content()
    assert told.startswith("None of 12 settings qualifies")
    assert f"Background PSNR {60 - nearest['psnr_background']:.2f} dB too low" in told


def test_a_settings_edits_are_shown_and_its_overrides_copied(open_page, frame):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    first = page.locator("#explore-best-list li").first
    first.get_by_text("Copy").click()
    playwright.expect(first.get_by_text("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == listed(page)[0]
    first.get_by_text("Show edits").click()
    setting = best(settings_table(frame, list(KNOBS)), {"psnr_background": ("min", 32)}).iloc[0]
    own = frame[(frame[list(KNOBS)] == setting[list(KNOBS)]).all(axis=1)]
    assert shown_ids(page) == own.index.tolist()
    assert heard(page, "rli:filter") == [{"ids": own.index.tolist()}]


def cell_texts(page):
    return page.locator("#explore-cells-plot .figures_marks text").all_text_contents()


def test_the_heat_map_follows_its_choices(open_page, frame):
    page = open_page()
    for metric, across, up, count in (
        ("psnr_background", "edit.eq", "edit.cross", 6),
        ("strength", "edit.eq", "edit.cross", 6),
        ("strength", "edit.eq", "inversion.method", 6),
        ("strength", "edit.eq", "image", 9),
        ("strength", "edit.cross", "image", 6),
    ):
        page.select_option("#explore-metric", metric)
        page.select_option("#explore-across", label=across)
        page.select_option("#explore-up", label=up)
        expected = sorted(shown(metric, v) for v in settings_table(frame, [across, up])[metric])
        assert len(expected) == count
        playwright.expect(page.locator("#explore-cells-plot .cells_marks path")).to_have_count(count)
        playwright.expect(page.locator("#explore-cells-plot .figures_marks")).to_contain_text(expected[-1])
        assert sorted(cell_texts(page)) == expected
    # The axes stay different: choosing the other's column swaps them.
    page.select_option("#explore-across", label="image")
    assert page.locator("#explore-up option:checked").text_content() == "edit.cross"


def test_a_click_on_a_point_opens_its_edit(open_page, frame):
    page = open_page()
    strongest = int(frame["strength"].idxmax())
    points = page.locator("#explore-points-plot .points_marks path")
    playwright.expect(points).to_have_count(71)
    box = max((point.bounding_box() for point in points.all()), key=lambda box: box["x"] + box["width"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator(".explore-tip:visible")
    assert frame.loc[strongest, "image"] in tip.text_content() and "edit.eq" in tip.text_content()
    page.mouse.down()
    page.mouse.up()
    assert heard(page, "rli:open") == [{"id": f"edit-{strongest}"}]


def test_a_settings_point_opens_the_edit_nearest_to_it(open_page, frame):
    page = open_page()
    page.select_option("#explore-points", "setting")
    playwright.expect(page.locator("#explore-points-plot .points_marks path")).to_have_count(12)
    page.focus("#explore-points-plot")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    table = settings_table(frame, list(KNOBS))
    setting = table.loc[table["strength"].idxmax()]
    own = edits_of(frame)[(edits_of(frame)[list(KNOBS)] == setting[list(KNOBS)]).all(axis=1)]
    ways = [abs(own[name] - setting[name]) / (table[name].max() - table[name].min()) for name in ("strength",)]
    ways.append(
        abs(measured(own)["psnr_background"] - setting["psnr_background"])
        / table["psnr_background"].agg(lambda c: c.max() - c.min())
    )
    assert heard(page, "rli:open") == [{"id": f"edit-{sum(ways).idxmin()}"}]


def test_the_keyboard_goes_through_the_points(open_page, frame):
    page = open_page()
    order = edits_of(frame)["strength"].dropna().sort_values().index
    page.focus("#explore-points-plot")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert (
        f"Strength {shown('strength', frame.loc[order[1], 'strength'])} grey levels"
        in page.locator("#explore-points-told").text_content()
    )
    playwright.expect(page.locator("#explore-points-plot .cursor_marks path")).to_have_count(1)
    page.keyboard.press("Enter")
    assert heard(page, "rli:open") == [{"id": f"edit-{order[1]}"}]


def test_rows_open_their_picture_where_there_is_one(open_page, frame):
    page = open_page()
    first, last = (int(edits_of(frame).index[k]) for k in (0, -1))
    page.focus(f"tr[data-row='{first}'] a")
    page.keyboard.press("Enter")
    page.locator(f"tr[data-row='{first + 1}'] td").nth(1).click()
    assert heard(page, "rli:open") == [{"id": f"edit-{first}"}, {"id": f"edit-{first + 1}"}]
    for row in (0, last):  # a reconstruction, and the edit that has no card
        assert page.locator(f"tr[data-row='{row}'] a").count() == 0
        page.locator(f"tr[data-row='{row}'] td").nth(1).click()
    assert len(heard(page, "rli:open")) == 2


def test_more_rows_are_shown_on_demand(open_page, tmp_path, monkeypatch):
    monkeypatch.setattr("rli.reports.explore.MANY_ROWS", 50)
    frame = sweep_frame(photos=10)  # 360 rows, of which the page has 50
    page = open_page(written(tmp_path / "many.html", frame))
    assert shown_ids(page) == list(range(200))
    page.click("#explore-more")
    assert shown_ids(page) == list(range(360))
    assert not page.locator("#explore-more").is_visible()
    # Rows that the script made read like those of the page.
    assert column(page, "Strength") == [shown("strength", v) for v in frame["strength"]]
    page.fill(".filters input[data-column=d1]", "= original")
    assert shown_ids(page) == frame.index[frame["defect"] == ORIGINAL].tolist()


def test_plots_follow_width_and_colours(open_page):
    page = open_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    cell = page.locator("#explore-cells-plot .cells_marks path").first
    light, wide = cell.get_attribute("fill"), page.locator("#explore-points-plot svg").bounding_box()["width"]
    page.emulate_media(color_scheme="dark")
    playwright.expect(cell).not_to_have_attribute("fill", light)
    page.set_viewport_size({"width": 390, "height": 844})
    playwright.expect(page.locator("#explore-points-plot svg[width='1200']")).to_have_count(0)
    assert page.locator("#explore-points-plot svg").bounding_box()["width"] < min(wide, 390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_one_knob_and_one_defect_need_no_map(open_page, tmp_path):
    frame = sweep_frame({"edit.eq": [1.0, 2.0, 4.0]}, photos=1, defects=("rust",))
    page = open_page(written(tmp_path / "one.html", frame, ("edit.eq",)))
    assert page.locator("#explore-heatmap").count() == 0
    assert page.locator("#explore-defect").count() == 0
    page.fill("#explore-condition-list input", "0")
    assert len(listed(page)) == 3


def test_without_scripts_the_table_is_there(open_page, frame):
    page = open_page(java_script_enabled=False)
    assert page.locator("#explore-table tbody tr").count() == len(frame)
    assert page.locator("#explore-table tbody a").first.get_attribute("href") == "#edit-1"
