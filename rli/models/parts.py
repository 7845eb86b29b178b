"""A diffusion model in its parts, as a pipeline's folder holds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from rli.models.architecture import Architecture

# What a VAE's configuration says of its latents: see `vae.latent_scaling`.
SCALING = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")


@dataclass(frozen=True)
class Parts:
    """A diffusers pipeline's parts, before they are frozen and placed on a device."""

    architecture: Architecture
    # Any, for diffusers' classes carry a configuration and switches that nn.Module does not know.
    unet: Any
    vae: Any
    tokenizers: tuple[Any, ...]
    text_encoders: tuple[nn.Module, ...]
    # The scheduler's configuration.
    scheduler: dict[str, Any]


def fingerprint(parts: Parts, quantized: Sequence[str] = ()) -> str:
    """Names, shapes and 64 evenly spaced values of every weight, the vocabularies, the schedule, the
    scaling of latents, and how the weights will be rounded, as a hash.

    It distinguishes a model from its fine-tuned ones without hashing gigabytes, and not by where the weights lie.
    """
    digest = hashlib.sha256()
    for part in (parts.unet, parts.vae, *parts.text_encoders):
        for key, value in part.state_dict().items():
            flat = value.flatten()
            sample = flat[:: max(1, len(flat) // 64)].float().cpu().numpy()
            digest.update(f"{key}{tuple(value.shape)}".encode() + sample.tobytes())
    for tokenizer in parts.tokenizers:
        digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    digest.update(json.dumps({k: v for k, v in sorted(parts.scheduler.items()) if k[0] != "_"}, default=str).encode())
    digest.update(json.dumps([getattr(parts.vae.config, name, None) for name in SCALING], default=str).encode())
    digest.update("".join(quantized).encode())
    return digest.hexdigest()[:16]
