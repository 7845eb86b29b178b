"""Where wandb keeps what it writes, whether it has a key, and whether its server answers."""

from __future__ import annotations

import netrc
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen


def mode_of(wandb: Any, mode: str, folder: Path) -> str:
    """The mode with this computer's wandb configuration: online, offline or off."""
    if mode == "offline":
        return mode
    try:
        settings = settings_of(wandb, folder)
    except Exception as error:  # wandb refuses a value of the environment, or cannot start
        say(f"W&B's own settings ({unusable(error)}) cannot be used, so the run is not tracked")
        return "off"
    configured = {"dryrun": "offline", "offline": "offline", "disabled": "off"}.get(settings.mode, "online")
    if mode == "auto" and configured != "online":
        return configured
    if _key_of(settings):
        return "online"
    if mode == "online":
        say("no W&B key is configured, so the run is tracked offline: `wandb login`, or set WANDB_API_KEY")
    return "offline"


def has_key(folder: Path) -> bool:
    """Whether a W&B key is configured on this computer; what wandb writes meanwhile goes below `folder`."""
    import wandb

    return _key_of(settings_of(wandb, folder))


def _key_of(settings: Any) -> bool:
    return bool(settings.api_key or settings.identity_token_file or _in_netrc(settings.base_url))


def settings_of(wandb: Any, folder: Path) -> Any:
    """wandb's own reading of the environment and of its settings files; starts nothing."""
    with kept_in(folder):
        settings = wandb.setup().settings
        teardown()
    return settings


def answers(url: str, timeout: float) -> bool:
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
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for file in map(os.path.expanduser, files):
        with suppress(OSError, netrc.NetrcParseError):
            entry = netrc.netrc(file).authenticators(urlsplit(url).netloc)
            return bool(entry and entry[2])
    return False


def abandon(folder: Path) -> None:
    """Ends wandb's service after a failed start, so that it does not go on trying, and clears what that start left."""
    with suppress(Exception), kept_in(folder):
        teardown()
    for left in (folder / "wandb").glob("run-*"):
        # An earlier run of the same folder that came online wrote its configuration; a failed start never gets there.
        if not (left / "files" / "config.yaml").exists():
            shutil.rmtree(left, ignore_errors=True)


def unusable(error: Exception) -> str:
    """The environment variables that wandb refuses, without their values, which may be secret; or the error's type."""
    problems = getattr(error, "errors", None)  # of pydantic, with which wandb checks its settings
    fields = [".".join(map(str, one["loc"])) for one in problems()] if callable(problems) else []
    return ", ".join(f"WANDB_{field.upper()}" for field in fields if field) or type(error).__name__


def teardown() -> None:
    """Ends wandb's service, unless a run that somebody else started in this process still needs it."""
    import wandb

    if wandb.run is None:
        wandb.teardown()


@contextmanager
def kept_in(folder: Path, mode: str = "online") -> Iterator[None]:
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
    with variables({f"WANDB_{name}": str(value) for name, value in values.items()}):
        yield


@contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
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


def say(line: str) -> None:
    """Warns on stderr."""
    print(f"warning: {line}", file=sys.stderr)
