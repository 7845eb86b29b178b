"""The denoiser learns the noise that inversions leave.

DDIM inversion goes from a photograph to noise by steps whose first ones are coarse beside what is small in a latent:
what is smooth, or of one colour, ends as noise of a fifth of the deviation that it should have, and a photograph's
structure can be seen in it. A denoiser that knows Gaussian noise alone reads that as a sign, and draws blobs when it is
asked for another defect. So it is shown pairs: the noise to which a surface was inverted, added to the same surface
with other defects.
"""

from __future__ import annotations

import copy
import functools
import itertools
import pathlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from rli.models.mini.latents import SIZES, Batch, Captions, Noised, Pool, batch_of, draw, mixed, noised, pool
from rli.models.mini.localise import loss, record
from rli.models.mini.loop import Budget, Stage, bfloat16
from rli.models.mini.networks import Denoiser, scheduler
from rli.models.mini.surfaces import DEFECTS

FIRST = 5_000_000  # seed of the first of these surfaces
VARIANTS = 4  # pictures of each: as it is, and with other defects
STEPS = (20, 50)  # of the inversions
RATE = 4e-4
Noisy = tuple[Batch, Noised]
"""Examples, and their latents in noise."""


@dataclass(frozen=True)
class Inversions:
    """Surfaces, and the noise to which a picture of each was inverted; all were inverted in as many steps."""

    pool: Pool  # VARIANTS examples for each surface in turn; the first is the one that was inverted
    noise: torch.Tensor  # (L, N, 16, h, w) float16
    timesteps: torch.Tensor  # (L,): the levels of the noise


def variant(number: int) -> tuple[int, tuple[str, ...]]:
    """The seed and the defects of a picture; there are VARIANTS of each surface, one after the other.

    The first one's, which is inverted, is cracked on seven surfaces in ten, and clean on one in six.
    """
    seed, which = divmod(number, VARIANTS)
    rng = np.random.default_rng([seed, 5])
    one, two, three = (str(word) for word in rng.permutation(DEFECTS[1:])[:3])
    kind = rng.random()
    if kind < 0.7:
        return seed, (("crack",), ("crack", one), ("crack", two), (three,))[which]
    if kind < 0.85:
        return seed, ((), (one,), (two,), ("crack", three))[which]
    return seed, ((one,), (two,), ("crack", one), ("crack",))[which]


