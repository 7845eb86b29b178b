"""Fresh noise in a region: inverted noise remembers the defect that it comes from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor


def seed_of(*words: object) -> int:
    """A seed that follows from some words."""
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:7])


def drawn(seed: int, shape: Sequence[int]) -> Tensor:
    """Normal noise that depends on nothing but the arguments: the same on every device.

    Args:
        seed: From 0.
        shape: Of the noise.

    Returns:
        float32, on the CPU.
    """
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
