"""Progress of long work: a bar with the time left on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

from tqdm import tqdm

Progress = Callable[[Iterable, str], Iterable]


def quiet(items: Iterable, label: str) -> Iterable:
    """A progress display that displays nothing."""
    return items


# Seconds between plain lines; work shorter than this stays silent.
EVERY = 15.0


class _Bar(tqdm):
    """tqdm's bar with a rate per hour."""

    @property
    def format_dict(self) -> dict[str, Any]:
        shown = super().format_dict
        return {**shown, "hourly": f"{3600 * shown['n'] / shown['elapsed']:.0f}/h" if shown["elapsed"] else "–"}


def shown(items: Iterable, label: str, total: int | None = None) -> Iterable:
    """Pass items through, showing on stderr how far it is. total: how many there are, where they do not know it."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {hourly}]"
        return _Bar(items, desc=label, total=total, leave=False, dynamic_ncols=True, bar_format=form)
    return _lines(items, label, total)


def _lines(items: Iterable, label: str, total: int | None) -> Iterator:
    began = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= EVERY:
            said = now
            left = f", {(total - done) * (now - began) / done:.0f} s left" if total else ""
            rate = f", {3600 * done / (now - began):.0f} an hour"
            print(f"{label}: {done}{f'/{total}' if total else ''}{left}{rate}", file=sys.stderr, flush=True)
        yield item
