"""The data of the page's "explore" section: its rows, its settings, and the plots' specifications."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from jinja2.utils import htmlsafe_json_dumps

from rli.metrics.columns import BY_NAME, COLUMNS, ORIGINAL, Column
from rli.reports.analysis import (
    Dimension,
    dimension,
    edits_of,
    label_of,
    measured,
    metrics_of,
    plain,
    rounded,
    shown,
)
from rli.reports.charts import (
    MANY_POINTS,
    PAGE,
    SHAPES,
    colour_encoding,
    shape_encoding,
    styled,
    tradeoff_layers,
)

MANY_VALUES = 24  # of a knob, beyond which it is no axis of a heat map
MANY_CELLS = 120  # beyond which a heat map prints no numbers
STRONG = 0.72  # share of a heat map's range above which a cell is dark enough for light numbers
MANY_ROWS = 2000  # beyond which the page's table holds the first ones until a script asks for more


def override(name: str, value: Any) -> str:
    """name=value as it is typed in a shell for Hydra, quoted where it has to be."""
    return shlex.quote(f"{name}={_hydra(plain(value))}")


def explore_context(
    frame: pd.DataFrame, knobs: Sequence[str], floor: float = 32.0, columns: Sequence[Column] = COLUMNS
) -> dict[str, Any]:
    """All that explore.html.j2 shows, under the name `explore`.

    Args:
        frame: of `rli.reports.sweep.frame`; its index names the rows, so that row 7's picture is the element `edit-7`.
        knobs: the settings that differ between a sweep's jobs.
        floor: dB that the page first asks of the background.
        columns: the frame's.

    Returns:
        Among others `libraries`, texts of the scripts that explore.js needs before it (Vega interprets its expressions,
        so a policy that allows nothing but their hashes is enough), and `data_json`, safe inside
        <script type="application/json">.
    """
    edits, values = edits_of(frame), measured(frame, columns)
    knobs = [knob for knob in knobs if len(dimension(edits, knob).values) > 1]
    metrics = [m for m in metrics_of(columns) if values.loc[edits.index, m.name].notna().any()]
    jobs = [name for name in ("job",) if name in frame]
    varied = [name for name in ("resolution", "model") if frame[name].nunique() > 1]
    kinds = {f"d{k}": dimension(frame, n) for k, n in enumerate(["image", "defect", *jobs, *varied, *knobs])}
    dimensions = [_dimension(id, kind, dimension(edits, kind.name), kind.name in knobs) for id, kind in kinds.items()]
    data = {
        "ids": [int(k) for k in frame.index],
        "edit": [bool(v) for v in frame["defect"] != ORIGINAL],
        "dimensions": dimensions,
        "metrics": [_metric(m) for m in metrics],
        "columns": {
            **{id: kind.codes.tolist() for id, kind in kinds.items()},
            **{m.name: [rounded(v) for v in values[m.name]] for m in metrics},
        },
        "specs": {"tradeoff": _page_tradeoff(), "heatmap": _page_heatmap()},
        "limits": {"points": MANY_POINTS, "cells": MANY_CELLS, "strong": STRONG},
        "floor": floor,
    }
    return {
        "data_json": htmlsafe_json_dumps(data, allow_nan=False),
        "libraries": [vl_convert.javascript_bundle()],
        "sections": {
            "tradeoff": len(metrics) > 1,
            "heatmap": bool(knobs and metrics) and sum(kind["axis"] for kind in dimensions) > 1,
            "best": bool(knobs and metrics),
        },
        "metrics": [_metric(m) for m in metrics],
        "defects": edits["defect"].nunique(),
        "columns": [
            *(_column(id, _heading(kind.name), "", True, False) for id, kind in kinds.items()),
            *(_column(m.name, m.label, m.unit, m.explorer == "first", True) for m in metrics),
        ],
        "lines": list(_lines(frame.iloc[:MANY_ROWS], list(kinds.values()), metrics, values)),
        "total": len(frame),
        "capped": any((values[m.name] >= m.cap).any() for m in metrics_of(columns) if m.cap),
        "cap": BY_NAME["psnr"].cap,
    }


def _metric(metric: Column) -> dict[str, Any]:
    """A metric for the page's script."""
    names = ("name", "label", "unit", "title", "digits", "higher")
    return {**{name: getattr(metric, name) for name in names}, "main": metric.explorer == "first"}


