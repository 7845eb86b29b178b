"""Tables and plots of a sweep: their numbers against brute force, their specifications, and what the page is given."""

import io
import itertools
import json
import math
import shlex

import numpy as np
import pandas as pd
import pytest
from builders import EVIL
from PIL import Image
from sweeps import KNOBS, best, sweep_frame

from rli.errors import RLIError
from rli.metrics.columns import BY_NAME, ORIGINAL
from rli.reports import analysis, charts, explore
from rli.reports.analysis import pareto, settings_table
from rli.reports.charts import tradeoff
from rli.reports.explore import explore_context, override

CAP = BY_NAME["psnr_background"].cap


@pytest.fixture(scope="module")
def frame():
    return sweep_frame()


@pytest.mark.parametrize("statistic", ["median", "mean"])
def test_a_setting_is_summed_up_by_its_edits(frame, statistic):
    table = settings_table(frame, list(KNOBS), statistic)
    assert [tuple(line) for line in table[list(KNOBS)].itertuples(index=False)] == list(
        itertools.product([1, 2, 4], [0.6, 1], ["null_text", "direct"])
    )
    for line in table.to_dict("records"):
        own = frame[frame["defect"] != ORIGINAL]
        for knob in KNOBS:
            own = own[own[knob] == line[knob]]
        assert (line["edits"], line["photographs"]) == (6, 3)
        for metric in ("psnr_background", "strength", "seconds_edit"):
            values = [min(v, CAP) for v in own[metric] if not math.isnan(v)]
            assert line[metric] == pytest.approx(getattr(np, statistic)(values))
        assert math.isnan(line["named"])


def test_no_knob_is_one_setting_and_no_row_is_none(frame):
    assert settings_table(frame, [])["edits"].tolist() == [72]
    assert settings_table(frame.iloc[:0], list(KNOBS)).empty


def test_values_of_any_kind_are_settings():
    values = [None, 10, 2.0, np.int64(2), float("nan"), True, "up", [1, 2]]
    frame = sweep_frame({"knob": [0]}, photos=len(values), defects=("rust",))
    frame["knob"] = [v for v in values for _ in range(2)]
    table = settings_table(frame, ["knob"])
    # 2.0 and 2 are the same setting; so are None and NaN, which pandas makes of it.
    assert table["knob"].tolist() == [None, 10, 2, True, "up", [1, 2]]
    assert table["edits"].tolist() == [2, 1, 2, 1, 1, 1]
    frame["knob"] = [v for v in [4, None, 1.5, 10] * 2 for _ in range(2)]
    assert analysis.dimension(frame, "knob").labels == ("null", "1.5", "4", "10")


def test_the_best_settings_meet_the_constraints_and_come_in_order(frame):
    table = settings_table(frame, list(KNOBS))
    found = best(table, {"psnr_background": ("min", 34.0), "strength": ("max", 25.0)}, count=3)
    good = [r for r in table.to_dict("records") if r["psnr_background"] >= 34 and r["strength"] <= 25]
    assert len(good) > 3
    assert found["strength"].tolist() == sorted((r["strength"] for r in good), reverse=True)[:3]
    assert best(table, {"psnr_background": ("min", 98.0)}).empty
    # The limits belong to what is allowed.
    limit = table["psnr_background"].max()
    assert len(best(table, {"psnr_background": ("min", limit)})) == 1


def test_ties_keep_the_tables_order_and_what_was_not_measured_is_last():
    table = pd.DataFrame({"k": list("abcd"), "strength": [1.0, np.nan, 2.0, 2.0], "psnr_background": [9, 9, 9, np.nan]})
    assert best(table, {})["k"].tolist() == ["c", "d", "a", "b"]
    assert best(table, {"psnr_background": ("min", 0)})["k"].tolist() == ["c", "a", "b"]
    less = table.assign(lpips=[0.3, 0.1, np.nan, 0.2])
    assert best(less, {}, maximize="lpips")["k"].tolist() == ["b", "d", "a", "c"]


def test_what_is_unknown_is_told(frame):
    for call in (
        lambda: settings_table(frame, ["edit.no"]),
        lambda: settings_table(frame, [], "mode"),
        lambda: tradeoff(frame, list(KNOBS), x="sharpness"),
    ):
        with pytest.raises(RLIError):
            call()


@pytest.mark.parametrize("higher", list(itertools.product([True, False], repeat=2)))
def test_the_front_is_what_nothing_beats(higher):
    random = np.random.default_rng(1)
    for _ in range(40):
        # Few values, so that there are ties and equal points; the rest is continuous.
        x, y = random.integers(0, 5, (2, 30)).astype(float) if random.random() < 0.5 else random.normal(size=(2, 30))
        x[random.random(30) < 0.1] = np.nan
        a, b = (v if more else -v for v, more in zip((x, y), higher, strict=True))
        beaten = [
            any(a[j] >= a[i] and b[j] >= b[i] and (a[j] > a[i] or b[j] > b[i]) for j in range(30)) for i in range(30)
        ]
        expected = [not lost and not math.isnan(v) for lost, v in zip(beaten, a + b, strict=True)]
        assert pareto(x, y, higher).tolist() == expected


def marks(chart, name):
    layer = next(layer for layer in chart["layer"] if layer["name"] == name)
    data = layer.get("data") or chart["data"]
    return data["values"] if "values" in data else chart["datasets"][data["name"]]


