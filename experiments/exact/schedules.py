"""Every accepted noise schedule against diffusers' DDIMScheduler: `python -m experiments.exact.schedules`.

All cumulative alphas, and one whole guided sampling of a random model of SDXL's architecture, once by this project's
inversion code and once by diffusers' `scheduler.step`. Ends with status 1 where they differ by more than rounding.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from experiments.harness import embed
from rli.method.inversion.base import InversionTask, sample_back
from rli.models.diffusion import Model
from rli.models.loading import assemble
from rli.models.noise_schedule import PREDICTIONS, read_schedule
from rli.models.random import random_parts
from rli.models.text import encode_prompts

STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
LINEAR = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}
COSINE = {"beta_schedule": "squaredcos_cap_v2"}
LISTED = {"trained_betas": [0.0001 * 1.005**level for level in range(1000)]}
ZERO_SNR = {"rescale_betas_zero_snr": True}
SCHEDULES: dict[str, dict[str, Any]] = {
    "scaled linear": STABLE_DIFFUSION,
    "linear": LINEAR,
    "cosine": COSINE,
    "listed betas": LISTED,
    "scaled linear, zero terminal SNR": STABLE_DIFFUSION | ZERO_SNR,
    "linear, zero terminal SNR": LINEAR | ZERO_SNR,
    "cosine, zero terminal SNR": COSINE | ZERO_SNR,
    "listed betas, zero terminal SNR": LISTED | ZERO_SNR,
    "scaled linear, 400 levels": STABLE_DIFFUSION | {"num_train_timesteps": 400},
}
# What float32 rounding may cost: diffusers computes its schedules in float32, this project in float64. The most is lost
# where a schedule with zero terminal SNR subtracts nearly equal numbers, at the last level but one.
MOST_ALPHA, LEAST_DB = 5e-5, 90.0
SOURCE, SIZE, GUIDANCE = "photo of a crack defect image", 8, 5.0


def theirs(config: dict[str, Any], prediction: str = "epsilon") -> DDIMScheduler:
    """diffusers' scheduler of this configuration, sampling as this project does: down to the first level, unclipped."""
    own = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 0, "timestep_spacing": "leading"}
    return DDIMScheduler(**config, **own, prediction_type=prediction)


def alphas_apart(config: dict[str, Any]) -> float:
    """The largest relative difference between the cumulative alphas of a level; both are 0 where one is."""
    expected = theirs(config).alphas_cumprod.double()
    found = torch.tensor(read_schedule(config).abar, dtype=torch.float64)
    apart = (found - expected).abs()
    return float(torch.where(apart > 0, apart / expected, apart).max())


def random_model_of(config: dict[str, Any], prediction: str) -> Model:
    """The tiny random model as weights of this schedule and prediction."""
    parts = random_parts("tiny", torch.float32)
    return assemble("tiny", replace(parts, scheduler=config | {"prediction_type": prediction}), torch.device("cpu"))


def sample_here(model: Model, noise: Tensor, steps: int) -> Tensor:
    """Guided sampling (1,C,h,w) by this project."""
    source, empty = _texts(model)
    task = InversionTask(model, noise, source, empty, steps, GUIDANCE)
    return sample_back(task, noise, empty, GUIDANCE).latents[-1]


@torch.no_grad()
def sample_there(model: Model, scheduler: DDIMScheduler, noise: Tensor, steps: int) -> Tensor:
    """The same by diffusers' scheduler, from the UNet's own output."""
    scheduler.set_timesteps(steps)
    latent = noise
    for timestep in scheduler.timesteps:
        text, null = (
            model.unet(latent, timestep, told.tokens, added_cond_kwargs=told.added(torch.float32)).sample
            for told in _texts(model)
        )
        latent = scheduler.step(null + GUIDANCE * (text - null), timestep, latent).prev_sample
    return latent


def decibels(found: Tensor, expected: Tensor) -> float:
    """Signal over difference; infinite where they are equal."""
    return float(10 * torch.log10(expected.double().square().sum() / (found.double() - expected).square().sum()))


def samplings_apart(config: dict[str, Any], prediction: str, steps: int) -> float:
    """What two whole samplings from the same noise have in common, in decibels."""
    model = random_model_of(config, prediction)
    noise = torch.randn(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    expected = sample_there(model, theirs(config, prediction), noise, steps)
    return decibels(sample_here(model, noise, steps), expected)


def _texts(model: Model) -> tuple[Any, Any]:
    both = encode_prompts(model, [SOURCE, ""], (8 * SIZE, 8 * SIZE))
    return both[:1], both[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--write", action="store_true", help="put the table into this folder's README.md")
    args = parser.parse_args()
    lines, exact = ["| schedule | cumulative alphas | noise | velocity |", "| --- | ---: | ---: | ---: |"], True
    for name, config in SCHEDULES.items():
        alphas = alphas_apart(config)
        found = [samplings_apart(config, prediction, args.steps) for prediction in PREDICTIONS]
        exact &= alphas <= MOST_ALPHA and min(found) >= LEAST_DB
        lines.append(f"| {name} | {alphas:.1e} | {found[0]:.0f} dB | {found[1]:.0f} dB |")
    table = "\n".join(lines)
    print(table)
    if args.write:
        embed(Path(__file__).parent, "table", table)
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
