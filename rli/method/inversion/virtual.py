"""Virtual inversion (Xu et al. 2024, Inversion-Free Image Editing with Natural Language): nothing is inverted; the
source branch is the photograph in one draw of Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rli.method.inversion.base import InversionTask, SourceBranch, constant


@dataclass(frozen=True)
class Virtual:
    """Every latent of the source branch is sqrt(abar) x + sqrt(1 - abar) n, with one n for all noise levels and all
    photographs, drawn with the task's seed; the last is the photograph's own, so the reconstruction is the VAE round
    trip.

    The model is not asked at all. It has learned from such latents, where the noise of DDIM inversion of a smooth
    surface is none that it knows, so that words show in an edit what they show in a sample; but in the edited region
    little of the photograph is left. The paper's correction of the edited branch is left out.
    """

    name: ClassVar[str] = "virtual"
    backward_passes: ClassVar[int] = 0

    def __call__(self, task: InversionTask) -> SourceBranch:
        photos, abar = task.latents, task.model.abar
        noise = torch.randn(photos.shape[1:], generator=torch.Generator().manual_seed(task.seed)).to(photos)
        levels = [step.start for step in task.sampling_steps()]
        noisy = [abar[level] ** 0.5 * photos + (1 - abar[level]) ** 0.5 * noise for level in levels if level]
        # Sampling ends at level 0, which it takes for the picture itself; the last move goes nowhere.
        clean = [photos] * (len(levels) + 1 - len(noisy))
        return SourceBranch(torch.stack([*noisy, *clean]), constant(task.empty, task.steps))
