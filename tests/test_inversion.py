from unittest.mock import patch

import pytest
import torch
from builders import SOURCE
from conftest import relative

from rli.errors import NonFiniteError, RLIError
from rli.images import to_tensor, to_uint8
from rli.method import editing, inversion
from rli.method.attention.install import install
from rli.method.attention.rli import RLI
from rli.method.inversion.base import InversionTask, ddim_invert
from rli.method.inversion.ddim import Ddim
from rli.method.inversion.direct import Direct
from rli.method.inversion.negative_prompt import NegativePrompt
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.inversion.virtual import Virtual
from rli.method.sampler import guide, inversion_steps, move, sampling_steps
from rli.method.solvers.adam import Adam
from rli.method.solvers.gauss_newton import GaussNewton
from rli.method.solvers.lbfgs import Lbfgs
from rli.metrics.image import psnr
from rli.models import text
from rli.models import vae as codec
from rli.models.loading import load
from rli.models.mini.surfaces import UNSEEN, surface

pytestmark = pytest.mark.integration

ADAM, GAUSS_NEWTON = NullText(Adam(inner_steps=2)), NullText(GaussNewton(inner_steps=2))


def invert(model, photo, method=GAUSS_NEWTON, **options):
    return inversion.invert(model, photo, SOURCE, InversionSettings(method, **{"steps": 6, **options}))


def test_direct_gives_back_the_vae_s_round_trip(tiny, photo):
    done = invert(tiny, photo, Direct())
    assert torch.equal(editing.reconstruct(tiny, done), editing.vae_round_trip(tiny, done))


def test_virtual_inversion_is_the_photograph_in_one_noise_at_every_level(tiny, photo):
    with patch.object(type(tiny), "predict", side_effect=AssertionError("the model is asked")):
        done = invert(tiny, photo, Virtual())
        other = invert(tiny, photo, Virtual(), seed=1)
    assert torch.equal(editing.reconstruct(tiny, done), editing.vae_round_trip(tiny, done))
    assert torch.equal(done.source_latents[-2:], done.latent.repeat(2, 1, 1, 1))
    levels = [step.start for step in sampling_steps(6, len(tiny.abar))][:-1]
    kept = torch.tensor([tiny.abar[level] for level in levels])[:, None, None, None]
    noise = (done.source_latents[:5] - kept**0.5 * done.latent) / (1 - kept) ** 0.5
    assert torch.allclose(noise, noise[:1].expand_as(noise), atol=1e-4)
    assert abs(noise[0].mean()) < 0.15 and abs(noise[0].std() - 1) < 0.15
    assert not torch.equal(done.source_latents[0], other.source_latents[0])


def test_the_residual_gives_back_the_vae_s_round_trip_after_null_text(tiny, photo):
    done = invert(tiny, photo, NullText(residual=True))
    assert torch.equal(done.source_latents[-1:], done.latent)
    assert not torch.equal(done.nulls.tokens[0], done.nulls.tokens[-1])


def test_aligned_inversion_ends_on_the_sampler_s_first_level(tiny, photo):
    """A model that predicts no noise only scales the latent from level to level."""

    class Silent:
        abar = tiny.abar

        def predict(self, latent, *args):
            return torch.zeros_like(latent)

    end = ddim_invert(InversionTask(Silent(), torch.ones(1, 4, 8, 8), None, None, steps=6, guidance=5.0))[-1]
    assert torch.allclose(end, torch.full_like(end, (tiny.abar[inversion_steps(6)[-1].end] / tiny.abar[0]) ** 0.5))


def test_negative_prompt_reconstructs_as_guidance_one_does(tiny, photo):
    a = invert(tiny, photo, NegativePrompt(), guidance=5.0)
    b = invert(tiny, photo, Ddim(), guidance=1.0)
    assert torch.allclose(a.source_latents, b.source_latents)


@pytest.mark.parametrize("method", [GAUSS_NEWTON, Ddim()])
def test_sampling_with_the_recorded_nulls_walks_the_recorded_way(tiny, photo, method):
    """The independent way: plain guided sampling from the inversion's end."""
    done = invert(tiny, photo, method)
    cond = text.encode_prompts(tiny, [SOURCE], (64, 64))
    latent = done.source_latents[:1]
    with torch.no_grad(), install(tiny.unet, (RLI(),), (8, 8)):
        for step in sampling_steps(6)[:-1]:
            null = done.nulls.at(step.index, cond.time_ids)
            eps = guide(tiny.predict(latent, step, null, "x"), tiny.predict(latent, step, cond, "x"), 5.0)
            latent = move(latent, eps, tiny.abar[step.start], tiny.abar[step.end])
    assert torch.allclose(latent, done.source_latents[-1:], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("method", "rounding"), [(ADAM, 1e-3), (GAUSS_NEWTON, 3e-2), (Virtual(), 1e-6)])
