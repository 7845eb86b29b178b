"""Photograph → Inversion: DDIM inversion, then the null embeddings that make guided sampling return."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from rli.method.attention import install as attention
from rli.method.null_text import optimize, solver, tolerance
from rli.method.records import Inversion, InversionSettings, NullEmbeddings
from rli.method.schedule import inversion_steps, move, sampling_steps
from rli.models import text
from rli.models import vae as codec
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise import Step
from rli.progress import Progress, quiet


def invert(
    model: Model, image: Tensor, prompt: str, settings: InversionSettings | None = None, progress: Progress = quiet
) -> Inversion:
    """One photograph (1,3,H,W) in [-1,1] and the prompt that describes it → Inversion; on the CPU."""
    return invert_batch(model, image, prompt, settings, progress)[0]


def invert_batch(
    model: Model, images: Tensor, prompt: str, settings: InversionSettings | None = None, progress: Progress = quiet
) -> list[Inversion]:
    """B photographs of one size (B,3,H,W) in [-1,1], inverted together → B inversions; each stops on its own.

    progress(iterable, label) passes the steps through and may display them. Raises NonFiniteError.
    """
    settings = (settings or InversionSettings()).chosen()
    began = time.perf_counter()
    count, train_steps = len(images), len(model.abar)
    latents = codec.encode(model, images, settings.encode, settings.seed)
    both = text.encode_prompts(model, [prompt, ""], tuple(images.shape[-2:]), settings.time_ids)
    source, empty = both[:1].repeat(count), both[1:].repeat(count)
    down = sampling_steps(settings.steps, train_steps)
    with attention.install(model.unet, settings.location, settings.alpha):
        trajectory = walk_up(
            lambda latent, step: model.predict(latent, step, source, "inversion"),
            latents,
            progress(inversion_steps(settings.steps, settings.alignment, train_steps), "inversion"),
            model.abar,
        )
        if settings.method == "direct":
            # The recorded difference returns each move to the trajectory: nothing to compute.
            walk, nulls, losses = trajectory.flip(0), _constant(empty, settings.steps), ()
        else:
            same = settings.method == "negative_prompt"  # guidance between equal predictions is their prediction
            null_text = settings.method == "null_text"
            seeks = null_text and settings.solver == "gauss_newton"
            gain = codec.gain(model, latents, settings.seed) if seeks else latents.new_ones(count)
            result = optimize(
                lambda latent, step, cond: model.predict(latent, step, cond, "null optimization"),
                trajectory,
                progress(down, "null optimization" if null_text else "reconstruction"),
                model.abar,
                source,
                source if same or (null_text and settings.start == "source") else empty,
                guidance=1.0 if same else settings.guidance,
                solve=solver(settings),
                tolerance=tolerance(settings, model.abar, gain),
                residual=settings.residual and null_text,
            )
            walk, nulls, losses = result.latents, result.nulls, result.losses if null_text else ()
    seconds = (time.perf_counter() - began) / count
    return [
        Inversion(
            prompt=prompt,
            settings=settings,
            latent=latents[b : b + 1].cpu(),
            walk=walk[:, b].cpu(),
            nulls=nulls.photo(b),
            losses=tuple(tuple(float(loss[b]) for loss in step) for step in losses),
            seconds=seconds,
        )
        for b in range(count)
    ]


def walk_up(
    predict: Callable[[Tensor, Step], Tensor], latent: Tensor, steps: Iterable[Step], abar: Sequence[float]
) -> Tensor:
    """DDIM inversion at guidance 1 (Song et al. 2021, section 4.3): every latent, low noise first, (T+1,B,C,h,w)."""
    trajectory = [latent]
    for step in steps:
        if not step.is_identity:
            with torch.no_grad():
                eps = predict(latent, step)
            latent = move(latent, eps, abar[step.start], abar[step.end])
        trajectory.append(latent)
    return torch.stack(trajectory)


def _constant(null: Conditioning, steps: int) -> NullEmbeddings:
    """The same null conditioning at every move."""
    tokens = null.tokens.expand(steps, *null.tokens.shape)
    return NullEmbeddings(tokens, None if null.pooled is None else null.pooled.expand(steps, *null.pooled.shape))
