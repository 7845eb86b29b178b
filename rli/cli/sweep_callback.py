"""Gathers the results of a multirun's jobs into its folder when it ends."""

from __future__ import annotations

import sys
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from rli.cli.errors import one_line, print_error, status_of
from rli.cli.settings import plain
from rli.errors import RLIError

# The folder of the multirun under way: where a launcher dies, Hydra calls no callback, and the command gathers itself.
under_way: ContextVar[Path | None] = ContextVar("under_way", default=None)
# The folders that Hydra makes for a single run, innermost first; None in a multirun.
made_folders: ContextVar[tuple[Path, ...] | None] = ContextVar("made_folders", default=None)


class SweepEnd(Callback):
    """Gathers a multirun's jobs into its folder when all have ended; conf/config.yaml names it."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes which folders are there already, so that a run that is refused leaves no others."""
        made_folders.set(())
        with suppress(Exception):  # what is wrong with the configuration is said when it is used
            folder = Path(config.hydra.run.dir).absolute()
            made_folders.set(tuple(place for place in (folder, *folder.parents) if not place.exists()))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes the multirun's folder; ends the command with status 2 where it holds the photographs."""
        made_folders.set(None)
        folder = Path(config.hydra.sweep.dir).absolute()
        if status := _refused(OmegaConf.select(config, "data.path"), folder):
            sys.exit(status)
        under_way.set(folder)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Gathers; ends the command with status 2 where a job failed, for an exception would end as Hydra's warning."""
        folder = under_way.get()
        under_way.set(None)
        if folder is not None and (status := gather(config, folder)):
            sys.exit(status)


def _refused(photographs: object, folder: Path) -> int:
    """2, after one line, where one of the paths that are swept over is the multirun's own folder; otherwise 0."""
    from rli.runs.run import check_folder

    try:
        for path in str(photographs or "").split(","):
            check_folder(path, folder)
    except RLIError as error:
        print_error(one_line(error))
        return 2
    return 0


def gather(config: DictConfig, folder: Path) -> int:
    """Gathers the results of a multirun's jobs.

    Args:
        config: The multirun's; interpolations that only a job resolves are left alone.
        folder: The multirun's.

    Returns:
        The exit status: 2, after one line, where a job failed or there is none.
    """
    from rli.runs.run import gather as gather_jobs

    settings = OmegaConf.masked_copy(config, ["model", "tracking", "report"])
    return status_of(lambda: gather_jobs(plain(settings), folder))
