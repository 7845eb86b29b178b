"""What an inversion method takes and returns, and DDIM inversion, with which all of ours begin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from rli.method.records import NullEmbeddings
from rli.method.sampler import guide, inversion_steps, move, sampling_steps
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise_schedule import Step
from rli.progress import Progress, quiet


@dataclass(frozen=True)
class InversionTask:
    """B encoded photographs to invert together, each of which comes out as it would alone."""

    model: Model
    # Scaled (B,C,h,w) float32, on the model's device.
    latents: Tensor
    # The source prompt and the empty one, B rows each.
    source: Conditioning
    empty: Conditioning
    # T, 1…1000.
    steps: int
    # Guidance scale w ≥ 1.
    guidance: float
    # aligned, or reference: see `sampler.inversion_steps`.
    alignment: str = "aligned"
    # Of whatever is drawn.
    seed: int = 33
    progress: Progress = quiet

    def sampling_steps(self) -> tuple[Step, ...]:
        """From the noisiest level down."""
        return sampling_steps(self.steps, len(self.model.abar))

    def move(self, latent: Tensor, eps: Tensor, step: Step) -> Tensor:
        """One DDIM move of the model's noise schedule."""
        return move(latent, eps, self.model.abar[step.start], self.model.abar[step.end])


@dataclass(frozen=True)
class SourceBranch:
    """The result of an inversion: the latents along which guided sampling gives the photographs back."""

    # (T+1,B,C,h,w), noisiest first; the last is the reconstruction.
    latents: Tensor
    # One for each move.
    nulls: NullEmbeddings
    # For each move that was optimized the loss (B,) at its start and after each iteration.
    losses: tuple[tuple[Tensor, ...], ...] = ()


class Inverter(Protocol):
    """A method of inversion: a frozen dataclass of its own settings, whose fields are part of the kept inversions' key.

    A new one is a file with such a class and a file in conf/inversion that names it; `settings.INVERTERS` holds those
    that have a short name.
    """

    # As results name it.
    name: ClassVar[str]

    @property
    def backward_passes(self) -> int:
        """How many backward passes go through one graph of the UNet; 0 where there is no gradient at all."""

    def __call__(self, task: InversionTask) -> SourceBranch:
        """Invert. Raises NonFiniteError."""


@torch.no_grad()
def ddim_invert(task: InversionTask) -> Tensor:
    """DDIM inversion at guidance 1 (Song et al. 2021, section 4.3): the trajectory (T+1,B,C,h,w), low noise first."""
    latent, trajectory = task.latents, [task.latents]
    steps = inversion_steps(task.steps, task.alignment, len(task.model.abar))
    for step in task.progress(steps, "inversion"):
        if not step.is_identity:
            eps = task.model.predict(latent, step, task.source, "inversion")
            latent = task.move(latent, eps, step)
        trajectory.append(latent)
    return torch.stack(trajectory)


@torch.no_grad()
def sample_back(task: InversionTask, noise: Tensor, null: Conditioning, guidance: float) -> SourceBranch:
    """Samples from the noise, with guidance and one null embedding for all moves.

    Args:
        task: The photographs, their prompts and the steps.
        noise: (B,C,h,w).
        null: The null embedding of B rows.
        guidance: The scale w.

    Returns:
        The latents along the way, and the null embeddings.
    """
    latent, latents = noise, [noise]
    for step in task.progress(task.sampling_steps(), "reconstruction"):
        if not step.is_identity:
            eps = task.model.predict(latent, step, task.source, "reconstruction")
            if guidance != 1:
                eps = guide(task.model.predict(latent, step, null, "reconstruction"), eps, guidance)
            latent = task.move(latent, eps, step)
        latents.append(latent)
    return SourceBranch(torch.stack(latents), constant(null, task.steps))


def constant(null: Conditioning, steps: int) -> NullEmbeddings:
    """The same null embedding at every move."""
    return stacked([null]).map(lambda value: value.expand(steps, *value.shape[1:]))


def stacked(nulls: Iterable[Conditioning]) -> NullEmbeddings:
    """Null embeddings of one move after the other, noisiest first."""
    parts = list(nulls)
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return NullEmbeddings(torch.stack([part.tokens for part in parts]), torch.stack(pooled) if pooled else None)
