"""What a run tells Weights & Biases. The only module that imports wandb, and only when a run is tracked.

Tracking never stands in a run's way: no prompt, no wait beyond a few seconds, and every failure costs one line on
stderr and the tracking, never the run. All that wandb writes lies in `<folder>/wandb`.
"""

from __future__ import annotations

import math
import netrc
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from statistics import fmean
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image

from rli.types import COLUMNS, PhotoResult, Row, one_of

KINDS = ("wandb", "off")
MODES = ("auto", "online", "offline")
PICTURES = ("input", "reconstruction", "edit", "mask")
SUMMARISED = ("psnr", "ssim", "lpips", "psnr_recon", "ssim_recon", "lpips_recon", "psnr_background", "ssim_background")


class Tracker(Protocol):
    """What a run needs of its tracker."""

    def log(self, rows: Sequence[Row], photos: Sequence[PhotoResult]) -> None:
        """Tells the rows as one table, each with its pictures, and their means as the run's summary."""

    def finish(self, failed: bool = False) -> None:
        """Ends the tracked run, marked as failed where it did."""


class Untracked:
    """Tells nobody anything."""

    def log(self, rows: Sequence[Row], photos: Sequence[PhotoResult]) -> None:
        pass

    def finish(self, failed: bool = False) -> None:
        pass


@dataclass(frozen=True)
class WandbTracker:
    """One wandb run that keeps everything it writes in `folder`/wandb. mode: online or offline, as it came to be."""

    run: Any
    folder: Path
    mode: str

    def log(self, rows: Sequence[Row], photos: Sequence[PhotoResult]) -> None:
        with _forgiving("the results were not tracked"), _kept_in(self.folder, self.mode):
            self.run.log({"results": _table(rows, photos)})
            self.run.summary.update(summary(rows))

    def finish(self, failed: bool = False) -> None:
        with _forgiving("the tracked run was not ended properly"), _kept_in(self.folder, self.mode):
            self.run.finish(exit_code=int(failed))
            _teardown()


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
) -> Iterator[Tracker]:
    """A tracker of `kind` "wandb" or "off" for the time of the block; a block that raises leaves a run marked failed.

    The other arguments are `start`'s.
    """
    one_of("tracking", kind, KINDS)
    tracker = start(folder, config, mode, project, name, group, tags) if kind == "wandb" else Untracked()
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
    timeout: float = 10,
) -> Tracker:
    """Starts a wandb run in `folder`.

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
    facts = {"config": _plain(config), "project": project, "name": name, "group": group, "tags": [*tags] or None}
    folder = Path(folder).absolute()
    wanted = _mode(wandb, mode, folder)
    if wanted == "off":
        return Untracked()
    if wanted == "online":
        if _answers(_settings(wandb, folder).base_url, min(timeout, 5)):
            with suppress(Exception):
                return _started(wandb, folder, "online", timeout, facts)
            _abandon(folder)
        _say(
            "the W&B server could not be reached or refused the key, so the run is tracked offline: "
            "send it later with `wandb sync`"
        )
    try:
        return _started(wandb, folder, "offline", timeout, facts)
    except Exception as error:
        _abandon(folder)
        _say(f"tracking could not start ({type(error).__name__}), so the run is not tracked")
        return Untracked()


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Means over photographs as {"psnr/rust": 27.5, …}, units as in Row; figures that are missing everywhere are left
    out."""
    defects = dict.fromkeys(row.defect for row in rows)
    chosen = {
        f"{metric}/{defect}": [getattr(row, metric) for row in rows if row.defect == defect]
        for defect in defects
        for metric in SUMMARISED
    }
    values = {name: [v for v in column if v is not None and not math.isnan(v)] for name, column in chosen.items()}
    return {name: fmean(numbers) for name, numbers in values.items() if numbers}


def _started(wandb: Any, folder: Path, mode: str, timeout: float, facts: Mapping[str, Any]) -> WandbTracker:
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
    return WandbTracker(run, folder, mode)


def _mode(wandb: Any, mode: str, folder: Path) -> str:
    """online, offline or off: what the wish and this computer's wandb configuration come to."""
    if mode == "offline":
        return mode
    settings = _settings(wandb, folder)
    asked = {"dryrun": "offline", "offline": "offline", "disabled": "off"}.get(settings.mode, "online")
    if mode == "auto" and asked != "online":
        return asked
    if settings.api_key or settings.identity_token_file or _in_netrc(settings.base_url):
        return "online"
    if mode == "online":
        _say("no W&B key is configured, so the run is tracked offline: `wandb login`, or set WANDB_API_KEY")
    return "offline"


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
    """wandb stages pictures and logs under the home folder unless these say otherwise at the moment it does.

    Its reports about itself go out even when a run is offline, unless the environment says so too.
    """
    inside = folder / "wandb"
    places = {
        "DIR": folder,
        "DATA_DIR": inside / "staging",
        "CACHE_DIR": inside / "cache",
        "ARTIFACT_DIR": inside / "artifacts",
    }
    quiet = {"MODE": "offline", "ERROR_REPORTING": "false"} if mode == "offline" else {}
    with _variables({f"WANDB_{name}": str(value) for name, value in {"SILENT": "true", **places, **quiet}.items()}):
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


def _table(rows: Sequence[Row], photos: Sequence[PhotoResult]) -> Any:
    """One wandb.Table row for each row, with its pictures; `original` shows the reconstruction and no mask."""
    import wandb

    # Each picture becomes one object however many rows show it: wandb then stores it once.
    pictures = {photo.name: _pictures(photo) for photo in photos}
    table = wandb.Table(columns=[*COLUMNS, *PICTURES])
    for row in rows:
        shown = pictures.get(row.image, {})
        keys = ("input", "reconstruction", ("edit", row.defect), ("mask", row.defect))
        table.add_data(*(_number(value) for value in asdict(row).values()), *(shown.get(key) for key in keys))
    return table


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


def _number(value: Any) -> Any:
    # A column takes its type from its first value, and NaN is a number where None is not.
    return math.nan if value is None else value


def _plain(value: Any) -> Any:
    """Nested settings as JSON knows them; everything else as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _say(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr)
