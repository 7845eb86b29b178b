"""Plots of a sweep: what is gained in one metric and lost in another, and heat maps over two settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from rli.errors import RLIError
from rli.metrics.columns import Column
from rli.reports.analysis import (
    PALETTE,
    RAMP,
    Dimension,
    dimension,
    edits_of,
    figure_of,
    measured,
    metric_of,
    pareto,
    settings_table,
)

MANY_POINTS = 120  # edits, beyond which a plot shows settings
MANY_VALUES = 24  # of a knob, beyond which it is no axis of a heat map
MANY_CELLS = 120  # beyond which a heat map prints no numbers
STRONG = 0.72  # share of a heat map's range above which a cell is dark enough for light figures

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")


def tradeoff(
    frame: pd.DataFrame,
    knobs: Sequence[str],
    x: str = "strength",
    y: str = "psnr_background",
    colour: str | None = None,
    shape: str | None = None,
) -> alt.LayerChart:
    """Plots what is gained in one metric and lost in another.

    Args:
        frame: of `rli.reports.sweep.frame`.
        knobs: the settings that differ between a sweep's jobs.
        x: the metric across.
        y: the metric upwards.
        colour: the knob or other column that colours the points; None for the knob that moves x most.
        shape: the one that gives them their shape; None for the next knob.

    Returns:
        A point for each edit, or for each setting's median where there are more than MANY_POINTS edits, and the Pareto
        front as a line.
    """
    across, up = metric_of(x), metric_of(y)
    ranked = _by_influence(frame, knobs, x)
    colour = colour or (ranked[0] if ranked else "defect")
    shape = shape or next((knob for knob in ranked if knob != colour), None)
    names = list(dict.fromkeys([*knobs, colour, *([shape] if shape else [])]))
    edits = edits_of(frame)
    if len(edits) > MANY_POINTS:
        table = settings_table(frame, names)
    else:
        names = list(dict.fromkeys(["image", "defect", *names]))
        table = pd.concat([edits[names], measured(edits)], axis=1)
    table = table[table[x].notna() & table[y].notna()]
    kinds = {name: dimension(table, name) for name in names}
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
    chart = tradeoff_layers(_inline(front), _inline(points), LIGHT, across, up).properties(width=560, height=360)
    middle = float(table[y].max() + table[y].min()) / 2 if len(table) else 0.0
    if up.unit == "dB" and len(table) and table[y].max() - table[y].min() < 1:
        # Less than a decibel apart is no difference to fill a plot with.
        scale = alt.Scale(domain=[middle - 0.5, middle + 0.5], zero=False)
        chart.layer = [layer.encode(y=alt.Y("y:Q", title=up.title, scale=scale)) for layer in chart.layer]
    chart.layer[1] = chart.layer[1].encode(
        color=colour_encoding(kinds[colour]),
        shape=shape_encoding(kinds[shape] if shape else None, LIGHT),
        tooltip=[
            *(alt.Tooltip(f"t{k}:N", title=name) for k, name in enumerate(kinds)),
            alt.Tooltip("x:Q", title=across.title),
            alt.Tooltip("y:Q", title=up.title),
        ],
    )
    return styled(chart, LIGHT)


def _by_influence(frame: pd.DataFrame, knobs: Sequence[str], metric: str) -> list[str]:
    """The knobs, first the one between whose values the metric's median differs most."""

    def width(knob: str) -> float:
        medians = settings_table(frame, [knob])[metric]
        return 0.0 if medians.isna().all() else float(medians.max() - medians.min())

    return sorted(knobs, key=width, reverse=True)


def heatmap(frame: pd.DataFrame, x: str, y: str, metric: str, statistic: str = "median") -> alt.LayerChart:
    """Plots a metric's median or mean over everything but two columns.

    Args:
        frame: of `rli.reports.sweep.frame`.
        x: the column across: a knob, `defect` or `image`.
        y: the column upwards.
        metric: what colours the cells; it is printed in them while there are at most MANY_CELLS.
        statistic: median or mean.
    """
    if x == y:
        raise RLIError(f"a heat map needs two different columns, and both are {x}")
    table = settings_table(frame, [x, y], statistic)
    table = table[table[metric_of(metric).name].notna()]
    across, up = dimension(table, x), dimension(table, y)
    values = table[metric].to_numpy()
    low, high = (values.min(), values.max()) if len(values) else (0, 0)
    cells = pd.DataFrame(
        {
            "x": [across.labels[c] for c in across.codes],
            "y": [up.labels[c] for c in up.codes],
            "value": values,
            "text": [figure_of(metric_of(metric), v) for v in values],
            "strong": [bool(high > low and (v - low) / (high - low) > STRONG) for v in values],
        }
    )
    chart = heatmap_layers(_inline(cells), LIGHT, metric_of(metric), len(cells) <= MANY_CELLS)
    chart = chart.encode(
        x=alt.X(title=across.name).scale(domain=list(across.labels)),
        y=alt.Y(title=up.name).scale(domain=_downwards(up)),
    )
    return styled(chart.properties(width=alt.Step(66), height=alt.Step(40)), LIGHT)


