"""Noise schedules and scalings of latents as the weights say: the same as in diffusers, or refused in one line."""

import json
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from conftest import relative
from diffusers import AutoencoderTiny, EDMEulerScheduler, StableDiffusionXLPipeline, UNet2DConditionModel, schedulers

from experiments.exact import schedules
from experiments.exact.schedules import COSINE, LINEAR, SCHEDULES, STABLE_DIFFUSION, ZERO_SNR
from rli.errors import RLIError
from rli.method import editing, inversion
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.sampler import check_steps
from rli.method.solvers.gauss_newton import GaussNewton
from rli.models import vae as codec
from rli.models.loading import assemble, load
from rli.models.noise_schedule import PREDICTIONS, read_schedule
from rli.models.parts import Parts
from rli.models.random import random_parts

CPU = torch.device("cpu")
SOURCE = "photo of a crack defect image"


@pytest.fixture(scope="module")
def parts() -> Parts:
    """The tiny model's."""
    return random_parts("tiny", torch.float32)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_level_is_diffusers_own(name):
    assert schedules.alphas_apart(SCHEDULES[name]) < schedules.MOST_ALPHA


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_whole_guided_sampling_is_diffusers_own(name, prediction, parts, monkeypatch):
    monkeypatch.setattr(schedules, "random_parts", lambda shape, dtype: parts)
    assert schedules.samplings_apart(SCHEDULES[name], prediction, steps=4) > schedules.LEAST_DB


def test_the_comparison_is_a_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["schedules", "--steps", "2"])
    monkeypatch.setattr(schedules, "SCHEDULES", {"cosine": COSINE})
    assert schedules.main() == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("| cosine |")
    monkeypatch.setattr(schedules, "read_schedule", lambda config: read_schedule(LINEAR))
    assert schedules.main() == 1


def test_zero_terminal_snr_is_not_what_it_was_without():
    before, after = read_schedule(STABLE_DIFFUSION).abar, read_schedule(STABLE_DIFFUSION | ZERO_SNR).abar
    assert before[980] == pytest.approx(0.00584, abs=1e-5)
    assert after[980] == pytest.approx(0.00008, abs=1e-5)
    assert after[0] == pytest.approx(before[0], rel=1e-12)
    assert after[-1] == 0


# Two have no defaults for everything, and two need a package of their own.
UNMADE = ("AmusedScheduler", "RFD4ProteinaScheduler", "VQDiffusionScheduler", "CosineDPMSolverMultistepScheduler")
UNMADE = (*UNMADE, "DPMSolverSDEScheduler")


@pytest.mark.parametrize("name", sorted({n for n in dir(schedulers) if n.endswith("Scheduler")} - {*UNMADE}))
def test_every_scheduler_that_diffusers_has_is_equal_or_refused(name):
    scheduler = getattr(schedulers, name)()
    config = {**scheduler.config, "_class_name": name}
    if "beta_schedule" in config and "snr_shift_scale" not in config:
        found = torch.tensor(read_schedule(config).abar, dtype=torch.float64)
        assert relative(found, scheduler.alphas_cumprod) < 1e-6
    else:
        with pytest.raises(RLIError, match=f"scheduler, {name}, has"):
            read_schedule(config)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"prediction_type": "sample"}, "the weights predict “sample”; only epsilon and v_prediction"),
        ({"prediction_type": None}, "the weights predict “None”"),
        ({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}, "EDMEulerScheduler, has EDM's noise levels"),
        ({"timestep_type": "continuous"}, "EDM's noise levels"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, "has flow matching"),
        ({"use_flow_sigmas": True}, "has flow matching"),
        ({"prediction_type": "flow_prediction"}, "has flow matching"),
        ({"snr_shift_scale": 3.0}, "has a shifted signal-to-noise ratio"),
        ({"_class_name": "VQDiffusionScheduler"}, "has a noise schedule without betas"),
        ({"beta_schedule": "laplace"}, "beta_schedule=laplace: unknown value; expected one of scaled_linear, linear"),
        ({"beta_schedule": ["linear"]}, "unknown value"),
        ({"beta_start": "0.1"}, "beta_start=0.1: out of range"),
        ({"beta_end": 2.0}, "beta_end=2.0: out of range"),
        ({"beta_end": float("nan")}, "beta_end=nan: out of range"),
        ({"beta_start": 0.0, "beta_end": 0.0}, "each level must be noisier"),
        ({"beta_schedule": "linear", "beta_end": 1.0, "beta_start": 1.0}, "each level must be noisier"),
        ({"num_train_timesteps": 0}, "num_train_timesteps=0: out of range"),
        ({"num_train_timesteps": 1.5}, "num_train_timesteps=1.5: out of range"),
        ({"num_train_timesteps": 1, "rescale_betas_zero_snr": True}, "needs more than one noise level"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas has 2 values; num_train_timesteps is 1000"),
        ({"trained_betas": "betas.npy"}, "trained_betas is not a list of numbers"),
        ({"trained_betas": 0.1}, "trained_betas is not a list of numbers"),
        ({"trained_betas": [0.1, -0.2], "num_train_timesteps": 2}, "trained_betas must lie from 0 to 1"),
        ({"trained_betas": [0.1, float("nan")], "num_train_timesteps": 2}, "trained_betas must lie from 0 to 1"),
    ],
)
def test_configurations_that_are_refused(config, said, parts):
    with pytest.raises(RLIError, match=said) as error:
        assemble("tiny", replace(parts, scheduler=config), CPU)
    assert "\n" not in str(error.value)


