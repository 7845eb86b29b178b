"""What a run tells Weights & Biases. The only module that imports wandb, and only when a run is tracked.

Tracking never stands in a run's way: no prompt, no wait beyond a few seconds, and every failure costs one line on
stderr and the tracking, never the run. All that wandb writes lies in `<folder>/wandb`, pictures beside their run.

An offline run's log names its tables and their pictures by absolute paths; from a moved or copied folder `wandb sync`
would leave them out without a word. There,

python -m rli.tracking.tracker FOLDER…

points the logs to the files beside them, and prints the command that sends the runs.
"""

from __future__ import annotations

import argparse
import math
import netrc
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from numbers import Real
from pathlib import Path, PureWindowsPath
from ssl import SSLError
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image

from rli.errors import RLIError, one_of
from rli.files import write_whole
from rli.metrics.columns import COLUMNS, ORIGINAL, Row
from rli.store.records import Failure, PhotoResult
from rli.tracking.wandb_log import HEAD, read_log, write_log

if TYPE_CHECKING:
    from pandas import DataFrame

KINDS = ("wandb", "off")
MODES = ("auto", "online", "offline")
PICTURES = ("input", "reconstruction", "edit", "mask")
# Figures of a Row that the summary of a run tells the means of: for each defect, and over all edits.
QUALITY = (
    *("psnr", "ssim", "lpips", "psnr_recon", "ssim_recon", "lpips_recon", "psnr_background", "ssim_background"),
    *("strength", "mask_share", "named"),
)
COST = ("seconds_inversion", "seconds_edit", "peak_memory_gb")
# What a tracked run tells beside its summary: a run's table; a sweep's tables, its plot as a picture and to look into.
RESULTS, COMPARISON, SWEEP_RESULTS, FAILED = "results", "comparison", "sweep_results", "failed"
TRADE_OFF, SCATTER = "trade_off", "strength_background"
# PSNR at which an edit's background counts as kept, and PSNR above which two pictures are the same.
FLOOR_DB, SAME_DB = 32.0, 99.0
TAG_LENGTH = 64  # characters; wandb refuses more
# Where an offline run's folder holds the files of its tables, as wandb stages them under WANDB_DATA_DIR.
STAGING = "staging"
STAGED = Path(STAGING, "artifacts", "staging")


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


@dataclass(frozen=True)
class WandbTracker:
    """One wandb run that keeps everything it writes in `folder`/wandb. mode: online or offline, as it came to be.
    floor_db: `objective`'s."""

    run: Any
    folder: Path
    mode: str
    floor_db: float = FLOOR_DB

    def log(self, rows: Sequence[Row], photos: Iterable[PhotoResult]) -> None:
        with self._telling():
            columns = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
            # What is logged becomes the run's summary too; an agent of a W&B sweep looks for its metric in both.
            self.run.log({RESULTS: _table(columns, photos), **summary(rows, self.floor_db)})

    def log_sweep(
        self,
        comparison: DataFrame,
        rows: DataFrame,
        photos: Iterable[PhotoResult],
        trade_off: Path | None = None,
        failures: Sequence[Failure] = (),
    ) -> None:
        import wandb

        with self._telling():
            told = {COMPARISON: _table(_columns(comparison)), SWEEP_RESULTS: _table(_columns(rows), photos)}
            if trade_off:
                told[TRADE_OFF] = wandb.Image(str(trade_off))
            told |= _scatter(_columns(rows))
            if failures:
                told[FAILED] = _table({name: [getattr(one, name) for one in failures] for name in ("name", "reason")})
            self.run.log(told)

    def finish(self, failed: bool = False) -> None:
        with _forgiving("the tracked run was not ended properly"), _kept_in(self.folder, self.mode):
            self.run.finish(exit_code=int(failed))
            _teardown()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Pictures are staged in the run's own folder, so that a copy of it is complete."""
        staging = Path(self.run.dir).parent / STAGING
        with (
            _forgiving("the results were not tracked"),
            _kept_in(self.folder, self.mode),
            _variables({"WANDB_DATA_DIR": str(staging)}),
        ):
            yield


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
    tracker = start(folder, config, mode, project, **facts) if kind == "wandb" else Untracked()
    try:
        yield tracker
    except BaseException:
        tracker.finish(failed=True)
        raise
    tracker.finish()


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
    """Starts a wandb run in `folder`.

    job_type: run, job (of a sweep) or summary (a sweep's). group: the sweep's name. tags: empty ones and repetitions
    are dropped, long ones cut. floor_db: `objective`'s.
    mode: offline needs neither key nor network; online goes offline after `timeout` seconds where the server does not
    answer; auto is online only where a key is configured (WANDB_API_KEY, wandb's settings or netrc) and heeds
    WANDB_MODE. Whatever fails, a tracker comes back: an offline one, or one that tells nobody anything.
    """
    one_of("tracking.mode", mode, MODES)
    try:
        import wandb
    except ImportError:
        _say("wandb is not installed, so the run is not tracked: pip install wandb, or set tracking=off")
        return Untracked()
    facts = {"config": _plain(config), "project": project, "name": name, "group": group, "job_type": job_type}
    facts["tags"] = tidy_tags(tags) or None
    folder = Path(folder).absolute()
    wanted = _mode(wandb, mode, folder)
    if wanted == "off":
        return Untracked()
    if wanted == "online":
        happened = "could not be reached"
        if _answers(_settings(wandb, folder).base_url, min(timeout, 5)):
            with suppress(Exception):
                return _started(wandb, folder, "online", timeout, facts, floor_db)
            _abandon(folder)
            happened = "did not take the run (a wrong key, or no answer in time)"
        _say(f"the W&B server {happened}, so the run is tracked offline: send it later with `wandb sync`")
    try:
        return _started(wandb, folder, "offline", timeout, facts, floor_db)
    except Exception as error:
        _abandon(folder)
        _say(f"tracking could not start ({type(error).__name__}), so the run is not tracked")
        return Untracked()


