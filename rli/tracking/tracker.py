"""What a run needs of its tracker, and the one that tells nobody anything.

Tracking never stands in a run's way: no prompt, no wait beyond a few seconds, and every failure costs one line on
stderr and the tracking, never the run. wandb is imported only when a run is tracked. All that it writes lies in
`<folder>/wandb`, pictures beside their run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rli.errors import one_of
from rli.metrics.columns import Row
from rli.store.records import Failure, PhotoResult
from rli.tracking.summary import FLOOR_DB

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = ("wandb", "off")


class Tracker(Protocol):
    """What a run needs of its tracker."""

    def log(self, rows: Sequence[Row], photos: Iterable[PhotoResult]) -> None:
        """Tells the rows as one table, each with its pictures, and `summary` of them.

        photos is gone through once, one after the other; rows whose photograph is not among them have no pictures.
        """

    def log_sweep(
        self,
        comparison: DataFrame,
        rows: DataFrame,
        photos: Iterable[PhotoResult],
        trade_off: Path | None = None,
        failures: Sequence[Failure] = (),
    ) -> None:
        """Tells a sweep: `rli.results.comparison`'s frame; all rows (COLUMNS, "job", a column for each knob) with the
        pictures of `photos`, found by job and name; the plot of strength against background, as the PNG file
        `trade_off` and as a native chart; and each failure with its reason."""

    def finish(self, failed: bool = False) -> None:
        """Ends the tracked run, marked as failed where it did."""


class Untracked:
    """Tells nobody anything."""

    def log(self, rows: Sequence[Row], photos: Iterable[PhotoResult]) -> None:
        pass

    def log_sweep(
        self,
        comparison: DataFrame,
        rows: DataFrame,
        photos: Iterable[PhotoResult],
        trade_off: Path | None = None,
        failures: Sequence[Failure] = (),
    ) -> None:
        pass

    def finish(self, failed: bool = False) -> None:
        pass


@contextmanager
def open_tracker(
    kind: str,
    folder: Path,
    config: Mapping[str, Any],
    mode: str = "auto",
    project: str = "rli",
    name: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    job_type: str = "run",
    floor_db: float = FLOOR_DB,
) -> Iterator[Tracker]:
    """A tracker of `kind` "wandb" or "off" for the time of the block; a block that raises leaves a run marked failed.

    The other arguments are `start`'s.
    """
    one_of("tracking", kind, KINDS)
    facts = {"name": name, "group": group, "tags": tags, "job_type": job_type, "floor_db": floor_db}
    from rli.tracking.wandb_run import start

    tracker = start(folder, config, mode, project, **facts) if kind == "wandb" else Untracked()
    try:
        yield tracker
    except BaseException:
        tracker.finish(failed=True)
        raise
    tracker.finish()
