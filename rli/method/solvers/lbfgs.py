"""L-BFGS: each iteration costs one forward and one backward pass, because curvature is learnt from the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rli.errors import one_of, whole, within
from rli.method.solvers.base import STARTS, LeastSquares, Solution, dot, pull_back, wide
from rli.method.solvers.descent import Here, descend, round_trip_tolerance
from rli.models.conditioning import Conditioning
from rli.models.noise_schedule import Step

# How many pairs of a step and its change of the gradient are remembered.
HISTORY = 10
# A pair counts where the cosine between step and change is above this: below, it says nothing but rounding.
CURVATURE = 1e-4
# A step that raised the loss is cut to at least and at most this share.
SHORTEST, LONGEST = 0.1, 0.5


@dataclass(frozen=True)
class Lbfgs:
    """L-BFGS (Nocedal and Wright 2006, algorithm 7.5), each photograph with a history of its own.

    The first step has no history to take its length from. It is a share of Polyak's step loss/|gradient|², with the
    gradient's direction: the least loss is zero, and so the loss itself says how far away it is. A step that raises the
    loss is shortened to where it would have been best if eps were linear along it, which costs no pass of its own.
    Nothing is tuned to a model: scaling its embeddings scales the result. Raises RLIError for a value out of range.
    """

    name: ClassVar[str] = "lbfgs"
    uses_gain: ClassVar[bool] = True
    # Iterations a move at most.
    inner_steps: int = 5
    start: str = "source"
    # Share of Polyak's step that a move's first step takes.
    first_step: float = 0.25
    # PSNR in dB against the VAE round trip that the last move must keep (59 is the rounding of 8-bit pixels), and how
    # much less the first one must; evenly between.
    stop_db: float = 59.0
    slack_db: float = 50.0

    def __post_init__(self) -> None:
        whole("inner_steps", self.inner_steps, 0, 10_000)
        one_of("start", self.start, STARTS)
        within("first_step", self.first_step, 0, 100)
        within("stop_db", self.stop_db, 0, 200)
        within("slack_db", self.slack_db, 0, 200)

    @property
    def backward_passes(self) -> int:
        return min(1, self.inner_steps)

    def tolerance(self, step: Step, abar: Sequence[float], gain: Tensor, reference: bool = False) -> Tensor:
        """What a miss would cost at the end."""
        return round_trip_tolerance(step, abar, gain, self.stop_db, self.slack_db)

    def __call__(self, problem: LeastSquares, null: Conditioning) -> Solution:
        return descend(problem, null, self.inner_steps, _Steps(self.first_step), _best_share)


def _best_share(lacked: Tensor, given: Tensor) -> Tensor:
    """The share (B,) of a step at which the loss is least if eps is linear along it, within bounds."""
    best = (lacked * given).sum((1, 2, 3)) / given.square().sum((1, 2, 3)).clamp_min(1e-30)
    return best.clamp(SHORTEST, LONGEST)


@dataclass(frozen=True)
class _Pair:
    """A step and the change of the gradient along it, B rows each; zero where a photograph has none."""

    step: list[Tensor]
    change: list[Tensor]
    # 1/(step·change) (B,), or zero.
    weight: Tensor


class _Steps:
    """The steps of one move's problem, with what is remembered from one to the next."""

    def __init__(self, first_step: float) -> None:
        self.first_step = first_step
        self.pairs: list[_Pair] = []
        # Values and gradients of the last call, B rows.
        self.before: tuple[list[Tensor], list[Tensor]] | None = None

    def __call__(self, here: Here) -> list[Tensor]:
        problem, rows = here.problem, here.rows
        # d loss / d eps
        error = problem.error(here.eps[here.graph_rows], here.graph_rows)
        grads = pull_back(here.graph, -2 * problem.slope * error / here.eps[0].numel())
        gradient = [g[here.keep] for g in grads]
        self._remember(here, gradient)
        polyak = self.first_step * here.loss[rows] / dot(gradient, gradient).clamp_min(1e-30)
        return [-d for d in self._quasi_newton(gradient, rows, polyak)]

    def _remember(self, here: Here, gradient: Sequence[Tensor]) -> None:
        """Add what the last step showed, and keep values and gradient for the next."""
        spread = [torch.zeros_like(v).index_copy(0, here.rows, g) for v, g in zip(here.values, gradient, strict=True)]
        if self.before is not None:
            moving = torch.zeros_like(here.loss).index_fill(0, here.rows, 1)
            step, change = (
                [wide(moving, new) * (new - old) for new, old in zip(now, then, strict=True)]
                for now, then in zip((here.values, spread), self.before, strict=True)
            )
            product, lengths = dot(step, change), (dot(step, step) * dot(change, change)).sqrt()
            weight = torch.where(product > CURVATURE * lengths, 1 / product, torch.zeros_like(product))
            self.pairs = [*self.pairs, _Pair(step, change, weight)][-HISTORY:]
        self.before = [v.clone() for v in here.values], spread

    def _quasi_newton(self, gradient: Sequence[Tensor], rows: Tensor, scale: Tensor) -> list[Tensor]:
        """The approximate inverse Hessian times the gradient: the two loops of algorithm 7.4, with `scale` (B,) for
        the initial matrix where a photograph has no pair yet."""
        pairs = [
            _Pair([s[rows] for s in pair.step], [y[rows] for y in pair.change], pair.weight[rows])
            for pair in self.pairs
        ]
        direction, shares = list(gradient), []
        for pair in reversed(pairs):
            share = pair.weight * dot(pair.step, direction)
            direction = [d - wide(share, y) * y for d, y in zip(direction, pair.change, strict=True)]
            shares.append(share)
        for pair in pairs:  # the newest one that counts is the last to be asked
            newest = 1 / (pair.weight * dot(pair.change, pair.change)).clamp_min(1e-30)
            scale = torch.where(pair.weight > 0, newest, scale)
        direction = [wide(scale, d) * d for d in direction]
        for pair, share in zip(pairs, reversed(shares), strict=True):
            correction = share - pair.weight * dot(pair.change, direction)
            direction = [d + wide(correction, s) * s for d, s in zip(direction, pair.step, strict=True)]
        return direction
