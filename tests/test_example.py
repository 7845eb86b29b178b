"""By example: nothing without strength, itself in its own place, a defect's form and colour elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import SOURCE, box

from rli.errors import RLIError
from rli.images import to_tensor
from rli.method import blend, editing, inversion
from rli.method.attention.graft import Graft
from rli.method.attention.install import Layer, attend
from rli.method.example import Example, best_move, branch, moved, place_of
from rli.method.inversion.ddim import Ddim
from rli.method.inversion.direct import Direct
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings, Target
from rli.models.mini.surfaces import UNSEEN, surface
from rli.models.noise_schedule import Step

pytestmark = pytest.mark.integration

RUST = Target("rust", "photo of a crack rust image")
LOOSE = EditSettings(cross=0.4, replace=0.0)
REGION, MASK = box(64, 64, slice(16, 40), slice(24, 48)), box(64, 64, slice(8, 24), slice(8, 40))
SETTINGS = InversionSettings(Ddim(), steps=3)


def example_of(model, photo, mask=MASK, settings=SETTINGS, prompt="photo of a rust defect image"):
    inverted = inversion.invert(model, photo, prompt, settings)
    return Example(inverted, mask, editing.reconstruct(model, inverted))


def other_photo():
    return to_tensor(surface(UNSEEN + 2, ("rust",), 64, 64).image)


@pytest.fixture(scope="module")
def inverted(tiny, photo):
    return inversion.invert(tiny, photo, SOURCE, SETTINGS)


@pytest.fixture(scope="module")
def example(tiny):
    return example_of(tiny, other_photo())


# --- attention --------------------------------------------------------------------------------------------------------

LAYER = Layer("up", True, (4, 4), 0.5)


def grafted(strength, place, mask, q, k, v):
    """Rows: a target and its example."""
    hook = Graft(slice(0, 1), torch.tensor([1]), place, mask, strength)
    return hook.attention(q, k, v, LAYER, lambda q, k, v: attend(q, k, v, LAYER.scale))


@pytest.fixture
def qkv():
    return torch.randn(3, 2, 2, 16, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def place():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1:3, :2] = 1
    return mask


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_an_example_that_is_the_target_itself_changes_nothing(qkv, place, strength):
    q, k, v = (part[:1].repeat(2, 1, 1, 1) for part in qkv)
    assert torch.allclose(grafted(strength, place, place, q, k, v), attend(q, k, v, LAYER.scale), atol=1e-6)


def test_only_the_place_attends_to_the_example_and_only_to_its_mask(qkv, place):
    q, k, v = qkv
    mask, plain = place.flip(3), attend(q, k, v, LAYER.scale)
    out, inside = grafted(0.5, place, mask, q, k, v), place.flatten() > 0
    assert torch.equal(out[1], plain[1]) and torch.equal(out[0, :, ~inside], plain[0, :, ~inside])
    assert not torch.allclose(out[0, :, inside], plain[0, :, inside], atol=1e-3)
    hidden = v.clone()
    hidden[1, :, mask.flatten() == 0] = 99
    assert torch.equal(grafted(0.5, place, mask, q, k, hidden)[0], out[0])


def test_where_all_is_the_place_a_full_graft_sees_the_example_alone(qkv):
    q, k, v = qkv
    everywhere, mask = torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    theirs = mask.flatten() > 0
    alone = attend(q[:1], k[1:, :, theirs], v[1:, :, theirs], LAYER.scale)
    assert torch.allclose(grafted(1.0, everywhere, mask, q, k, v)[:1], alone, atol=1e-6)


# --- where it comes to lie --------------------------------------------------------------------------------------------


def test_a_defect_is_moved_to_where_most_of_it_fits():
    mask, region = torch.zeros(2, 1, 12, 16, dtype=torch.bool)
    mask[0, :3, 2:7] = True
    for move in ((5, 6), (0, 0), (9, -2)):
        assert best_move(mask[0], moved(mask, move)[0]) == move
        assert torch.equal(moved(moved(mask, move), (-move[0], -move[1])), mask)
    region[0, 4:11, 4:15] = True
    landed = moved(mask, best_move(mask[0], region[0]))
    assert (landed <= region).all() and landed.sum() == mask.sum()
    assert not moved(mask, (12, 0)).any()  # nothing comes in again on the other side


def test_what_is_broad_fills_a_region_and_a_crack_stays_a_crack():
    region, crack, blob = torch.zeros(3, 1, 16, 16, dtype=torch.bool)
    region[0, 3:13, 3:13], crack[0, 7:9, 2:14], blob[0, 4:12, 4:12] = True, True, True
    assert torch.equal(place_of(crack, (0, 0), region), region & crack)
    assert torch.equal(place_of(blob, (0, 0), region), region)
    everywhere = torch.ones(1, 16, 16, dtype=torch.bool)
    for own in (region, crack, blob, everywhere):
        assert torch.equal(place_of(own, (0, 0), own), own)


# --- edits ------------------------------------------------------------------------------------------------------------


def test_strength_0_is_the_edit_without_an_example_to_the_byte(tiny, inverted, example):
    def image(settings, looks):
        return editing.edit(tiny, inverted, [RUST], settings, mask=REGION, example=looks)[0].image

    plain = image(LOOSE, None)
    assert torch.equal(image(replace(LOOSE, example_strength=0.0), example), plain)
    assert not torch.equal(image(LOOSE, example), plain)


@pytest.mark.parametrize(("colours", "strength"), [("own", 1.0), ("contrast", 0.4)])
def test_in_its_own_place_an_example_gives_itself_back(tiny, photo, colours, strength):
    own = example_of(tiny, photo, REGION)
    words = Target("rust", own.inversion.prompt)
    settings = replace(LOOSE, example_colours=colours, example_strength=strength)
    (made,) = editing.edit(tiny, own.inversion, [words], settings, mask=REGION, example=own)
    assert torch.allclose(made.image, own.reconstruction, atol=1e-3)


def test_outside_the_region_nothing_changes_and_every_knob_counts(tiny, inverted, example):
    back = editing.reconstruct(tiny, inverted)
    knobs = ({}, {"example_strength": 0.5}, {"example_steps": 0.0}, {"example_colours": "contrast"}, {"fresh": 0.5})
    images = [
        editing.edit(tiny, inverted, [RUST], replace(LOOSE, **knob), mask=REGION, example=example)[0].image
        for knob in knobs
    ]
    assert all(torch.equal(image[0, :, ~REGION], back[0, :, ~REGION]) for image in images)
    assert not any(torch.equal(a, b) for k, a in enumerate(images) for b in images[:k])


def test_each_photograph_and_target_has_its_own_example_in_one_batch(tiny, photo, inverted, example):
    second = inversion.invert(tiny, other_photo(), SOURCE, SETTINGS)
    cracked = example_of(tiny, photo, box(64, 64))
    wanted, looks = [RUST, Target("dent", "photo of a crack dent image")], [[example, cracked], [cracked, cracked]]
    masks = [REGION, MASK]
    together = editing.edit_batch(tiny, [inverted, second], wanted, LOOSE, masks=masks, examples=looks)
    for one, mask, own, edits in zip((inverted, second), masks, looks, together, strict=True):
        for target, look, edit in zip(wanted, own, edits, strict=True):
            (alone,) = editing.edit(tiny, one, [target], LOOSE, mask=mask, example=look)
            assert torch.allclose(alone.image, edit.image, atol=2e-3)


@pytest.mark.parametrize("colours", ["own", "contrast"])
def test_the_place_has_the_example_s_mean_colour_or_its_contrast(tiny, inverted, example, colours):
    back, region = editing.reconstruct(tiny, inverted), blend.to_latent(REGION, (8, 8))
    latents = example.inversion.source_latents
    brighter = replace(example, inversion=replace(example.inversion, source_latents=latents + 1))
    settings, step = replace(LOOSE, example_colours=colours), Step(0, 3, 0, 1, 0)
    means = []
    for look in (example, brighter):
        beside = branch(tiny, [look], [(inverted, back)], region, settings)
        place = beside.places[0, 0]
        made = beside.matched(inverted.source_latents[1:2], step, abar=1.0)
        assert torch.equal(made[0, :, ~place], inverted.source_latents[1, :, ~place])
        means.append(made[0, :, place].mean(1))
    # Where all of the photograph is brighter, a defect's contrast is the same.
    assert torch.allclose(means[1] - means[0], torch.tensor(float(colours == "own")), atol=1e-4)


def test_what_does_not_fit_is_refused(tiny, photo, inverted, example):
    same = Target("rust", SOURCE)
    with pytest.raises(RLIError, match="equals the source prompt"):
        editing.edit(tiny, inverted, [same], LOOSE, mask=REGION)
    assert np.isfinite(editing.edit(tiny, inverted, [same], LOOSE, mask=REGION, example=example)[0].image).all()
    with pytest.raises(RLIError, match="needs a mask of the region"):
        editing.edit(tiny, inverted, [RUST], LOOSE, example=example)
    others = (replace(SETTINGS, steps=2), replace(SETTINGS, method=Direct(), guidance=3.0))
    for settings in others:
        look = example_of(tiny, photo, settings=settings)
        with pytest.raises(RLIError, match="edited together only with equal"):
            editing.edit(tiny, inverted, [RUST], LOOSE, mask=REGION, example=look)
    for wrong in ({"example_strength": 1.5}, {"example_steps": -1}, {"example_colours": "warm"}):
        with pytest.raises(RLIError):
            EditSettings(**wrong)