def _dimension(id: str, kind: Dimension, of_edits: Dimension, knob: bool) -> dict[str, Any]:
    """A dimension for the page's script. Plots show edits, so their scales have the edits' values only. `values` is
    there where they are numbers; `scale` says that a scale of numbers colours them."""
    count = len(of_edits.values)
    colours = of_edits.colours()
    return {
        "id": id,
        "name": kind.name,
        "knob": knob,
        "labels": kind.labels,
        "values": kind.values if kind.numeric else None,
        "overrides": [override(kind.name, v) for v in kind.values] if knob else None,
        "axis": kind.name != "job" and 1 < count <= MANY_VALUES,
        "colour": colour_encoding(of_edits).to_dict() if count > 1 and (colours or of_edits.numeric) else None,
        "scale": colours is None,
        "shape": shape_encoding(of_edits, PAGE).to_dict() if 1 < count <= len(SHAPES) else None,
    }


def _page_tradeoff() -> dict[str, Any]:
    """The specification that the page's script completes with data, titles and scales; cursor is what the keyboard has
    reached."""
    front, points, cursor = (alt.NamedData(name) for name in ("front", "points", "cursor"))
    ring = (
        alt.Chart(cursor, name="cursor")
        .mark_point(shape="circle", size=260, strokeWidth=2.5, filled=False, opacity=1, color=PAGE.ink)
        .encode(x="x:Q", y="y:Q")
    )
    return styled(tradeoff_layers(front, points, PAGE) + ring, PAGE).to_dict()


def _page_heatmap() -> dict[str, Any]:
    """The specification that the page's script completes with data and titles. The data of the cells are x, y, value,
    text (the value as it is read) and strong (whether the text is light)."""
    base = alt.Chart(alt.NamedData("cells")).encode(x=alt.X("x:O").axis(labelAngle=0, labelLimit=140), y="y:O")
    scale = alt.Scale(range=[PAGE.soft, PAGE.accent], zero=False)
    colour = alt.Color("value:Q", title="", scale=scale)
    rects = base.mark_rect(stroke=PAGE.card, strokeWidth=2).encode(color=colour).properties(name="cells")
    ink = alt.condition("datum.strong", alt.value(PAGE.card), alt.value(PAGE.ink))
    text = base.mark_text(fontSize=12).encode(text="text:N", color=ink).properties(name="figures")
    cursor = (
        alt.Chart(alt.NamedData("cursor"), name="cursor")
        .mark_rect(filled=False, stroke=PAGE.ink, strokeWidth=3)
        .encode(x="x:O", y="y:O")
    )
    return styled(alt.layer(rects, text) + cursor, PAGE).to_dict()


def _column(name: str, label: str, unit: str, main: bool, number: bool) -> dict[str, Any]:
    return {"id": name, "label": label, "unit": unit, "main": main, "number": number}


def _lines(
    frame: pd.DataFrame, kinds: Sequence[Dimension], metrics: Sequence[Column], values: pd.DataFrame
) -> Iterable[dict[str, Any]]:
    """The table's rows as they are read."""
    cells = values[[m.name for m in metrics]].to_numpy()
    edits = frame["defect"] != ORIGINAL
    for k, (index, edit) in enumerate(edits.items()):
        yield {
            "id": int(index),
            "edit": bool(edit),
            "names": [kind.labels[kind.codes[k]] for kind in kinds],
            "cells": [shown(m, v) for m, v in zip(metrics, cells[k], strict=True)],
        }


def _heading(name: str) -> str:
    return {"image": "Photograph", "defect": "Defect", "job": "Job", "resolution": "Resolution", "model": "Model"}.get(
        name, name
    )


def _hydra(value: Any) -> str:
    """A value in Hydra's grammar of overrides."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{k}:{_hydra(v)}' for k, v in value.items())}}}"
    text = label_of(value)
    if not isinstance(value, str) or _is_word(text):
        return text
    # Backslashes are escaped before a quote only.
    return '"' + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), text) + '"'


def _is_word(text: str) -> bool:
    reserved = {"null", "true", "false", "nan", "inf"}
    return bool(re.fullmatch(r"[A-Za-z][\w./-]*", text)) and text.lower() not in reserved
