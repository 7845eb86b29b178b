"""Where a run's files lie. Names that come back from files are not trusted to stay in their folder."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path, PureWindowsPath

from rli.errors import RLIError, shown
from rli.files import locked

# Seconds after which nobody is writing a file that still has its temporary name, or holds a lock.
STALE = 600


def inside(folder: Path, name: str) -> Path:
    """The path of what is called `name` in a folder; also where it is yet to be written.

    Args:
        folder: Wherever the user wants it; it may be a link itself.
        name: A relative path with /, from a table, a record or another file that anybody may have written.

    Returns:
        folder / name.

    Raises:
        RLIError: The name is empty or absolute, has a drive or `..` in it, or leads out of the folder by a link.
    """
    parts = PureWindowsPath(name)  # which knows what / and \\ and drives mean; on other systems these are rare
    if not parts.parts or parts.drive or parts.root or ".." in parts.parts or "\0" in name:
        raise RLIError(f"“{shown(name)}” is no name of a file in {folder}: it must be a relative path without ..")
    path = folder / name
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise RLIError(f"{shown(path)} is a link that leads out of {folder}: it is left alone")
    return path


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left half written, and their locks, once nobody can be using them any more."""
    for part in folder.rglob(".part-*"):
        with suppress(FileNotFoundError):
            if _is_stale(part):
                part.unlink()
    for lock in folder.glob("*.lock"):
        with suppress(FileNotFoundError):
            if _is_stale(lock):
                with locked(lock, why=None) as is_ours:
                    if is_ours:
                        lock.unlink(missing_ok=True)


def _is_stale(path: Path) -> bool:
    return time.time() - path.lstat().st_mtime > STALE