@torch.no_grad()
def inverted(
    teacher: nn.Module, latents: torch.Tensor, tokens: torch.Tensor, size: tuple[int, int], steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise (L, B, 16, h, w) float16 and its timesteps (L,) along DDIM inversion (Song et al. 2021, section 4.3).

    latents: of pictures of this size, with their captions' tokens (2, B, 77); there are steps - 1 levels above them.
    """
    abar = scheduler().alphas_cumprod.to(latents.device)
    levels = torch.arange(steps, device=latents.device) * (len(abar) // steps)
    signal, spread = abar[levels].sqrt(), (1 - abar[levels]).sqrt()
    now, noise = latents, []
    for low in range(steps - 1):
        high = low + 1
        with bfloat16(now.device):
            eps = teacher(now, levels[high].expand(len(now)), tokens, size).float()
        now = signal[high] * (now - spread[low] * eps) / signal[low] + spread[high] * eps
        noise.append(((now - signal[high] * latents) / spread[high]).half())
    return torch.stack(noise), levels[1:].cpu()


def inversions(teacher: Denoiser, encode: nn.Conv2d, seeds: range, steps: int, batch: int = 20) -> Inversions:
    """Draws the surfaces of these seeds, and inverts the first picture of each in so many steps."""
    shown = pool(encode, range(VARIANTS * seeds.start, VARIANTS * seeds.stop), SIZES[0], shown=variant)
    captions, rng, parts, times = Captions(), np.random.default_rng(0), [], torch.empty(0)
    for first in tqdm(range(0, len(seeds), batch), f"inversions in {steps} steps", mininterval=5):
        chosen = VARIANTS * torch.arange(first, min(first + batch, len(seeds)))
        one = batch_of(rng, shown, chosen, captions, empty=0, named=0)
        noise, times = inverted(teacher, one.latents, one.tokens, one.size, steps)
        parts.append(noise)
    return Inversions(shown, torch.cat(parts, 1), times)


def pairs(
    rng: np.random.Generator, known: Inversions, captions: Captions, abar: torch.Tensor, count: int, empty: float
) -> Noisy:
    """Surfaces with one of their pictures' defects, in the noise to which their first one was inverted.

    abar: (1000,) cumulative products of 1 - beta, on the device of the noise.
    """
    levels, surfaces = known.noise.shape[:2]
    surface = torch.from_numpy(rng.integers(0, surfaces, count))
    level = torch.from_numpy(rng.integers(0, levels, count))
    chosen = VARIANTS * surface + torch.from_numpy(rng.integers(0, VARIANTS, count))
    batch = batch_of(rng, known.pool, chosen, captions, empty, named=0.2)
    noise = known.noise[level, surface].float()
    return batch, mixed(batch.latents, noise, known.timesteps[level].to(noise.device), abar)


class Inputs:
    """What the stages after the denoiser's own are shown: by turns pairs, and the pools' examples in Gaussian noise.

    Args:
        denoiser: Which inverts the surfaces, when pairs are first asked for.
        encode: Of the autoencoder; everything is on its device.
        pools: Examples.
        shares: Of the pools in the batches.
        surfaces: How many are inverted in each of STEPS.
    """

    def __init__(
        self, denoiser: Denoiser, encode: nn.Conv2d, pools: list[Pool], shares: tuple[float, ...], surfaces: int
    ) -> None:
        self.denoiser, self.encode, self.pools, self.shares, self.surfaces = denoiser, encode, pools, shares, surfaces
        self.captions, self.abar = Captions(), scheduler().alphas_cumprod.to(encode.weight.device)

    @functools.cached_property
    def known(self) -> list[Inversions]:
        ends = [FIRST + k * self.surfaces for k in range(len(STEPS) + 1)]
        seeds = [range(*pair) for pair in itertools.pairwise(ends)]
        return [inversions(self.denoiser, self.encode, some, steps) for some, steps in zip(seeds, STEPS, strict=True)]

    def draw(self, step: int, rng: np.random.Generator, generator: torch.Generator, count: int, empty: float) -> Noisy:
        """Examples and their noise; a share `empty` of the captions is left out."""
        if step % 2 == 0:
            return pairs(rng, self.known[int(rng.integers(len(STEPS)))], self.captions, self.abar, count, empty)
        batch = draw(rng, self.pools[rng.choice(len(self.pools), p=self.shares)], self.captions, count, empty)
        return batch, noised(batch.latents, self.abar, generator)


def train(denoiser: Denoiser, inputs: Inputs, checkpoint: pathlib.Path, budget: Budget, batch: int = 16) -> Denoiser:
    """Train a copy of the denoiser on both kinds of noise, or finish its training; returns its moving average."""
    model, device = copy.deepcopy(denoiser).requires_grad_(True), inputs.abar.device
    stage = Stage("noise of inversions", model, copy.deepcopy(model), RATE, budget, checkpoint)
    recorder = record(model.unet)
    rng, generator = np.random.default_rng([stage.step, 6]), torch.Generator(device).manual_seed(stage.step)
    losses = torch.zeros(2, device=device)
    for step in stage.steps():
        shown, seen = inputs.draw(step, rng, generator, batch, empty=0.18)
        value, error = loss(model, recorder, shown, seen)
        stage.descend(value)
        losses[step % 2] += error
        if (step + 1) % 100 == 0:
            of_inversions, gaussian = (losses / 50).tolist()
            tqdm.write(f"noise of inversions step {step + 1} loss {of_inversions:.4f}, with Gaussian {gaussian:.4f}")
            losses.zero_()
    return stage.average
