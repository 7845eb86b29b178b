"""Settings drawn from ranges: the same everywhere, within the range, and nothing else touched."""

from dataclasses import replace

import numpy as np
import pytest

from rli.errors import RLIError
from rli.method.records import EditSettings
from rli.runs.variants import Variants, variant_name

BASE = EditSettings(eq=5.0, cross=0.3, replace=0.1, threshold=0.5)


def test_draws_depend_on_nothing_but_their_arguments():
    variants = Variants(3, eq=[1, 3], threshold=[0.2, 0.4])
    told = [variants.draw(BASE, 33, "a/b", k) for k in range(3)]
    assert told == [Variants(9, eq=(1, 3), threshold=(0.2, 0.4)).draw(BASE, 33, "a/b", k) for k in range(3)]
    assert len({one.eq for one in told}) == 3
    assert variants.draw(BASE, 34, "a/b", 0) != told[0] != variants.draw(BASE, 33, "a/c", 0)
    assert {(one.cross, one.replace, one.local_blend) for one in told} == {(0.3, 0.1, BASE.local_blend)}
    # A range of one knob does not move another's draws.
    assert [one.eq for one in told] == [Variants(3, eq=[1, 3]).draw(BASE, 33, "a/b", k).eq for k in range(3)]


def test_draws_fill_their_range_evenly():
    variants = Variants(2, eq=[1, 3], cross=[0.5, 0.5])
    drawn = [variants.draw(BASE, 0, f"photo{k}", 0) for k in range(2000)]
    eq = np.array([one.eq for one in drawn])
    assert eq.min() >= 1 and eq.max() <= 3
    counts, _ = np.histogram(eq, 4, (1, 3))
    assert (abs(counts - 500) < 100).all()
    assert {one.cross for one in drawn} == {0.5}


def test_without_ranges_the_settings_stay():
    assert Variants().draw(BASE, 0, "a", 0) == BASE


def test_variants_that_would_be_equal_are_refused():
    for variants in (Variants(2), Variants(2, eq=[2, 2])):
        with pytest.raises(RLIError, match="edits would be equal"):
            variants.check_differ(BASE)
        variants.check_differ(replace(BASE, fresh=0.5))
    Variants(2, eq=[1, 2]).check_differ(BASE)
    Variants(1).check_differ(BASE)


def test_names():
    assert [variant_name("rust", k) for k in range(3)] == ["rust", "rust-2", "rust-3"]


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"count": 0}, "count=0: out of range"),
        ({"eq": 3}, "eq=3: expected a range [LOW,HIGH]"),
        ({"eq": [3, 1]}, "eq=[3, 1]: expected a range"),
        ({"eq": [1, 2, 3]}, "eq="),
        ({"eq": "13"}, "eq="),
        ({"eq": [1, None]}, "eq="),
        ({"cross": [0, 2]}, "cross=[0, 2]: 2 is out of range"),
        ({"eq": [1, float("nan")]}, "eq=[1, nan]"),
    ],
)
def test_what_cannot_be_meant_is_refused(values, told):
    with pytest.raises(RLIError) as caught:
        Variants(**values)
    assert told in str(caught.value) and "\n" not in str(caught.value)
