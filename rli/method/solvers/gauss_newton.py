"""Gauss-Newton without the Jacobian: each iteration on a linear model of the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rli.errors import one_of, whole, within
from rli.method.solvers.base import STARTS, LeastSquares, Solution, dot, evaluate, pull_back, wide
from rli.method.solvers.descent import Here, descend, round_trip_tolerance
from rli.models.conditioning import Conditioning
from rli.models.noise_schedule import Step

# Length of the step that probes a Jacobian-vector product, as a share of the embedding's norm: in bfloat16, 1e-3 drowns
# in rounding; 1e-2 gives in both what 1e-3 gives in float32.
PROBE = 1e-2
# A step that raises the loss is cut to this share.
SHORTER = 0.25


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
        """What a miss would cost at the end."""
        return round_trip_tolerance(step, abar, gain, self.stop_db, self.slack_db)

    def __call__(self, problem: LeastSquares, null: Conditioning) -> Solution:
        return descend(problem, null, self.inner_steps, lambda here: _cg(here, self.cg_steps), _shorter)


def _shorter(lacked: Tensor, given: Tensor) -> Tensor:
    """The share (B,) of a step to try next, whatever the last one gave."""
    return lacked.new_full((len(lacked),), SHORTER)


def _cg(here: Here, steps: int) -> list[Tensor]:
    """CGLS on min |error/slope - J·step|², one for each photograph that needs a step."""
    problem, rows = here.problem, here.rows
    at = [value[rows] for value in here.values]
    length = dot(at, at).sqrt()

    def push(p: Sequence[Tensor]) -> Tensor:
        """J·p by a forward difference."""
        h = PROBE * length / dot(p, p).sqrt().clamp_min(1e-30)
        probe = [v.index_copy(0, rows, x + wide(h, d) * d) for v, x, d in zip(here.values, at, p, strict=True)]
        moved = evaluate(problem, here.null, probe, rows, False).eps
        return (moved - here.eps[rows]) / wide(h, moved)

    def pull(r: Tensor, last: bool) -> list[Tensor]:
        """Jᵀ·r; rows that are not kept have no part in it."""
        upstream = torch.zeros_like(here.graph.eps).index_copy(0, here.keep.nonzero()[:, 0], r)
        return [g[here.keep] for g in pull_back(here.graph, upstream, retain=not last)]

    r = problem.error(here.eps[rows], rows) / problem.slope
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
