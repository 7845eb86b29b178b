"""A run tracked with Weights & Biases, online or offline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rli.errors import one_of
from rli.store.failures import Failure
from rli.store.records import PhotoResult
from rli.tracking.summary import FLOOR_DB, summary
from rli.tracking.tracker import MODES, Gallery, Thumbnails, Tracker, Untracked
from rli.tracking.wandb_setup import (
    abandon,
    answers,
    kept_in,
    mode_of,
    say,
    settings_of,
    teardown,
    unusable,
    variables,
)
from rli.tracking.wandb_tables import (
    COMPARISON,
    FAILED,
    RESULTS,
    SWEEP_RESULTS,
    TRADE_OFF,
    columns_of,
    scatter_of,
    table_of,
    thumbnails_of,
)

if TYPE_CHECKING:
    from pandas import DataFrame


TAG_LENGTH = 64  # characters; wandb refuses more
# Where an offline run's folder holds the files of its tables, as wandb stages them under WANDB_DATA_DIR.
STAGING = "staging"
STAGED = Path(STAGING, "artifacts", "staging")


@dataclass(frozen=True)
class WandbTracker:
    """One wandb run that keeps everything it writes in `folder`/wandb."""

    # wandb's own run.
    run: Any
    folder: Path
    # online or offline, as it came to be.
    mode: str
    # `summary.objective`'s, in dB.
    floor_db: float = FLOOR_DB

    def thumbnails(self, photo: PhotoResult) -> Thumbnails:
        return thumbnails_of(photo)

    def log(self, rows: DataFrame, pictures: Gallery) -> None:
        with self._logging():
            # What is logged becomes the run's summary too; an agent of a W&B sweep looks for its metric in both.
            self.run.log({RESULTS: table_of(columns_of(rows), pictures), **summary(rows, self.floor_db)})

    def log_sweep(
        self,
        comparison: DataFrame,
        rows: DataFrame,
        pictures: Gallery,
        trade_off: Path | None = None,
        failures: Sequence[Failure] = (),
    ) -> None:
        import wandb

        with self._logging():
            tables = {COMPARISON: table_of(columns_of(comparison)), SWEEP_RESULTS: table_of(columns_of(rows), pictures)}
            plot = {TRADE_OFF: wandb.Image(str(trade_off))} if trade_off else {}
            failed = {"name": [f.name for f in failures], "reason": [f.reason for f in failures]}
            failed = {FAILED: table_of(failed)} if failures else {}
            self.run.log({**tables, **plot, **scatter_of(columns_of(rows)), **failed})

    def finish(self, failed: bool = False) -> None:
        with _forgiving("the tracked run was not ended properly"), kept_in(self.folder, self.mode):
            self.run.finish(exit_code=int(failed))
            teardown()

    @contextmanager
    def _logging(self) -> Iterator[None]:
        """Pictures are staged in the run's own folder, so that a copy of it is complete."""
        staging = Path(self.run.dir).parent / STAGING
        with (
            _forgiving("the results were not tracked"),
            kept_in(self.folder, self.mode),
            variables({"WANDB_DATA_DIR": str(staging)}),
        ):
            yield


def start(
    folder: Path,
    config: Mapping[str, Any],
    mode: str = "auto",
    project: str = "rli",
    name: str | None = None,
    group: str | None = None,
    tags: Sequence[str] = (),
    job_type: str = "run",
    floor_db: float = FLOOR_DB,
    timeout: float = 10,
) -> Tracker:
    """Starts a wandb run.

    Args:
        folder: where it keeps what it writes.
        config: the run's configuration, nested, any values.
        mode: offline needs neither key nor network; online goes offline after `timeout` seconds where the server does
            not answer; auto is online only where a key is configured (WANDB_API_KEY, wandb's settings or netrc) and
            heeds WANDB_MODE.
        project: W&B's.
        name: the run's; None lets W&B invent it.
        group: the sweep's name.
        tags: empty ones and repetitions are dropped, long ones cut.
        job_type: run, job (of a sweep) or summary (a sweep's).
        floor_db: `summary.objective`'s.
        timeout: seconds to wait for the server.

    Returns:
        A tracker whatever fails: an offline one, or `Untracked`.
    """
    one_of("mode", mode, MODES)
    try:
        import wandb
    except ImportError:
        say("wandb is not installed, so the run is not tracked: pip install wandb, or set tracking=off")
        return Untracked()
    facts = {"config": _plain(config), "project": project, "name": name, "group": group, "job_type": job_type}
    facts["tags"] = tidy_tags(tags) or None
    folder = Path(folder).absolute()
    chosen = mode_of(wandb, mode, folder)
    if chosen == "off":
        return Untracked()
    if chosen == "online":
        problem = "could not be reached"
        if answers(settings_of(wandb, folder).base_url, min(timeout, 5)):
            with suppress(Exception):
                return _started(wandb, folder, "online", timeout, facts, floor_db)
            abandon(folder)
            problem = "did not take the run (a wrong key, or no answer in time)"
        say(f"the W&B server {problem}, so the run is tracked offline: send it later with `wandb sync`")
    try:
        return _started(wandb, folder, "offline", timeout, facts, floor_db)
    except Exception as error:
        abandon(folder)
        say(f"tracking could not start ({unusable(error)}), so the run is not tracked")
        return Untracked()


def tidy_tags(tags: Iterable[str]) -> list[str]:
    """As wandb takes them: 1…TAG_LENGTH characters, each once."""
    return [*dict.fromkeys(short for tag in tags if (short := str(tag).strip()[:TAG_LENGTH].strip()))]


def _started(
    wandb: Any, folder: Path, mode: str, timeout: float, facts: Mapping[str, Any], floor_db: float
) -> WandbTracker:
    # What is turned off is about the machine rather than about the run.
    wanted = {
        "silent": True,
        "console": "off",
        "init_timeout": timeout,
        "finish_timeout": 300,
        "disable_git": True,
        "disable_code": True,
        "save_code": False,
        "disable_job_creation": True,
        "x_disable_stats": True,
        "x_disable_machine_info": True,
        "x_save_requirements": False,
    }
    known = wandb.Settings.model_fields  # some came with later releases than others
    settings = wandb.Settings(**{name: value for name, value in wanted.items() if name in known})
    with kept_in(folder, mode):
        run = wandb.init(mode=mode, dir=folder, reinit="create_new", settings=settings, **facts)
    return WandbTracker(run, folder, mode, floor_db)


@contextmanager
def _forgiving(consequence: str) -> Iterator[None]:
    """Turns any failure into one line with its type alone, for a message may hold an address or a key."""
    try:
        yield
    except Exception as error:
        say(f"{consequence} ({type(error).__name__})")


def _plain(value: Any) -> Any:
    """Nested settings as JSON knows them; everything else as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