def test_steps_that_a_schedule_does_not_allow(photo):
    plain, zero = (read_schedule(STABLE_DIFFUSION | extra).abar for extra in ({}, ZERO_SNR))
    check_steps(1000, plain)
    check_steps(999, zero)
    with pytest.raises(RLIError, match="last noise level is noise alone, so at most 999"):
        check_steps(1000, zero)
    few = schedules.random_model_of({"num_train_timesteps": 20}, "epsilon")
    with pytest.raises(RLIError, match="steps=50: too many; the model has 20 noise levels"):
        inversion.invert(few, photo, SOURCE, InversionSettings(steps=50))


@pytest.mark.parametrize("alignment", ["aligned", "reference"])
def test_a_photograph_is_inverted_and_edited_down_from_zero_terminal_snr(photo, alignment):
    """The reference's alignment goes up to the last level, which is noise alone, and comes down from one below."""
    model = schedules.random_model_of(STABLE_DIFFUSION | ZERO_SNR, "v_prediction")
    settings = InversionSettings(NullText(GaussNewton(inner_steps=1)), steps=3, alignment=alignment)
    done = inversion.invert(model, photo, SOURCE, settings)
    edited = editing.edit(model, done, ["photo of a crack rust image"])[0]
    assert torch.isfinite(done.source_latents).all() and torch.isfinite(edited.image).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny SDXL folder whose scheduler is EDM's, as some fine-tuned weights have it."""
    parts, out = random_parts("tiny", torch.float32), tmp_path_factory.mktemp("edm")
    for encoder, tokenizer in zip(parts.text_encoders, parts.tokenizers, strict=True):
        encoder.resize_token_embeddings(len(tokenizer))
    StableDiffusionXLPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoders[0],
        text_encoder_2=parts.text_encoders[1],
        tokenizer=parts.tokenizers[0],
        tokenizer_2=parts.tokenizers[1],
        unet=parts.unet,
        scheduler=EDMEulerScheduler(),
    ).save_pretrained(out)
    return out


def test_a_folder_with_another_kind_of_noise_is_refused_when_it_is_loaded(folder):
    with pytest.raises(RLIError, match="EDMEulerScheduler, has EDM's noise levels"):
        load("sdxl", str(folder), device="cpu")


def test_a_scheduler_that_diffusers_does_not_know_is_one_line(folder):
    index = folder / "model_index.json"
    before = index.read_text()
    index.write_text(json.dumps(json.loads(before) | {"scheduler": ["diffusers", "NoSuchScheduler"]}))
    try:
        with pytest.raises(RLIError, match="cannot be loaded") as error:
            load("sdxl", str(folder), device="cpu")
    finally:
        index.write_text(before)
    assert "\n" not in str(error.value)


