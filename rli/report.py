"""report.html, one page that holds everything it shows.

Pictures are inlined; nothing is loaded from anywhere, and the page's own policy forbids it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from rli.files import whole_file
from rli.pictures import (
    EDGE_SCALE,
    PIXEL_SCALE,
    bar,
    data_uri,
    difference_map,
    edge_difference_map,
    fitted,
    heat,
    outline,
)
from rli.types import COLUMNS, ORIGINAL, EditedPhoto, PhotoResult, Row, TokenMap

METRICS = ("psnr", "ssim", "lpips")
SETTINGS = ("resolution", "model", "inversion", "alpha", "eq", "cross", "replace")


@dataclass(frozen=True)
class Plan:
    """How much of a page each picture may take.

    side: longest side of a photograph, map_side of a difference map, word_side of a word's map, in pixels. quality:
    WebP's, None for lossless. every_word: show all words' maps, or the changed words' only. opened: photographs whose
    section starts open.
    """

    side: int = 4096
    quality: int | None = None
    map_side: int = 256
    word_side: int = 128
    every_word: bool = True
    opened: int = 3


def write_report(
    path: Path,
    photos: Sequence[PhotoResult],
    comparison: pd.DataFrame,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    title: str = "Defect images",
    rows: Sequence[Row] | None = None,
) -> None:
    """Writes the page to `path`, whole or not at all.

    comparison: the frame of `results.comparison` (may be empty). settings: nested, any values. versions: name to
    version. rows: what figures and tables are about, where that is more than the rows of the `photos` that are shown.
    Photographs are rendered one after the other, so their number is not limited by memory.
    """
    plan = plan_of(photos)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = [row for photo in photos for row in photo.rows] if rows is None else rows
    varied = [name for name in _varied(rows) if name != "resolution"]
    stream = environment.get_template("report.html.j2").stream(
        title=title,
        facts=_facts(rows),
        headline=headline(rows, photos),
        summary=_summary(rows),
        rows=_all_rows(rows),
        comparisons=list(_comparisons(comparison)),
        plan=plan,
        shown=len(photos),
        total=_photographs(rows),
        photos=(_photo(photo, i, plan, varied) for i, photo in enumerate(photos)),
        settings=_nested(settings),
        versions=dict(versions),
        scales={"pixel": PIXEL_SCALE, "edge": EDGE_SCALE},
        bars={name: bar(name) for name in ("jet", "hot", "magma")},
    )
    with whole_file(Path(path)) as part:
        stream.dump(str(part), encoding="utf-8")


def plan_of(photos: Sequence[PhotoResult]) -> Plan:
    """Lossless while the page stays small; then high quality; then reduced, so that hundreds of photographs open."""
    pictures = [picture for photo in photos for picture in [photo.input] * (2 + len(photo.edits))]
    pixels, edits = sum(p.shape[0] * p.shape[1] for p in pictures), sum(len(photo.edits) for photo in photos)
    few = {} if edits <= 48 else {"map_side": 112, "word_side": 64, "every_word": False}
    if pixels <= 8e6:
        return Plan(**few)
    if pixels <= 80e6:
        return Plan(quality=90, **few)
    return Plan(side=max(160, math.isqrt(int(80e6 / len(pictures)))), quality=82, **few)


def headline(rows: Sequence[Row], photos: Sequence[PhotoResult]) -> list[dict[str, str]]:
    """The figures at the page's top, each a label, a value and a note; those that were not measured are left out."""
    edits, originals = [r for r in rows if r.defect != ORIGINAL], [r for r in rows if r.defect == ORIGINAL]
    masks = [float(edit.mask.mean()) for photo in photos for edit in photo.edits.values()]
    tiles = [
        (
            "Photographs",
            str(len({row.image for row in rows})),
            f"{_counted(len(edits), 'edit')}, {_counted(len({r.defect for r in edits}), 'defect')}",
        ),
        (
            "Reconstruction",
            _told("{:.1f} dB", _mean(originals, "psnr")),
            _joined(
                _told("SSIM {:.3f}", _mean(originals, "ssim")), _told("VAE alone {:.1f} dB", _mean(rows, "psnr_vae"))
            ),
        ),
        (
            "Background kept",
            _told("{:.1f} dB", _mean(edits, "psnr_background")),
            _joined(_told("SSIM {:.3f}", _mean(edits, "ssim_background")), "outside the masks"),
        ),
        (
            "Edit to reconstruction",
            _told("{:.1f} dB", _mean(edits, "psnr_recon")),
            _joined(
                _told("SSIM {:.3f}", _mean(edits, "ssim_recon")), _told("LPIPS {:.3f}", _mean(edits, "lpips_recon"))
            ),
        ),
        ("Edited area", f"{100 * np.mean(masks):.1f} %" if masks else "", "of the image, mean of the masks"),
        (
            "Inversion",
            _told("{:.1f} s", _mean(originals or rows, "seconds_inversion")),
            _joined(
                _told("{:.1f} s an edit", _mean(edits, "seconds_edit")),
                _told("{:.1f} GB at most", max((r.peak_memory_gb for r in rows), default=None)),
            ),
        ),
    ]
    return [{"label": label, "value": value, "note": note} for label, value, note in tiles if value]


