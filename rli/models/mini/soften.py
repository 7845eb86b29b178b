"""The denoiser's last stage: its words are made weaker, until guidance 5 shows what they look like.

A denoiser that has learned from exact captions shows a whole defect at guidance 1. Guidance multiplies the words'
effect: at 5, which SDXL needs, because its captions are not exact, rust glows and wear is white. So the network is
taught to predict, of a caption, u + STRENGTH (c - u): c and u are what it predicted before of this caption and of the
empty one. To sample with guidance w is then to sample with STRENGTH * w before, since

    u + w (u + s (c - u) - u) = u + s w (c - u).

The targets have no noise in them, so that a few hundred steps are enough.
"""

from __future__ import annotations

import copy
import pathlib

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from rli.models.mini.inverted import Inputs
from rli.models.mini.latents import Batch, Noised, draw, noised
from rli.models.mini.localise import Recorder, outside, record
from rli.models.mini.loop import Budget, Stage, bfloat16
from rli.models.mini.networks import Denoiser, scheduler

STRENGTH = 0.65


def targets(teacher: nn.Module, seen: Noised, batch: Batch, empty: torch.Tensor) -> torch.Tensor:
    """(B, 16, h, w): u + STRENGTH (c - u), which is u itself of an empty caption; empty: its ids, (2, 77)."""
    without = empty[:, None].expand_as(batch.tokens)
    with torch.no_grad(), bfloat16(batch.latents.device):
        told, plain = (
            teacher(seen.latents, seen.timesteps, tokens, batch.size).float() for tokens in (batch.tokens, without)
        )
    return plain + STRENGTH * (told - plain)


def exchanged(batch: Batch) -> Batch:
    """Every second picture has the next one's caption: an edit asks for what a picture does not show."""
    tokens, marks = batch.tokens.clone(), batch.marks.clone()
    tokens[:, ::2] = batch.tokens.roll(-1, 1)[:, ::2]
    marks[::2] = 0  # where its words are cannot be said
    return Batch(batch.latents, batch.masks, tokens, marks, batch.size)


def loss(
    model: Denoiser,
    recorder: Recorder,
    teacher: Denoiser,
    batch: Batch,
    seen: Noised,
    empty: torch.Tensor,
    local_weight: float = 0.04,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distance from the targets and the localisation of the words; and the first part alone."""
    wanted = targets(teacher, seen, batch, empty)
    recorder.maps.clear()
    recorder.pixels = batch.latents.shape[-2] * batch.latents.shape[-1]
    with bfloat16(batch.latents.device):
        predicted = model(seen.latents, seen.timesteps, batch.tokens, batch.size).float()
    error = (predicted - wanted).square().mean()
    places = outside(recorder.maps, batch.marks, batch.masks.flatten(2), seen.signal)
    return error + local_weight * places, error.detach()


def soften(teacher: Denoiser, inputs: Inputs, checkpoint: pathlib.Path, budget: Budget, batch: int = 16) -> Denoiser:
    """Teach a copy of the denoiser, or finish teaching it; returns its moving average."""
    model, device = copy.deepcopy(teacher).requires_grad_(True), inputs.abar.device
    stage = Stage("softer words", model, copy.deepcopy(model), 5e-5, budget, checkpoint)
    recorder, empty = record(model.unet), inputs.captions.empty()[0].to(device)
    rng, generator = np.random.default_rng([stage.step, 1]), torch.Generator(device).manual_seed(stage.step)
    losses = torch.zeros(2, device=device)
    for step in stage.steps():
        shown, seen = inputs.draw(step, rng, generator, batch, empty=0.1)
        value, error = loss(model, recorder, teacher, exchanged(shown), seen, empty)
        stage.descend(value)
        losses += torch.stack([error, value.detach() - error])
        if (step + 1) % 50 == 0:
            total, local = (losses / 50).tolist()
            tqdm.write(f"softer words step {step + 1} loss {total:.5f} localisation {local:.4f}")
            losses.zero_()
    # Of the pools, the first one alone renews itself: the others are the same when a finished stage is asked again.
    asked = draw(np.random.default_rng(0), inputs.pools[1], inputs.captions, 4 * batch, empty=0.0)
    return lengthened(teacher, stage.average, exchanged(asked), empty)


def lengthened(teacher: Denoiser, softer: Denoiser, batch: Batch, empty: torch.Tensor) -> Denoiser:
    """The way from the teacher's weights to the softer one's, gone on in a straight line until STRENGTH is reached.

    The last part of the way is slow to train; along it, the strength falls nearly as the way grows.
    """
    reached = strength(teacher, softer, batch, empty)
    share = (1 - STRENGTH) / (1 - reached)
    tqdm.write(f"softer words reached {reached:.3f}; the way is lengthened {share:.3f} times")
    result = copy.deepcopy(softer)
    with torch.no_grad():
        for weight, start in zip(result.parameters(), teacher.parameters(), strict=True):
            weight.copy_(torch.lerp(start, weight, share))
    return result


@torch.no_grad()
def strength(teacher: nn.Module, softer: nn.Module, batch: Batch, empty: torch.Tensor) -> float:
    """How large the words' effect is, as a share of what the teacher says: the projection on it."""
    device = batch.latents.device
    abar, generator = scheduler().alphas_cumprod.to(device), torch.Generator(device).manual_seed(0)
    seen = noised(batch.latents, abar, generator)
    without = empty[:, None].expand_as(batch.tokens)
    before, after = (
        model(seen.latents, seen.timesteps, batch.tokens, batch.size)
        - model(seen.latents, seen.timesteps, without, batch.size)
        for model in (teacher, softer)
    )
    return float((before * after).sum() / before.square().sum())
