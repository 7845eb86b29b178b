"""Train, val and test: which split each photograph belongs to."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction

from rli.errors import SettingError, one_of
from rli.photos.photo import SPLITS

SHARE = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")


def ratios_of(text: str) -> tuple[Fraction, ...]:
    """Shares of train, val and test.

    Args:
        text: Such as 0.7/0.15/0.15 or 80/10/10.

    Returns:
        Three shares that sum to one.

    Raises:
        SettingError: The text is anything else.
    """
    parts = [part.strip() for part in str(text).split("/")]
    # Plain numbers alone: a fraction of 1e999999999 is computed for ever.
    shares = [Fraction(part) for part in parts] if all(map(SHARE.fullmatch, parts)) else []
    if len(shares) != 3 or sum(shares) == 0:
        raise SettingError("split", text, "expected the shares of train, val and test, such as 0.7/0.15/0.15")
    return tuple(share / sum(shares) for share in shares)


def assign(
    photos: Iterable[tuple[str, str, str | None]], ratios: str | None, *, seed: int = 0, keep: bool = False
) -> Iterator[str]:
    """The split of each photograph, in order, as soon as it is asked for.

    After every photograph, each split of each stratum is less than one photograph from its share. What the shares
    leave open is drawn from seed, stratum and name. Memory holds three counts for each stratum.

    Args:
        photos: Name, stratum (such as category and class) and own split, None where it has none. A photograph's edits
            are in its split, so that no photograph occurs both in training and in testing.
        ratios: See `ratios_of`. None takes the photographs' own splits, train where there is none.
        seed: Of what is drawn.
        keep: Whether photographs that have a split of their own keep it; the ratios share out the others.

    Raises:
        SettingError: Bad ratios, or an unknown split.
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
    """The index of the split of a stratum's next photograph.

    `debts` is what each split lacks of its share with that photograph. They sum to one and lay within (-1, 1) before
    it. So at most one reaches one, and that split has to take the photograph; otherwise any split that lacks something
    may take it, and all debts stay within (-1, 1).
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
    """A number in [0,1), the same on every machine for the same arguments."""
    digest = hashlib.sha256(f"{seed}\0{stratum}\0{name}".encode()).digest()
    return Fraction(int.from_bytes(digest[:8]), 2**64)
