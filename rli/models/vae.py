"""Image ↔ latent; this module alone knows how the VAE's latents are scaled. Always float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rli.errors import NonFiniteError, RLIError, within
from rli.models.diffusion import Model

# The probe of `gain`: latents a side, and the noise's standard deviation (a latent's is about 1).
GAIN_SIDE, GAIN_NOISE = 32, 0.05


@dataclass(frozen=True)
class LatentScaling:
    """Between the VAE's latents and the UNet's, which have about zero mean and unit variance: (z - shift)·scale."""

    # For all channels, or (1,C,1,1) on the CPU, one for each.
    shift: float | Tensor
    scale: float | Tensor

    def to_unet(self, latents: Tensor) -> Tensor:
        """The VAE's latents (B,C,h,w), scaled."""
        return (latents - _beside(self.shift, latents)) * _beside(self.scale, latents)

    def to_vae(self, latents: Tensor) -> Tensor:
        """Scaled latents (B,C,h,w) as the VAE has them."""
        return latents / _beside(self.scale, latents) + _beside(self.shift, latents)


def latent_scaling(config: Any) -> LatentScaling:
    """As the VAE's configuration says: scaling_factor, and shift_factor or latents_mean with latents_std.

    Raises:
        RLIError: for values that leave open what is meant.
    """
    factor, offset = config.scaling_factor, getattr(config, "shift_factor", None)
    mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    within("the VAE's scaling_factor", factor, 1e-6, 1e6)
    if offset is not None:
        within("the VAE's shift_factor", offset, -1e6, 1e6)
    if (mean is None) != (deviation is None):
        raise RLIError("the VAE has one of latents_mean and latents_std: only both or neither are supported")
    if mean is None:
        return LatentScaling(offset or 0.0, factor)
    if offset is not None:
        raise RLIError("the VAE has shift_factor and latents_mean: only one of them is supported")
    channels = config.latent_channels
    return LatentScaling(
        _per_channel("latents_mean", mean, channels),
        factor / _per_channel("latents_std", deviation, channels, positive=True),
    )


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
    return _finite(latent_scaling(model.vae.config).to_unet(latents), "encoding")


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
    unscaled = latent_scaling(model.vae.config).to_vae(latents)
    vae = model.ready(model.vae)
    images = [vae.decode(latent.to(model.device), return_dict=False)[0] for latent in unscaled.split(1)]
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
    to_vae, vae = latent_scaling(model.vae.config).to_vae, model.ready(model.vae)
    changes = [
        vae.decode(to_vae(z + noise), return_dict=False)[0] - vae.decode(to_vae(z), return_dict=False)[0]
        for z in crop.split(1)
    ]
    return torch.cat([(change / 2).square().mean()[None] for change in changes]) / noise.square().mean()


def _finite(values: Tensor, phase: str) -> Tensor:
    if not torch.isfinite(values).all():
        raise NonFiniteError(f"{phase}: the VAE's output is not finite")
    return values


def _per_channel(name: str, values: Any, channels: int, positive: bool = False) -> Tensor:
    """(1,C,1,1) float32 from a configuration's list. Raises RLIError for anything else."""
    try:
        found = torch.tensor([float(value) for value in values])
    except (TypeError, ValueError):
        raise RLIError(f"the VAE's {name} is not a list of numbers") from None
    if len(found) != channels or not torch.isfinite(found).all() or (positive and not (found > 0).all()):
        kind = "positive numbers" if positive else "numbers"
        raise RLIError(f"the VAE's {name} must hold {channels} {kind}, one for each latent channel")
    return found.reshape(1, -1, 1, 1)


def _beside(value: float | Tensor, latents: Tensor) -> float | Tensor:
    return value.to(latents.device) if isinstance(value, Tensor) else value
