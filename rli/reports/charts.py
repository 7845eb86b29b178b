"""A sweep's trade-off plot, as a picture and as the layers that the page's own plot is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from rli.metrics.columns import Column
from rli.reports.analysis import (
    PALETTE,
    RAMP,
    Dimension,
    dimension,
    edits_of,
    measured,
    metric_of,
    pareto,
    settings_table,
)

MANY_POINTS = 120  # edits, beyond which a plot shows settings

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
    table, names = _points(frame, list(dict.fromkeys([*knobs, colour, *([shape] if shape else [])])))
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
    if scale := _at_least_a_decibel(table[y], up):
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


def _points(frame: pd.DataFrame, names: list[str]) -> tuple[pd.DataFrame, list[str]]:
    """What a trade-off's points stand for, edits or settings, with their metrics; and the columns that name a point."""
    edits = edits_of(frame)
    if len(edits) > MANY_POINTS:
        return settings_table(frame, names), names
    names = list(dict.fromkeys(["image", "defect", *names]))
    return pd.concat([edits[names], measured(edits)], axis=1), names


def _at_least_a_decibel(values: pd.Series, metric: Column) -> alt.Scale | None:
    """A scale around values less than a decibel apart, which is no difference to fill a plot with."""
    if metric.unit != "dB" or values.empty or values.max() - values.min() >= 1:
        return None
    middle = float(values.max() + values.min()) / 2
    return alt.Scale(domain=[middle - 0.5, middle + 0.5], zero=False)


def _by_influence(frame: pd.DataFrame, knobs: Sequence[str], metric: str) -> list[str]:
    """The knobs, first the one between whose values the metric's median differs most."""

    def width(knob: str) -> float:
        medians = settings_table(frame, [knob])[metric]
        return 0.0 if medians.isna().all() else float(medians.max() - medians.min())

    return sorted(knobs, key=width, reverse=True)


def tradeoff_png(frame: pd.DataFrame, knobs: Sequence[str], scale: float = 2.0) -> bytes:
    """`tradeoff` as a PNG file's content; nothing is loaded from anywhere."""
    return _png(tradeoff(frame, knobs), scale)


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
    if (colours := kind.colours()) is not None:
        return alt.Color("colour:N", title=kind.name).scale(domain=list(kind.labels), range=list(colours))
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


def _shown_as(kind: Dimension) -> list[Any]:
    """Of each row the text that colours it, or the number where the colour is a scale."""
    shown = kind.values if kind.colours() is None and kind.numeric else kind.labels
    return [shown[c] for c in kind.codes]


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
