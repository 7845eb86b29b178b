"""Splits keep their shares, tear no group and hardly move when photographs are added."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from rli.datasets.groups import LONGEST, check_group_rule, grouped_by, joined, ties_of
from rli.datasets.splits import Member, assign, ratios_of, torn
from rli.errors import RLIError
from rli.photos.photo import SPLITS, Photo

RATIOS = ("0.7/0.15/0.15", "1/0/0", "0.5/0.5/0", "0.34/0.33/0.33", "0.98/0.01/0.01", "1/1/1", "0/0.5/0.5")


def many(count: int, strata: int = 3, seed: int = 0) -> list[Member]:
    """Photographs that each stand for themselves."""
    drawn = np.random.default_rng(seed).integers(0, strata, count)
    return [Member(f"photo-{k}", f"photo-{k}", f"stratum-{s}") for k, s in enumerate(drawn)]


def grouped(count: int, seed: int) -> list[Member]:
    """Photographs in groups of very different sizes; a group's may be of several strata and have splits of their
    own."""
    draw = np.random.default_rng(seed)
    groups = draw.integers(0, 1 + seed % 40, count) ** 2 // (1 + seed % 7)
    strata, own = draw.integers(0, 1 + seed % 4, count), draw.integers(0, 4, count)
    return [
        Member(f"p{k}", f"g{group}", f"s{stratum}", ("", *SPLITS)[split])
        for k, (group, stratum, split) in enumerate(zip(groups, strata, own, strict=True))
    ]


@pytest.mark.parametrize("ratios", RATIOS)
@pytest.mark.parametrize("seed", range(10))
def test_no_split_tears_a_group(ratios, seed):
    members = grouped(200, seed)
    assert torn(members, assign(members, ratios, seed=seed)) == {}
    # Where a group's photographs that have a split of their own agree, the others go with them.
    first = {member.group: member.own for member in reversed(members)}
    agreeing = [replace(member, own=member.own and first[member.group]) for member in members]
    for wanted in (ratios, None):
        splits = assign(agreeing, wanted, seed=seed, keep=True)
        assert torn(agreeing, splits) == {}
        assert all(split == member.own for member, split in zip(agreeing, splits, strict=True) if member.own)


@pytest.mark.parametrize("ratios", RATIOS)
@pytest.mark.parametrize("seed", range(10))
def test_every_share_is_kept_to_less_than_the_largest_group(ratios, seed):
    members = [replace(member, stratum=f"s{int(member.group[1:]) % 2}") for member in grouped(200, seed)]
    splits = assign(members, ratios, seed=seed)
    for stratum in {member.stratum for member in members}:
        own = [(m, split) for m, split in zip(members, splits, strict=True) if m.stratum == stratum]
        largest = max(Counter(member.group for member, _ in own).values())
        for name, share in zip(SPLITS, ratios_of(ratios), strict=True):
            assert abs(sum(split == name for _, split in own) - share * len(own)) < largest


@pytest.mark.parametrize(("count", "most"), [(100, 1), (20, 2)])
@pytest.mark.parametrize("seed", range(10))
def test_an_added_photograph_moves_hardly_any_over_a_cut(seed, count, most):
    members = many(count, strata=1, seed=seed)
    before = dict(zip(members, assign(members, "0.7/0.15/0.15", seed=seed), strict=True))
    for k, place in enumerate((0, count // 2, count)):
        more = [*members[:place], Member(f"new-{k}", f"new-{k}", "stratum-0"), *members[place:]]
        after = dict(zip(more, assign(more, "0.7/0.15/0.15", seed=seed), strict=True))
        moved = [(before[member], after[member]) for member in members if before[member] != after[member]]
        assert len(moved) <= 2 * most and all(SPLITS.index(a) - SPLITS.index(b) in (1, -1) for a, b in moved)


@pytest.mark.parametrize("seed", range(10))
def test_few_groups_of_one_size_are_shared_out_as_evenly_as_they_can_be(seed):
    for count, ratios, best in (
        (3, "0.4/0.3/0.3", [1, 1, 1]),
        (4, "0.5/0.25/0.25", [2, 1, 1]),
        (9, "5/2/2", [5, 2, 2]),
    ):
        members = [Member(f"p{k}", f"g{k // 3}") for k in range(3 * count)]
        counts = Counter(assign(members, ratios, seed=seed))
        assert [counts[split] for split in SPLITS] == [3 * many for many in best]


def test_the_order_of_photographs_makes_no_difference():
    members = grouped(300, 5)
    splits = dict(zip(members, assign(members, "0.6/0.2/0.2"), strict=True))
    mixed = [members[k] for k in np.random.default_rng(0).permutation(len(members))]
    assert assign(mixed, "0.6/0.2/0.2") == [splits[member] for member in mixed]
    alone = [member for member in many(200) if member.stratum == "stratum-1"]
    all_of = dict(zip(many(200), assign(many(200), "0.6/0.2/0.2"), strict=True))
    assert assign(alone, "0.6/0.2/0.2") == [all_of[member] for member in alone]


def test_a_seed_gives_the_same_splits_and_another_gives_others():
    once, again, other = (assign(many(300), "0.7/0.15/0.15", seed=s) for s in (1, 1, 2))
    assert once == again != other


def test_where_in_a_stratum_the_test_photographs_lie_is_open():
    first = [assign(many(20, 1), "0.8/0.1/0.1", seed=s).index("test") for s in range(200)]
    assert len(set(first)) >= 10


def test_photographs_that_are_alone_in_their_stratum_go_to_every_split():
    alone = [Member(f"p{k}", f"p{k}", f"s{k}") for k in range(400)]
    counts = Counter(assign(alone, "0.5/0.25/0.25"))
    assert counts["train"] > 150 and min(counts["val"], counts["test"]) > 60


def test_own_splits():
    members = [Member("a", "a", "x", "test"), Member("b", "b", "x"), Member("c", "c", "x", "val"), Member("d", "d")]
    assert assign(members, None) == ["test", "train", "val", "train"]
    assert assign(members, "0/1/0", keep=True) == ["test", "val", "val", "val"]
    assert assign(members, "0/1/0") == ["val"] * 4
    with pytest.raises(RLIError, match="a: split=dev"):
        assign([Member("a", "a", own="dev")], None)


def test_a_group_that_its_source_has_torn_is_found():
    members = [Member("a", "g", own="train"), Member("b", "g", own="test"), Member("c", "g", own="test")]
    members += [Member("d", "g"), Member("e", "h")]
    splits = assign(members, None)
    assert splits == ["train", "test", "test", "test", "train"]
    assert torn(members, splits) == {"g": {"train": "a", "test": "b"}}


def test_shares_are_scaled():
    assert ratios_of("80/10/10") == ratios_of(" 0.8 / 0.1 / 0.1 ") == (Fraction(4, 5), Fraction(1, 10), Fraction(1, 10))


@pytest.mark.parametrize("text", ["0.7", "0.7/0.3", "a/b/c", "0/0/0", "1/-1/1", "1/1/1/1", "1//1", "nan/1/1", ""])
def test_what_is_no_share(text):
    with pytest.raises(RLIError, match="expected the shares"):
        ratios_of(text)


@pytest.mark.parametrize("seed", range(10))
def test_photographs_that_share_a_tie_are_together_and_so_are_theirs(seed):
    draw = np.random.default_rng(seed)
    known = [("", "", *"abcdefgh"[: 1 + seed % 8])[k] for k in draw.integers(0, 3 + seed % 8, 60)]
    hashes = [f"{k:02}" for k in draw.integers(0, 50, 60)]
    ties = [ties_of(f"p{k}", group, sha) for k, (group, sha) in enumerate(zip(known, hashes, strict=True))]
    groups = joined(ties)
    for a, in_a in zip(ties, groups, strict=True):
        assert in_a <= min(a)
        assert all(in_a == in_b for b, in_b in zip(ties, groups, strict=True) if set(a) & set(b))
    # Nothing else is: a group is what can be reached from one of its photographs.
    for group in set(groups):
        members = [set(tie) for tie, own in zip(ties, groups, strict=True) if own == group]
        reached = members[0]
        for _ in members:
            reached = reached.union(*(other for other in members if reached & other))
        assert all(member <= reached for member in members)


def test_what_a_group_is():
    photo = Photo("kos01/exp1_num_249594", group="given")
    assert grouped_by(None)(photo) == "given"
    assert grouped_by("folder")(photo) == "kos01"
    assert grouped_by("folder")(Photo("top")) == ""
    assert grouped_by(r"num_(\d+)")(photo) == "249594"
    assert grouped_by(r"kos\d+")(photo) == "kos01"
    assert grouped_by(r"(kos\d+).*num_(\d)")(photo) == "kos01/2"
    assert grouped_by(r"lot(\d+)")(photo) == "given"


def test_rules_that_cannot_be_followed():
    photos = [Photo("a" * 40 + "!"), Photo("b")]
    for rule, says in (("(", "not a regular expression"), ("x" * (LONGEST + 1), "too long"), ("z+", "groups no photo")):
        with pytest.raises(RLIError, match=f"group=.*{says}"):
            check_group_rule(rule, photos)
    with pytest.raises(RLIError, match="takes too long on the name"):
        check_group_rule(r"(?:a|aa|a.?)+(?:a|aa|a.?)+(?:a|aa|a.?)+\d$", photos)
    check_group_rule("folder", [*photos, Photo("lot/a")])
