"""The files that a run or a sweep writes into its folder: tables, overview.png, the page."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from rli.cells import harmless
from rli.errors import RLIError
from rli.files import write_whole
from rli.images import write_png
from rli.photos.look import Look
from rli.reports.comparison import comparison, heading, write_comparison
from rli.reports.details import pixels_shown
from rli.reports.page import write_report
from rli.reports.pixels import Tile, contact_sheet, tiles
from rli.reports.results import write_results
from rli.store.failures import Failure
from rli.store.records import PhotoRecord, PhotoResult
from rli.tracking.tracker import Thumbnails, Tracker, Untracked

PACKAGES = ("torch", "diffusers", "transformers", "hydra-core", "omegaconf", "scikit-image", "lpips", "wandb", "numpy")
TRADEOFF = "tradeoff.png"
OVERVIEW = 4  # photographs of overview.png


@dataclass(frozen=True)
class Outcome:
    """The results of a run, or of a sweep of runs."""

    # All rows, as of `results.frame_of`; of a sweep also the column job, and one for each of `knobs`.
    rows: pd.DataFrame
    # Every photograph's record, in the page's order.
    records: Sequence[PhotoRecord]
    # What failed.
    failures: Sequence[Failure]
    # As the page shows them: nested, any values.
    settings: Mapping[str, Any]
    # The page's heading.
    title: str
    # The settings that differ between a sweep's jobs.
    knobs: Sequence[str] = ()
    # Photographs that the page shows with their masks, as they were read.
    examples: Sequence[Look] = ()

    @property
    def largest(self) -> int:
        """How many pixels the page shows at most of a photograph that has windows; 0 where none has."""
        return max((pixels_shown(r.size, r.windows) for r in self.records if r.windows), default=0)

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
    """Writes and tracks what a run and a sweep end with: results.csv, failed.csv where something failed, comparison.csv
    and comparison.md, overview.png, report.html, and for a sweep tradeoff.png; without rows failed.csv alone.

    Args:
        folder: where the files go.
        outcome: what they are about; every photograph's files are read once.
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
    write_comparison(table := comparison(outcome.rows, published), folder, heading(outcome.rows))
    overview: list[list[Tile]] = []
    thumbnails, left_out = dict[tuple[str, str], Thumbnails](), list[str]()

    def photographs() -> Iterator[PhotoResult]:
        """One after the other; the overview and the tracker take what they need on the way to the page."""
        for photo in _read(_shown(outcome, edits), left_out):
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
        failures=_named(outcome.failures),
        total=len(outcome.records),
        left_out=left_out,
        explore=_explored(outcome, folder / TRADEOFF, floor_db) if outcome.is_sweep else None,
        examples=outcome.examples,
        largest=outcome.largest,
    )
    write_png(folder / "overview.png", contact_sheet(overview))
    if outcome.is_sweep:
        plot = next(folder.glob(TRADEOFF), None)
        tracker.log_sweep(table, outcome.rows, thumbnails, plot, outcome.failures)
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


def _read(records: Sequence[PhotoRecord], left_out: list[str]) -> Iterator[PhotoResult]:
    """The photographs' results, one after the other. What is wrong with one whose files are gone or damaged by now is
    added to `left_out`."""
    for record in records:
        try:
            yield record.read()
        except (RLIError, OSError) as error:
            left_out.append(str(error))


def _named(failures: Sequence[Failure]) -> list[tuple[str, str]]:
    """Names and reasons as the page shows them."""
    return [(f"{f.name}: {f.settings}" if f.settings else f.name, f.reason) for f in failures]


def write_failures(failures: Sequence[Failure], folder: Path) -> None:
    """Writes failed.csv: what failed, and why. Without failures there is no such file."""
    path = folder / "failed.csv"
    if failures:
        frame = pd.DataFrame([(f.name, f.reason, f.settings) for f in failures], columns=["name", "reason", "settings"])
        frame = frame if frame["settings"].any() else frame.drop(columns="settings")
        write_whole(path, frame.map(harmless).to_csv(index=False, lineterminator="\n"))
    else:
        path.unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Of Python and the packages that results depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