def summary(rows: Sequence[Row], floor_db: float = FLOOR_DB) -> dict[str, float]:
    """Means over photographs, units as in Row: for each defect {"psnr/rust": 27.5, …}, over all edits {"mean/psnr": …},
    and "objective". What was measured nowhere is left out; PSNR counts up to SAME_DB, for a chart shows no infinity."""
    defects = dict.fromkeys(row.defect for row in rows)
    of_defect = {
        f"{metric}/{defect}": _mean([row for row in rows if row.defect == defect], metric)
        for defect in defects
        for metric in QUALITY
    }
    over_all = {f"mean/{metric}": _mean(_edits(rows), metric) for metric in (*QUALITY, *COST)}
    told = {**of_defect, **over_all, "objective": objective(rows, floor_db)}
    return {name: value for name, value in told.items() if value is not None}


def objective(rows: Sequence[Row], floor_db: float = FLOOR_DB) -> float | None:
    """What a search maximises: the edits' mean strength where their mean background PSNR reaches `floor_db`, else what
    is missing to it, negative, in dB. None where no edit was measured.

    So whatever keeps the background is better than whatever does not.
    """
    strength, background = (_mean(_edits(rows), metric) for metric in ("strength", "psnr_background"))
    if strength is None or background is None:
        return None
    return strength if background >= floor_db else background - floor_db


def tidy_tags(tags: Iterable[str]) -> list[str]:
    """As wandb takes them: 1…TAG_LENGTH characters, each once."""
    return [*dict.fromkeys(short for tag in tags if (short := str(tag).strip()[:TAG_LENGTH].strip()))]


def _edits(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.defect != ORIGINAL]


def _mean(rows: Sequence[Row], metric: str) -> float | None:
    values = [v for row in rows if (v := getattr(row, metric)) is not None and not math.isnan(v)]
    return fmean(_capped(metric, v) for v in values) if values else None


def _capped(metric: str, value: float) -> float:
    return min(value, SAME_DB) if metric.startswith("psnr") else value