def _photo(photo: PhotoResult, index: int, plan: Plan, varied: Sequence[str]) -> dict[str, Any]:
    """Everything the template shows of one photograph; `varied` settings tell it from its namesakes in a sweep."""
    rows = {row.defect: row for row in photo.rows}
    original = rows.get(ORIGINAL)
    height, width = photo.input.shape[:2]
    edits = [_edit(photo, name, edit, rows.get(name), plan) for name, edit in photo.edits.items() if name != ORIGINAL]
    return {
        "name": photo.name,
        "index": index,
        "width": width,
        "height": height,
        "opened": index < plan.opened,
        "settings": [f"{name} {getattr(photo.rows[-1], name)}" for name in varied if photo.rows],
        "source": _source(photo),
        "input": _inlined(photo.input, plan),
        "reconstruction": _inlined(photo.reconstruction, plan),
        "original": _references(original),
        "ceiling": _figure("psnr", original.psnr_vae if original else None),
        "key_figures": [(label, value, unit) for label, value, unit in _key_figures(photo, len(edits)) if value != "–"],
        "maps": _differences(photo.input, photo.reconstruction, plan),
        "edits": edits,
        "chart": loss_chart(photo.losses),
        "words": list(_strips(photo, plan)),
    }


def _key_figures(photo: PhotoResult, edits: int) -> list[tuple[str, str, str]]:
    """What a closed section says of its photograph: label, figure, unit."""
    original = [row for row in photo.rows if row.defect == ORIGINAL]
    return [
        ("reconstruction", _figure("psnr", _mean(original, "psnr")), " dB"),
        ("background", _figure("psnr", _mean(photo.rows, "psnr_background")), " dB"),
        ("", _counted(edits, "edit") if edits else "–", ""),
        ("inversion", _figure("seconds", _mean(photo.rows[:1], "seconds_inversion")), " s"),
    ]


def _edit(photo: PhotoResult, name: str, edit: EditedPhoto, row: Row | None, plan: Plan) -> dict[str, Any]:
    return {
        "name": name,
        "picture": _inlined(edit.image, plan),
        "outline": outline(edit.mask),
        "prompt": _marked(_source(photo), photo.prompts.get(name, "")),
        "references": _references(row),
        "area": f"{100 * edit.mask.mean():.1f}",
        "maps": _differences(photo.input, edit.image, plan),
    }


def _source(photo: PhotoResult) -> str:
    return photo.prompts.get("source", photo.prompts.get(ORIGINAL, ""))


def _references(row: Row | None) -> list[tuple[str, list[str]]]:
    """The metrics under a picture: for each reference its name and PSNR, SSIM, LPIPS; what was not measured is left
    out."""
    if row is None:
        return []
    values = {
        "to reconstruction": [getattr(row, f"{m}_recon") for m in METRICS],
        "to photo": [getattr(row, m) for m in METRICS],
        "background": [row.psnr_background, row.ssim_background, None],
    }
    return [
        (name, [_figure(m, v) for m, v in zip(METRICS, figures, strict=True)])
        for name, figures in values.items()
        if not all(map(_missing, figures))
    ]


def _differences(photo: np.ndarray, other: np.ndarray, plan: Plan) -> dict[str, str]:
    small = Plan(side=plan.map_side, quality=plan.quality and 80)
    maps = {"pixel": difference_map(photo, other), "edge": edge_difference_map(photo, other)}
    return {name: _inlined(pixels, small) for name, pixels in maps.items()}


