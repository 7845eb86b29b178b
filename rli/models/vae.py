"""Image ↔ latent; this module alone knows the VAE's scaling factor. Always float32."""

from __future__ import annotations

import torch
from torch import Tensor

from rli.errors import NonFiniteError
from rli.models.diffusion import Model

# The probe of `gain`: latents a side, and the noise's standard deviation (a latent's is about 1).
GAIN_SIDE, GAIN_NOISE = 32, 0.05


@torch.no_grad()
def encode(model: Model, images: Tensor, how: str = "mean", seed: int = 33) -> Tensor:
    """Encodes images.

    Args:
        model: The model.
        images: (B,3,H,W) in [-1,1].
        how: mean takes the posterior's mean; sample draws from the posterior, on the CPU, so that every device gives
            the same latents.
        seed: Of the sample.

    Returns:
        Scaled latents (B,C,h,w), on the model's device.

    Raises:
        NonFiniteError: The VAE's output is not finite.
    """
    posterior = model.ready(model.vae).encode(images.to(model.device)).latent_dist
    if how == "mean":
        latents = posterior.mode()
    else:
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
        latents = posterior.mean + posterior.std * noise.to(model.device)
    return _finite(latents * model.vae.config.scaling_factor, "encoding")


@torch.no_grad()
def decode(model: Model, latents: Tensor) -> Tensor:
    """Decodes latents, one at a time to bound memory.

    Args:
        model: The model.
        latents: Scaled, (B,C,h,w).

    Returns:
        Images (B,3,H,W) in [-1,1], on the CPU.

    Raises:
        NonFiniteError: The VAE's output is not finite.
    """
    scaled = latents / model.vae.config.scaling_factor
    vae = model.ready(model.vae)
    images = [vae.decode(latent.to(model.device), return_dict=False)[0] for latent in scaled.split(1)]
    return _finite(torch.cat(images), "decoding").clamp(-1, 1).cpu()


@torch.no_grad()
def gain(model: Model, latents: Tensor, seed: int = 33) -> Tensor:
    """How strongly the picture reacts to small errors of its latent.

    Estimated with noise on a crop from the middle, because it is an average.

    Args:
        model: The model.
        latents: Scaled, (B,C,h,w).
        seed: Of the noise.

    Returns:
        (B,): the mean square of the picture's change (pixels in [0,1]) over the mean square of the latent's.
    """
    h, w = (min(side, GAIN_SIDE) for side in latents.shape[-2:])
    top, left = (latents.shape[-2] - h) // 2, (latents.shape[-1] - w) // 2
    crop = latents[..., top : top + h, left : left + w]
    noise = GAIN_NOISE * torch.randn(crop.shape[1:], generator=torch.Generator().manual_seed(seed)).to(crop.device)
    scale, vae = model.vae.config.scaling_factor, model.ready(model.vae)
    changes = [
        vae.decode((z + noise) / scale, return_dict=False)[0] - vae.decode(z / scale, return_dict=False)[0]
        for z in crop.split(1)
    ]
    return torch.cat([(change / 2).square().mean()[None] for change in changes]) / noise.square().mean()


def _finite(values: Tensor, phase: str) -> Tensor:
    if not torch.isfinite(values).all():
        raise NonFiniteError(f"{phase}: the VAE's output is not finite")
    return values
