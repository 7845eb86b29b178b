"""What a run, or a sweep of runs, leaves in its folder: tables, pictures at a glance, the page."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from rli.errors import RLIError
from rli.files import write_whole
from rli.images import write_png
from rli.reports.comparison import comparison, heading, write_comparison
from rli.reports.page import write_report
from rli.reports.pixels import contact_sheet
from rli.reports.results import write_results
from rli.store.records import Failure, PhotoResult, Place

PACKAGES = ("torch", "diffusers", "transformers", "hydra-core", "omegaconf", "scikit-image", "lpips", "wandb", "numpy")
TRADEOFF = "tradeoff.png"


def write_outcome(
    folder: Path,
    frame: pd.DataFrame,
    places: Sequence[Place],
    settings: Mapping[str, Any],
    published: Path,
    title: str,
    *,
    knobs: Sequence[str] = (),
    failures: Sequence[Failure] = (),
    edits: int = 500,
    floor_db: float = 32.0,
) -> pd.DataFrame:
    """Tables of all rows (results.csv, failed.csv, comparison.csv, comparison.md), overview.png, report.html, and for a
    sweep tradeoff.png.

    frame: the rows, in a sweep with the columns job and `knobs`. places: every photograph's; the page shows the first
    of them, up to about `edits` edits. floor_db: the background PSNR that the page asks of a good setting, in dB.
    Returns the comparison.
    """
    write_results(frame, folder / "results.csv", knobs)
    write_failures(failures, folder)
    table = comparison(frame, published)
    write_comparison(table, folder, heading(frame))
    shown = shown_places(frame, places, edits)
    write_png(folder / "overview.png", contact_sheet([*islice(read(shown), 4)]))
    write_report(
        folder / "report.html",
        read(shown),
        frame,
        table,
        settings,
        versions(),
        title,
        knobs=knobs,
        failures=[(f"{f.name}: {f.settings}" if f.settings else f.name, f.reason) for f in failures],
        total=len(places),
        explore=_explored(frame, knobs, folder / TRADEOFF, floor_db) if "job" in frame else None,
    )
    return table


def _explored(frame: pd.DataFrame, knobs: Sequence[str], plot: Path, floor_db: float) -> dict[str, Any]:
    """What the page needs to explore a sweep; writes the plot of strength against background where there are edits."""
    from rli.reports.charts import tradeoff_png
    from rli.reports.explore import explore_context

    if knobs and frame["strength"].notna().any():
        write_whole(plot, tradeoff_png(frame, knobs))
    return explore_context(frame, knobs, floor_db)


def shown_places(frame: pd.DataFrame, places: Sequence[Place], edits: int) -> Sequence[Place]:
    """As many of the first places as have `edits` edits together, and one at least."""
    each = max(1, round(len(frame) / max(1, len(places))))
    return places[: max(1, edits // each)]


def read(places: Sequence[Place]) -> Iterator[PhotoResult]:
    """The places' results, one after the other; one whose files are gone or damaged is left out."""
    for place in places:
        try:
            yield place.read()
        except RLIError:
            continue


def write_failures(failures: Sequence[Failure], folder: Path) -> None:
    """failed.csv: what could not be done, and why; no file where everything was."""
    path = folder / "failed.csv"
    if failures:
        frame = pd.DataFrame([vars(failure) for failure in failures])
        frame = frame if frame["settings"].any() else frame.drop(columns="settings")
        write_whole(path, frame.to_csv(index=False, lineterminator="\n"))
    else:
        path.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Of Python and the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
