"""A sweep's settings beside one another: tables, static plots, and what the page's "explore" section needs.

Equal images have an infinite PSNR: every PSNR is capped at CAP before anything is made of it. A setting is summed up by
its edits' median unless the mean is asked for: one untouched background among ten edits would lift their mean by 6 dB.
NaN means "not measured": it enters no figure, meets no constraint and is no point of a plot. `original` rows, the
reconstructions, are in the table of rows only.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert
from jinja2.utils import htmlsafe_json_dumps

from rli.errors import RLIError
from rli.metrics.columns import ORIGINAL

CAP = 99.0  # dB
STATISTICS = ("median", "mean")
MANY_POINTS = 120  # edits, beyond which a plot shows settings
MANY_VALUES = 24  # of a knob, beyond which it is no axis of a heat map
MANY_CELLS = 120  # beyond which a heat map prints no numbers
STRONG = 0.72  # share of a heat map's range above which a cell is dark enough for light figures
MANY_ROWS = 2000  # beyond which the page's table holds the first ones until a script asks for more

# Told apart on white and on the dark page alike, contrast at least 3 on both.
PALETTE = ("#2a7fb8", "#d9730d", "#2f9e5b", "#c4487e", "#8a63d2", "#8f7a1f", "#12908e", "#7b858f")
RAMP = ("#4f82ee", "#8f63d6", "#c94f9c", "#e0653f")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


@dataclass(frozen=True)
class Metric:
    """A column that is measured. unit is empty for shares and indices; higher: more is better; digits: decimals as
    shown; main: shown first, the others on demand."""

    name: str
    label: str
    unit: str
    higher: bool
    digits: int
    main: bool = False

    @property
    def title(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label


METRICS = (
    Metric("psnr_background", "Background PSNR", "dB", True, 2, True),
    Metric("ssim_background", "Background SSIM", "", True, 3, True),
    Metric("strength", "Strength", "grey levels", True, 2, True),
    Metric("named", "Defect named", "probability", True, 3, True),
    Metric("psnr_recon", "PSNR to reconstruction", "dB", True, 2, True),
    Metric("mask_share", "Mask", "share", False, 3, True),
    Metric("seconds_edit", "Edit time", "s", False, 2, True),
    Metric("ssim_recon", "SSIM to reconstruction", "", True, 3),
    Metric("lpips_recon", "LPIPS to reconstruction", "", False, 3),
    Metric("lpips_standard_recon", "Standard LPIPS to reconstruction", "", False, 3),
    Metric("psnr", "PSNR to photograph", "dB", True, 2),
    Metric("ssim", "SSIM to photograph", "", True, 3),
    Metric("lpips", "LPIPS to photograph", "", False, 3),
    Metric("lpips_standard", "Standard LPIPS to photograph", "", False, 3),
    Metric("psnr_vae", "VAE PSNR", "dB", True, 2),
    Metric("seconds_inversion", "Inversion time", "s", False, 2),
    Metric("peak_memory_gb", "Peak memory", "GB", False, 2),
)
BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True)
class Dimension:
    """A column whose values tell rows apart: values in their order, each with the text that shows it; codes (rows,):
    which of them each row has. Numbers are in ascending order, anything else as it came; None is first."""

    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    codes: np.ndarray

    @property
    def numeric(self) -> bool:
        return all(_is_number(value) for value in self.values)

    def colours(self) -> tuple[str, ...] | None:
        """One for each value: along a ramp for numbers; None where there are too many to be told apart."""
        if len(self.values) > len(PALETTE):
            return None
        return _ramp(len(self.values)) if self.numeric else PALETTE[: len(self.values)]


def dimension(frame: pd.DataFrame, name: str) -> Dimension:
    """The column as a Dimension. Raises RLIError where the frame has no such column."""
    if name not in frame.columns:
        raise RLIError(f"{name} is no column of the rows: choose one of {', '.join(map(str, frame.columns))}")
    values = [_plain(value) for value in frame[name]]
    found = {_label(value): value for value in values}
    if all(value is None or _is_number(value) for value in found.values()):
        found = dict(sorted(found.items(), key=lambda pair: -math.inf if pair[1] is None else pair[1]))
    place = {label: k for k, label in enumerate(found)}
    codes = np.array([place[_label(value)] for value in values], dtype=int)
    return Dimension(name, tuple(found.values()), tuple(found), codes)


def settings_table(frame: pd.DataFrame, knobs: Sequence[str], statistic: str = "median") -> pd.DataFrame:
    """A line for each combination of the knobs' values, in their order: the knobs, `edits` and `photographs` that it
    stands for, and the METRICS' median or mean over these edits.

    frame: of `rli.sweep.frame`. PSNR is capped at CAP; NaN where nothing was measured. Raises RLIError for a knob that
    is no column.
    """
    if statistic not in STATISTICS:
        raise RLIError(f"statistic={statistic} is not known: choose one of {', '.join(STATISTICS)}")
    edits = _edits(frame)
    kinds = [dimension(edits, knob) for knob in knobs]
    # The leading zeros keep edits together where there is no knob.
    codes = np.column_stack([np.zeros(len(edits), int), *(kind.codes for kind in kinds)])
    combinations, group = np.unique(codes, axis=0, return_inverse=True)
    groups = measured(edits).groupby(group.ravel())
    table = pd.DataFrame(
        {
            **{
                kind.name: pd.Series([kind.values[c] for c in column], dtype="object").infer_objects()
                for kind, column in zip(kinds, combinations.T[1:], strict=True)
            },
            "edits": groups.size(),
            "photographs": edits["image"].groupby(group.ravel()).nunique(),
        }
    )
    return pd.concat([table, groups.agg(statistic)], axis=1)


def measured(frame: pd.DataFrame) -> pd.DataFrame:
    """The METRICS' columns, float64, with the frame's index: PSNR capped at CAP, other infinities as NaN."""
    values = frame[list(BY_NAME)].astype("float64")
    psnr = [name for name in values if name.startswith("psnr")]
    values[psnr] = values[psnr].clip(upper=CAP)
    return values.replace([np.inf, -np.inf], np.nan)


def best(
    table: pd.DataFrame,
    constraints: Mapping[str, tuple[str, float]],
    maximize: str = "strength",
    count: int = 5,
) -> pd.DataFrame:
    """At most `count` lines of a `settings_table` that meet every constraint, best first.

    constraints: metric to ("min", value) or ("max", value), both inclusive: {"psnr_background": ("min", 32.0)}.
    maximize: the metric to be best in; the least is best where less is better (LPIPS, seconds). Equal lines stay in the
    table's order; a line whose `maximize` was not measured comes last; a metric that was not measured meets no
    constraint. Raises RLIError for an unknown metric or kind of constraint.
    """
    for name in (maximize, *constraints):
        if name not in BY_NAME:
            raise RLIError(f"{name} is no metric: choose one of {', '.join(BY_NAME)}")
    meets = pd.Series(True, index=table.index)
    for name, (kind, value) in constraints.items():
        if kind not in ("min", "max"):
            raise RLIError(f"{name}: a constraint is (min, value) or (max, value), not ({kind}, …)")
        meets &= table[name] >= value if kind == "min" else table[name] <= value
    order = {"ascending": not BY_NAME[maximize].higher, "kind": "stable", "na_position": "last"}
    return table[meets].sort_values(maximize, **order).head(count)


def pareto(x: Sequence[float], y: Sequence[float], higher: tuple[bool, bool] = (True, True)) -> np.ndarray:
    """Which points (n,) no other point beats: none is at least as good in both and better in one. NaN never is.

    higher: whether more is better, for x and for y.
    """
    a, b = (np.asarray(v, float) * (1 if more else -1) for v, more in zip((x, y), higher, strict=True))
    known = np.flatnonzero(~np.isnan(a) & ~np.isnan(b))
    front = np.zeros(len(a), dtype=bool)
    top = (math.nan, -math.inf)
    for k in known[np.lexsort((-b[known], -a[known]))]:
        if b[k] > top[1] or (a[k], b[k]) == top:
            front[k], top = True, (a[k], b[k])
    return front


def override(name: str, value: Any) -> str:
    """name=value as it is typed in a shell for Hydra, quoted where it has to be."""
    return shlex.quote(f"{name}={_hydra(_plain(value))}")


def tradeoff(
    frame: pd.DataFrame,
    knobs: Sequence[str],
    x: str = "strength",
    y: str = "psnr_background",
    colour: str | None = None,
    shape: str | None = None,
) -> alt.LayerChart:
    """What is gained in one metric and lost in another: a point for each edit, or for each setting's median where there
    are more than MANY_POINTS edits, and the Pareto front as a line.

    colour, shape: knobs or other columns; where nothing is said, the two knobs that move x most.
    """
    across, up = _metric(x), _metric(y)
    ranked = _telling(frame, knobs, x)
    colour = colour or (ranked[0] if ranked else "defect")
    shape = shape or next((knob for knob in ranked if knob != colour), None)
    told = list(dict.fromkeys([*knobs, colour, *([shape] if shape else [])]))
    edits = _edits(frame)
    if len(edits) > MANY_POINTS:
        table = settings_table(frame, told)
    else:
        table = pd.concat([edits[list(dict.fromkeys(["image", "defect", *told]))], measured(edits)], axis=1)
        told = list(dict.fromkeys(["image", "defect", *told]))
    table = table[table[x].notna() & table[y].notna()]
    kinds = {name: dimension(table, name) for name in told}
    points = pd.DataFrame(
        {
            "x": table[x],
            "y": table[y],
            "colour": _shown_as(kinds[colour]),
            "shape": [kinds[shape].labels[c] for c in kinds[shape].codes] if shape else "",
            **{f"t{k}": [kind.labels[c] for c in kind.codes] for k, kind in enumerate(kinds.values())},
        }
    )
    front = points[pareto(table[x], table[y], (across.higher, up.higher))].sort_values(["x", "y"])[["x", "y"]]
    chart = _tradeoff(_inline(front), _inline(points), across, up, _LIGHT).properties(width=560, height=360)
    middle = float(table[y].max() + table[y].min()) / 2 if len(table) else 0.0
    if y.startswith("psnr") and len(table) and table[y].max() - table[y].min() < 1:
        # Less than a decibel apart is no difference to fill a plot with.
        scale = alt.Scale(domain=[middle - 0.5, middle + 0.5], zero=False)
        chart.layer = [one.encode(y=alt.Y("y:Q", title=up.title, scale=scale)) for one in chart.layer]
    chart.layer[1] = chart.layer[1].encode(
        color=_colour(kinds[colour]),
        shape=_shape(kinds[shape] if shape else None, _LIGHT),
        tooltip=[
            *(alt.Tooltip(f"t{k}:N", title=name) for k, name in enumerate(kinds)),
            alt.Tooltip("x:Q", title=across.title),
            alt.Tooltip("y:Q", title=up.title),
        ],
    )
    return _styled(chart, _LIGHT)


def _telling(frame: pd.DataFrame, knobs: Sequence[str], metric: str) -> list[str]:
    """The knobs, first the one between whose values the metric's median differs most."""

    def width(knob: str) -> float:
        medians = settings_table(frame, [knob])[metric]
        return 0.0 if medians.isna().all() else float(medians.max() - medians.min())

    return sorted(knobs, key=width, reverse=True)


