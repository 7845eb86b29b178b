import itertools
from fractions import Fraction

import numpy as np
import pytest

from rli.datasets.splits import assign, ratios_of
from rli.errors import RLIError

RATIOS = ("0.7/0.15/0.15", "1/0/0", "0.5/0.5/0", "0.34/0.33/0.33", "0.98/0.01/0.01", "1/1/1", "0/0.5/0.5")


def many(count: int, strata: int = 3, seed: int = 0) -> list[tuple[str, str, None]]:
    drawn = np.random.default_rng(seed).integers(0, strata, count)
    return [(f"photo-{k}", f"stratum-{s}", None) for k, s in enumerate(drawn)]


@pytest.mark.parametrize("ratios", RATIOS)
@pytest.mark.parametrize("seed", range(5))
def test_every_beginning_of_every_stratum_is_less_than_one_from_its_share(ratios, seed):
    photos = many(600, seed=seed)
    shares = dict(zip(("train", "val", "test"), ratios_of(ratios), strict=True))
    counts: dict[str, dict[str, int]] = {}
    for (_, stratum, _), split in zip(photos, assign(photos, ratios, seed=seed), strict=True):
        count = counts.setdefault(stratum, dict.fromkeys(shares, 0))
        count[split] += 1
        total = sum(count.values())
        assert all(abs(count[name] - total * share) < 1 for name, share in shares.items())


def test_a_seed_gives_the_same_splits_and_another_gives_others():
    photos = many(300)
    once, again, other = (list(assign(photos, "0.7/0.15/0.15", seed=s)) for s in (1, 1, 2))
    assert once == again != other


def test_a_photograph_depends_on_its_own_stratums_past_only():
    photos = many(200)
    splits = dict(zip(photos, assign(photos, "0.6/0.2/0.2"), strict=True))
    alone = [p for p in photos if p[1] == "stratum-1"]
    assert [splits[p] for p in alone] == list(assign(alone, "0.6/0.2/0.2"))
    assert [splits[p] for p in photos[:50]] == list(assign(photos[:50], "0.6/0.2/0.2"))


def test_photographs_are_asked_for_one_by_one():
    endless = ((f"photo-{k}", "all", None) for k in itertools.count())
    assert len(list(itertools.islice(assign(endless, "0.8/0.1/0.1"), 1000))) == 1000


def test_where_in_a_stratum_the_test_photographs_lie_is_open():
    first = [list(assign(many(20, 1), "0.8/0.1/0.1", seed=s)).index("test") for s in range(200)]
    assert len(set(first)) >= 10


def test_own_splits():
    photos = [("a", "x", "test"), ("b", "x", None), ("c", "x", "val"), ("d", "x", None)]
    assert list(assign(photos, None)) == ["test", "train", "val", "train"]
    assert list(assign(photos, "0/1/0", keep=True)) == ["test", "val", "val", "val"]
    assert list(assign(photos, "0/1/0")) == ["val"] * 4
    with pytest.raises(RLIError, match="a: split=dev"):
        list(assign([("a", "x", "dev")], None))


def test_shares_are_scaled():
    assert ratios_of("80/10/10") == ratios_of(" 0.8 / 0.1 / 0.1 ") == (Fraction(4, 5), Fraction(1, 10), Fraction(1, 10))


@pytest.mark.parametrize("text", ["0.7", "0.7/0.3", "a/b/c", "0/0/0", "1/-1/1", "1/1/1/1", "1//1", "nan/1/1", ""])
def test_what_is_no_share(text):
    with pytest.raises(RLIError, match="expected the shares"):
        ratios_of(text)
