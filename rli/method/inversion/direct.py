"""Direct inversion (Ju et al. 2023): nothing is optimized; the recorded difference is added back on the source
branch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rli.method.inversion.base import InversionTask, SourceBranch, constant, ddim_invert


@dataclass(frozen=True)
class Direct:
    """The source branch is the trajectory itself, so the reconstruction is the VAE round trip."""

    name: ClassVar[str] = "direct"
    backward_passes: ClassVar[int] = 0

    def __call__(self, task: InversionTask) -> SourceBranch:
        return SourceBranch(ddim_invert(task).flip(0), constant(task.empty, task.steps))