def heatmap(frame: pd.DataFrame, x: str, y: str, metric: str, statistic: str = "median") -> alt.LayerChart:
    """A metric's median or mean over everything but two columns, knobs or `defect` or `image`; figures are printed in
    the cells while there are at most MANY_CELLS."""
    if x == y:
        raise RLIError(f"a heat map needs two different columns, and both are {x}")
    table = settings_table(frame, [x, y], statistic)
    table = table[table[_metric(metric).name].notna()]
    across, up = dimension(table, x), dimension(table, y)
    values = table[metric].to_numpy()
    low, high = (values.min(), values.max()) if len(values) else (0, 0)
    cells = pd.DataFrame(
        {
            "x": [across.labels[c] for c in across.codes],
            "y": [up.labels[c] for c in up.codes],
            "value": values,
            "text": [_figure(_metric(metric), v) for v in values],
            "strong": [bool(high > low and (v - low) / (high - low) > STRONG) for v in values],
        }
    )
    chart = _heatmap(_inline(cells), _metric(metric), _LIGHT, len(cells) <= MANY_CELLS)
    chart = chart.encode(
        x=alt.X(title=across.name).scale(domain=list(across.labels)),
        y=alt.Y(title=up.name).scale(domain=_downwards(up)),
    )
    return _styled(chart.properties(width=alt.Step(66), height=alt.Step(40)), _LIGHT)


