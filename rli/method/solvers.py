"""The inner problem of the null embedding optimization, and two solvers of it.

At one move the sampler's end depends on the null embeddings n through eps(n) alone, and linearly after that, so what is
minimised is the nonlinear least-squares loss mean((target - slope·eps(n))²) of each photograph. Solvers work on a batch
of photographs, each of which stops on its own: rows that are done take no part in later UNet calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from rli.errors import one_of, whole, within
from rli.models.conditioning import Conditioning
from rli.models.noise_schedule import Step

# Length of the step that probes a Jacobian-vector product, as a share of the embedding's norm: in bfloat16, 1e-3 drowns
# in rounding; 1e-2 gives in both what 1e-3 gives in float32.
PROBE = 1e-2
# A Gauss-Newton step that raises the loss is cut to a quarter at most this often, then dropped.
SHORTENINGS = 3
# The published schedule is written for 50 steps: learning rate 1e-2·(1 - i/100), threshold 1e-5 + 2e-5·i.
PUBLISHED_STEPS = 50
STARTS = ("source", "empty")


@dataclass(frozen=True)
class LeastSquares:
    """One move's problem for B photographs."""

    # (null embeddings, rows) → eps (len(rows),C,h,w) of these photographs.
    predict: Callable[[Conditioning, Tensor], Tensor]
    # (B,C,h,w): what slope·eps should be.
    target: Tensor
    slope: float
    # (B,): the loss at which a photograph is done.
    tolerance: Tensor
    # The move that it belongs to.
    step: Step
    # Whether to count and stop as the reference code does.
    reference: bool = False

    def error(self, eps: Tensor, rows: Tensor) -> Tensor:
        """What eps of these rows lacks."""
        return self.target[rows] - self.slope * eps

    def all_rows(self) -> Tensor:
        return torch.arange(len(self.target), device=self.target.device)


@dataclass(frozen=True)
class Solution:
    """What a solver found."""

    # The null embeddings, B rows.
    null: Conditioning
    # Their eps (B,C,h,w).
    eps: Tensor
    # The loss (B,) at the start and after each iteration.
    losses: tuple[Tensor, ...]


class Solver(Protocol):
    """A frozen dataclass of its settings that solves a move's problem, and says when that is good enough."""

    # As the configuration names it.
    name: ClassVar[str]
    # Whether `tolerance` needs the gain of the decoder, which costs a few decodings to measure.
    uses_gain: ClassVar[bool]

    @property
    def start(self) -> str:
        """The prompt whose embedding the first move begins at: source or empty."""

    @property
    def backward_passes(self) -> int:
        """How many backward passes go through one graph of the UNet; 0 without iterations."""

    def tolerance(self, step: Step, abar: Sequence[float], gain: Tensor, reference: bool = False) -> Tensor:
        """The loss (B,) at which a move is good enough, for photographs of this gain (B,): see `vae.gain`."""

    def __call__(self, problem: LeastSquares, null: Conditioning) -> Solution:
        """Solve from these null embeddings, B rows."""


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
        values, rows = _values(null), problem.all_rows()
        moments = [(torch.zeros_like(v), torch.zeros_like(v)) for v in values]
        eps, loss, losses = torch.zeros_like(problem.target), torch.zeros_like(problem.tolerance), []
        for iteration in range(self.inner_steps + 1):
            graph = _evaluate(problem, null, values, rows, iteration < self.inner_steps)
            eps[rows], before = graph.eps.detach(), loss.clone()
            loss[rows] = _mean_square(problem.error(eps[rows], rows))
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
            grads = _pull(graph, upstream)
            rows = rows[keep]
            for value, grad, (first, second) in zip(values, grads, moments, strict=True):
                first[rows] = 0.9 * first[rows] + 0.1 * grad[keep]
                second[rows] = 0.999 * second[rows] + 0.001 * grad[keep].square()
                unbiased = first[rows] / (1 - 0.9 ** (iteration + 1)), second[rows] / (1 - 0.999 ** (iteration + 1))
                value[rows] -= rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
        return Solution(_with(null, values), eps, tuple(losses))


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
        values, rows = _values(null), problem.all_rows()
        stuck = torch.zeros_like(rows, dtype=torch.bool)
        graph = _evaluate(problem, null, values, rows, self.inner_steps > 0)
        eps = graph.eps.detach().clone()
        loss = _mean_square(problem.error(eps, rows))
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
                graph = _evaluate(problem, null, trial, rows, iteration + 1 < self.inner_steps)
                found = _mean_square(problem.error(graph.eps.detach(), rows))
                better = found <= loss[rows]
                if better.all():
                    break
                step = [torch.where(_wide(better, s), s, s / 4) for s in step]
            won = rows[better]
            for value, new in zip(values, trial, strict=True):
                value[won] = new[won]
            eps[won], loss[won] = graph.eps.detach()[better], found[better]
            stuck[rows] = ~better
            losses.append(loss.clone())
        return Solution(_with(null, values), eps, tuple(losses))


