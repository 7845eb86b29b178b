"""Adam, the published solver of the null embeddings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rli.errors import one_of, whole, within
from rli.method.solvers.base import (
    STARTS,
    LeastSquares,
    Solution,
    evaluate,
    mean_square,
    pull_back,
    values_of,
    with_values,
)
from rli.models.conditioning import Conditioning
from rli.models.noise_schedule import Step

# The published schedule is written for 50 steps: learning rate 1e-2·(1 - i/100), threshold 1e-5 + 2e-5·i.
PUBLISHED_STEPS = 50


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma and Ba 2015), as published for null-text inversion (Mokady et al. 2023, algorithm 1).

    Raises RLIError for a value out of range.
    """

    name: ClassVar[str] = "adam"
    uses_gain: ClassVar[bool] = False
    # Iterations a move at most.
    inner_steps: int = 10
    start: str = "empty"
    # At the noisiest move; it falls by half along the way.
    learning_rate: float = 1e-2
    # Loss at which the first move stops; it grows by 2e-5 a move of fifty. 0: never.
    early_stop: float = 1e-5

    def __post_init__(self) -> None:
        whole("inner_steps", self.inner_steps, 0, 10_000)
        one_of("start", self.start, STARTS)
        within("learning_rate", self.learning_rate, 0, 100)
        within("early_stop", self.early_stop, 0, math.inf)

    @property
    def backward_passes(self) -> int:
        return min(1, self.inner_steps)

    def tolerance(self, step: Step, abar: Sequence[float], gain: Tensor, reference: bool = False) -> Tensor:
        """The published threshold."""
        limit = self.early_stop + 2e-5 * _published_index(step, reference) if self.early_stop else 0.0
        return torch.full_like(gain, limit)

    def __call__(self, problem: LeastSquares, null: Conditioning) -> Solution:
        """The last prediction is the one returned, so that no forward is spent after the last update's own. The
        reference code judges the loss from before the last update."""
        rate = self.learning_rate * (1 - _published_index(problem.step, problem.reference) / (2 * PUBLISHED_STEPS))
        values, rows = values_of(null), problem.all_rows()
        moments = [(torch.zeros_like(v), torch.zeros_like(v)) for v in values]
        eps, loss, losses = torch.zeros_like(problem.target), torch.zeros_like(problem.tolerance), []
        for iteration in range(self.inner_steps + 1):
            graph = evaluate(problem, null, values, rows, iteration < self.inner_steps)
            eps[rows], before = graph.eps.detach(), loss.clone()
            loss[rows] = mean_square(problem.error(eps[rows], rows))
            losses.append(loss.clone())
            if iteration == self.inner_steps:
                break
            keep = torch.ones_like(rows, dtype=torch.bool)
            if iteration or not problem.reference:
                keep = (before if problem.reference else loss)[rows] >= problem.tolerance[rows]
            if not keep.any():
                break
            # d loss / d eps
            upstream = -2 * problem.slope * problem.error(eps[rows], rows) / eps[0].numel()
            grads = pull_back(graph, upstream)
            rows = rows[keep]
            for value, grad, (first, second) in zip(values, grads, moments, strict=True):
                first[rows] = 0.9 * first[rows] + 0.1 * grad[keep]
                second[rows] = 0.999 * second[rows] + 0.001 * grad[keep].square()
                unbiased = first[rows] / (1 - 0.9 ** (iteration + 1)), second[rows] / (1 - 0.999 ** (iteration + 1))
                value[rows] -= rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
        return Solution(with_values(null, values), eps, tuple(losses))


def _published_index(step: Step, reference: bool) -> float:
    """A move's index among fifty, which the published schedule counts in; the reference code counts whatever T is."""
    return step.index if reference else step.index * PUBLISHED_STEPS / step.total