def tradeoff_png(frame: pd.DataFrame, knobs: Sequence[str], scale: float = 2.0) -> bytes:
    """`tradeoff` as a PNG file's content; nothing is loaded from anywhere."""
    return _png(tradeoff(frame, knobs), scale)


def heatmap_png(frame: pd.DataFrame, x: str, y: str, metric: str, scale: float = 2.0) -> bytes:
    """`heatmap` as a PNG file's content."""
    return _png(heatmap(frame, x, y, metric), scale)


def explore_context(frame: pd.DataFrame, knobs: Sequence[str], floor: float = 32.0) -> dict[str, Any]:
    """All that explore.html.j2 shows, under the name `explore`.

    frame: of `rli.sweep.frame`; its index names the rows, so that row 7's picture is the element `edit-7`. floor: dB
    that the page first asks of the background. libraries: texts of the scripts that explore.js needs before it; Vega
    interprets its expressions, so a policy that allows nothing but their hashes is enough. data_json: safe inside
    <script type="application/json">.
    """
    edits, values = _edits(frame), measured(frame)
    knobs = [knob for knob in knobs if len(dimension(edits, knob).values) > 1]
    metrics = [m for m in METRICS if values.loc[edits.index, m.name].notna().any()]
    jobs = [name for name in ("job",) if name in frame]
    varied = [name for name in ("resolution", "model") if frame[name].nunique() > 1]
    kinds = {f"d{k}": dimension(frame, n) for k, n in enumerate(["image", "defect", *jobs, *varied, *knobs])}
    told = [_told(id, kind, dimension(edits, kind.name), kind.name in knobs) for id, kind in kinds.items()]
    data = {
        "ids": [int(k) for k in frame.index],
        "edit": [bool(v) for v in frame["defect"] != ORIGINAL],
        "dimensions": told,
        "metrics": [{**asdict(m), "title": m.title} for m in metrics],
        "columns": {
            **{id: kind.codes.tolist() for id, kind in kinds.items()},
            **{m.name: [_rounded(v) for v in values[m.name]] for m in metrics},
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
            "heatmap": bool(knobs and metrics) and sum(one["axis"] for one in told) > 1,
            "best": bool(knobs and metrics),
        },
        "metrics": metrics,
        "defects": edits["defect"].nunique(),
        "columns": [
            *(_column(id, _heading(kind.name), "", True, False) for id, kind in kinds.items()),
            *(_column(m.name, m.label, m.unit, m.main, True) for m in metrics),
        ],
        "lines": list(_lines(frame.iloc[:MANY_ROWS], list(kinds.values()), metrics, values)),
        "total": len(frame),
        "capped": bool((values >= CAP).any(axis=None)),
        "cap": CAP,
    }


