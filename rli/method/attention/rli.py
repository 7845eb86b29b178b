"""Residual Linear Interpolation (RLI manuscript, "Residual Linear Interpolation")."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rli.errors import one_of, within
from rli.method.attention.install import AttentionHook, Layer

LOCATIONS = ("up", "mid", "down")


@dataclass(frozen=True)
class RLI(AttentionHook):
    """A self-attention layer's output, interpolated towards its input: (1-alpha)·attention(x) + alpha·x.

    x is the layer's input after its layer norm; attention includes the output projection. Raises RLIError for a bad
    value.
    """

    # In [0,1]; 0 leaves attention as it is.
    alpha: float = 0.1
    # The UNet's part where it acts: up (the paper's), mid or down.
    location: str = "up"

    def __post_init__(self) -> None:
        within("alpha", self.alpha, 0, 1)
        one_of("location", self.location, LOCATIONS)

    def output(self, x: Tensor, out: Tensor, layer: Layer) -> Tensor:
        """Interpolates where it acts; `x` and `out` are (B,n,D)."""
        acts = self.alpha and layer.is_self and layer.part == self.location
        return torch.lerp(out, x, self.alpha) if acts else out
