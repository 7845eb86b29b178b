"""Which photographs teach, which tune and which judge."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction

from rli.datasets.annotations import SPLITS
from rli.errors import RLIError, one_of


def ratios_of(text: str) -> tuple[Fraction, ...]:
    """Shares of train, val and test from text such as 0.7/0.15/0.15 or 80/10/10; they are scaled to sum to one.

    Raises RLIError for anything else.
    """
    try:
        shares = [Fraction(part.strip()) for part in str(text).split("/")]
    except (ValueError, ZeroDivisionError):
        shares = []
    if len(shares) != 3 or min(shares) < 0 or sum(shares) == 0:
        raise RLIError(f"dataset.split={text}: write the shares of train, val and test such as 0.7/0.15/0.15, or null")
    return tuple(share / sum(shares) for share in shares)


def assign(
    photos: Iterable[tuple[str, str, str | None]], ratios: str | None, *, seed: int = 0, keep: bool = False
) -> Iterator[str]:
    """The split of each photograph, in order, as soon as it is asked for.

    photos: name, stratum (such as category and class) and the source's own split, None where it has none. A
    photograph's edits go where it goes, so that none is torn apart. ratios: see `ratios_of`; None takes the source's
    own split, train where it has none; with keep, photographs that have a split of their own keep it and the ratios
    share out the others.

    After every photograph, each split of each stratum is less than one photograph from its share. What the shares
    leave open is drawn from seed, stratum and name. Memory holds three counts for each stratum. Raises RLIError for bad
    ratios or an unknown split.
    """
    shares = None if ratios is None else ratios_of(ratios)
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(SPLITS))
    for name, stratum, own in photos:
        if own is not None:
            one_of(f"{name}: split", own, SPLITS)
        if shares is None or (keep and own is not None):
            yield own or SPLITS[0]
            continue
        count = counts[stratum]
        k = _next(count, shares, _draw(seed, stratum, name))
        count[k] += 1
        yield SPLITS[k]


def _next(count: list[int], shares: tuple[Fraction, ...], draw: Fraction) -> int:
    """The split of a stratum's next photograph.

    debts: what each split lacks then. They sum to one and, before, lay within (-1, 1): so at most one of three reaches
    one, and it has to be served; otherwise any that lacks something may be, and all stay within (-1, 1).
    """
    debts = [(sum(count) + 1) * share - had for share, had in zip(shares, count, strict=True)]
    if max(debts) >= 1:
        return debts.index(max(debts))
    open_ = [max(debt, Fraction(0)) for debt in debts]
    at = draw * sum(open_)
    for k, debt in enumerate(open_):
        at -= debt
        if at < 0:
            return k
    raise AssertionError("a draw is less than one")


def _draw(seed: int, stratum: str, name: str) -> Fraction:
    """In [0,1), the same everywhere for the same words."""
    digest = hashlib.sha256(f"{seed}\0{stratum}\0{name}".encode()).digest()
    return Fraction(int.from_bytes(digest[:8]), 2**64)