def _told(id: str, kind: Dimension, of_edits: Dimension, knob: bool) -> dict[str, Any]:
    """A dimension for the page's script. Plots show edits, so their scales know the edits' values only; values are
    told where they are numbers; scale: the colour is one of numbers."""
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
        "colour": _colour(of_edits).to_dict() if count > 1 and (colours or of_edits.numeric) else None,
        "scale": colours is None,
        "shape": _shape(of_edits, _PAGE).to_dict() if 1 < count <= len(SHAPES) else None,
    }


@dataclass(frozen=True)
class _Colours:
    """The page's variables of the same names, or what they stand for in the light."""

    ink: str = "#1d2329"
    quiet: str = "#5d6873"
    line: str = "#dfe3e7"
    soft: str = "#eef1f4"
    accent: str = "#1f6f8b"
    card: str = "#ffffff"


_LIGHT = _Colours()
_PAGE = _Colours(*(f"var(--{name})" for name in ("ink", "quiet", "line", "soft", "accent", "card")))
_NO_METRIC = Metric("", "", "", True, 2)


def _page_tradeoff() -> dict[str, Any]:
    """The specification that the page's script completes with data, titles and scales; cursor is what the keyboard has
    reached."""
    front, points, cursor = (alt.NamedData(name) for name in ("front", "points", "cursor"))
    ring = (
        alt.Chart(cursor, name="cursor")
        .mark_point(shape="circle", size=260, strokeWidth=2.5, filled=False, opacity=1, color=_PAGE.ink)
        .encode(x="x:Q", y="y:Q")
    )
    return _styled(_tradeoff(front, points, _NO_METRIC, _NO_METRIC, _PAGE) + ring, _PAGE).to_dict()


