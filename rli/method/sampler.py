"""DDIM arithmetic: noise levels, one move between them, guidance (Song et al. 2021, arXiv:2010.02502)."""

from __future__ import annotations

import math

from torch import Tensor

from rli.models.noise_schedule import Step

# How the levels of inversion lie to those of sampling.
ALIGNMENTS = ("aligned", "reference")


def sampling_steps(count: int, train_steps: int = 1000) -> tuple[Step, ...]:
    """`count` moves from high noise to low: at timestep t from level t to t - train_steps/count, leading spacing.

    The last one, at timestep 0, is an identity (level 0 to 0) because the schedule ends at abar(0).
    """
    stride = train_steps // count
    times = [stride * k for k in reversed(range(count))]
    return tuple(Step(i, count, t, t, max(t - stride, 0)) for i, t in enumerate(times))


def inversion_steps(count: int, alignment: str = "aligned", train_steps: int = 1000) -> tuple[Step, ...]:
    """`count` moves from low noise to high.

    aligned: exactly the sampling moves backwards. reference: the move at timestep t goes from level t to
    min(t + stride, train_steps - 1), so that the trajectory sits one step above the sampler.
    """
    down = reversed(sampling_steps(count, train_steps))
    if alignment == "aligned":
        return tuple(Step(s.index, count, s.timestep, s.end, s.start) for s in down)
    stride = train_steps // count
    return tuple(Step(s.index, count, s.timestep, s.start, min(s.start + stride, train_steps - 1)) for s in down)


def move(latent: Tensor, eps: Tensor, abar_start: float, abar_end: float) -> Tensor:
    """The deterministic DDIM move between two noise levels, in either direction (Song et al. 2021, eq. 12, sigma 0)."""
    x0 = (latent - math.sqrt(1 - abar_start) * eps) / math.sqrt(abar_start)
    return math.sqrt(abar_end) * x0 + math.sqrt(1 - abar_end) * eps


def eps_factor(abar_start: float, abar_end: float) -> float:
    """d move / d eps: `move` is linear in eps, which the null embedding optimization uses for its gradient."""
    return math.sqrt(1 - abar_end) - math.sqrt(abar_end * (1 - abar_start) / abar_start)


def guide(eps_null: Tensor, eps_text: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022): the null prediction at 0, the conditional one at 1."""
    return eps_null + guidance * (eps_text - eps_null)