def test_photographs_inverted_together_come_out_as_alone(tiny, photo, method, rounding):
    """Random weights amplify rounding from step to step."""
    both = torch.cat([photo, photo.flip(3)])
    together = inversion.invert_batch(tiny, both, SOURCE, InversionSettings(method, steps=6))
    for b, one in enumerate(together):
        alone = invert(tiny, both[b : b + 1], method)
        assert torch.allclose(one.latent, alone.latent, atol=1e-5)
        assert relative(one.source_latents, alone.source_latents) < rounding


def test_on_the_miniature_our_solvers_beat_the_paper_s_with_fewer_passes():
    """A small photograph, all 20 steps of it: more dB against the VAE round trip, in fewer calls."""
    model = load("mini")
    image = to_tensor(surface(UNSEEN, ("crack",), 64, 64).image)
    found = {}
    for solver in (Adam(), GaussNewton(), Lbfgs()):
        with patch.object(model.unet, "forward", wraps=model.unet.forward) as forward:
            done = inversion.invert(model, image, SOURCE, InversionSettings(NullText(solver), steps=20))
        back, ceiling = editing.reconstruct(model, done), editing.vae_round_trip(model, done)
        found[solver.name] = psnr(to_uint8(back), to_uint8(ceiling)), forward.call_count
    for name in ("gauss_newton", "lbfgs"):
        assert found[name][0] > found["adam"][0]
        assert found[name][1] < found["adam"][1]
    assert found["lbfgs"][0] > found["adam"][0] + 1


@pytest.mark.parametrize(("solver", "steps"), [(Lbfgs(), 6), (GaussNewton(), 10)], ids=["lbfgs", "gauss_newton"])
def test_half_precision_gains_nearly_what_float32_does(solver, steps):
    """Neither changes of the gradient nor probes of Jacobian-vector products may drown in bfloat16's rounding."""
    gains = []
    for dtype in ("float32", "bfloat16"):
        model = load("mini", dtype=dtype)
        image = to_tensor(surface(UNSEEN, ("crack",), 64, 64).image)
        reached = []
        for method in (NegativePrompt(), NullText(solver)):
            done = inversion.invert(model, image, SOURCE, InversionSettings(method, steps=steps))
            back, ceiling = editing.reconstruct(model, done), editing.vae_round_trip(model, done)
            reached.append(psnr(to_uint8(back), to_uint8(ceiling)))
        gains.append(reached[1] - reached[0])
    assert gains[0] > 4 and gains[1] > gains[0] / 2


def test_gain_foretells_what_a_latent_error_does_to_the_picture():
    model = load("mini")
    latent = codec.encode(model, to_tensor(surface(UNSEEN, ("crack",)).image))
    noise = 0.02 * torch.randn(latent.shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        a, b = (model.vae.decode(z / model.vae.config.scaling_factor)[0] for z in (latent, latent + noise))
    seen = ((a - b) / 2).square().mean() / noise.square().mean()
    assert codec.gain(model, latent) == pytest.approx(float(seen), rel=0.2)


def test_twice_is_the_same(tiny, photo):
    a, b = invert(tiny, photo), invert(tiny, photo)
    assert torch.equal(a.source_latents, b.source_latents)
    assert torch.equal(a.nulls.tokens, b.nulls.tokens)


def test_rli_takes_part_in_the_inversion(tiny, photo):
    def start(*hooks):
        return invert(tiny, photo, Ddim(), hooks=hooks).source_latents[0]

    assert not torch.equal(start(RLI(0.4)), start(RLI(0.1)))
    assert torch.equal(start(RLI(0.0)), start())


def test_a_sampled_latent_depends_on_the_seed_and_the_mean_does_not(tiny, photo):
    assert torch.equal(codec.encode(tiny, photo, "mean", 1), codec.encode(tiny, photo, "mean", 2))
    assert torch.equal(codec.encode(tiny, photo, "sample", 1), codec.encode(tiny, photo, "sample", 1))
    assert not torch.equal(codec.encode(tiny, photo, "sample", 1), codec.encode(tiny, photo, "sample", 2))


def test_one_step_is_the_vae_s_round_trip(tiny, photo):
    done = invert(tiny, photo, steps=1)
    assert torch.equal(done.source_latents[-1:], done.latent)


def test_nan_names_the_phase_and_the_step(tiny, photo, monkeypatch):
    forward, calls = tiny.unet.forward, []

    def broken(*args, **kwargs):
        calls.append(1)
        out = forward(*args, **kwargs)
        return (out[0] * float("nan"),) if len(calls) == 3 else out

    monkeypatch.setattr(tiny.unet, "forward", broken)
    with pytest.raises(NonFiniteError, match=r"inversion: .* at step 2 \(timestep 498\)"):
        invert(tiny, photo)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: InversionSettings(steps=0),
        lambda: InversionSettings(guidance=0.5),
        lambda: InversionSettings(alignment="no"),
        lambda: InversionSettings(encode="median"),
        lambda: RLI(alpha=1.1),
        lambda: RLI(location="left"),
        lambda: Adam(learning_rate=-1),
        lambda: GaussNewton(start="middle"),
        lambda: GaussNewton(cg_steps=0),
        lambda: Lbfgs(first_step=-1),
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(RLIError):
        wrong()
