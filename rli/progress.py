"""Progress of long work: a bar with the time left on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

# Seconds between plain lines; work shorter than this stays silent.
EVERY = 15.0


def shown(items: Iterable, label: str) -> Iterable:
    """Pass items through, showing on stderr how far it is."""
    if sys.stderr.isatty():
        return tqdm(items, desc=label, leave=False, dynamic_ncols=True)
    return _lines(items, label)


def _lines(items: Iterable, label: str) -> Iterator:
    total = len(items) if hasattr(items, "__len__") else None
    began = said = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - said >= EVERY:
            said = now
            left = f", {(total - done) * (now - began) / done:.0f} s left" if total else ""
            print(f"{label}: {done}{f'/{total}' if total else ''}{left}", file=sys.stderr, flush=True)
        yield item
