"""What the solvers that minimise by descent share: how a step is taken, and when a move is good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rli.method.solvers.base import Graph, LeastSquares, Solution, evaluate, mean_square, values_of, wide, with_values
from rli.models.conditioning import Conditioning
from rli.models.noise_schedule import Step

# A step that raises the loss is shortened at most this often, then dropped.
SHORTENINGS = 3


@dataclass(frozen=True)
class Here:
    """Where B photographs stand when some of them need a step."""

    problem: LeastSquares
    # The null embeddings that the problem began with, B rows.
    null: Conditioning
    # What is optimized of them, as it is now, B rows each.
    values: list[Tensor]
    # Their eps (B,C,h,w) and loss (B,).
    eps: Tensor
    loss: Tensor
    # The photographs in the graph, and which of these need a step.
    graph_rows: Tensor
    keep: Tensor
    graph: Graph

    @property
    def rows(self) -> Tensor:
        """The photographs that need a step."""
        return self.graph_rows[self.keep]


# The step of each value of the photographs that need one.
Propose = Callable[[Here], list[Tensor]]
# (what the eps of these rows lacked, how much of it their step gave) → the share of the step to try next.
Shorten = Callable[[Tensor, Tensor], Tensor]


def descend(problem: LeastSquares, null: Conditioning, iterations: int, propose: Propose, shorten: Shorten) -> Solution:
    """Take the proposed steps until every photograph is within its tolerance; no iteration ends worse.

    Args:
        problem: Of B photographs.
        null: Where to begin, B rows.
        iterations: At most.
        propose: Called once in each iteration.
        shorten: Called where a step raised the loss.

    Returns:
        The best that was found, with the loss after each iteration.
    """
    values, rows = values_of(null), problem.all_rows()
    stuck = torch.zeros_like(rows, dtype=torch.bool)
    graph = evaluate(problem, null, values, rows, iterations > 0)
    eps = graph.eps.detach().clone()
    loss = mean_square(problem.error(eps, rows))
    losses = [loss.clone()]
    for iteration in range(iterations):
        keep = (loss[rows] > problem.tolerance[rows]) & ~stuck[rows]
        if not keep.any():
            break
        step = propose(Here(problem, null, values, eps, loss, rows, keep, graph))
        rows = rows[keep]
        for _ in range(1 + SHORTENINGS):
            del graph  # before the trial builds its own
            trial = [value.index_copy(0, rows, value[rows] + s) for value, s in zip(values, step, strict=True)]
            graph = evaluate(problem, null, trial, rows, iteration + 1 < iterations)
            error = problem.error(graph.eps.detach(), rows)
            found = mean_square(error)
            better = found <= loss[rows]
            if better.all():
                break
            lacked = problem.error(eps[rows], rows)
            share = torch.where(better, torch.ones_like(found), shorten(lacked, lacked - error))
            step = [wide(share, s) * s for s in step]
        won = rows[better]
        for value, new in zip(values, trial, strict=True):
            value[won] = new[won]
        eps[won], loss[won] = graph.eps.detach()[better], found[better]
        stuck[rows] = ~better
        losses.append(loss.clone())
    return Solution(with_values(null, values), eps, tuple(losses))


def round_trip_tolerance(step: Step, abar: Sequence[float], gain: Tensor, stop_db: float, slack_db: float) -> Tensor:
    """The loss (B,) at which a move is good enough: by what a miss would cost at the end, as PSNR against the VAE round
    trip.

    The demand rises evenly over the moves to stop_db, because what misses early is still mended later. A miss of mean
    square m at a level of cumulative alpha a is about m/a in the clean latent, and gain·m/a in the picture.
    """
    left = 1 - (step.index + 1) / max(1, step.total - 1)
    limit: Tensor = 10 ** (-(stop_db - slack_db * left) / 10) * abar[step.end] / gain
    return limit
