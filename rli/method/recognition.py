"""Does the diffusion model itself recognise in a picture what was wanted of it?

Diffusion Classifier (Li et al. 2023, algorithm 1): of several prompts the one that a picture shows explains it best:
under it the noise that was added is predicted with the least error. Here the error counts in the region of an edit
alone, and the same noise is used for all prompts. No further weights are needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from rli.errors import SettingError, whole, within
from rli.keys import LATER
from rli.method.blend import to_latent
from rli.method.prompts import check_prompt
from rli.models import vae
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise_schedule import Step
from rli.models.text import encode_prompts


@dataclass(frozen=True)
class Recognition:
    """How it is found out. Raises RLIError for a value out of range."""

    # Where in the noise schedule, as shares of its levels, each in [0,1].
    levels: tuple[float, ...] = (0.2, 0.4, 0.6)
    # Draws of noise at each of them.
    noises: int = 1
    # Further prompts that an edit's own competes with, beside its source prompt and the other targets'.
    prompts: tuple[str, ...] = ()
    # Where CLIP's weights are, which is asked beside the model (`rli.metrics.clip`); None asks the model alone.
    clip: str | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        if not self.levels:
            raise SettingError("levels", "[]", "expected shares of the noise schedule, such as [0.2,0.4,0.6]")
        for level in self.levels:
            within("levels", level, 0, 1)
        whole("noises", self.noises, 1, 1000)
        for prompt in self.prompts:
            check_prompt(prompt)
        if self.clip is not None and not self.clip.strip():
            raise SettingError("clip", self.clip, "expected a folder, a hub id, or null")

    def passes(self, prompts: int) -> int:
        """How often the UNet is evaluated for a picture, counted in single prompts."""
        return len(self.levels) * self.noises * prompts


@dataclass(frozen=True)
class Recognised:
    """What a judge says of a picture."""

    # Of the wanted prompt, from 1: how many explain the picture at least as well, itself included.
    rank: int
    # How far it leads the best other, below 0 where another explains the picture better. Of the model the share of its
    # own error by which the other's is larger.
    margin: float


@dataclass(frozen=True)
class Competing:
    """Prompts of which one explains a picture best, encoded once for all pictures of one size."""

    # Each once.
    prompts: tuple[str, ...]
    # A row for each.
    text: Conditioning


def competing(model: Model, prompts: Iterable[str], size: tuple[int, int]) -> Competing:
    """Encodes prompts that compete.

    Args:
        model: The model.
        prompts: Those that are there twice count once.
        size: (height, width) of the pictures in pixels.
    """
    distinct = tuple(dict.fromkeys(prompts))
    return Competing(distinct, encode_prompts(model, distinct, size))


@torch.no_grad()
def prediction_errors(
    model: Model,
    image: Tensor,
    text: Conditioning,
    region: np.ndarray,
    settings: Recognition,
    seed: int = 0,
    batch: int = 8,
) -> tuple[float, ...]:
    """How badly each prompt explains a picture in a region.

    Args:
        model: The model; attention hooks play no part.
        image: (1,3,H,W) in [-1,1].
        text: A row for each prompt.
        region: (H,W) bool, with one pixel at least.
        settings: Noise levels and draws.
        seed: Of the noise, drawn on the CPU, so that every device has the same.
        batch: Prompts that are predicted with together.

    Returns:
        For each prompt the mean squared error of the noise predicted in the region, over levels and draws.
    """
    latent = vae.encode(model, image)
    inside = to_latent(region, (latent.shape[2], latent.shape[3])).to(latent.device).float()
    generator, total = torch.Generator().manual_seed(seed), torch.zeros(len(text.tokens), device=latent.device)
    last = len(model.abar) - 1
    for index, share in enumerate(level for level in settings.levels for _ in range(settings.noises)):
        level = round(share * last)
        noise = torch.randn(latent.shape, generator=generator).to(latent.device)
        noisy = model.abar[level] ** 0.5 * latent + (1 - model.abar[level]) ** 0.5 * noise
        step = Step(index, settings.passes(1), level, level, level)
        for first in range(0, len(text.tokens), batch):
            rows = slice(first, first + batch)
            own = text[rows]
            said = model.predict(noisy.repeat(len(own.tokens), 1, 1, 1), step, own, "recognising an edit")
            total[rows] += ((said - noise).square().mean(1, keepdim=True) * inside).sum((1, 2, 3)) / inside.sum()
    return tuple((total / settings.passes(1)).tolist())


def recognised(errors: Sequence[float], wanted: int) -> Recognised | None:
    """The wanted prompt's rank and margin.

    Args:
        errors: Of each prompt.
        wanted: The index of the one that was wanted.

    Returns:
        None where there is no other prompt.
    """
    others = [error for k, error in enumerate(errors) if k != wanted]
    if not others:
        return None
    own = errors[wanted]
    return Recognised(1 + sum(error <= own for error in others), (min(others) - own) / max(own, 1e-12))


def recognise(
    model: Model,
    image: Tensor,
    wanted: str,
    among: Competing,
    region: np.ndarray,
    settings: Recognition,
    seed: int = 0,
    batch: int = 8,
) -> Recognised | None:
    """Whether the model recognises in a picture what was wanted of it.

    Args:
        model: The model.
        image: (1,3,H,W) in [-1,1], of the size that the prompts are encoded for.
        wanted: The prompt that it was made with, one of those that compete.
        among: Those.
        region: (H,W) bool, where the picture was to change.
        settings: Noise levels and draws.
        seed: Of the noise.
        batch: Prompts that are predicted with together.

    Returns:
        None where the region is empty, or nothing competes.
    """
    if len(among.prompts) == 1 or not region.any():
        return None
    errors = prediction_errors(model, image, among.text, region, settings, seed, batch)
    return recognised(errors, among.prompts.index(wanted))
