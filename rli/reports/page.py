"""report.html, one page that holds everything it shows: of a run, or of a whole sweep.

Pictures and scripts are inlined; nothing is loaded from anywhere, and the page's own policy forbids it. Without
scripts it reads and prints as well; they add the viewer, the review of the edits, and a sweep's exploration.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rli.files import whole_file
from rli.metrics.columns import COLUMNS, ORIGINAL, Column
from rli.photos.look import Look
from rli.reports.examples import shown_example
from rli.reports.gallery import HEADINGS, Rows, digest, plan_of, rows_of, sections
from rli.reports.page_tables import all_rows, comparisons, facts, headline, means, nested
from rli.reports.pixels import EDGE_SCALE, PIXEL_SCALE, bar
from rli.store.records import PhotoResult

TEMPLATES = Path(__file__).parent / "templates"


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
    left_out: Sequence[str] = (),
    explore: Mapping[str, Any] | None = None,
    columns: Sequence[Column] = COLUMNS,
    examples: Sequence[Look] = (),
    largest: int = 0,
) -> None:
    """Writes the page, whole or not at all. An edit's card is called edit-<n>, n the number of its row in the frame.

    Args:
        path: the page's file.
        photos: taken once and one by one, so that memory does not limit them; those of one name stand together.
        frame: all rows; in a sweep also the column job, and one for each of `knobs`.
        comparison: the frame of `comparison.comparison`; it may be empty.
        settings: nested, any values.
        versions: name to version.
        title: the page's heading.
        knobs: the settings that differ between a sweep's jobs.
        failures: names and reasons of what could not be done.
        total: how many results of photographs there are, where `photos` may be some of them.
        left_out: what is wrong with photographs that are not among `photos`; read after these.
        explore: what explore.html.j2 shows of a sweep; its `libraries` are scripts' texts that go before explore.js.
        columns: the frame's.
        examples: photographs that are shown with their masks, as they were read.
        largest: pixels of a photograph that are shown at most, where these are more than the resolution's.
    """
    rows, environment = rows_of(frame, knobs, columns), _environment()
    plan, scripts = plan_of(rows.frame, largest), _scripts(environment, explore)
    stream = environment.get_template("report.html.j2").stream(
        **_top(title, rows),
        failures=list(failures),
        **_tables(rows, columns, comparison),
        plan=plan,
        headings=HEADINGS,
        total=total,
        left_out=left_out,
        examples=[shown_example(seen) for seen in examples],
        sections=sections(photos, rows, plan),
        settings=nested(settings),
        versions=dict(versions),
        **_legend(),
        explore=explore,
        scripts=scripts,
        policy=_policy(scripts),
        identity=digest(title.encode(), frame.to_csv().encode())[:16],
    )
    with whole_file(Path(path)) as part:
        stream.dump(str(part), encoding="utf-8")


def _top(title: str, rows: Rows) -> dict[str, Any]:
    """What stands at the page's head."""
    return {"title": title, "facts": facts(rows), "headline": headline(rows.frame)}


def _tables(rows: Rows, columns: Sequence[Column], comparison: pd.DataFrame) -> dict[str, Any]:
    """What the tables show."""
    return {
        "summary": means(rows, columns),
        "rows": all_rows(rows.frame, columns),
        "comparisons": list(comparisons(comparison)),
        "edits": int((rows.frame["defect"] != ORIGINAL).sum()),
    }


def _legend() -> dict[str, Any]:
    """Of the maps' colours: where they end, and bars of them."""
    return {
        "scales": {"pixel": PIXEL_SCALE, "edge": EDGE_SCALE},
        "bars": {name: bar(name) for name in ("jet", "hot", "magma")},
    }


@cache  # a template is compiled once in a process, and not for each of a sweep's pages
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _scripts(environment: Environment, explore: Mapping[str, Any] | None) -> list[Markup]:
    """The page's scripts in their order. The page's own come first, for the others speak to it as soon as they run."""
    texts = [environment.get_template("page.js.j2").render()]
    if explore is not None:
        texts += [*explore["libraries"], (TEMPLATES / "explore.js").read_text(encoding="utf-8")]
    for text in texts:
        # Either would end the element, or change how its end is found.
        assert "</script" not in text.lower() and "<!--" not in text
    return [Markup(text) for text in texts]  # trusted: they are the package's own files


def _policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy under which exactly these scripts run and nothing is loaded or sent."""
    sums = [hashlib.sha256(script.encode()).digest() for script in scripts]
    hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in sums]
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
