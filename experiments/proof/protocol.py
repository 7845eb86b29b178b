"""Which photographs may be learned from, and a check that nothing else is.

Of each class the first third of the photographs is for training, as people who compare generators do it; the rest is
for testing. A part of the training third is held out, so that an epoch can be chosen without a look at the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rli.datasets.annotations import Item
from rli.datasets.groups import grouped_by, joined, ties_of
from rli.errors import RLIError, shown
from rli.images import to_uint8
from rli.photos.photo import Photo
from rli.photos.placement_shapes import SHAPES

# One photograph in so many is for training.
THIRD = 3
# Of the training third one group in so many is held out.
HELD_OUT = 4
# Bits of 64 in which the hashes of two photographs of the same thing differ at most.
NEAR = 3
TRAIN, HELD, TEST = "train", "val", "test"


@dataclass(frozen=True)
class Divided:
    """Photographs by what they may be used for."""

    # For training; synthetic images are made from these alone.
    train: tuple[Photo, ...]
    # For the choice of an epoch.
    held_out: tuple[Photo, ...]
    # For testing.
    test: tuple[Photo, ...]

    def sides(self) -> tuple[tuple[str, tuple[Photo, ...]], ...]:
        """Each side by its name, as data sets call it."""
        return (TRAIN, self.train), (HELD, self.held_out), (TEST, self.test)


def divided(photos: Sequence[Photo], rule: str | None = None, *, near: bool = False) -> Divided:
    """Divides photographs by the protocol.

    Of each class the groups are gone through in the order of their first photograph's name, and go to training while
    they fit into a third of its photographs. Where every photograph has a split of its own, that holds. Of what is for
    training the last quarter of each class's groups is held out, one at least where there are two.

    Args:
        photos: All photographs, in the source's order.
        rule: Which belong together, see `rli.datasets.groups.grouped_by`. Equal files always do.
        near: Whether photographs that look alike belong together, too.

    Returns:
        The photographs; no group is on two sides.
    """
    photos = sorted(photos, key=lambda photo: photo.name)
    groups = _groups(photos, rule, near=near)
    if all(photo.split for photo in photos):
        side = {group: TEST if photo.split == "test" else TRAIN for photo, group in zip(photos, groups, strict=True)}
    else:
        side = _first_third(photos, groups)
    held = _held_out([(photo, group) for photo, group in zip(photos, groups, strict=True) if side[group] == TRAIN])
    found: dict[str, list[Photo]] = {TRAIN: [], HELD: [], TEST: []}
    for photo, group in zip(photos, groups, strict=True):
        found[HELD if group in held else side[group]].append(photo)
    return Divided(*(tuple(found[name]) for name in (TRAIN, HELD, TEST)))


def refuse_leaks(items: Iterable[Item], sides: Divided) -> None:
    """Refuses a training set in which anything was made from a photograph that is not for training.

    Args:
        items: The images to learn from; their facts name the hash of the photograph that each was made from (sha256),
            the photographs whose masks or pixels were taken (placement), and its example, as in a manifest.
        sides: The photographs.

    Raises:
        RLIError: There is one, or an image of which nobody knows what it was made from.
    """
    known = {photo.sha256(): photo for photo in sides.train}
    others = {photo.sha256(): photo for photo in (*sides.held_out, *sides.test)}
    for item in items:
        example = item.facts.get("example")
        taken = [item.facts.get("sha256", ""), *_donors(item), *([example] if example else [])]
        for source in taken:
            if source in others:
                raise RLIError(
                    f"{shown(item.name)} is made from {shown(others[source].name)}, which is not for training; make "
                    "images from the training photographs alone"
                )
            if source not in known:
                raise RLIError(f"{shown(item.name)}: nobody knows which photograph it is made from")


def _donors(item: Item) -> list[str]:
    """Hashes of the photographs whose masks or pixels an image has; "" for one that is not known."""
    hashes = item.facts.get("hashes", {})
    spots = json.loads(item.facts.get("placement") or "[]")
    return [hashes.get(spot["from"], "") for spot in spots if spot["from"] not in SHAPES]


def alike(photos: Sequence[Photo]) -> list[tuple[str, ...]]:
    """Of each photograph the names of those before it that look like it, and its own."""
    hashes = np.array([_difference_hash(photo) for photo in photos])
    near = (np.flatnonzero((hashes[: k + 1] != own).sum(1) <= NEAR) for k, own in enumerate(hashes))
    return [tuple(photos[j].name for j in found) for found in near]


def _groups(photos: Sequence[Photo], rule: str | None, *, near: bool) -> list[str]:
    group_of = grouped_by(rule)
    ties = [ties_of(photo.name, group_of(photo), photo.sha256()) for photo in photos]
    if near:
        ties = [(*own, *(f"4 {name}" for name in names)) for own, names in zip(ties, alike(photos), strict=True)]
    return joined(ties)


def _difference_hash(photo: Photo) -> np.ndarray:
    """(64,) bool: whether each pixel of a picture of 8×9 is lighter than the next (difference hash)."""
    grey = to_uint8(photo.read(8, 9)).astype(float).mean(-1)
    return (grey[:, 1:] > grey[:, :-1]).ravel()


def _first_third(photos: Sequence[Photo], groups: Sequence[str]) -> dict[str, str]:
    """The side of each group: the first of each class go to training while they fit into its third."""
    side: dict[str, str] = {}
    for label in dict.fromkeys(photo.label for photo in photos):
        own = [group for photo, group in zip(photos, groups, strict=True) if photo.label == label]
        wanted, had = len(own) // THIRD, sum(side.get(group) == TRAIN for group in own)
        for group in dict.fromkeys(own):
            if group not in side:
                is_learned = had + own.count(group) <= wanted
                side[group] = TRAIN if is_learned else TEST
                had += own.count(group) * is_learned
    return side


def _held_out(learned: Sequence[tuple[Photo, str]]) -> set[str]:
    """The groups of the training third that are held out."""
    held: set[str] = set()
    for label in dict.fromkeys(photo.label for photo, _ in learned):
        own = [*dict.fromkeys(group for photo, group in learned if photo.label == label)]
        if len(own) > 1:
            held |= set(own[-max(1, len(own) // HELD_OUT) :])
    return held
