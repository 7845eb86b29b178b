"""One opening of a file fails, as on a full disk or a bad one: does the command say so, and the next one heal it?

python -m experiments.faults.failing --trials 40
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from experiments.faults.trial import GATHER, SETTINGS, finished, not_healed, restored, run
from experiments.harness import markdown
from rli.progress import shown

ERRORS = {
    "the disk is full": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "input/output error": OSError(errno.EIO, os.strerror(errno.EIO)),
    "too many open files": OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
    "no memory": MemoryError(),
}


@dataclass
class Openings:
    """Counts what is opened in a folder, and lets one opening or all from it on fail.

    An audit hook cannot be taken away again: it is asleep where there is no folder.
    """

    folder: Path | None = None
    count: int = 0
    fails: range = range(0)
    error: Exception | None = None
    is_installed: bool = field(default=False)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python whenever something is opened."""
        if event != "open" or self.folder is None or not isinstance(arguments[0], (str, Path)):
            return
        if Path(os.path.abspath(arguments[0])).is_relative_to(self.folder):
            self.count += 1
            if self.count in self.fails and self.error is not None:
                raise self.error

    @contextmanager
    def within(self, folder: Path, fails: range = range(0), error: Exception | None = None) -> Iterator[None]:
        """For the time of the block, the openings in a folder whose numbers, from 1, are in `fails` fail."""
        if not self.is_installed:
            sys.addaudithook(self.hook)
            self.is_installed = True
        self.folder, self.count, self.fails, self.error = folder.absolute(), 0, fails, error
        try:
            yield
        finally:
            self.folder = None


OPENINGS = Openings()


def opened(place: Path) -> int:
    """How many files a run opens that begins with photographs alone."""
    begun(place)
    with OPENINGS.within(place):
        run(place, *SETTINGS)
    return OPENINGS.count


def begun(place: Path) -> None:
    """As before the first run."""
    restored(place)
    for name in ("run", "cache"):
        for path in sorted((place / name).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def trial(place: Path, error: Exception, fails: range) -> str | None:
    """What is wrong after openings failed and the same command was given again; None where nothing is."""
    begun(place)
    with OPENINGS.within(place, fails, error):
        harmed = run(place, *SETTINGS)
    return not_healed(place, [harmed, run(place, *SETTINGS)]) or run(place, *GATHER).fault


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=40, help="for each kind of error")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, healed, faults = random.Random(args.seed), Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        place = finished(Path(folder))
        total = opened(place)
        for name, k in shown(list(product(ERRORS, range(args.trials))), "trials"):
            first = draw.randint(1, total)
            fault = trial(place, ERRORS[name], range(first, first + (1 if k % 2 else total)))
            healed[name, fault is None] += 1
            if fault:
                faults.append(f"{name} at opening {first} of {total}: {fault}")
                print(faults[-1], file=sys.stderr, flush=True)
        print(f"a run opens {total} files; one opening fails, or all from one on\n")
        print(markdown(("Error", "healed", "not"), [(n, f"{healed[n, True]}", f"{healed[n, False]}") for n in ERRORS]))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
