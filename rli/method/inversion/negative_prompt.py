"""Negative-prompt inversion (Miyake et al. 2023): the source prompt takes the null embedding's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rli.method.inversion.base import InversionTask, SourceBranch, ddim_invert, sample_back


@dataclass(frozen=True)
class NegativePrompt:
    """Guidance between equal predictions is their prediction: sampling back costs one forward pass a move."""

    name: ClassVar[str] = "negative_prompt"
    backward_passes: ClassVar[int] = 0

    def __call__(self, task: InversionTask) -> SourceBranch:
        return sample_back(task, ddim_invert(task)[-1], task.source, guidance=1.0)
