"""Null embedding optimization: guided sampling is made to walk the inversion's trajectory back.

Source: Null-text inversion (Mokady et al. 2023, arXiv:2211.09794, algorithm 1), here over SDXL's token and pooled null
embeddings (RLI manuscript, "Null Embedding Optimization").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rli.method.records import InversionSettings, NullEmbeddings
from rli.method.schedule import eps_factor, guide, move
from rli.method.solvers import Fit, Inner, adam, gauss_newton
from rli.models.conditioning import Conditioning
from rli.models.noise import Step

# The published schedule is written for 50 steps: learning rate 1e-2·(1 - i/100), threshold 1e-5 + 2e-5·i.
PUBLISHED_STEPS = 50

Predict = Callable[[Tensor, Step, Conditioning], Tensor]
Solve = Callable[[Inner, Conditioning, Step], Fit]
Tolerance = Callable[[Step], Tensor]


@dataclass(frozen=True)
class Walk:
    """The source branch under guidance: latents (T+1,B,C,h,w) noisiest first, the null embeddings that led along it,
    and for each move the losses (B,) of its iterations (one loss where there was nothing to optimize)."""

    latents: Tensor
    nulls: NullEmbeddings
    losses: tuple[tuple[Tensor, ...], ...]


def optimize(
    predict: Predict,
    trajectory: Tensor,
    steps: Iterable[Step],
    abar: Sequence[float],
    text: Conditioning,
    null: Conditioning,
    *,
    guidance: float,
    solve: Solve,
    tolerance: Tolerance,
    residual: bool = False,
) -> Walk:
    """Walk from high noise to low; before each move fit the null embeddings to the trajectory's next latent.

    trajectory (T+1,B,C,h,w), low noise first. text: source prompt, null: where the first step starts, B rows each;
    every later step starts from its predecessor's result. Where null is `text` itself, a photograph is left alone, and
    spends no prediction on it, until a move first misses the trajectory by more than tolerance(step) (B,). residual
    puts every move's end on the trajectory, whatever the optimization left.
    """
    latent, walk, tokens, pooled, losses = trajectory[-1], [trajectory[-1]], [], [], []
    null, fresh = null[:], torch.full((len(trajectory[0]),), null is text, device=trajectory.device)
    for step in steps:
        if not step.is_identity:
            goal, start, end = trajectory[-2 - step.index], abar[step.start], abar[step.end]
            with torch.no_grad():
                eps = eps_text = predict(latent, step, text)
            if guidance != 1:
                # goal - move(latent, guide(eps_null, eps_text)) = residue - slope·eps_null
                slope = eps_factor(start, end) * (1 - guidance)
                residue, limit = goal - move(latent, guidance * eps_text, start, end), tolerance(step)
                loss = (residue - slope * eps_text).square().mean((1, 2, 3))
                rows = (~fresh | (loss > limit)).nonzero()[:, 0]
                eps_null, history = eps_text.clone(), (loss,)
                if len(rows):
                    inner = Inner(
                        lambda null, at, rows=rows, step=step, latent=latent: predict(latent[rows[at]], step, null),
                        residue[rows],
                        slope,
                        limit[rows],
                    )
                    fit = solve(inner, null[rows], step)
                    null, eps_null = null.put(rows, fit.null), eps_null.index_copy(0, rows, fit.eps)
                    history = tuple(loss.index_copy(0, rows, value) for value in fit.losses)
                    fresh[rows] = False
                losses.append(history)
                eps = guide(eps_null, eps_text, guidance)
            latent = goal if residual else move(latent, eps, start, end)
        walk.append(latent)
        tokens.append(null.tokens)
        pooled.append(null.pooled)
    stacked = NullEmbeddings(torch.stack(tokens), None if pooled[0] is None else torch.stack(pooled))
    return Walk(torch.stack(walk), stacked, tuple(losses))


def solver(settings: InversionSettings) -> Solve:
    """The solver of the settings. alignment=reference: the published counting of steps whatever T is, and the early
    stop that looks at the loss from before the last update."""
    iterations = settings.inner_steps if settings.method == "null_text" else 0
    if settings.solver == "gauss_newton":
        return lambda inner, null, step: gauss_newton(inner, null, iterations=iterations, cg_steps=settings.cg_steps)
    reference = settings.alignment == "reference"
    return lambda inner, null, step: adam(
        inner,
        null,
        iterations=iterations,
        rate=settings.learning_rate * (1 - _clock(step, reference) / (2 * PUBLISHED_STEPS)),
        late_stop=reference,
    )


def tolerance(settings: InversionSettings, abar: Sequence[float], gain: Tensor) -> Tolerance:
    """The loss at which a move is good enough, for B photographs.

    adam: the published threshold. gauss_newton: what a miss would cost at the end, as PSNR against the VAE round trip:
    the demand rises evenly over the steps to stop_db, because what misses early is still mended later. A miss of mean
    square m at a level of cumulative alpha a is one of about m/a in the clean latent, and of gain·m/a in the picture.
    """
    if settings.solver == "adam":
        reference = settings.alignment == "reference"
        stop = settings.early_stop
        return lambda step: torch.full_like(gain, stop + 2e-5 * _clock(step, reference) if stop else 0.0)

    def limit(step: Step) -> Tensor:
        left = 1 - (step.index + 1) / max(1, step.total - 1)
        return 10 ** (-(settings.stop_db - settings.slack_db * left) / 10) * abar[step.end] / gain

    return limit


def _clock(step: Step, reference: bool) -> float:
    return step.index if reference else step.index * PUBLISHED_STEPS / step.total
