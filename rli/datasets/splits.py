"""Train, val and test: which split each photograph belongs to.

Groups are laid along a line in an order that is drawn from the seed and each group's name alone, and the line is cut at
the shares. So a photograph that is added, wherever it comes in its source, moves at most one group over each cut (two
where there are few groups). There is such a line for each stratum: groups whose photographs are of the same categories
and classes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import ceil

from rli.errors import SettingError, one_of
from rli.photos.photo import SPLITS

SHARE = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")
# Draws are whole numbers below this one.
DRAWS = 2**64
# In a stratum of fewer groups it makes a difference where in the groups the cuts lie: so many places are tried.
FEW, PLACES = 50, 8


@dataclass(frozen=True)
class Member:
    """A photograph that belongs to a split."""

    name: str
    # All photographs of a group are in one split.
    group: str
    # What each split shall have its share of, such as the category and the class.
    stratum: str = ""
    # Its source's split; "" where it has none.
    own: str = ""


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


def assign(members: Sequence[Member], ratios: str | None, *, seed: int = 0, keep: bool = False) -> list[str]:
    """The split of each photograph, in order.

    In every stratum each split is nearer to its share than the stratum's largest group. What the shares leave open is
    drawn from the seed. No group is torn; but where photographs keep splits of their own, their source may have torn
    one: see `torn`. A photograph without a split of its own then goes where most of its group are.

    Args:
        members: The photographs. A photograph's edits are in its split.
        ratios: See `ratios_of`. None keeps the photographs' own splits, train where a group has none.
        seed: Of what is drawn.
        keep: Whether photographs that have a split of their own keep it; the ratios share out the other groups.

    Raises:
        SettingError: Bad ratios, or an unknown split.
    """
    for member in members:
        if member.own:
            one_of(f"{member.name}: split", member.own, SPLITS)
    kept = _kept(members) if ratios is None or keep else {}
    open_ = [member for member in members if member.group not in kept]
    drawn = dict.fromkeys((member.group for member in open_), SPLITS[0])
    if ratios is not None:
        drawn = dict(_drawn(open_, ratios_of(ratios), seed))
    return [(kept and member.own) or kept.get(member.group) or drawn[member.group] for member in members]


def torn(members: Iterable[Member], splits: Iterable[str]) -> dict[str, dict[str, str]]:
    """The groups that are in more than one split: of each split, the name of a photograph in it."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for member, split in zip(members, splits, strict=True):
        found[member.group].setdefault(split, member.name)
    return {group: names for group, names in found.items() if len(names) > 1}


def _kept(members: Iterable[Member]) -> dict[str, str]:
    """The split that most photographs of a group have of their own, for the groups in which one has."""
    own: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for member in members:
        if member.own:
            own[member.group][member.own] += 1
    return {group: max(SPLITS, key=lambda split: count[split]) for group, count in own.items()}


def _drawn(members: Sequence[Member], shares: tuple[Fraction, ...], seed: int) -> Iterator[tuple[str, str]]:
    """Each group with its split."""
    sizes = Counter(member.group for member in members)
    strata: defaultdict[str, set[str]] = defaultdict(set)
    for member in members:
        strata[member.group].add(member.stratum)
    lines: defaultdict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for group, size in sizes.items():
        lines[tuple(sorted(strata[group]))][group] = size
    for stratum, groups in lines.items():
        line = {group: groups[group] for group in sorted(groups, key=lambda group: (_draw(seed, group), group))}
        drawn = _draw(seed, "\n".join(("stratum", *stratum)))
        # In fewer groups than splits the nearest to the shares is always the same, and other splits would get nothing.
        is_small = sum(share > 0 for share in shares) <= len(line) < FEW
        places = [(drawn + k * DRAWS // PLACES) % DRAWS for k in range(PLACES if is_small else 1)]
        cuts = (_cut(line, shares, place) for place in places)
        yield from min(cuts, key=lambda splits: _distance(splits, line, shares)).items()


def _cut(line: Mapping[str, int], shares: tuple[Fraction, ...], place: int) -> dict[str, str]:
    """The split of each group of a line, given with their sizes: the one that a point of it lies in, the same in all
    groups: `place` of DRAWS parts from its beginning."""
    total, begin, splits = sum(line.values()), 0, {}
    ends = [ceil(end * total * DRAWS) for end in accumulate(shares)]
    for group, size in line.items():
        point = begin * DRAWS + place * size
        splits[group] = next(split for split, end in zip(SPLITS, ends, strict=True) if point < end)
        begin += size
    return splits


def _distance(splits: Mapping[str, str], line: Mapping[str, int], shares: tuple[Fraction, ...]) -> Fraction:
    """How far the splits are from their shares, in photographs."""
    had: Counter[str] = Counter()
    for group, split in splits.items():
        had[split] += line[group]
    wanted = [share * sum(line.values()) for share in shares]
    return sum((abs(had[split] - many) for split, many in zip(SPLITS, wanted, strict=True)), Fraction(0))


def _draw(seed: int, text: str) -> int:
    """A whole number below DRAWS, the same on every machine for the same arguments."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{text}".encode()).digest()[:8])
