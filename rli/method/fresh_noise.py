"""Fresh noise in a region: inverted noise remembers the defect that it comes from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def drawn(seed: int, name: str, shape: Sequence[int]) -> Tensor:
    """Normal noise that depends on nothing but the arguments: the same on every device.

    Args:
        seed: The photograph's.
        name: The target's.
        shape: Of the noise.

    Returns:
        float32, on the CPU.
    """
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
    return torch.randn(*shape, generator=generator)


def mixed(latents: Tensor, noise: Tensor, region: Tensor, share: float) -> Tensor:
    """Latents whose noise is partly fresh in a region. The variance stays what it is.

    Args:
        latents: The noisiest ones of a source branch (M,C,h,w).
        noise: Normal noise (M,C,h,w).
        region: (M,1,h,w) bool.
        share: Of the fresh noise in the variance, in [0,1].

    Returns:
        (M,C,h,w); outside the region the latents themselves.
    """
    return torch.where(region, math.sqrt(1 - share) * latents + math.sqrt(share) * noise, latents)
