"""Image ↔ latent; this module alone knows the VAE's scaling factor. Always float32."""

from __future__ import annotations

import torch
from torch import Tensor

from rli.model import Model
from rli.types import NonFiniteError


@torch.no_grad()
def encode(model: Model, images: Tensor, how: str = "mean", seed: int = 33) -> Tensor:
    """Images (B,3,H,W) in [-1,1] → scaled latents (B,C,h,w), on the model's device.

    how: the posterior's mean, or a sample drawn on the CPU with `seed`, so that every device gives the same one.
    """
    posterior = model.vae.encode(images.to(model.device)).latent_dist
    if how == "mean":
        latents = posterior.mode()
    else:
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
        latents = posterior.mean + posterior.std * noise.to(model.device)
    return _finite(latents * model.vae.config.scaling_factor, "encoding")


@torch.no_grad()
def decode(model: Model, latents: Tensor) -> Tensor:
    """Scaled latents (B,C,h,w) → images (B,3,H,W) in [-1,1], on the CPU. One at a time, to bound memory."""
    scaled = latents / model.vae.config.scaling_factor
    images = [model.vae.decode(latent.to(model.device), return_dict=False)[0] for latent in scaled.split(1)]
    return _finite(torch.cat(images), "decoding").clamp(-1, 1).cpu()


def _finite(values: Tensor, phase: str) -> Tensor:
    if not torch.isfinite(values).all():
        raise NonFiniteError(f"{phase}: the VAE's output is not finite")
    return values
