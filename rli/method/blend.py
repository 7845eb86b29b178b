"""Masks from cross-attention maps, and the changes of size between pixels and latents."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def local_blend_mask(
    maps: Tensor, weights: Tensor, size: tuple[int, int], threshold: float, interpolation: str = "nearest"
) -> Tensor:
    """Where the chosen words have their attention (Hertz et al. 2022, local editing).

    The words' maps are summed, max-pooled 3×3, brought to a size, divided by their maximum, and compared with the
    threshold.

    Args:
        maps: Accumulated attention maps (B,h',w',S).
        weights: (B,S), not 0 at the tokens of the chosen words. A row without words gives an empty mask.
        size: (h,w) of the mask: the latent's, or the picture's.
        threshold: The share of the maximum above which a position belongs to the mask, in [0,1].
        interpolation: How the maps are brought to the size. nearest leaves the maps' own squares, and bicubic gives
            contours.

    Returns:
        (B,1,h,w) bool.
    """
    return above(F.max_pool2d(attention_to(maps, weights), 3, 1, 1), size, threshold, interpolation)


def attention_to(maps: Tensor, weights: Tensor) -> Tensor:
    """The chosen words' maps, summed: (B,1,h',w') of maps (B,h',w',S) and weights (B,S), see `local_blend_mask`."""
    return (maps * weights[:, None, None]).sum(-1).unsqueeze(1)


def above(attention: Tensor, size: tuple[int, int], threshold: float, interpolation: str) -> Tensor:
    """Where attention (B,1,h',w'), brought to a size, lies above a share of its maximum: (B,1,h,w) bool, see
    `local_blend_mask`."""
    attention = F.interpolate(attention, size=size, mode=interpolation)
    return attention > threshold * attention.amax((2, 3), keepdim=True)


def to_latent(mask: np.ndarray | Tensor, size: tuple[int, int]) -> Tensor:
    """A pixel mask (H,W) bool as (1,1,h,w) bool: a latent position belongs to it when any of its pixels does."""
    pixels = torch.as_tensor(mask)[None, None].float()
    return F.adaptive_max_pool2d(pixels, size) > 0


def feathered(mask: np.ndarray, radius: int) -> Tensor:
    """(H,W) bool as (1,1,H,W) weights: 0 outside and on the border, rising to 1 within `radius` pixels inside.

    Where the mask is too thin for that, its middle has 1.
    """
    pixels = torch.as_tensor(mask)[None, None].float()
    padded = F.pad(pixels, (radius,) * 4, mode="replicate")  # a mask that touches the picture's edge goes on beyond it
    inside = F.avg_pool2d(padded, 2 * radius + 1, 1) * pixels
    most = F.max_pool2d(inside, 2 * radius + 1, 1, radius).clamp_min(torch.finfo(inside.dtype).tiny)
    return (2 * inside / most - 1).clamp(0, 1)
