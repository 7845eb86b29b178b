"""The procedural photographs: what their masks, seeds and captions promise."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from rli.models.mini.surfaces import (
    DEFECTS,
    FOOTPRINTS,
    MATERIALS,
    UNSEEN,
    caption,
    caption_words,
    random_defects,
    surface,
)

SEEDS = range(UNSEEN, UNSEEN + 8)


def test_deterministic_in_its_arguments():
    first, second = surface(UNSEEN, ("crack", "rust")), surface(UNSEEN, ("crack", "rust"))
    assert np.array_equal(first.image, second.image)
    assert all(np.array_equal(first.masks[word], second.masks[word]) for word in ("crack", "rust"))
    assert not np.array_equal(first.image, surface(UNSEEN + 1, ("crack", "rust")).image)


@pytest.mark.parametrize("material", MATERIALS)
def test_twins_differ_inside_the_union_of_their_masks_alone(material):
    for seed in SEEDS[:2]:
        variants = [(), *((word,) for word in DEFECTS), ("crack", "rust"), ("scratch", "dent")]
        drawn = [surface(seed, words, material=material) for words in variants]
        for one, other in itertools.combinations(drawn, 2):
            outside = ~(one.mask | other.mask)
            assert np.array_equal(one.image[outside], other.image[outside])


@pytest.mark.parametrize("footprint", FOOTPRINTS)
@pytest.mark.parametrize("word", DEFECTS)
def test_every_defect_is_seen_where_its_mask_says_in_any_footprint(word, footprint):
    for seed in SEEDS[:3]:
        drawn = {words: surface(seed, words, material="painted steel", footprint=footprint) for words in ((), (word,))}
        mask = drawn[word,].masks[word]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert 12 <= max(np.ptp(rows), np.ptp(columns)) <= 92
        assert 0.001 < mask.mean() < 0.2
        change = np.abs(drawn[()].image.astype(int) - drawn[word,].image)[mask]
        assert change.mean() > 5


def test_two_defects_lie_in_one_place():
    for seed, word in zip(SEEDS, DEFECTS[1:], strict=True):
        centres = [np.argwhere(mask).mean(0) for mask in surface(seed, ("crack", word)).masks.values()]
        assert np.linalg.norm(centres[0] - centres[1]) < 28


@pytest.mark.parametrize("word", ["rust", "corrosion", "peeling"])
def test_another_defect_lies_where_the_crack_was(word):
    for seed in SEEDS[:4]:
        crack, other = (surface(seed, (each,), footprint="path").masks[each] for each in ("crack", word))
        near = ndimage.binary_dilation(other, iterations=4)
        assert (crack & near).sum() > 0.5 * crack.sum()


def test_clean_surfaces_have_no_mask():
    clean = surface(UNSEEN, ())
    assert clean.masks == {} and not clean.mask.any() and clean.caption == "photo of a clean image"


@pytest.mark.parametrize(("height", "width"), [(96, 160), (160, 96), (64, 64), (200, 120)])
def test_any_size(height, width):
    drawn = surface(UNSEEN, ("rust", "dent"), height, width)
    assert drawn.image.shape == (height, width, 3) and drawn.image.dtype == np.uint8
    assert drawn.mask.shape == (height, width) and drawn.mask.dtype == bool and drawn.mask.any()


def test_a_larger_picture_shows_the_same_defect_at_its_scale():
    small, large = (surface(UNSEEN + 3, ("peeling",), side, side, "painted steel") for side in (128, 512))
    shrunk = large.mask.reshape(128, 4, 128, 4).mean((1, 3)) > 0.5
    assert (shrunk & small.mask).sum() > 0.8 * (shrunk | small.mask).sum()
    colours = large.image.reshape(128, 4, 128, 4, 3).mean((1, 3))
    assert np.abs(colours - small.image).mean() < 8


def test_captions():
    assert caption(()) == "photo of a clean image"
    assert caption(("rust",)) == "photo of a rust defect image"
    assert caption(("crack", "rust")) == "photo of a crack rust image"
    assert surface(UNSEEN, ("crack", "rust")).caption == "photo of a crack rust image"
    assert caption((), "cast metal") == "photo of a metal surface"
    assert caption(("crack", "rust"), "concrete") == "photo of a cracked rusty concrete surface"


@pytest.mark.parametrize("material", [None, *MATERIALS])
def test_every_defect_is_spoken_of_in_its_caption(material):
    for words in [(), *((word,) for word in DEFECTS), ("crack", "dent")]:
        spoken = {defect for _, defect in caption_words(words, material) if defect is not None}
        assert spoken == set(range(len(words)))


def test_unknown_words_are_refused_in_one_line():
    for arguments in ({"defects": ("moss",)}, {"material": "cheese"}, {"footprint": "hoof"}):
        with pytest.raises(ValueError, match="expected one of") as refusal:
            surface(0, **arguments)
        assert "\n" not in str(refusal.value)


def test_random_defects_are_known_and_distinct():
    rng = np.random.default_rng(0)
    drawn = [random_defects(rng) for _ in range(300)]
    assert {len(words) for words in drawn} == {0, 1, 2}
    assert all(set(words) <= set(DEFECTS) and len(set(words)) == len(words) for words in drawn)