SOLVERS: dict[str, type[Solver]] = {"gauss_newton": GaussNewton, "adam": Adam}


def _published_index(step: Step, reference: bool) -> float:
    """A move's index among fifty, which the published schedule counts in; the reference code counts whatever T is."""
    return step.index if reference else step.index * PUBLISHED_STEPS / step.total


def _cg(
    problem: LeastSquares,
    null: Conditioning,
    values: Sequence[Tensor],
    eps: Tensor,
    rows: Tensor,
    keep: Tensor,
    graph: _Graph,
    steps: int,
) -> list[Tensor]:
    """The step of the rows that are kept: CGLS on min |error/slope - J·step|², one for each photograph."""
    done = rows[keep]
    at = [value[done] for value in values]
    length = _dot(at, at).sqrt()

    def push(p: Sequence[Tensor]) -> Tensor:
        """J·p by a forward difference."""
        h = PROBE * length / _dot(p, p).sqrt().clamp_min(1e-30)
        probe = [v.index_copy(0, done, x + _wide(h, d) * d) for v, x, d in zip(values, at, p, strict=True)]
        moved = _evaluate(problem, null, probe, done, False).eps
        return (moved - eps[done]) / _wide(h, moved)

    def pull(r: Tensor, last: bool) -> list[Tensor]:
        """Jᵀ·r; rows that are not kept have no part in it."""
        upstream = torch.zeros_like(graph.eps).index_copy(0, keep.nonzero()[:, 0], r)
        return [g[keep] for g in _pull(graph, upstream, retain=not last)]

    r = problem.error(eps[done], done) / problem.slope
    g = pull(r, steps == 1)
    p, squared = g, _dot(g, g)
    step = [torch.zeros_like(v) for v in at]
    for k in range(steps):
        q = push(p)
        alpha = squared / q.square().sum((1, 2, 3)).clamp_min(1e-30)
        step = [s + _wide(alpha, d) * d for s, d in zip(step, p, strict=True)]
        if k + 1 < steps:
            r = r - _wide(alpha, q) * q
            g, before = pull(r, k + 2 == steps), squared
            squared = _dot(g, g)
            p = [a + _wide(squared / before.clamp_min(1e-30), b) * b for a, b in zip(g, p, strict=True)]
    return step


@dataclass(frozen=True)
class _Graph:
    """eps of some rows, and the leaves that it hangs on where it was computed with a graph."""

    leaves: list[Tensor]
    eps: Tensor


def _evaluate(problem: LeastSquares, null: Conditioning, values: Sequence[Tensor], rows: Tensor, graph: bool) -> _Graph:
    leaves = [value[rows].requires_grad_(graph) for value in values]
    with torch.set_grad_enabled(graph):
        return _Graph(leaves, problem.predict(_with(null[rows], leaves), rows))


def _pull(graph: _Graph, upstream: Tensor, retain: bool = False) -> list[Tensor]:
    """upstream·d eps/d leaves, scaled to unit size for the backward pass: half precision would lose it otherwise."""
    scale = upstream.abs().amax((1, 2, 3)).clamp_min(1e-30)
    grads = torch.autograd.grad(graph.eps, graph.leaves, upstream / _wide(scale, upstream), retain_graph=retain)
    return [grad * _wide(scale, grad) for grad in grads]


def _values(null: Conditioning) -> list[Tensor]:
    """What is optimized, as copies that may be written to."""
    return [v.detach().clone() for v in (null.tokens, null.pooled) if v is not None]


def _with(null: Conditioning, values: Sequence[Tensor]) -> Conditioning:
    return replace(null, tokens=values[0], pooled=values[1] if len(values) == 2 else None)


def _mean_square(error: Tensor) -> Tensor:
    return error.square().mean((1, 2, 3))


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Inner product of each photograph's parts taken together: (B,)."""
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """values (B,) with as many dimensions as `like`."""
    return values.reshape(-1, *(1,) * (like.dim() - 1))
