"""The inner problem of the null embedding optimization, and two ways to solve it.

At one move the sampler's end depends on the null embeddings n through eps(n) alone, and linearly after that, so what is
minimised is the nonlinear least-squares loss mean((residue - slope·eps(n))²) of each photograph. Both solvers work on a
batch of photographs, each of which stops on its own: rows that are done take no part in later UNet calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rli.models.conditioning import Conditioning

# Length of the step that probes a Jacobian-vector product, as a share of the embedding's norm: in bfloat16, 1e-3 drowns
# in rounding; 1e-2 gives in both what 1e-3 gives in float32.
PROBE = 1e-2
# A Gauss-Newton step that raises the loss is cut to a quarter at most this often, then dropped.
SHORTENINGS = 3


@dataclass(frozen=True)
class Inner:
    """One move's problem for B photographs. predict(null, rows) is eps (len(rows),C,h,w) of these photographs;
    residue (B,C,h,w); tolerance (B,): loss at which a photograph is done."""

    predict: Callable[[Conditioning, Tensor], Tensor]
    residue: Tensor
    slope: float
    tolerance: Tensor

    def error(self, eps: Tensor, rows: Tensor) -> Tensor:
        return self.residue[rows] - self.slope * eps

    def all_rows(self) -> Tensor:
        return torch.arange(len(self.residue), device=self.residue.device)


@dataclass(frozen=True)
class Fit:
    """The null embeddings found, their eps (B,C,h,w), and the loss (B,) at the start and after each iteration."""

    null: Conditioning
    eps: Tensor
    losses: tuple[Tensor, ...]


def adam(inner: Inner, null: Conditioning, *, iterations: int, rate: float, late_stop: bool = False) -> Fit:
    """Adam (Kingma and Ba 2015), as published for null-text inversion (Mokady et al. 2023, algorithm 1).

    The last prediction is the one returned, so that no forward is spent after the last update's own. late_stop judges
    the loss from before the last update, as the reference code does.
    """
    values, rows = _values(null), inner.all_rows()
    moments = [(torch.zeros_like(v), torch.zeros_like(v)) for v in values]
    eps, loss, losses = torch.zeros_like(inner.residue), torch.zeros_like(inner.tolerance), []
    for iteration in range(iterations + 1):
        graph = _evaluate(inner, null, values, rows, iteration < iterations)
        eps[rows], before = graph.eps.detach(), loss.clone()
        loss[rows] = _mean_square(inner.error(eps[rows], rows))
        losses.append(loss.clone())
        if iteration == iterations:
            break
        keep = torch.ones_like(rows, dtype=torch.bool)
        if iteration or not late_stop:
            keep = (before if late_stop else loss)[rows] >= inner.tolerance[rows]
        if not keep.any():
            break
        # d loss / d eps
        upstream = -2 * inner.slope * inner.error(eps[rows], rows) / eps[0].numel()
        grads = _pull(graph, upstream)
        rows = rows[keep]
        for value, grad, (first, second) in zip(values, grads, moments, strict=True):
            first[rows] = 0.9 * first[rows] + 0.1 * grad[keep]
            second[rows] = 0.999 * second[rows] + 0.001 * grad[keep].square()
            unbiased = first[rows] / (1 - 0.9 ** (iteration + 1)), second[rows] / (1 - 0.999 ** (iteration + 1))
            value[rows] -= rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
    return Fit(_with(null, values), eps, tuple(losses))


def gauss_newton(inner: Inner, null: Conditioning, *, iterations: int, cg_steps: int = 1) -> Fit:
    """Gauss-Newton: each iteration minimises the loss of the linearised eps by `cg_steps` conjugate-gradient steps
    (Nocedal and Wright 2006, section 10.3; CGLS, Björck 1996, algorithm 7.4.1), and no iteration ends worse.

    Vector-Jacobian products come from one backward pass. Jacobian-vector products are forward differences, because the
    fused attention kernels have neither a forward-mode rule nor a double backward. Nothing is tuned to a model: scaling
    its embeddings scales the result.
    """
    values, rows = _values(null), inner.all_rows()
    stuck = torch.zeros_like(rows, dtype=torch.bool)
    graph = _evaluate(inner, null, values, rows, iterations > 0)
    eps = graph.eps.detach().clone()
    loss = _mean_square(inner.error(eps, rows))
    losses = [loss.clone()]
    for iteration in range(iterations):
        keep = (loss[rows] > inner.tolerance[rows]) & ~stuck[rows]
        if not keep.any():
            break
        step = _cg(inner, null, values, eps, rows, keep, graph, cg_steps)
        rows = rows[keep]
        for _ in range(1 + SHORTENINGS):
            graph = None  # the old one goes before the trial builds its own
            trial = [value.index_copy(0, rows, value[rows] + s) for value, s in zip(values, step, strict=True)]
            graph = _evaluate(inner, null, trial, rows, iteration + 1 < iterations)
            found = _mean_square(inner.error(graph.eps.detach(), rows))
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
    return Fit(_with(null, values), eps, tuple(losses))


def _cg(
    inner: Inner,
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
        moved = _evaluate(inner, null, probe, done, False).eps
        return (moved - eps[done]) / _wide(h, moved)

    def pull(r: Tensor, last: bool) -> list[Tensor]:
        """Jᵀ·r; rows that are not kept have no part in it."""
        upstream = torch.zeros_like(graph.eps).index_copy(0, keep.nonzero()[:, 0], r)
        return [g[keep] for g in _pull(graph, upstream, retain=not last)]

    r = inner.error(eps[done], done) / inner.slope
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


def _evaluate(inner: Inner, null: Conditioning, values: Sequence[Tensor], rows: Tensor, graph: bool) -> _Graph:
    leaves = [value[rows].requires_grad_(graph) for value in values]
    with torch.set_grad_enabled(graph):
        return _Graph(leaves, inner.predict(_with(null[rows], leaves), rows))


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
    return sum((x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True))


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """values (B,) with as many dimensions as `like`."""
    return values.reshape(-1, *(1,) * (like.dim() - 1))
