"""What a run, or a sweep of runs, leaves in its folder: tables, pictures at a glance, the page."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from rli.errors import RLIError
from rli.files import write_whole
from rli.images import write_png
from rli.reports.comparison import comparison, heading, write_comparison
from rli.reports.page import write_report
from rli.reports.pixels import Tile, contact_sheet, tiles
from rli.reports.results import write_results
from rli.store.records import Failure, PhotoRecord, PhotoResult
from rli.tracking.tracker import Thumbnails, Tracker, Untracked

PACKAGES = ("torch", "diffusers", "transformers", "hydra-core", "omegaconf", "scikit-image", "lpips", "wandb", "numpy")
TRADEOFF = "tradeoff.png"
OVERVIEW = 4  # photographs of overview.png


@dataclass(frozen=True)
class Outcome:
    """What a run, or a sweep of runs, has come to."""

    # All rows, as of `results.frame_of`; of a sweep also the column job, and one for each of `knobs`.
    rows: pd.DataFrame
    # Every photograph's record, in the page's order.
    records: Sequence[PhotoRecord]
    # What could not be done.
    failures: Sequence[Failure]
    # As the page shows them: nested, any values.
    settings: Mapping[str, Any]
    # The page's heading.
    title: str
    # The settings that differ between a sweep's jobs.
    knobs: Sequence[str] = ()

    @property
    def is_sweep(self) -> bool:
        """Whether there are jobs."""
        return "job" in self.rows


def write_outcome(
    folder: Path,
    outcome: Outcome,
    published: Path,
    *,
    edits: int = 500,
    floor_db: float = 32.0,
    tracker: Tracker | None = None,
) -> None:
    """How a run and a sweep end: tables, pictures at a glance, the page, and all of it tracked.

    Writes results.csv, failed.csv where something failed, comparison.csv, comparison.md, overview.png, report.html, and
    for a sweep tradeoff.png; where there are no rows, failed.csv alone. Every photograph's files are read once.

    Args:
        folder: where the files go.
        outcome: what they are about.
        published: the published table, as `comparison.comparison` reads it.
        edits: about how many the page, the overview and the tracker show at most: those of the first photographs.
        floor_db: the background PSNR that the page asks of a good setting, in dB.
        tracker: of the run or sweep; None where it is not tracked.
    """
    write_failures(outcome.failures, folder)
    if outcome.rows.empty:
        return
    tracker = tracker or Untracked()
    write_results(outcome.rows, folder / "results.csv", outcome.knobs)
    table = comparison(outcome.rows, published)
    write_comparison(table, folder, heading(outcome.rows))
    overview: list[list[Tile]] = []
    thumbnails: dict[tuple[str, str], Thumbnails] = {}

    def photographs() -> Iterator[PhotoResult]:
        """One after the other; the overview and the tracker take what they need on the way to the page."""
        for photo in _read(_shown(outcome, edits)):
            if len(overview) < OVERVIEW:
                overview.append(tiles(photo))
            thumbnails[photo.job, photo.name] = tracker.thumbnails(photo)
            yield photo

    write_report(
        folder / "report.html",
        photographs(),
        outcome.rows,
        table,
        outcome.settings,
        versions(),
        outcome.title,
        knobs=outcome.knobs,
        failures=[(f"{f.name}: {f.settings}" if f.settings else f.name, f.reason) for f in outcome.failures],
        total=len(outcome.records),
        explore=_explored(outcome, folder / TRADEOFF, floor_db) if outcome.is_sweep else None,
    )
    write_png(folder / "overview.png", contact_sheet(overview))
    if outcome.is_sweep:
        plot = folder / TRADEOFF
        tracker.log_sweep(table, outcome.rows, thumbnails, plot if plot.is_file() else None, outcome.failures)
    else:
        tracker.log(outcome.rows, thumbnails)


def _explored(outcome: Outcome, plot: Path, floor_db: float) -> dict[str, Any]:
    """What the page needs to explore a sweep; writes the plot of strength against background where there are edits."""
    # Vega takes seconds to load, and a run of its own needs none of it.
    from rli.reports.charts import tradeoff_png
    from rli.reports.explore import explore_context

    if outcome.knobs and outcome.rows["strength"].notna().any():
        write_whole(plot, tradeoff_png(outcome.rows, outcome.knobs))
    return explore_context(outcome.rows, outcome.knobs, floor_db)


def _shown(outcome: Outcome, edits: int) -> Sequence[PhotoRecord]:
    """As many of the first photographs as have `edits` edits together, and one at least."""
    each = max(1, round(len(outcome.rows) / max(1, len(outcome.records))))
    return outcome.records[: max(1, edits // each)]


def _read(records: Sequence[PhotoRecord]) -> Iterator[PhotoResult]:
    """The photographs' results, one after the other; one whose files are gone or damaged is left out."""
    for record in records:
        with suppress(RLIError):
            yield record.read()


def write_failures(failures: Sequence[Failure], folder: Path) -> None:
    """Writes failed.csv, what could not be done and why; where everything was done there is no such file."""
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
