"""Masks from cross-attention maps, and the changes of size between pixels and latents."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def local_blend_mask(maps: Tensor, weights: Tensor, size: tuple[int, int], threshold: float) -> Tensor:
    """Where the chosen words have their attention (Hertz et al. 2022, local editing).

    The words' maps are summed, max-pooled 3×3, brought to the latent's size, divided by their maximum, and compared
    with the threshold.

    Args:
        maps: Accumulated attention maps (B,h',w',S).
        weights: (B,S), not 0 at the tokens of the chosen words. A row without words gives an empty mask.
        size: (h,w) of the latent.
        threshold: The share of the maximum above which a position belongs to the mask, in [0,1].

    Returns:
        (B,1,h,w) bool.
    """
    heat = (maps * weights[:, None, None]).sum(-1).unsqueeze(1)
    heat = F.interpolate(F.max_pool2d(heat, 3, 1, 1), size=size)
    return heat > threshold * heat.amax((2, 3), keepdim=True)


def to_latent(mask: np.ndarray | Tensor, size: tuple[int, int]) -> Tensor:
    """A pixel mask (H,W) bool as (1,1,h,w) bool: a latent position belongs to it when any of its pixels does."""
    pixels = torch.as_tensor(mask)[None, None].float()
    return F.adaptive_max_pool2d(pixels, size) > 0


def to_pixels(mask: Tensor, size: tuple[int, int]) -> np.ndarray:
    """A latent mask (h,w) bool as (H,W) bool."""
    return F.interpolate(mask[None, None].float(), size=size)[0, 0].bool().cpu().numpy()


def feathered(mask: np.ndarray, radius: int) -> Tensor:
    """(H,W) bool as (1,1,H,W) weights: 0 outside and on the border, rising to 1 within `radius` pixels inside."""
    pixels = torch.as_tensor(mask)[None, None].float()
    padded = F.pad(pixels, (radius,) * 4, mode="replicate")  # a mask that touches the picture's edge goes on beyond it
    return (2 * F.avg_pool2d(padded, 2 * radius + 1, 1) - 1).clamp(0, 1) * pixels
