"""Noise levels of the diffusion process, and one move between two of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rli.errors import RLIError, whole, within

# What a UNet may predict: the noise, or the velocity (Salimans and Ho 2022).
PREDICTIONS = ("epsilon", "v_prediction")
# Stable Diffusion's, the first one (Ho et al. 2020), and the cosine schedule (Nichol and Dhariwal 2021).
BETA_SCHEDULES = ("scaled_linear", "linear", "squaredcos_cap_v2")
# No level of the cosine schedule keeps less than a thousandth of the one before it (Nichol and Dhariwal 2021).
MOST_BETA = 0.999


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


@dataclass(frozen=True)
class NoiseSchedule:
    """What a scheduler's configuration says of the weights: the levels that they were trained at, and what they
    predict. All else in it (spacing, offset, clipping, order) is a sampler's own, and ours is DDIM."""

    # Cumulative alphas by noise level, falling; the last one alone may be 0.
    abar: tuple[float, ...]
    # One of PREDICTIONS.
    prediction: str


def read_schedule(config: Mapping[str, Any]) -> NoiseSchedule:
    """The noise schedule of a diffusers scheduler.

    Args:
        config: of the scheduler, with its class as `_class_name` where that is known. What is missing is as in Stable
            Diffusion.

    Raises:
        RLIError: for noise that is not added by betas, for values that make no schedule, and for weights that predict
            something else than noise or velocity.
    """
    _check_kind(config)
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in PREDICTIONS:
        raise RLIError(f"the weights predict “{prediction}”; only {' and '.join(PREDICTIONS)} are supported")
    levels = config.get("num_train_timesteps", 1000)
    whole("the scheduler's num_train_timesteps", levels, 1, 1_000_000)
    if config.get("trained_betas") is None:
        start, end = config.get("beta_start", 0.00085), config.get("beta_end", 0.012)
        within("the scheduler's beta_start", start, 0, 1)
        within("the scheduler's beta_end", end, 0, 1)
        abar = cumulative_alphas(start, end, config.get("beta_schedule", "scaled_linear"), levels)
    else:
        abar = _cumulative(_listed(config["trained_betas"], levels))
    if config.get("rescale_betas_zero_snr"):
        abar = with_zero_terminal_snr(abar)
    falls = all(after < before for before, after in zip(abar, abar[1:], strict=False))
    if not (falls and abar[0] <= 1 and all(kept > 0 for kept in abar[:-1]) and abar[-1] >= 0):
        raise RLIError("the scheduler's betas make no noise schedule: each level must be noisier than the one before")
    return NoiseSchedule(abar, prediction)


def cumulative_alphas(beta_start: float, beta_end: float, schedule: str, train_steps: int) -> tuple[float, ...]:
    """abar(l) for l = 0 … train_steps-1.

    Args:
        beta_start: of the first level; the cosine schedule has no use for it.
        beta_end: of the last level, likewise.
        schedule: one of BETA_SCHEDULES.
        train_steps: how many levels there are.

    Raises:
        RLIError: for another schedule.
    """
    if schedule not in BETA_SCHEDULES:
        known = ", ".join(BETA_SCHEDULES)
        raise RLIError(f"the scheduler's beta_schedule={schedule}: unknown value; expected one of {known}")
    if schedule == "squaredcos_cap_v2":
        return _cumulative(_cosine(train_steps))
    power = 0.5 if schedule == "scaled_linear" else 1.0
    betas = torch.linspace(beta_start**power, beta_end**power, train_steps, dtype=torch.float64) ** (1 / power)
    return _cumulative(betas)


def with_zero_terminal_snr(abar: tuple[float, ...]) -> tuple[float, ...]:
    """The levels stretched so that the last one is noise alone (Lin et al. 2024, algorithm 1). Raises RLIError."""
    root = torch.tensor(abar, dtype=torch.float64).sqrt()
    first, last = float(root[0]), float(root[-1])
    if first == last:
        raise RLIError("the scheduler's rescale_betas_zero_snr needs more than one noise level")
    return tuple(((root - last) * (first / (first - last))).square().tolist())


def _check_kind(config: Mapping[str, Any]) -> None:
    """Raises RLIError where noise is not added by betas, and names what it is instead."""
    kind = config.get("_class_name")
    has_betas = "beta_schedule" in config or config.get("trained_betas") is not None
    other = None
    if "sigma_data" in config or config.get("timestep_type") == "continuous":
        other = "EDM's noise levels (Karras et al. 2022)"
    elif "shift" in config or config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        other = "flow matching"
    elif "snr_shift_scale" in config:
        other = "a shifted signal-to-noise ratio"
    elif kind is not None and not has_betas:
        other = "a noise schedule without betas"
    if other is not None:
        raise RLIError(
            f"the weights' scheduler, {kind or 'of unknown class'}, has {other}; only schedules of betas are supported"
        )


def _listed(betas: Any, levels: int) -> Tensor:
    """(levels,) float64 from a configuration's list. Raises RLIError for anything else."""
    try:
        values = torch.tensor([float(beta) for beta in betas], dtype=torch.float64)
    except (TypeError, ValueError):
        raise RLIError("the scheduler's trained_betas is not a list of numbers") from None
    if len(values) != levels:
        raise RLIError(f"the scheduler's trained_betas has {len(values)} values; num_train_timesteps is {levels}")
    if not ((values >= 0) & (values <= 1)).all():
        raise RLIError("the scheduler's trained_betas must lie from 0 to 1")
    return values


def _cosine(levels: int) -> Tensor:
    """Betas (levels,) float64 of the cosine schedule."""

    def kept(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    ratios = (kept((level + 1) / levels) / kept(level / levels) for level in range(levels))
    return torch.tensor([min(1 - ratio, MOST_BETA) for ratio in ratios], dtype=torch.float64)


def _cumulative(betas: Tensor) -> tuple[float, ...]:
    return tuple((1 - betas).cumprod(0).tolist())
