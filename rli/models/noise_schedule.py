"""Noise levels of the diffusion process, and one move between two of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Step:
    """One sampling move: noise is predicted at `timestep`, the latent goes from level `start` to level `end`.

    index counts the `total` timesteps from the noisiest (0); levels are indices into the cumulative alphas.
    """

    index: int
    total: int
    timestep: int
    start: int
    end: int

    @property
    def is_identity(self) -> bool:
        """At the last level nothing moves, whatever is predicted."""
        return self.start == self.end


def cumulative_alphas(beta_start: float, beta_end: float, schedule: str, train_steps: int) -> tuple[float, ...]:
    """abar(l) for l = 0 … train_steps-1; `schedule` is scaled_linear (Stable Diffusion) or linear."""
    power = {"scaled_linear": 0.5, "linear": 1.0}[schedule]
    betas = torch.linspace(beta_start**power, beta_end**power, train_steps, dtype=torch.float64) ** (1 / power)
    return tuple((1 - betas).cumprod(0).tolist())