def _page_heatmap() -> dict[str, Any]:
    frame = (
        alt.Chart(alt.NamedData("cursor"), name="cursor")
        .mark_rect(filled=False, stroke=_PAGE.ink, strokeWidth=3)
        .encode(x="x:O", y="y:O")
    )
    return _styled(_heatmap(alt.NamedData("cells"), _NO_METRIC, _PAGE) + frame, _PAGE).to_dict()


def _tradeoff(front: Any, points: Any, across: Metric, up: Metric, colours: _Colours) -> alt.LayerChart:
    """front, points: data with x and y; the points' colour, shape and tooltip are the caller's."""
    x = alt.X("x:Q", title=across.title).scale(zero=False, nice=True, padding=8)
    y = alt.Y("y:Q", title=up.title).scale(zero=False, nice=True, padding=8)
    line = (
        alt.Chart(front, name="front")
        .mark_line(interpolate=_interpolation(across), strokeDash=[5, 4], strokeWidth=1.5, color=colours.quiet)
        .encode(x=x, y=y)
    )
    marks = (
        alt.Chart(points, name="points")
        .mark_point(size=64, filled=True, opacity=0.85, stroke=colours.card, strokeWidth=0.8)
        .encode(x=x, y=y)
    )
    return alt.layer(line, marks)


def _interpolation(across: Metric) -> str:
    """What a point of the front beats ends at its own x."""
    return "step-before" if across.higher else "step-after"


def _colour(kind: Dimension) -> Any:
    if kind.colours() is not None:
        return alt.Color("colour:N", title=kind.name).scale(domain=list(kind.labels), range=list(kind.colours()))
    if kind.numeric:
        return alt.Color("colour:Q", title=kind.name).scale(range=list(RAMP))
    return alt.value(PALETTE[0])


def _shape(kind: Dimension | None, colours: _Colours) -> Any:
    if kind is None or not 1 < len(kind.labels) <= len(SHAPES):
        return alt.value("circle")
    legend = {"symbolFillColor": colours.quiet, "symbolStrokeColor": colours.quiet}
    shape = alt.Shape("shape:N", title=kind.name, legend=alt.Legend(**legend))
    return shape.scale(domain=list(kind.labels), range=list(SHAPES[: len(kind.labels)]))


def _heatmap(cells: Any, metric: Metric, colours: _Colours, figures: bool = True) -> alt.LayerChart:
    """cells: data with x, y, value, text, strong (light text)."""
    base = alt.Chart(cells).encode(x=alt.X("x:O").axis(labelAngle=0, labelLimit=140), y="y:O")
    colour = alt.Color("value:Q", title=metric.title).scale(range=[colours.soft, colours.accent], zero=False)
    rects = base.mark_rect(stroke=colours.card, strokeWidth=2).encode(color=colour).properties(name="cells")
    ink = alt.condition("datum.strong", alt.value(colours.card), alt.value(colours.ink))
    text = base.mark_text(fontSize=12).encode(text="text:N", color=ink).properties(name="figures")
    return alt.layer(rects, text) if figures else alt.layer(rects)


