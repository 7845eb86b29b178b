"""DDIM inversion alone (Song et al. 2021), sampled back under the empty prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rli.method.inversion.base import InversionTask, SourceBranch, ddim_invert, sample_back


@dataclass(frozen=True)
class Ddim:
    """Nothing is done about guidance, which leads away from the trajectory: the field's baseline."""

    name: ClassVar[str] = "ddim"
    backward_passes: ClassVar[int] = 0

    def __call__(self, task: InversionTask) -> SourceBranch:
        return sample_back(task, ddim_invert(task)[-1], task.empty, task.guidance)
