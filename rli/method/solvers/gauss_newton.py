"""Gauss-Newton without the Jacobian: each iteration on a linear model of the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rli.errors import one_of, whole, within
from rli.method.solvers.base import (
    STARTS,
    Graph,
    LeastSquares,
    Solution,
    dot,
    evaluate,
    mean_square,
    pull_back,
    values_of,
    wide,
    with_values,
)
from rli.models.conditioning import Conditioning
from rli.models.noise import Step

# Length of the step that probes a Jacobian-vector product, as a share of the embedding's norm: in bfloat16, 1e-3 drowns
# in rounding; 1e-2 gives in both what 1e-3 gives in float32.
PROBE = 1e-2
# A Gauss-Newton step that raises the loss is cut to a quarter at most this often, then dropped.
SHORTENINGS = 3


@dataclass(frozen=True)
class GaussNewton:
    """Gauss-Newton: each iteration minimises the loss of the linearised eps by `cg_steps` conjugate-gradient steps
    (Nocedal and Wright 2006, section 10.3; CGLS, Björck 1996, algorithm 7.4.1), and no iteration ends worse.

    Vector-Jacobian products come from one backward pass. Jacobian-vector products are forward differences, because the
    fused attention kernels have neither a forward-mode rule nor a double backward. Nothing is tuned to a model: scaling
    its embeddings scales the result. Raises RLIError for a value out of range.
    """

    name: ClassVar[str] = "gauss_newton"
    uses_gain: ClassVar[bool] = True
    # Iterations a move at most.
    inner_steps: int = 2
    start: str = "source"
    # Conjugate-gradient steps an iteration.
    cg_steps: int = 1
    # PSNR in dB against the VAE round trip that the last move must keep (59 is the rounding of 8-bit pixels), and how
    # much less the first one must; evenly between.
    stop_db: float = 59.0
    slack_db: float = 50.0

    def __post_init__(self) -> None:
        whole("inner_steps", self.inner_steps, 0, 10_000)
        one_of("start", self.start, STARTS)
        whole("cg_steps", self.cg_steps, 1, 100)
        within("stop_db", self.stop_db, 0, 200)
        within("slack_db", self.slack_db, 0, 200)

    @property
    def backward_passes(self) -> int:
        return self.cg_steps if self.inner_steps else 0

    def tolerance(self, step: Step, abar: Sequence[float], gain: Tensor, reference: bool = False) -> Tensor:
        """What a miss would cost at the end, as PSNR against the VAE round trip.

        The demand rises evenly over the moves to stop_db, because what misses early is still mended later. A miss of
        mean square m at a level of cumulative alpha a is about m/a in the clean latent, and gain·m/a in the picture.
        """
        left = 1 - (step.index + 1) / max(1, step.total - 1)
        limit: Tensor = 10 ** (-(self.stop_db - self.slack_db * left) / 10) * abar[step.end] / gain
        return limit

    def __call__(self, problem: LeastSquares, null: Conditioning) -> Solution:
        values, rows = values_of(null), problem.all_rows()
        stuck = torch.zeros_like(rows, dtype=torch.bool)
        graph = evaluate(problem, null, values, rows, self.inner_steps > 0)
        eps = graph.eps.detach().clone()
        loss = mean_square(problem.error(eps, rows))
        losses = [loss.clone()]
        for iteration in range(self.inner_steps):
            keep = (loss[rows] > problem.tolerance[rows]) & ~stuck[rows]
            if not keep.any():
                break
            step = _cg(problem, null, values, eps, rows, keep, graph, self.cg_steps)
            rows = rows[keep]
            for _ in range(1 + SHORTENINGS):
                del graph  # before the trial builds its own
                trial = [value.index_copy(0, rows, value[rows] + s) for value, s in zip(values, step, strict=True)]
                graph = evaluate(problem, null, trial, rows, iteration + 1 < self.inner_steps)
                found = mean_square(problem.error(graph.eps.detach(), rows))
                better = found <= loss[rows]
                if better.all():
                    break
                step = [torch.where(wide(better, s), s, s / 4) for s in step]
            won = rows[better]
            for value, new in zip(values, trial, strict=True):
                value[won] = new[won]
            eps[won], loss[won] = graph.eps.detach()[better], found[better]
            stuck[rows] = ~better
            losses.append(loss.clone())
        return Solution(with_values(null, values), eps, tuple(losses))


def _cg(
    problem: LeastSquares,
    null: Conditioning,
    values: Sequence[Tensor],
    eps: Tensor,
    rows: Tensor,
    keep: Tensor,
    graph: Graph,
    steps: int,
) -> list[Tensor]:
    """The step of the rows that are kept: CGLS on min |error/slope - J·step|², one for each photograph."""
    done = rows[keep]
    at = [value[done] for value in values]
    length = dot(at, at).sqrt()

    def push(p: Sequence[Tensor]) -> Tensor:
        """J·p by a forward difference."""
        h = PROBE * length / dot(p, p).sqrt().clamp_min(1e-30)
        probe = [v.index_copy(0, done, x + wide(h, d) * d) for v, x, d in zip(values, at, p, strict=True)]
        moved = evaluate(problem, null, probe, done, False).eps
        return (moved - eps[done]) / wide(h, moved)

    def pull(r: Tensor, last: bool) -> list[Tensor]:
        """Jᵀ·r; rows that are not kept have no part in it."""
        upstream = torch.zeros_like(graph.eps).index_copy(0, keep.nonzero()[:, 0], r)
        return [g[keep] for g in pull_back(graph, upstream, retain=not last)]

    r = problem.error(eps[done], done) / problem.slope
    g = pull(r, steps == 1)
    p, squared = g, dot(g, g)
    step = [torch.zeros_like(v) for v in at]
    for k in range(steps):
        q = push(p)
        alpha = squared / q.square().sum((1, 2, 3)).clamp_min(1e-30)
        step = [s + wide(alpha, d) * d for s, d in zip(step, p, strict=True)]
        if k + 1 < steps:
            r = r - wide(alpha, q) * q
            g, before = pull(r, k + 2 == steps), squared
            squared = dot(g, g)
            p = [a + wide(squared / before.clamp_min(1e-30), b) * b for a, b in zip(g, p, strict=True)]
    return step
