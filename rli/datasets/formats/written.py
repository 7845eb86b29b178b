"""What an export wrote, so that the next one keeps what was changed in it since: nobody's correction is lost.

written.csv has a line for each file with the hash of what was written. The next export compares three contents: what
was written, what lies there now and what it would write itself.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from filecmp import cmp
from itertools import chain, count
from pathlib import Path

from rli.errors import RLIError, shown

LIST = "written.csv"
# Says that a folder is an export.
MARK = "export.json"
# Where corrections go whose place in the new export is taken, or is no more.
ASIDE = "corrected"
# Files that a message names.
MOST_NAMED = 3


@dataclass(frozen=True)
class Kept:
    """What the next export keeps of an earlier one, as paths in it."""

    # At their places.
    in_place: tuple[str, ...] = ()
    # Below ASIDE.
    aside: tuple[str, ...] = ()

    def lines(self, out: Path) -> Iterator[str]:
        """For the user."""
        if self.in_place:
            yield f"kept in {shown(out)}, changed or added since the last export: {_named(self.in_place)}"
        if self.aside:
            why = "changed or added since the last export, and what is written there now is not what it was"
            yield f"moved to {shown(out / ASIDE)}, {why}: {_named(self.aside)}"


def list_files(export: Path) -> None:
    """Writes the export's list. A hard link has no hash: it is a picture of the run, or with originals=link one of the
    user's, and nobody's correction."""
    with (export / LIST).open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "sha256"))
        for path in _files(export):
            table.writerow((path, "" if _is_linked(export / path) else _sha256(export / path)))


def keep_changes(old: Path, new: Path) -> Kept:
    """Puts what was changed in an export since it was written, and files that it did not write, into the next one.

    A file stays at its place where the next export would write the same there as the last one did, or nothing did. Any
    other is put below ASIDE. A file that was deleted is written again.

    Args:
        old: The earlier export; it stays as it is. Of one without a list, every file that differs is put below ASIDE.
        new: The next one, with its list, on the same file system.

    Returns:
        What was kept.

    Raises:
        RLIError: A file cannot be kept, because others are in its way.
    """
    written = _listed(old)
    kept: dict[bool, list[str]] = {True: [], False: []}
    for path in _files(old):
        told = None if written is None else written.get(path, "new")
        if _is_as_written(old / path, told) or _is_same(old / path, new / path):
            continue
        fits = told == "new" if not (new / path).exists() else bool(told) and _sha256(new / path) == told
        is_in_place = fits and _put(old / path, new / path)
        if not is_in_place and not _put(old / path, _free(new / ASIDE / path)):
            raise RLIError(f"{shown(old / path)} was changed, and there is no place to keep it; move it elsewhere")
        kept[is_in_place].append(path)
    return Kept(tuple(kept[True]), tuple(kept[False]))


def _listed(export: Path) -> dict[str, str] | None:
    """Path to hash of what an export wrote; None where it does not say."""
    try:
        with (export / LIST).open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            return {row["path"]: row["sha256"] for row in csv.DictReader(file)}
    except (OSError, KeyError, csv.Error):
        return None


def _is_as_written(file: Path, told: str | None) -> bool:
    """A link's content is the run's own picture, which the run makes again where it is damaged."""
    return told == "" or (bool(told) and told == _sha256(file))


def _is_linked(file: Path) -> bool:
    return file.stat().st_nlink > 1


def _is_same(one: Path, other: Path) -> bool:
    return other.is_file() and cmp(one, other, shallow=False)


def _put(source: Path, target: Path) -> bool:
    """The same file at a second place, instead of what is there; False where a file is in the way to it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
    except OSError:
        return False
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copy2(source, target)
    return True


def _free(path: Path) -> Path:
    """The path, numbered where it is taken."""
    numbered = (path.with_name(f"{path.stem}~{number}{path.suffix}") for number in count(2))
    return next(free for free in chain([path], numbered) if not free.exists())


def _files(export: Path) -> Iterator[str]:
    """Every file's path in an export, with /, in a fixed order; without what says that it is one."""
    for folder, names, files in os.walk(export):
        names.sort()
        above = Path(folder).relative_to(export)
        for name in sorted(files):
            path = (above / name).as_posix()
            if path not in (LIST, MARK) and (export / path).is_file():
                yield path


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _named(paths: tuple[str, ...]) -> str:
    more = f" and {len(paths) - MOST_NAMED} more" if len(paths) > MOST_NAMED else ""
    return ", ".join(map(shown, paths[:MOST_NAMED])) + more
