from dataclasses import replace

import numpy as np
import pytest
from builders import noise
from scipy import ndimage
from skimage.morphology import closing, disk

from rli.datasets.annotations import (
    Item,
    Region,
    change_mask,
    class_index,
    closed,
    has_hole,
    pieces,
    regions_of_edit,
    remains,
    rle,
)
from rli.errors import RLIError
from rli.models.mini.surfaces import surface


def blobs(seed: int, side: int = 64) -> np.ndarray:
    """Smooth random shapes of many sizes, thin ones and such that touch the border among them."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((side, side + 9)), 1 + seed % 4)
    return noise > np.quantile(noise, 0.5 + 0.1 * (seed % 5))


MASKS = [blobs(seed) for seed in range(20)] + [surface(seed, ("crack",), 64, 96).mask for seed in range(10)]


def decoded(told: dict) -> np.ndarray:
    values = np.arange(len(told["counts"])) % 2 == 1
    return np.repeat(values, told["counts"]).reshape(told["size"][::-1]).T


@pytest.mark.parametrize(
    "mask", [*MASKS, np.zeros((5, 7), bool), np.ones((5, 7), bool), np.eye(6, 4, dtype=bool), ~np.eye(6, 4, dtype=bool)]
)
def test_run_lengths_are_exact(mask):
    told = rle(mask)
    assert sum(told["counts"]) == mask.size
    assert np.array_equal(decoded(told), mask)


def test_run_lengths_go_down_the_columns():
    assert rle(np.array([[0, 1], [1, 1]], bool)) == {"size": [2, 2], "counts": [1, 3]}
    assert rle(np.array([[1, 0], [0, 0]], bool)) == {"size": [2, 2], "counts": [0, 1, 3]}


def test_pieces_touch_at_corners_and_are_cut_out():
    mask = np.zeros((9, 9), bool)
    mask[[1, 2, 3], [1, 2, 3]] = True
    mask[6:8, 4:9] = True
    found = list(pieces(mask))
    assert [(left, top, *piece.shape[::-1]) for top, left, piece in found] == [(1, 1, 3, 3), (4, 6, 5, 2)]
    assert np.array_equal(found[0][2], np.eye(3, dtype=bool)) and found[1][2].all()
    assert list(pieces(np.zeros((4, 4), bool))) == []


def test_holes_are_seen():
    ring = np.ones((5, 5), bool)
    assert not has_hole(ring)
    ring[2, 2] = False
    assert has_hole(ring)
    ring[1, 2] = ring[0, 2] = False  # open to the outside
    assert not has_hole(ring)


def test_later_regions_lie_over_earlier_ones():
    a, b, ignore = np.zeros((3, 4), bool), np.zeros((3, 4), bool), np.zeros((3, 4), bool)
    a[:, :3], b[:, 2:], ignore[0] = True, True, True
    index = class_index([("rust", a), ("crack", b)], ("crack", "rust"), (3, 4), ignore)
    assert index.dtype == np.uint8
    assert index.tolist() == [[255] * 4, [2, 2, 1, 1], [2, 2, 1, 1]]
    assert not class_index([], ("crack",), (3, 4)).any()
    with pytest.raises(RLIError, match="dent"):
        class_index([("dent", a)], ("crack", "rust"), (3, 4))
    with pytest.raises(RLIError, match="at most 254"):
        class_index([], [str(k) for k in range(255)], (3, 4))


def test_a_change_is_inside_the_mask_strong_and_no_speck():
    source = np.full((64, 64, 3), 100, np.uint8)
    edit, mask = source.copy(), np.zeros((64, 64), bool)
    mask[:, :40] = True
    edit[10:30, 20:60, 0] = 160  # one channel is enough
    edit[50, 5] = 255  # a speck
    edit[40:50, 20:30] = 104  # too weak
    changed = change_mask(edit, source, mask)
    assert changed[11:29, 21:40].all()
    assert not changed[:, 40:].any() and not changed[35:].any()
    assert changed.sum() <= 24 * 24
    assert not change_mask(source, source, mask).any()
    assert not change_mask(edit, source, mask, smallest=10_000).any()
    assert change_mask(edit, source, mask, threshold=1)[42:48, 22:28].all()
    for wrong in ("threshold", "smallest", "gap"):
        with pytest.raises(RLIError, match=wrong):
            change_mask(edit, source, mask, **{wrong: -1})


def test_what_lies_between_changed_pixels_belongs_to_the_defect():
    source = np.full((64, 64, 3), 100, np.uint8)
    edit, mask = source.copy(), np.ones((64, 64), bool)
    for left in (10, 26, 52):
        edit[10:30, left : left + 10] = 200
    changed = change_mask(edit, source, mask, gap=8)
    assert changed[12:28, 10:36].all() and not changed[:, 40:50].any()
    assert not change_mask(edit, source, mask, gap=0)[:, 22:24].any()
    mask[:, 22:24] = False  # where the edit could change nothing
    assert not change_mask(edit, source, mask, gap=8)[:, 22:24].any()


@pytest.mark.parametrize("gap", [0, 2, 6, 20])
def test_a_mask_is_closed_as_by_a_disk_rolled_outside_it(gap):
    far = 2 * gap
    inside = np.pad(np.ones((60, 70), bool), far)
    for seed in range(4):
        mask = np.random.default_rng(seed).random((60, 70)) < 0.02
        assert np.array_equal(np.pad(closed(mask, gap), far), closing(np.pad(mask, far), disk(gap // 2)) & inside)
        assert np.array_equal(closed(closed(mask, gap), gap), closed(mask, gap))
    assert not closed(np.zeros((9, 9), bool), gap).any() and closed(np.ones((9, 9), bool), gap).all()


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 5])
def test_a_halo_that_is_hardly_seen_is_no_label(seed):
    bare = surface(seed, (), 128, 128).image
    around = ndimage.gaussian_filter(blobs(seed, 128)[:, :128].astype(float), 5)  # all of it differs a little
    cover = np.clip(around, 0, 1)[..., None]
    rusty = np.rint(bare * (1 - cover) + np.array((150, 70, 30)) * cover).astype(np.uint8)
    changed = change_mask(rusty, bare, None, gap=0)
    redder = (rusty.astype(int) - bare)[..., 0] - (rusty.astype(int) - bare)[..., 1] > 10
    assert redder[changed].mean() > 0.85
    assert changed[around > 0.5].all() and not changed[around < 0.02].any()


def test_drawn_defects_are_found_where_they_were_drawn():
    for seed in range(5):
        drawn, clean = surface(seed, ("corrosion",), 128, 128), surface(seed, (), 128, 128)
        found = change_mask(drawn.image, clean.image, np.ones((128, 128), bool))
        assert (found & drawn.mask).sum() / (found | drawn.mask).sum() > 0.75


@pytest.mark.parametrize("defect", ["dent", "blistering", "crack"])
def test_a_drawn_defect_is_found_better_where_gaps_belong_to_it(defect):
    shares = {0: [], 12: []}
    for seed in range(5):
        drawn, clean = surface(seed, (defect,), 256, 256), surface(seed, (), 256, 256)
        for gap, own in shares.items():
            found = change_mask(drawn.image, clean.image, None, gap=gap)
            own.append((found & drawn.mask).sum() / (found | drawn.mask).sum())
    assert np.mean(shares[12]) > np.mean(shares[0])


def test_relabelling_puts_the_new_class_on_top(tmp_path):
    truth, change = Region("crack", tmp_path / "a.png"), Region("rust", tmp_path / "b.png")
    assert regions_of_edit((), change, relabel=True) == regions_of_edit((), change, relabel=False) == (change,)
    assert regions_of_edit((truth,), change, relabel=True) == (truth, replace(change, relabels=True))
    assert regions_of_edit((truth,), change, relabel=False) == (change, truth)


def test_unless_told_the_label_names_what_can_be_seen(tmp_path):
    truth, change = Region("crack", tmp_path / "a.png"), Region("rust", tmp_path / "b.png")
    painted_over, still_there = (regions_of_edit((truth,), change, "auto", remaining) for remaining in (0.1, 0.9))
    assert painted_over == (change,)
    assert still_there == regions_of_edit((truth,), change, "auto", None) == (change, truth)
    assert regions_of_edit((truth,), change, False, 0.1) == (change, truth)
    assert regions_of_edit((), change, "auto", 0.1) == (change,)


def test_a_crack_remains_until_it_is_painted_over():
    for seed in range(5):
        cracked, bare = (surface(seed, words, 128, 128).image for words in (("crack",), ()))
        truth = surface(seed, ("crack",), 128, 128).mask
        lighter = (cracked * 0.6 + bare * 0.4).astype(np.uint8)
        assert remains(cracked, cracked, truth) == pytest.approx(1)
        assert remains(lighter, cracked, truth) > 0.9  # though every pixel of it has changed
        assert remains(bare, cracked, truth) < remains(lighter, cracked, truth) - 0.1
        assert remains(noise(128, 128), cracked, truth) < 0.5
    assert remains(cracked, cracked, np.zeros((128, 128), bool)) is None
    assert remains(np.zeros_like(cracked), cracked, truth) is None


def test_an_item_without_a_class_shows_a_defect(tmp_path):
    assert Item(tmp_path / "a.png", "edit", "a", "a", label="").label == "defect"
    for wrong, says in (({"kind": "photo"}, "kind=photo"), ({"kind": "edit", "split": "dev"}, "split=dev")):
        with pytest.raises(RLIError, match=f"{says}: unknown value"):
            Item(image=tmp_path / "a.png", photo="a", name="a", **wrong)
