"""The end of a multirun: what its jobs left is gathered into its folder."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from rli.cli.errors import is_mendable, one_line, print_error
from rli.cli.settings import plain

# The folder of the multirun under way: where a launcher dies, Hydra calls no callback, and the command gathers itself.
under_way: ContextVar[Path | None] = ContextVar("under_way", default=None)


class SweepEnd(Callback):
    """Gathers a multirun's jobs into its folder when all have ended; conf/config.yaml names it."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes the multirun's folder."""
        under_way.set(Path(config.hydra.sweep.dir).absolute())

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Gathers; ends the command with status 2 where a job failed, for an exception would end as Hydra's warning."""
        folder = under_way.get()
        under_way.set(None)
        if folder is not None and (status := gather(config, folder)):
            sys.exit(status)


def gather(config: DictConfig, folder: Path) -> int:
    """Gathers what a multirun's jobs left.

    Args:
        config: The multirun's; interpolations that only a job resolves are left alone.
        folder: The multirun's.

    Returns:
        The exit status: 2, after one line, where a job failed or there is none.
    """
    from rli.runs.run import gather as gather_jobs

    settings = OmegaConf.masked_copy(config, ["model", "tracking", "report"])
    try:
        gather_jobs(plain(settings), folder)
    except Exception as error:
        if not is_mendable(error):
            raise
        print_error(one_line(error))
        return 2
    return 0