def _strips(photo: PhotoResult, plan: Plan) -> Iterator[dict[str, Any]]:
    """The words' maps of each prompt. The edits of a photograph share one source branch: its maps are shown once."""
    shown = set()
    for name, edit in photo.edits.items():
        target = photo.prompts.get(name, "")
        for kind, maps, changed in (
            ("source", edit.source_maps, _changed(target, _source(photo))),
            ("target", edit.maps, _changed(_source(photo), target)),
        ):
            key = tuple((m.word, m.map.tobytes()) for m in maps)
            chosen = [m for m in maps if plan.every_word or m.word in changed]
            if chosen and key not in shown:
                shown.add(key)
                yield {
                    "label": "source" if kind == "source" else name,
                    "kind": kind,
                    "words": [_word(photo.input, m, m.word in changed, plan) for m in chosen],
                }


def _word(photo: np.ndarray, word: TokenMap, changed: bool, plan: Plan) -> dict[str, Any]:
    picture = heat(photo, word.map, plan.word_side)
    return {"word": word.word, "changed": changed, "picture": _inlined(picture, Plan(quality=80))}


def _marked(source: str, target: str) -> list[tuple[str, bool]]:
    """The target prompt's words, each with whether it differs from the source prompt."""
    old, new = source.split(), target.split()
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    kept = {block.b + i for block in blocks for i in range(block.size)}
    return [(word, bool(old) and i not in kept) for i, word in enumerate(new)]


def _changed(source: str, target: str) -> set[str]:
    return {word for word, changed in _marked(source, target) if changed}


def loss_chart(losses: Sequence[Sequence[float]], width: int = 520, height: int = 210) -> dict[str, Any] | None:
    """Loss before and after the optimization of each step, on a logarithmic axis, as coordinates for an SVG drawing.

    losses: of each step, at its start and after each iteration, noisiest first. None where nothing was optimized.
    """
    steps = [(i, step[0], step[-1]) for i, step in enumerate(losses) if len(step)]
    values = [v for _, *pair in steps for v in pair if math.isfinite(v) and v > 0]
    if not values:
        return None
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    left, right, top, bottom = 58, width - 14, 14, height - 34

    def x(step: float) -> float:
        return left + (right - left) * step / max(len(losses) - 1, 1)

    def y(exponent: float) -> float:
        return bottom - (bottom - top) * (exponent - low) / (high - low)

    def line(which: int) -> str:
        points = ((step[0], step[which]) for step in steps if math.isfinite(step[which]))
        return " ".join(f"{x(i):.1f},{y(math.log10(max(v, 10.0**low))):.1f}" for i, v in points)

    every = max(1, math.ceil((high - low) / 5))
    ticks = [0, *(round(k * (len(losses) - 1) / 5) for k in range(1, 6))]
    return {
        "width": width,
        "height": height,
        "left": left,
        "right": right,
        "top": top,
        "bottom": bottom,
        "before": line(1),
        "after": line(2),
        "y": [{"at": round(y(e), 1), "power": str(e).replace("-", "−")} for e in range(low, high + 1, every)],
        "x": [{"at": round(x(i), 1), "label": i + 1} for i in dict.fromkeys(ticks)],
        "iterations": sum(len(step) - 1 for step in losses if step),
        "mean": tuple(f"{np.mean([step[k] for step in steps]):.1e}".replace("e-0", "e-") for k in (1, 2)),
    }


