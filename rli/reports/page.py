"""report.html, one page that holds everything it shows: of a run, or of a whole sweep.

Pictures and scripts are inlined; nothing is loaded from anywhere, and the page's own policy forbids it. Without
scripts it reads and prints as well; they add the viewer, the review of the edits, and a sweep's exploration.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rli.files import whole_file
from rli.metrics.columns import COLUMNS, ORIGINAL
from rli.reports.format import as_text, counted, figure, filled, joined, mean
from rli.reports.gallery import METRICS, Rows, digest, plan_of, rows_of, sections
from rli.reports.pixels import EDGE_SCALE, PIXEL_SCALE, bar
from rli.store.records import PhotoResult

TEXT = ("image", "defect", "resolution", "model", "inversion", "alpha", "eq", "cross", "replace", "job")


def write_report(
    path: Path,
    photos: Iterable[PhotoResult],
    frame: pd.DataFrame,
    comparison: pd.DataFrame,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    title: str = "Defect images",
    *,
    knobs: Sequence[str] = (),
    failures: Sequence[tuple[str, str]] = (),
    total: int | None = None,
    explore: Mapping[str, Any] | None = None,
) -> None:
    """Writes the page to `path`, whole or not at all.

    photos: taken once and one after the other, so that their number is not limited by memory; those of one name, from
    several jobs, stand together. frame: all rows, with COLUMNS; in a sweep also job, and a column for each of `knobs`.
    An edit's card is called edit-<n>, n its row's place in the frame. comparison: the frame of `results.comparison`
    (may be empty). settings: nested, any values. versions: name to version. failures: names and reasons of what could
    not be done. total: how many results of a photograph there are, where `photos` may be only some of them. explore:
    what explore.html.j2 shows of a sweep; its `libraries` are texts of scripts that go before explore.js.
    """
    rows = rows_of(frame, knobs)
    plan = plan_of(rows.frame)
    environment = _environment()
    scripts = _scripts(environment, explore)
    stream = environment.get_template("report.html.j2").stream(
        title=title,
        facts=_facts(rows),
        headline=headline(rows.frame),
        failures=list(failures),
        summary=_summary(rows),
        rows=_all_rows(rows.frame),
        comparisons=list(_comparisons(comparison)),
        plan=plan,
        edits=int((rows.frame["defect"] != ORIGINAL).sum()),
        total=total,
        sections=sections(photos, rows, plan),
        settings=_nested(settings),
        versions=dict(versions),
        scales={"pixel": PIXEL_SCALE, "edge": EDGE_SCALE},
        bars={name: bar(name) for name in ("jet", "hot", "magma")},
        explore=explore,
        scripts=scripts,
        policy=_policy(scripts),
        identity=digest(title.encode(), frame.to_csv().encode())[:16],
    )
    with whole_file(Path(path)) as part:
        stream.dump(str(part), encoding="utf-8")


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _scripts(environment: Environment, explore: Mapping[str, Any] | None) -> list[Markup]:
    """The page's scripts in their order. The page's own come first, for the others speak to it as soon as they run."""
    texts = [environment.get_template("page.js.j2").render()]
    if explore is not None:
        texts += [*explore["libraries"], environment.loader.get_source(environment, "explore.js")[0]]
    for text in texts:
        # Either would end the element, or change how its end is found.
        assert "</script" not in text.lower() and "<!--" not in text
    return [Markup(text) for text in texts]  # trusted: they are the package's own files


def _policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy under which exactly these scripts run and nothing is loaded or sent."""
    sums = [hashlib.sha256(script.encode()).digest() for script in scripts]
    hashes = [f"'sha256-{base64.b64encode(one).decode()}'" for one in sums]
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data: blob:",
            "style-src 'unsafe-inline'",
            f"script-src {' '.join(hashes)}",
            "base-uri 'none'",
            "form-action 'none'",
            "connect-src 'none'",
        )
    )