def _shown_as(kind: Dimension) -> list[Any]:
    """Of each row the text that colours it, or the number where the colour is a scale."""
    told = kind.values if kind.colours() is None and kind.numeric else kind.labels
    return [told[c] for c in kind.codes]


def _downwards(kind: Dimension) -> list[str]:
    """Numbers grow upwards; names are read downwards."""
    return list(reversed(kind.labels)) if kind.numeric else list(kind.labels)


def _styled(chart: alt.LayerChart, colours: _Colours) -> alt.LayerChart:
    guide = {"labelColor": colours.quiet, "titleColor": colours.ink, "titleFontWeight": 600, "labelFontSize": 12}
    return (
        chart.configure(background="transparent" if colours is _PAGE else colours.card)
        .configure_view(stroke=None)
        .configure_axis(
            **guide, gridColor=colours.line, domainColor=colours.line, tickColor=colours.line, titleFontSize=12
        )
        .configure_legend(**guide, titleFontSize=12, symbolSize=80, labelLimit=220, titleLimit=220)
    )


def _inline(table: pd.DataFrame) -> alt.InlineData:
    return alt.InlineData(values=table.to_dict("records"))


def _png(chart: alt.LayerChart, scale: float) -> bytes:
    return vl_convert.vegalite_to_png(chart.to_dict(), scale=scale, allowed_base_urls=[])


def _column(name: str, label: str, unit: str, main: bool, number: bool) -> dict[str, Any]:
    return {"id": name, "label": label, "unit": unit, "main": main, "number": number}


def _lines(
    frame: pd.DataFrame, kinds: Sequence[Dimension], metrics: Sequence[Metric], values: pd.DataFrame
) -> Iterable[dict[str, Any]]:
    """The table's rows as they are read."""
    figures = values[[m.name for m in metrics]].to_numpy()
    edits = frame["defect"] != ORIGINAL
    for k, (index, edit) in enumerate(edits.items()):
        yield {
            "id": int(index),
            "edit": bool(edit),
            "names": [kind.labels[kind.codes[k]] for kind in kinds],
            "figures": [_figure(m, v) for m, v in zip(metrics, figures[k], strict=True)],
        }


def _edits(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["defect"] != ORIGINAL]


def _metric(name: str) -> Metric:
    if name not in BY_NAME:
        raise RLIError(f"{name} is no metric: choose one of {', '.join(BY_NAME)}")
    return BY_NAME[name]


def _heading(name: str) -> str:
    return {"image": "Photograph", "defect": "Defect", "job": "Job", "resolution": "Resolution", "model": "Model"}.get(
        name, name
    )


def _figure(metric: Metric, value: float) -> str:
    """As the page's script shows it, which knows the rounded value."""
    return "" if math.isnan(value) else f"{_rounded(value):.{metric.digits}f}"


def _rounded(value: float) -> float | None:
    """Eight digits tell more than is shown, and keep the page small."""
    return None if math.isnan(value) else float(f"{value:.8g}")


def _ramp(count: int) -> tuple[str, ...]:
    """Colours evenly along RAMP."""
    stops = np.array([[int(c[k : k + 2], 16) for k in (1, 3, 5)] for c in RAMP], float)
    at = np.linspace(0, len(RAMP) - 1, count)
    mixed = np.column_stack([np.interp(at, range(len(RAMP)), channel) for channel in stops.T])
    return tuple("#" + "".join(f"{round(v):02x}" for v in colour) for colour in mixed)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """A cell as Python has it: None for what is missing, whole numbers as int."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _hydra(value: Any) -> str:
    """A value in Hydra's grammar of overrides."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_hydra, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{k}:{_hydra(v)}' for k, v in value.items())}}}"
    text = _label(value)
    if not isinstance(value, str) or _is_word(text):
        return text
    # Backslashes are escaped before a quote only.
    return '"' + re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + ('\\"' if m[2] else ""), text) + '"'


def _is_word(text: str) -> bool:
    reserved = {"null", "true", "false", "nan", "inf"}
    return bool(re.fullmatch(r"[A-Za-z][\w./-]*", text)) and text.lower() not in reserved