def _summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Means over photographs, a line for each defect (and for each setting that takes several values)."""
    if not rows:
        return {"keys": [], "lines": []}
    frame, varied = pd.DataFrame([asdict(row) for row in rows], columns=list(COLUMNS)), _varied(rows)
    figures = [
        "psnr_recon",
        "ssim_recon",
        "lpips_recon",
        "psnr",
        "ssim",
        "lpips",
        "psnr_background",
        "ssim_background",
        "psnr_vae",
        "seconds_edit",
    ]
    frame[figures] = frame[figures].astype("float64")
    groups = frame.groupby(["defect", *varied], sort=False, dropna=False)
    lines = [
        {
            "keys": [*map(str, keys)],
            "photos": group["image"].nunique(),
            "cells": [_figure(name.split("_")[0], group[name].mean()) for name in figures],
        }
        for keys, group in groups
    ]
    return {"keys": ["Defect", *map(str.capitalize, varied)], "lines": lines}


def _photographs(rows: Sequence[Row]) -> int:
    """How many results of a photograph the rows tell of: one that a sweep did twice counts twice."""
    return len({(row.image, *(getattr(row, name) for name in SETTINGS)) for row in rows})


def _varied(rows: Sequence[Row]) -> list[str]:
    return [name for name in SETTINGS if len({getattr(row, name) for row in rows}) > 1]


def _all_rows(rows: Sequence[Row], limit: int = 300) -> dict[str, Any]:
    """Every row as results.csv has it; beyond `limit` the file itself is the better place to read them."""
    texts = ("image", "defect", "resolution", "model", "inversion", "alpha", "eq", "cross", "replace")
    shown = rows if len(rows) <= limit else ()
    return {
        "columns": COLUMNS,
        "texts": len(texts),
        "total": len(rows),
        "title": "The one row" if len(rows) == 1 else f"All {len(rows)} rows",
        "lines": [
            [str(v) if c in texts else _figure(c.split("_")[0], v) for c, v in asdict(row).items()] for row in shown
        ],
    }


def _comparisons(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """For each measured resolution a table: ours, published and difference, or the published figures of others.

    A cell is a figure and its spread, empty but for ours.
    """
    sizes = [column.removeprefix("photos_") for column in frame if column.startswith("photos_")]
    published = [r for r in sizes if frame[f"published_psnr_{r}"].notna().any()]
    for size in (r for r in sizes if frame[f"photos_{r}"].sum() > 0):
        beside = size in published
        heads = ["ours", "published", "difference"] if beside else ["ours", *(f"at {r}" for r in published)]
        lines = [
            {
                "defect": row["defect"],
                "photos": int(row[f"photos_{size}"]),
                "cells": [cell for m in METRICS for cell in _compared(row, m, size, published)],
                "photo": [_figure(m, row[f"photo_{m}_{size}"]) for m in METRICS],
            }
            for _, row in frame.iterrows()
            if row[f"photos_{size}"] > 0
        ]
        yield {"size": size.replace("x", "×"), "beside": beside, "heads": heads, "lines": lines}


def _compared(row: pd.Series, metric: str, size: str, published: Sequence[str]) -> list[tuple[str, str]]:
    spread = row[f"spread_{metric}_{size}"]
    ours = (_figure(metric, row[f"{metric}_{size}"]), f"± {_figure(metric, spread)}" if np.isfinite(spread) else "")
    if size not in published:
        return [ours, *((_figure(metric, row[f"published_{metric}_{r}"]), "") for r in published)]
    return [
        ours,
        (_figure(metric, row[f"published_{metric}_{size}"]), ""),
        (_figure(metric, row[f"difference_{metric}_{size}"], sign=True), ""),
    ]


def _facts(rows: Sequence[Row]) -> list[str]:
    """What was run, for the line under the title."""
    return (
        [
            f"{label} {' / '.join(dict.fromkeys(str(getattr(row, name)) for row in rows))}"
            for label, name in (("model", "model"), ("resolution", "resolution"), ("inversion", "inversion"))
        ]
        if rows
        else []
    )


def _nested(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of settings with dotted names inside; single values come first, under no name."""
    groups = [(str(k), list(_leaves(v))) for k, v in settings.items() if isinstance(v, Mapping)]
    single = [(str(k), _text(v)) for k, v in settings.items() if not isinstance(v, Mapping)]
    return [*([("", single)] if single else []), *(group for group in groups if group[1])]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "–"
    return {None: "–", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def _mean(rows: Iterable[Row], name: str) -> float | None:
    values = [v for row in rows if not _missing(v := getattr(row, name))]
    return float(np.mean(values)) if values else None


def _missing(value: float | None) -> bool:
    """Not measured (None), or not to be measured (NaN: there is no background beside a mask of the whole image)."""
    return value is None or math.isnan(value)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _told(text: str, value: float | None) -> str:
    return "" if value is None else text.format(value).replace("inf", "∞")


def _joined(*parts: str) -> str:
    return " · ".join(filter(None, parts))


def _figure(quantity: str, value: float | None, sign: bool = False) -> str:
    """A figure as it is read: two decimals for dB, three for SSIM and LPIPS, one for the rest; a dash for none."""
    if _missing(value):
        return "–"
    if math.isinf(value):
        return "∞"
    digits = {"psnr": 2, "ssim": 3, "lpips": 3, "peak": 2}.get(quantity, 1)
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def _inlined(pixels: np.ndarray, plan: Plan) -> str:
    """A picture (H,W,3) uint8 within the plan's size and quality, as a data URI."""
    size = fitted(pixels.shape, plan.side)
    if size != (pixels.shape[1], pixels.shape[0]):
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    return data_uri(pixels, plan.quality)
