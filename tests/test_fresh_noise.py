"""Fresh noise in a region: deterministic, there alone, and another one for every photograph, target and variant."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import SOURCE, box, job, photographs, targets

from rli.errors import RLIError
from rli.method import editing, inversion
from rli.method.fresh_noise import drawn, mixed, seed_of
from rli.method.inversion.direct import Direct
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings, Target
from rli.runs.runner import Runner
from rli.runs.variants import Variants

pytestmark = pytest.mark.integration

RUST = "photo of a crack rust image"
REGION = box(64, 64, slice(16, 40), slice(24, 48))
FRESH = EditSettings(cross=0.4, replace=0.0, fresh=1.0)


@pytest.fixture(scope="module")
def direct(tiny, photo):
    return inversion.invert(tiny, photo, SOURCE, InversionSettings(Direct(), steps=5))


def test_the_variance_stays_and_the_outside_is_untouched():
    latents, noise = drawn(1, (1, 4, 64, 64)), drawn(2, (1, 4, 64, 64))
    region = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    region[..., :32] = True
    for share in (0.25, 0.5, 1.0):
        z = mixed(latents, noise, region, share)
        assert torch.equal(z[..., 32:], latents[..., 32:])
        assert z.std() == pytest.approx(1, abs=0.03)
        assert torch.corrcoef(torch.stack([z[..., :32].flatten(), noise[..., :32].flatten()]))[0, 1] == pytest.approx(
            share**0.5, abs=0.03
        )
    assert torch.equal(mixed(latents, noise, region, 0.0), latents)
    assert seed_of(1, "rust") == seed_of("1", "rust") != seed_of(1, "rust-2")


def test_without_fresh_noise_the_seed_is_nothing(tiny, direct):
    def image(settings, seed):
        return editing.edit(tiny, direct, [RUST], settings, mask=REGION, seed=seed)[0].image

    none = replace(FRESH, fresh=0.0)
    assert torch.equal(image(none, 0), image(none, 1))
    assert torch.equal(image(FRESH, 3), image(FRESH, 3)) and not torch.equal(image(FRESH, 3), image(FRESH, 4))


@pytest.mark.parametrize("mask", [REGION, None], ids=["given", "found"])
def test_each_target_has_its_noise_and_the_background_stays(tiny, direct, mask):
    settings, back = replace(FRESH, threshold=0.9), editing.reconstruct(tiny, direct)
    wanted = [Target("rust", RUST), Target("rust-2", RUST)]
    one, other = editing.edit(tiny, direct, wanted, settings, mask=mask, seed=5)
    for edit in (one, other):
        assert torch.equal(edit.image[0, :, ~edit.mask], back[0, :, ~edit.mask])
    assert not torch.equal(one.image, other.image)
    (alone,) = editing.edit(tiny, direct, wanted[1:], settings, mask=mask, seed=5)
    assert torch.allclose(alone.image, other.image, atol=2e-2)


def test_variants_need_no_ranges(tiny, photo, tmp_path):
    settings = {"targets": targets("rust"), "inversion": InversionSettings(Direct(), steps=2)}
    with pytest.raises(RLIError, match="would be equal"):
        job(tmp_path, variants=Variants(3), **settings)
    work = job(tmp_path, variants=Variants(3), edit=FRESH, **settings)
    first, second = Runner(work, tiny).results(photographs(photo, 2))
    images = [edit.image for result in (first, second) for edit in result.edits.values()]
    assert [*first.edits] == ["rust", "rust-2", "rust-3"]
    assert all(not np.array_equal(a, b) for k, a in enumerate(images) for b in images[:k])
    again, _ = Runner(work, tiny).results(photographs(photo, 2))
    assert all(np.array_equal(edit.image, again.edits[name].image) for name, edit in first.edits.items())