def tradeoff_png(frame: pd.DataFrame, knobs: Sequence[str], scale: float = 2.0) -> bytes:
    """`tradeoff` as a PNG file's content; nothing is loaded from anywhere."""
    return _png(tradeoff(frame, knobs), scale)


def heatmap_png(frame: pd.DataFrame, x: str, y: str, metric: str, scale: float = 2.0) -> bytes:
    """`heatmap` as a PNG file's content."""
    return _png(heatmap(frame, x, y, metric), scale)


@dataclass(frozen=True)
class Colours:
    """The page's variables of the same names, or what they stand for in the light."""

    ink: str = "#1d2329"
    quiet: str = "#5d6873"
    line: str = "#dfe3e7"
    soft: str = "#eef1f4"
    accent: str = "#1f6f8b"
    card: str = "#ffffff"


LIGHT = Colours()
PAGE = Colours(*(f"var(--{name})" for name in ("ink", "quiet", "line", "soft", "accent", "card")))


def tradeoff_layers(
    front: Any, points: Any, colours: Colours, across: Column | None = None, up: Column | None = None
) -> alt.LayerChart:
    """The Pareto front and the points, without their colour, shape and tooltip.

    Args:
        front: data with x and y.
        points: data with x and y.
        colours: the page's, or those in the light.
        across: the metric across; None where the page's script chooses it.
        up: the metric upwards.
    """
    x = alt.X("x:Q", title=across.title if across else "").scale(zero=False, nice=True, padding=8)
    y = alt.Y("y:Q", title=up.title if up else "").scale(zero=False, nice=True, padding=8)
    # What a point of the front beats ends at its own x.
    interpolate = "step-after" if across and not across.higher else "step-before"
    line = (
        alt.Chart(front, name="front")
        .mark_line(interpolate=interpolate, strokeDash=[5, 4], strokeWidth=1.5, color=colours.quiet)
        .encode(x=x, y=y)
    )
    marks = (
        alt.Chart(points, name="points")
        .mark_point(size=64, filled=True, opacity=0.85, stroke=colours.card, strokeWidth=0.8)
        .encode(x=x, y=y)
    )
    return alt.layer(line, marks)


def colour_encoding(kind: Dimension) -> Any:
    """How a dimension colours points: a colour for each value, or a scale for many numbers, or one colour for all."""
    if kind.colours() is not None:
        return alt.Color("colour:N", title=kind.name).scale(domain=list(kind.labels), range=list(kind.colours()))
    if kind.numeric:
        return alt.Color("colour:Q", title=kind.name).scale(range=list(RAMP))
    return alt.value(PALETTE[0])


def shape_encoding(kind: Dimension | None, colours: Colours) -> Any:
    """How a dimension shapes points; circles where it has too many values, or none to tell apart."""
    if kind is None or not 1 < len(kind.labels) <= len(SHAPES):
        return alt.value("circle")
    legend = {"symbolFillColor": colours.quiet, "symbolStrokeColor": colours.quiet}
    shape = alt.Shape("shape:N", title=kind.name, legend=alt.Legend(**legend))
    return shape.scale(domain=list(kind.labels), range=list(SHAPES[: len(kind.labels)]))


def heatmap_layers(cells: Any, colours: Colours, metric: Column | None = None, numbers: bool = True) -> alt.LayerChart:
    """The cells of a heat map.

    Args:
        cells: data with x, y, value, text (the value as it is read), strong (whether the text is light).
        colours: the page's, or those in the light.
        metric: what colours the cells; None where the page's script chooses it.
        numbers: whether the texts are shown.
    """
    base = alt.Chart(cells).encode(x=alt.X("x:O").axis(labelAngle=0, labelLimit=140), y="y:O")
    scale = alt.Scale(range=[colours.soft, colours.accent], zero=False)
    colour = alt.Color("value:Q", title=metric.title if metric else "", scale=scale)
    rects = base.mark_rect(stroke=colours.card, strokeWidth=2).encode(color=colour).properties(name="cells")
    ink = alt.condition("datum.strong", alt.value(colours.card), alt.value(colours.ink))
    text = base.mark_text(fontSize=12).encode(text="text:N", color=ink).properties(name="figures")
    return alt.layer(rects, text) if numbers else alt.layer(rects)


def _shown_as(kind: Dimension) -> list[Any]:
    """Of each row the text that colours it, or the number where the colour is a scale."""
    shown = kind.values if kind.colours() is None and kind.numeric else kind.labels
    return [shown[c] for c in kind.codes]


def _downwards(kind: Dimension) -> list[str]:
    """Numbers grow upwards; names are read downwards."""
    return list(reversed(kind.labels)) if kind.numeric else list(kind.labels)


def styled(chart: alt.LayerChart, colours: Colours) -> alt.LayerChart:
    """The chart with axes and legends in these colours; on the page without a background of its own."""
    guide = {"labelColor": colours.quiet, "titleColor": colours.ink, "titleFontWeight": 600, "labelFontSize": 12}
    return (
        chart.configure(background="transparent" if colours is PAGE else colours.card)
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
