"""The inner problem of the null embedding optimization, what a solver of it gets and gives, and what solvers share.

At one move the sampler's end depends on the null embeddings n through eps(n) alone, and linearly after that, so what is
minimised is the nonlinear least-squares loss mean((target - slope·eps(n))²) of each photograph. Solvers work on a batch
of photographs, each of which stops on its own: rows that are done take no part in later UNet calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from rli.models.conditioning import Conditioning
from rli.models.noise_schedule import Step

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
        """The residual target - slope·eps (len(rows),C,h,w) of these rows."""
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
class Graph:
    """eps of some rows, and the leaves that it hangs on where it was computed with a graph."""

    leaves: list[Tensor]
    eps: Tensor


def evaluate(problem: LeastSquares, null: Conditioning, values: Sequence[Tensor], rows: Tensor, graph: bool) -> Graph:
    leaves = [value[rows].requires_grad_(graph) for value in values]
    with torch.set_grad_enabled(graph):
        return Graph(leaves, problem.predict(with_values(null[rows], leaves), rows))


def pull_back(graph: Graph, upstream: Tensor, retain: bool = False) -> list[Tensor]:
    """upstream·d eps/d leaves, scaled to unit size for the backward pass: half precision would lose it otherwise."""
    scale = upstream.abs().amax((1, 2, 3)).clamp_min(1e-30)
    grads = torch.autograd.grad(graph.eps, graph.leaves, upstream / wide(scale, upstream), retain_graph=retain)
    return [grad * wide(scale, grad) for grad in grads]


def values_of(null: Conditioning) -> list[Tensor]:
    """What is optimized, as copies that may be written to."""
    return [v.detach().clone() for v in (null.tokens, null.pooled) if v is not None]


def with_values(null: Conditioning, values: Sequence[Tensor]) -> Conditioning:
    return replace(null, tokens=values[0], pooled=values[1] if len(values) == 2 else None)


def mean_square(error: Tensor) -> Tensor:
    return error.square().mean((1, 2, 3))


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Inner product of each photograph's parts taken together: (B,)."""
    return torch.stack([(x * y).flatten(1).sum(1) for x, y in zip(a, b, strict=True)]).sum(0)


def wide(values: Tensor, like: Tensor) -> Tensor:
    """values (B,) with as many dimensions as `like`."""
    return values.reshape(-1, *(1,) * (like.dim() - 1))
