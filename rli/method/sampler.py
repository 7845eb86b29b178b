"""DDIM arithmetic: noise levels, one move between them, guidance (Song et al. 2021, arXiv:2010.02502)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from rli.errors import SettingError
from rli.models.noise_schedule import Step

# How the levels of inversion lie to those of sampling.
ALIGNMENTS = ("aligned", "reference")


def sampling_steps(count: int, train_steps: int = 1000) -> tuple[Step, ...]:
    """The moves of DDIM sampling, from high noise to low.

    The move at timestep t goes from level t to t - train_steps/count (leading spacing). The last one, at timestep 0, is
    an identity (level 0 to 0), because the schedule ends at abar(0).

    Args:
        count: How many moves, T; at most train_steps (see `check_steps`).
        train_steps: Levels of the noise schedule.

    Returns:
        T moves.
    """
    stride = train_steps // count
    times = [stride * k for k in reversed(range(count))]
    return tuple(Step(i, count, t, t, max(t - stride, 0)) for i, t in enumerate(times))


def check_steps(count: int, abar: Sequence[float]) -> None:
    """Whether a model with these cumulative alphas can be sampled in so many steps.

    A schedule whose last level is noise alone (zero terminal signal-to-noise ratio) cannot be sampled from that level:
    the noise says nothing of the photograph there, and a move divides by zero. Only as many steps as there are levels
    begin so high.

    Raises:
        SettingError: where it cannot.
    """
    levels = len(abar)
    if count > levels:
        raise SettingError("steps", count, f"too many; the model has {levels} noise levels")
    if abar[sampling_steps(count, levels)[0].start] == 0:
        raise SettingError(
            "steps", count, f"too many; the model's last noise level is noise alone, so at most {levels - 1}"
        )


def inversion_steps(count: int, alignment: str = "aligned", train_steps: int = 1000) -> tuple[Step, ...]:
    """The moves of DDIM inversion, from low noise to high.

    Args:
        count: How many moves, T.
        alignment: aligned takes exactly the sampling moves backwards. reference goes at timestep t from level t to
            min(t + stride, train_steps - 1), so that the trajectory lies one level above the sampler's.
        train_steps: Levels of the noise schedule.

    Returns:
        T moves.
    """
    down = reversed(sampling_steps(count, train_steps))
    if alignment == "aligned":
        return tuple(Step(s.index, count, s.timestep, s.end, s.start) for s in down)
    stride = train_steps // count
    return tuple(Step(s.index, count, s.timestep, s.start, min(s.start + stride, train_steps - 1)) for s in down)


def move(latent: Tensor, eps: Tensor, abar_start: float, abar_end: float) -> Tensor:
    """The deterministic DDIM move between two noise levels, in either direction (Song et al. 2021, eq. 12, sigma 0).

    Args:
        latent: (B,C,h,w) at the level where the move starts.
        eps: The predicted noise (B,C,h,w).
        abar_start, abar_end: Cumulative alphas of the two levels, in (0,1].

    Returns:
        The latent (B,C,h,w) at the level where the move ends.
    """
    x0 = (latent - math.sqrt(1 - abar_start) * eps) / math.sqrt(abar_start)
    return math.sqrt(abar_end) * x0 + math.sqrt(1 - abar_end) * eps


def eps_factor(abar_start: float, abar_end: float) -> float:
    """d move / d eps: `move` is linear in eps, which the null embedding optimization uses for its gradient."""
    return math.sqrt(1 - abar_end) - math.sqrt(abar_end * (1 - abar_start) / abar_start)


def guide(eps_null: Tensor, eps_text: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022).

    Args:
        eps_null: The noise (B,C,h,w) predicted for the null embedding.
        eps_text: The noise (B,C,h,w) predicted for the prompt.
        guidance: The scale w: 0 gives eps_null, 1 gives eps_text.

    Returns:
        The guided noise (B,C,h,w).
    """
    return eps_null + guidance * (eps_text - eps_null)