MEAN, DEVIATION = [0.5, -1.0, 2.0, 0.0], [8.0, 4.0, 0.5, 1.0]


@pytest.fixture(scope="module")
def with_vae(parts):
    """Makes the tiny model, its VAE configured otherwise."""

    def make(**config):
        vae = deepcopy(parts.vae)
        vae.register_to_config(**config)
        return assemble("tiny", replace(parts, vae=vae), CPU)

    return make


@pytest.mark.parametrize(
    ("config", "shift", "scale"),
    [
        ({"scaling_factor": 0.18215}, 0.0, 0.18215),
        ({"scaling_factor": 1.5305, "shift_factor": 0.0609}, 0.0609, 1.5305),
        (
            {"scaling_factor": 0.5, "latents_mean": MEAN, "latents_std": DEVIATION},
            torch.tensor(MEAN).view(1, 4, 1, 1),
            0.5 / torch.tensor(DEVIATION).view(1, 4, 1, 1),
        ),
    ],
)
def test_latents_are_shifted_and_scaled_as_the_vae_s_configuration_says(photo, with_vae, config, shift, scale):
    """diffusers' pipelines: (z - mean)·factor/std to the UNet, z·std/factor + mean back."""
    model = with_vae(**config)
    with torch.no_grad():
        own = model.vae.encode(photo).latent_dist.mean
        picture = model.vae.decode(own).sample.clamp(-1, 1)
    latent = codec.encode(model, photo)
    assert relative(latent, (own - shift) * scale) < 1e-6
    assert relative(codec.decode(model, latent), picture) < 1e-4


def test_inversions_are_kept_apart_by_schedule_and_by_scaling(parts, with_vae):
    """The fingerprint is part of the cache's key."""
    models = [assemble("tiny", replace(parts, scheduler=scheduler), CPU) for scheduler in (STABLE_DIFFUSION, COSINE)]
    models += [with_vae(shift_factor=0.5), with_vae(scaling_factor=0.5)]
    models.append(with_vae(latents_mean=MEAN, latents_std=DEVIATION))
    assert len({model.fingerprint for model in models}) == len(models)


def test_gain_is_of_the_picture_wherever_the_latents_lie(photo, with_vae):
    plain, shifted = (codec.gain(m, codec.encode(m, photo)) for m in (with_vae(), with_vae(shift_factor=0.5)))
    assert relative(shifted, plain) < 1e-3


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"latents_mean": MEAN}, "one of latents_mean and latents_std"),
        ({"latents_std": DEVIATION}, "one of latents_mean and latents_std"),
        ({"latents_mean": MEAN[:2], "latents_std": DEVIATION}, "latents_mean must hold 4 numbers"),
        ({"latents_mean": MEAN, "latents_std": [1.0, 0.0, 1.0, 1.0]}, "latents_std must hold 4 positive numbers"),
        ({"latents_mean": "mean", "latents_std": DEVIATION}, "latents_mean is not a list of numbers"),
        ({"latents_mean": MEAN, "latents_std": DEVIATION, "shift_factor": 1.0}, "only one of them"),
        ({"scaling_factor": None}, "scaling_factor=None: out of range"),
        ({"scaling_factor": 0.0}, "scaling_factor=0.0: out of range"),
        ({"shift_factor": "a"}, "shift_factor=a: out of range"),
    ],
)
def test_latents_that_are_refused(config, said, with_vae):
    with pytest.raises(RLIError, match=said) as error:
        with_vae(**config)
    assert "\n" not in str(error.value)


def test_parts_that_do_not_fit_each_other_are_refused(parts):
    with pytest.raises(RLIError, match="the VAE is of class AutoencoderTiny"):
        assemble("tiny", replace(parts, vae=AutoencoderTiny()), CPU)
    inpainting = UNet2DConditionModel(sample_size=8, block_out_channels=(32,) * 4, in_channels=9, cross_attention_dim=8)
    with pytest.raises(RLIError, match="the UNet takes 9 channels and predicts 4, and the VAE makes 4"):
        assemble("tiny", replace(parts, unet=inpainting), CPU)