def _started(
    wandb: Any, folder: Path, mode: str, timeout: float, facts: Mapping[str, Any], floor_db: float
) -> WandbTracker:
    # What is turned off would tell about the machine rather than about the run.
    wishes = {
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
    settings = wandb.Settings(**{name: value for name, value in wishes.items() if name in known})
    with _kept_in(folder, mode):
        run = wandb.init(mode=mode, dir=folder, reinit="create_new", settings=settings, **facts)
    return WandbTracker(run, folder, mode, floor_db)


def _mode(wandb: Any, mode: str, folder: Path) -> str:
    """online, offline or off: what the wish and this computer's wandb configuration come to."""
    if mode == "offline":
        return mode
    settings = _settings(wandb, folder)
    asked = {"dryrun": "offline", "offline": "offline", "disabled": "off"}.get(settings.mode, "online")
    if mode == "auto" and asked != "online":
        return asked
    if _key_of(settings):
        return "online"
    if mode == "online":
        _say("no W&B key is configured, so the run is tracked offline: `wandb login`, or set WANDB_API_KEY")
    return "offline"


def has_key(folder: Path) -> bool:
    """Whether a W&B key is configured on this computer; what wandb writes meanwhile goes below `folder`."""
    import wandb

    return _key_of(_settings(wandb, folder))


def _key_of(settings: Any) -> bool:
    return bool(settings.api_key or settings.identity_token_file or _in_netrc(settings.base_url))


def _settings(wandb: Any, folder: Path) -> Any:
    """wandb's own reading of the environment and of its settings files; starts nothing."""
    with _kept_in(folder):
        settings = wandb.setup().settings
        _teardown()
    return settings


def _answers(url: str, timeout: float) -> bool:
    """Whether a server is there at all. wandb would find out too, but keeps the process from ending while it waits."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=timeout).close()
    except HTTPError:
        return True
    except URLError as error:
        return isinstance(error.reason, SSLError)  # which certificates to trust is wandb's to judge
    except (OSError, ValueError, HTTPException):
        return False
    return True


def _in_netrc(url: str) -> bool:
    """Whether netrc holds a password for the host of `url`."""
    places = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for place in map(os.path.expanduser, places):
        with suppress(OSError, netrc.NetrcParseError):
            entry = netrc.netrc(place).authenticators(urlsplit(url).netloc)
            return bool(entry and entry[2])
    return False


def _abandon(folder: Path) -> None:
    """Ends wandb's service after a failed start, so that it does not go on trying, and clears what that start left."""
    with suppress(Exception), _kept_in(folder):
        _teardown()
    for left in (folder / "wandb").glob("run-*"):
        # An earlier run of the same folder that came online wrote its configuration; a failed start never gets there.
        if not (left / "files" / "config.yaml").exists():
            shutil.rmtree(left, ignore_errors=True)


def _teardown() -> None:
    """Ends wandb's service, unless a run that somebody else started in this process still needs it."""
    import wandb

    if wandb.run is None:
        wandb.teardown()


@contextmanager
def _kept_in(folder: Path, mode: str = "online") -> Iterator[None]:
    """wandb keeps caches, logs and staged files under the home folder unless these say otherwise when it does.

    Its reports about itself would go out even when a run is offline, and cost lines where the server refuses them.
    """
    inside = folder / "wandb"
    values = {
        "DIR": folder,
        "DATA_DIR": inside / "staging",
        "CACHE_DIR": inside / "cache",
        "ARTIFACT_DIR": inside / "artifacts",
        "SILENT": "true",
        "ERROR_REPORTING": "false",
        **({"MODE": "offline"} if mode == "offline" else {}),
    }
    with _variables({f"WANDB_{name}": str(value) for name, value in values.items()}):
        yield


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for the time of the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _forgiving(consequence: str) -> Iterator[None]:
    """Turns any failure into one line; its type alone is told, for a message may hold an address or a key."""
    try:
        yield
    except Exception as error:
        _say(f"{consequence} ({type(error).__name__})")


def _columns(frame: DataFrame) -> dict[str, list[Any]]:
    return {str(name): frame[name].tolist() for name in frame}


def _table(columns: Mapping[str, Sequence[Any]], photos: Iterable[PhotoResult] | None = None) -> Any:
    """A wandb.Table of columns of one length. With `photos`, of rows: each with its pictures, by its job and image;
    `original` shows the reconstruction and no mask."""
    import wandb

    typed = {name: _typed(values) for name, values in columns.items()}
    if photos is not None:
        # Each picture becomes one object however many rows show it: wandb then stores it once.
        pictures = {(photo.job, photo.name): _pictures(photo) for photo in photos}
        jobs = columns.get("job") or [""] * len(columns["image"])
        lines = [
            [pictures.get((job, image), {}).get(key) for key in _keys(defect)]
            for job, image, defect in zip(jobs, columns["image"], columns["defect"], strict=True)
        ]
        typed |= {name: [line[k] for line in lines] for k, name in enumerate(PICTURES)}
    return wandb.Table(columns=[*typed], data=[list(line) for line in zip(*typed.values(), strict=True)])


def _keys(defect: str) -> tuple[Any, ...]:
    """What `_pictures` calls the PICTURES of a defect's row."""
    return ("input", "reconstruction", ("edit", defect), ("mask", defect))


def _scatter(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """The native chart of strength against background, a point for each edit; empty where there is none."""
    import wandb

    x, y = "psnr_background", "strength"
    told = [name for name in columns if name not in COLUMNS or name in ("image", "defect")]
    known = [k for k, pair in enumerate(zip(columns[x], columns[y], strict=True)) if not any(map(_missing, pair))]
    if not known:
        return {}
    points = {name: [columns[name][k] for k in known] for name in told}
    points |= {name: [_capped(name, columns[name][k]) for k in known] for name in (x, y)}
    return {SCATTER: wandb.plot.scatter(_table(points), x, y, "Strength against background PSNR (dB)")}


def _typed(values: Sequence[Any]) -> list[Any]:
    """A table's column has one type: numbers, NaN where missing, if there is nothing else; otherwise text."""
    if all(_missing(v) or (isinstance(v, Real) and not isinstance(v, bool)) for v in values):
        return [math.nan if _missing(v) else v for v in values]
    return ["" if _missing(v) else str(v) for v in values]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _pictures(photo: PhotoResult) -> dict[Any, Any]:
    edits = {("edit", name): _picture(edit.image) for name, edit in photo.edits.items()}
    masks = {("mask", name): _picture(edit.mask.astype(np.uint8) * 255) for name, edit in photo.edits.items()}
    reconstruction = _picture(photo.reconstruction)
    return {
        "input": _picture(photo.input),
        "reconstruction": reconstruction,
        ("edit", "original"): reconstruction,
        **edits,
        **masks,
    }


def _picture(pixels: np.ndarray, side: int = 512) -> Any:
    """(H,W,3) or (H,W) uint8 as a wandb image of at most `side` pixels: the table is for browsing."""
    import wandb

    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return wandb.Image(image)


def _plain(value: Any) -> Any:
    """Nested settings as JSON knows them; everything else as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _say(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)


def re_root(folder: Path) -> list[Path]:
    """The offline runs at or below `folder`, their logs pointed to the staged files where these are now.

    Raises RLIError where there is no run, a log is damaged, or a file is gone; that log then stays as it was.
    """
    found = sorted(Path(folder).absolute().rglob("run-*.wandb"))
    logs = [log for log in found if log.parent.name.startswith("offline-run-")]
    if not logs:
        raise RLIError(f"{folder}: there are no offline runs of W&B in it")
    for log in logs:
        old = log.read_bytes()
        new = write_log(old[:HEAD], [_re_rooted(record, log.parent) for record in read_log(old, log)])
        if new != old:
            # What was sent from here before was incomplete, and is to be sent again.
            log.with_name(f"{log.name}.synced").unlink(missing_ok=True)
            write_whole(log, new)
    return [log.parent for log in logs]


def _re_rooted(record: bytes, run: Path) -> bytes:
    """A log's record with the staged files of its artifact, if it has one, named where they lie in the folder `run`."""
    from wandb.proto.wandb_internal_pb2 import Record

    told = Record.FromString(record)
    if told.WhichOneof("record_type") != "artifact":
        return record
    for entry in told.artifact.manifest.contents:
        # Whatever system it was written on: PureWindowsPath knows both kinds of separators.
        place = run / STAGED / PureWindowsPath(entry.local_path).name
        if not place.is_file():
            raise RLIError(f"{place} is gone: copy the whole folder of the run, with all that is in its wandb folder")
        entry.local_path = str(place)
    return told.SerializeToString()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Point offline runs of W&B to their files where these are now, and say how they are sent."
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of runs, at any depth")
    try:
        runs = [run for folder in parser.parse_args(arguments).folders for run in re_root(folder)]
    except (RLIError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(shlex.join(["wandb", "sync", *map(str, runs)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
