"""Files that are looked at before they are read, and written whole or not at all: an interrupted run leaves no half."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rli.errors import RLIError, shown


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields the path of an empty temporary file beside `path` that keeps its suffix; it becomes `path` on success.

    On an exception it is removed, and whatever stood at `path` stays as it was. Missing folders are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The same folder, for a replacement is atomic only within one file system.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(_mode(path))
        _sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def look_at(path: str | Path, most: int | None = None) -> os.stat_result:
    """Looks at a file before it is opened: a pipe would be waited for, and a device never ends.

    Args:
        path: The file; links are followed.
        most: The most bytes that are read of it at once; None where it is read piece by piece.

    Returns:
        What the system says of it.

    Raises:
        OSError: There is none.
        RLIError: It is a folder, a pipe or a device, or larger.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise RLIError(f"{shown(path)} is not a file")
    if most is not None and status.st_size > most:
        raise RLIError(f"{shown(path)} is too large for what it should be: {status.st_size} bytes")
    return status


@contextmanager
def locked(path: Path, why: str | None) -> Iterator[bool]:
    """Holds a lock, which is the operating system's: a process that dies releases it.

    Args:
        path: The lock's file.
        why: What another process does while it holds it, said where it has to be waited for; None does not wait.

    Yields:
        Whether it is held: always, but for a lock that is not waited for.
    """
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if why is None:
            yield False
            return
        print(f"waiting: {why}", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield True
    finally:
        lock.release()


def write_whole(path: Path, data: bytes | str) -> None:
    """Writes bytes, or text as UTF-8 with its line ends untouched, whole or not at all. What is no UTF-8 is escaped."""
    with whole_file(path) as part:
        part.write_bytes(data.encode(errors="backslashreplace") if isinstance(data, str) else data)


def _mode(path: Path) -> int:
    """The permissions a plain open() would give: the old file's, or what the umask leaves."""
    if path.exists():
        return path.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