def test_the_trade_off_shows_edits_or_where_they_are_many_settings(frame, monkeypatch):
    chart = tradeoff(frame, list(KNOBS)).to_dict()  # Altair validates what it gives out
    points, front = marks(chart, "points"), marks(chart, "front")
    assert len(points) == 71  # one of 72 edits has no strength
    assert max(p["y"] for p in points) == CAP
    assert [(p["x"], p["y"]) for p in front] == sorted((p["x"], p["y"]) for p in front)
    assert not any(q["x"] > p["x"] and q["y"] > p["y"] for p in front for q in points)
    monkeypatch.setattr(charts, "MANY_POINTS", 50)
    table = settings_table(frame, list(KNOBS))
    points = marks(tradeoff(frame, list(KNOBS)).to_dict(), "points")
    assert sorted(p["x"] for p in points) == pytest.approx(sorted(table["strength"]))


def test_pictures_are_made_without_a_network(frame):
    image = Image.open(io.BytesIO(charts.tradeoff_png(frame, list(KNOBS)))).convert("RGB")
    assert min(image.size) > 200
    assert len(set(image.resize((64, 64)).getdata())) > 10
    assert Image.open(io.BytesIO(charts.tradeoff_png(frame, [], scale=1))).width > 500


@pytest.mark.parametrize(
    "value",
    [
        *(2, 2.5, 1e-5, -3, True, None, [1, 2], ["a b", None]),
        *("up", "null", "True", "12", "1e5", "", "photo of a crack", "ä-ö", "$HOME `x`", "a=b,c", "{x: 1}"),
        *("a'b", 'say "so"', "a\\", "tail\\\\", 'back\\"slash'),
    ],
)
def test_overrides_are_read_back_as_they_were(value):
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser").OverridesParser.create()
    words = shlex.split(override("edit.eq", value))
    assert len(words) == 1
    (read,) = parser.parse_overrides(words)
    assert (read.key_or_group, read.value()) == ("edit.eq", value)


def test_whole_numbers_are_typed_without_a_point():
    assert override("edit.eq", 2.0) == "edit.eq=2"
    assert override("edit.cross", np.float64(0.6)) == "edit.cross=0.6"


@pytest.fixture
def context(monkeypatch):
    """explore_context and its data read back, without Vega, which takes a second to bundle."""
    monkeypatch.setattr(explore.vl_convert, "javascript_bundle", lambda: "")

    def call(*arguments):
        told = explore_context(*arguments)
        return told, json.loads(told["data_json"])

    return call


def test_the_page_is_given_every_row(frame, context):
    told, data = context(frame, list(KNOBS))
    assert data["ids"] == list(frame.index) and told["total"] == len(frame) == len(told["lines"])
    assert data["edit"] == (frame["defect"] != ORIGINAL).tolist()
    assert data["columns"]["psnr_background"][:3] == [None, CAP, float(f"{frame.loc[2, 'psnr_background']:.8g}")]
    assert data["columns"]["strength"][2] is None
    assert told["capped"] and data["floor"] == 32.0
    for k, kind in enumerate(data["dimensions"]):
        assert kind["id"] == f"d{k}"
        shown = [kind["labels"][code] for code in data["columns"][kind["id"]]]
        assert shown == [str(v) if not isinstance(v, float) else f"{v:g}" for v in frame[kind["name"]]]
    # What was not measured is not offered.
    assert "named" not in [m["name"] for m in data["metrics"]]
    assert {m["name"]: m["higher"] for m in data["metrics"]}["seconds_edit"] is False


def test_names_are_no_markup(frame, context):
    told, data = context(frame.rename(columns={"edit.eq": EVIL}), [EVIL, "edit.cross"])
    assert "<" not in told["data_json"]
    assert [d["name"] for d in data["dimensions"] if d["knob"]] == [EVIL, "edit.cross"]
    assert EVIL in data["dimensions"][1]["labels"]


def test_sections_need_something_to_compare(frame, context):
    assert context(frame, list(KNOBS))[0]["sections"] == {"tradeoff": True, "heatmap": True, "best": True}
    # A knob and the defects still make a map; a knob that was never turned makes nothing.
    one = sweep_frame({"edit.eq": [1.0, 2.0]})
    assert context(one, ["edit.eq"])[0]["sections"] == {"tradeoff": True, "heatmap": True, "best": True}
    alone = sweep_frame({"edit.eq": [1.0, 2.0]}, photos=1, defects=("rust",))
    assert not context(alone, ["edit.eq"])[0]["sections"]["heatmap"]
    still = sweep_frame({"edit.eq": [1.0]})
    assert context(still, ["edit.eq"])[0]["sections"] == {"tradeoff": True, "heatmap": False, "best": False}
    nothing = frame[frame["defect"] == ORIGINAL]
    assert not any(context(nothing, list(KNOBS))[0]["sections"].values())


def test_a_long_table_starts_with_its_first_rows(frame, context, monkeypatch):
    monkeypatch.setattr(explore, "MANY_ROWS", 10)
    told, data = context(frame, list(KNOBS))
    assert len(told["lines"]) == 10 and told["total"] == len(data["ids"]) == len(frame)


def test_the_scripts_fit_into_a_page(frame):
    for text in explore_context(frame, list(KNOBS))["libraries"]:
        assert "</script" not in text.lower() and "<!--" not in text and "\r" not in text and "\0" not in text
