"""Null-text inversion: the null embeddings are optimized until guided sampling passes along the trajectory.

Source: Mokady et al. 2023 (arXiv:2211.09794), algorithm 1, here over SDXL's token and pooled null embeddings (RLI
manuscript, "Null Embedding Optimization").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from rli.method.inversion.base import InversionTask, SourceBranch, ddim_invert, stacked
from rli.method.sampler import eps_factor, guide, move
from rli.method.solvers.base import LeastSquares, Solver
from rli.method.solvers.lbfgs import Lbfgs
from rli.models import vae
from rli.models.conditioning import Conditioning
from rli.models.noise_schedule import Step


@dataclass(frozen=True)
class NullText:
    """Null-text inversion."""

    name: ClassVar[str] = "null_text"
    # Of each move's inner problem.
    solver: Solver = field(default_factory=Lbfgs)
    # What the optimization could not reach is added back on the source branch, so that it stays on the trajectory.
    residual: bool = False

    @property
    def backward_passes(self) -> int:
        return self.solver.backward_passes

    def __call__(self, task: InversionTask) -> SourceBranch:
        trajectory = ddim_invert(task)
        uses_gain, count = self.solver.uses_gain, len(task.latents)
        gain = vae.gain(task.model, task.latents, task.seed) if uses_gain else task.latents.new_ones(count)
        return self.optimize(task, trajectory, gain)

    def optimize(self, task: InversionTask, trajectory: Tensor, gain: Tensor) -> SourceBranch:
        """Algorithm 1 of Mokady et al. 2023: go from high noise to low; before each move, fit the null embedding so
        that the move ends at the trajectory's next latent.

        Args:
            task: the photographs.
            trajectory: (T+1,B,C,h,w), low noise first.
            gain: (B,), see `vae.gain`.
        """
        optimization = _Optimization(task, self.solver, gain)
        latent, latents = trajectory[-1], [trajectory[-1]]
        nulls, losses = [], []
        for step in task.progress(task.sampling_steps(), "null optimization"):
            if not step.is_identity:
                goal = trajectory[-2 - step.index]
                with torch.no_grad():
                    eps = task.model.predict(latent, step, task.source, "null optimization")
                if task.guidance != 1:
                    eps_null, history = optimization.fit(latent, goal, eps, step)
                    losses.append(history)
                    eps = guide(eps_null, eps, task.guidance)
                latent = goal if self.residual else task.move(latent, eps, step)
            latents.append(latent)
            nulls.append(optimization.null)
        return SourceBranch(torch.stack(latents), stacked(nulls), tuple(losses))


class _Optimization:
    """The null embeddings (B rows) while they are fitted move by move, each move beginning where the last one ended.

    Where the solver begins at the source prompt, guidance changes nothing at first: a photograph is left alone then,
    and costs no prediction, until a move first misses the trajectory by more than the tolerance.
    """

    def __init__(self, task: InversionTask, solver: Solver, gain: Tensor) -> None:
        count, device = len(task.latents), task.latents.device
        self.task, self.solver, self.gain = task, solver, gain
        at_source = solver.start == "source"
        self.null: Conditioning = (task.source if at_source else task.empty)[:]
        self.untouched = torch.full((count,), at_source, device=device)

    def fit(self, latent: Tensor, goal: Tensor, eps_text: Tensor, step: Step) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Fit this move: the null embeddings' eps (B,C,h,w), and the losses (B,) at its start and after each iteration.

        move(latent, guide(eps_null, eps_text)) is goal where target - slope·eps_null is 0: the inner problem.
        """
        task, model = self.task, self.task.model
        start, end = model.abar[step.start], model.abar[step.end]
        slope = eps_factor(start, end) * (1 - task.guidance)
        target = goal - move(latent, task.guidance * eps_text, start, end)
        reference = task.alignment == "reference"
        tolerance = self.solver.tolerance(step, model.abar, self.gain, reference)
        loss = (target - slope * eps_text).square().mean((1, 2, 3))
        rows = (~self.untouched | (loss > tolerance)).nonzero()[:, 0]
        eps_null = eps_text.clone()
        history: tuple[Tensor, ...] = (loss,)
        if len(rows):
            problem = LeastSquares(
                lambda null, at: model.predict(latent[rows[at]], step, null, "null optimization"),
                target[rows],
                slope,
                tolerance[rows],
                step,
                reference,
            )
            solution = self.solver(problem, self.null[rows])
            self.null = self.null.put(rows, solution.null)
            self.untouched[rows] = False
            eps_null = eps_null.index_copy(0, rows, solution.eps)
            history = tuple(loss.index_copy(0, rows, value) for value in solution.losses)
        return eps_null, history