def headline(frame: pd.DataFrame) -> list[dict[str, str]]:
    """The figures at the page's top, each a label, a value and a note; those that were not measured are left out."""
    edits, originals = frame[frame["defect"] != ORIGINAL], frame[frame["defect"] == ORIGINAL]
    jobs = frame["job"].nunique()
    tiles = [
        (
            "Photographs",
            str(frame["image"].nunique()),
            joined(
                counted(jobs, "job") if jobs > 1 else "",
                counted(len(edits), "edit"),
                counted(edits["defect"].nunique(), "defect"),
            ),
        ),
        (
            "Reconstruction",
            filled("{:.1f} dB", mean(originals, "psnr")),
            joined(
                filled("SSIM {:.3f}", mean(originals, "ssim")),
                filled("VAE alone {:.1f} dB", mean(frame, "psnr_vae")),
            ),
        ),
        (
            "Background kept",
            filled("{:.1f} dB", mean(edits, "psnr_background")),
            joined(filled("SSIM {:.3f}", mean(edits, "ssim_background")), "outside the masks"),
        ),
        (
            "Edit effect",
            filled("{:.1f} dB", mean(edits, "psnr_recon")),
            joined(
                "to reconstruction",
                filled("SSIM {:.3f}", mean(edits, "ssim_recon")),
                filled("LPIPS {:.3f}", mean(edits, "lpips_recon")),
            ),
        ),
        (
            "Edited area",
            filled("{:.1%}", mean(edits, "mask_share")).replace("%", " %"),
            joined("of the image", filled("changed by {:.1f} of 255", mean(edits, "strength"))),
        ),
        (
            "Defect recognised",
            filled("{:.0%}", mean(edits, "named")).replace("%", " %"),
            "probability, mean of the edits",
        ),
        (
            "Inversion",
            filled("{:.1f} s", mean(originals if len(originals) else frame, "seconds_inversion")),
            joined(
                filled("{:.1f} s an edit", mean(edits, "seconds_edit")),
                filled("{:.1f} GB at most", frame["peak_memory_gb"].astype("float64").max()),
            ),
        ),
    ]
    return [{"label": label, "value": value, "note": note} for label, value, note in tiles if value]


def _summary(rows: Rows) -> dict[str, Any]:
    """Means over photographs, a line for each defect (and for each setting that takes several values)."""
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
    frame = rows.frame.astype(dict.fromkeys(figures, "float64"))
    lines = [
        {
            "keys": [*map(str, values)],
            "photos": group["image"].nunique(),
            "cells": [figure(name.split("_")[0], group[name].mean()) for name in figures],
        }
        for values, group in frame.groupby(["defect", *rows.told], sort=False, dropna=False)
    ]
    return {"keys": ["Defect", *rows.told.values()], "lines": lines}


def _all_rows(frame: pd.DataFrame, limit: int = 300) -> dict[str, Any]:
    """Every row as results.csv has it; beyond `limit` the file itself is the better place to read them."""
    shown = frame[[*COLUMNS, "job"] if frame["job"].any() else [*COLUMNS]]
    lines = shown.to_dict("records") if len(frame) <= limit else []
    return {
        "columns": [(name, name not in TEXT) for name in shown],
        "total": len(frame),
        "title": "The one row" if len(frame) == 1 else f"All {len(frame)} rows",
        "lines": [[as_text(v) if c in TEXT else figure(c.split("_")[0], v) for c, v in line.items()] for line in lines],
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
                "photo": [figure(m, row[f"photo_{m}_{size}"]) for m in METRICS],
            }
            for _, row in frame.iterrows()
            if row[f"photos_{size}"] > 0
        ]
        yield {"size": size.replace("x", "×"), "beside": beside, "heads": heads, "lines": lines}


def _compared(row: pd.Series, metric: str, size: str, published: Sequence[str]) -> list[tuple[str, str]]:
    spread = row[f"spread_{metric}_{size}"]
    ours = (figure(metric, row[f"{metric}_{size}"]), f"± {figure(metric, spread)}" if np.isfinite(spread) else "")
    if size not in published:
        return [ours, *((figure(metric, row[f"published_{metric}_{r}"]), "") for r in published)]
    return [
        ours,
        (figure(metric, row[f"published_{metric}_{size}"]), ""),
        (figure(metric, row[f"difference_{metric}_{size}"], sign=True), ""),
    ]


def _facts(rows: Rows) -> list[str]:
    """What was run, for the line under the title."""
    told = {name: " / ".join(dict.fromkeys(rows.frame[name].map(str))) for name in ("model", "resolution", "inversion")}
    facts = [f"{name} {values}" for name, values in told.items() if values]
    return [*facts, f"varied: {', '.join(rows.knobs)}"] if rows.knobs else facts


def _nested(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Groups of settings with dotted names inside; single values come first, under no name."""
    groups = [(str(k), list(_leaves(v))) for k, v in settings.items() if isinstance(v, Mapping)]
    single = [(str(k), as_text(v)) for k, v in settings.items() if not isinstance(v, Mapping)]
    return [*([("", single)] if single else []), *(group for group in groups if group[1])]


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", as_text(value)
