"""The interface of trackers, and the tracker that does nothing.

Tracking never stands in a run's way: no prompt, no wait beyond a few seconds, and every failure costs one line on
stderr and the tracking, never the run. wandb is imported only when a run is tracked. All that it writes lies in
`<folder>/wandb`, pictures beside their run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rli.errors import one_of
from rli.store.failures import Failure
from rli.store.records import PhotoResult
from rli.tracking.summary import FLOOR_DB

if TYPE_CHECKING:
    from pandas import DataFrame
    from PIL.Image import Image

# A photograph's pictures, small, by what they show: input, reconstruction, and an edit or its mask with its defect.
Thumbnails = Mapping[tuple[str, ...], "Image"]
# The thumbnails of photographs by their job (empty in a run of its own) and name.
Gallery = Mapping[tuple[str, str], Thumbnails]
KINDS = ("wandb", "off")
MODES = ("auto", "online", "offline")


class Tracker(Protocol):
    """What a run needs of its tracker."""

    def thumbnails(self, photo: PhotoResult) -> Thumbnails:
        """The photograph's pictures as they are tracked, for `log` or `log_sweep`; so its files are read no more."""

    def log(self, rows: DataFrame, pictures: Gallery) -> None:
        """Tracks a run: a table of its rows with their pictures, and their `summary`.

        Args:
            rows: the frame of its rows.
            pictures: the thumbnails of photographs; rows of others have no pictures.
        """

    def log_sweep(
        self,
        comparison: DataFrame,
        rows: DataFrame,
        pictures: Gallery,
        trade_off: Path | None = None,
        failures: Sequence[Failure] = (),
    ) -> None:
        """Tracks a sweep: its tables, and strength against background as a native chart.

        Args:
            comparison: the frame of the published comparison.
            rows: the frame of all rows, with the column job and one for each knob.
            pictures: the thumbnails of photographs; rows of others have no pictures.
            trade_off: the plot of strength against background, a PNG file.
            failures: what could not be done.
        """

    def finish(self, failed: bool = False) -> None:
        """Ends the tracked run, marked as failed where it did."""


class Untracked:
    """The tracker of a run that is not tracked."""

    def thumbnails(self, photo: PhotoResult) -> Thumbnails:
        return {}

    def log(self, rows: DataFrame, pictures: Gallery) -> None:
        pass

    def log_sweep(
        self,
        comparison: DataFrame,
        rows: DataFrame,
        pictures: Gallery,
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
    """A tracker for the time of the block; a block that raises marks the run as failed.

    Args:
        kind: "wandb" or "off"; the other arguments are those of `wandb_run.start`.
    """
    one_of("tracking", kind, KINDS)
    tracker: Tracker = Untracked()
    if kind == "wandb":
        from rli.tracking.wandb_run import start

        tracker = start(folder, config, mode, project, name, group, tags, job_type, floor_db)
    try:
        yield tracker
    except BaseException:
        tracker.finish(failed=True)
        raise
    tracker.finish()
