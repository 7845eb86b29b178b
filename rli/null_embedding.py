"""Null embedding optimization: guided sampling is made to walk the inversion's trajectory back.

Source: Null-text inversion (Mokady et al. 2023, arXiv:2211.09794, algorithm 1), here over SDXL's token and pooled null
embeddings (RLI manuscript, "Null Embedding Optimization").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rli.ddim import eps_factor, guide, move
from rli.types import Conditioning, NullEmbeddings, Step

Predict = Callable[[Tensor, Step, Conditioning], Tensor]

# The published schedule is written for 50 steps: learning rate 1e-2·(1 - i/100), threshold 1e-5 + 2e-5·i.
PUBLISHED_STEPS = 50


@dataclass(frozen=True)
class Walk:
    """The source branch under guidance: latents (T+1,B,C,h,w) noisiest first, the null embeddings that led along it,
    and for each move the losses (B,) of its iterations."""

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
    inner_steps: int,
    learning_rate: float,
    early_stop: float,
    residual: bool = False,
    reference: bool = False,
) -> Walk:
    """Walk from high noise to low; before each move fit the null embeddings to the trajectory's next latent.

    trajectory (T+1,B,C,h,w), low noise first. text: source prompt, null: where the first step starts, B rows each;
    every later step starts from its predecessor's result. inner_steps=0 is plain guided sampling. residual puts every
    move's end on the trajectory, whatever the optimization left. reference: the published counting of steps whatever T
    is, and the early stop that looks at the loss from before the last update. Photographs of a batch stop on their own.
    """
    latent, walk, tokens, pooled, losses = trajectory[-1], [trajectory[-1]], [], [], []
    for step in steps:
        goal = trajectory[-2 - step.index]
        start, end = abar[step.start], abar[step.end]
        if not step.is_identity:
            with torch.no_grad():
                eps_text = eps = predict(latent, step, text)
        if not step.is_identity and guidance != 1:
            clock = step.index if reference else step.index * PUBLISHED_STEPS / step.total
            # goal - move(latent, guide(eps_null, eps_text)) = residue - slope·eps_null
            slope = eps_factor(start, end) * (1 - guidance)
            residue = goal - move(latent, guidance * eps_text, start, end)
            null, eps_null, history = _fit(
                lambda null, latent=latent, step=step: predict(latent, step, null),
                null,
                residue,
                slope,
                iterations=inner_steps,
                rate=learning_rate * (1 - clock / (2 * PUBLISHED_STEPS)),
                threshold=early_stop + 2e-5 * clock if early_stop else 0.0,
                reference=reference,
            )
            losses.append(history)
            eps = guide(eps_null, eps_text, guidance)
        if not step.is_identity:
            latent = goal if residual else move(latent, eps, start, end)
        walk.append(latent)
        tokens.append(null.tokens)
        pooled.append(null.pooled)
    stacked = NullEmbeddings(torch.stack(tokens), None if pooled[0] is None else torch.stack(pooled))
    return Walk(torch.stack(walk), stacked, tuple(losses))


def _fit(
    predict: Callable[[Conditioning], Tensor],
    null: Conditioning,
    residue: Tensor,
    slope: float,
    *,
    iterations: int,
    rate: float,
    threshold: float,
    reference: bool,
) -> tuple[Conditioning, Tensor, tuple[Tensor, ...]]:
    """Minimise mean((residue - slope·eps(null))²) with Adam (Kingma and Ba 2015): null, eps(null), losses (B,).

    Each photograph's updates end when its loss is under the threshold; the last prediction is the one that is returned,
    so that no forward is spent after the last update's own.
    """
    values = [v for v in (null.tokens, null.pooled) if v is not None]
    moments = [(torch.zeros_like(v), torch.zeros_like(v)) for v in values]
    active = torch.ones(len(residue), dtype=torch.bool, device=residue.device)
    losses: list[Tensor] = []
    for iteration in range(iterations + 1):
        values = [v.detach().requires_grad_(iteration < iterations) for v in values]
        candidate = replace(null, tokens=values[0], pooled=values[1] if len(values) == 2 else None)
        with torch.set_grad_enabled(iteration < iterations):
            eps = predict(candidate)
        error = residue - slope * eps.detach()
        losses.append(error.square().mean((1, 2, 3)))
        judged = losses[-2] if reference and iteration else losses[-1]
        if iteration or not reference:
            active = active & (judged >= threshold)
        if iteration == iterations or not active.any():
            break
        # dL/d eps, scaled to unit size for the backward pass: half precision would lose it otherwise.
        upstream = -2 * slope * error / error[0].numel()
        scale = upstream.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-30)
        grads = torch.autograd.grad(eps, values, upstream / scale)
        for k, grad in enumerate(grads):
            shape = (-1,) + (1,) * (grad.dim() - 1)
            grad = grad * scale.reshape(shape)
            updated, moments[k] = _adam(values[k].detach(), grad, moments[k], iteration + 1, rate)
            values[k] = torch.where(active.reshape(shape), updated, values[k].detach())
    return (
        replace(null, tokens=values[0].detach(), pooled=values[1].detach() if len(values) == 2 else None),
        eps.detach(),
        tuple(losses),
    )


def _adam(
    value: Tensor, grad: Tensor, moments: tuple[Tensor, Tensor], count: int, rate: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One update with the usual constants (0.9, 0.999, 1e-8); written out, so that each photograph can stop."""
    first = 0.9 * moments[0] + 0.1 * grad
    second = 0.999 * moments[1] + 0.001 * grad.square()
    unbiased = first / (1 - 0.9**count), second / (1 - 0.999**count)
    return value - rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8), (first, second)
