"""Stable Diffusion 1 and 2 (Rombach et al. 2022): one text encoder, without pooled embedding or size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rli.models.architecture import Architecture
from rli.models.conditioning import Conditioning


def condition(outputs: Sequence[Any], size: tuple[int, int]) -> Conditioning:
    """The encoder's last hidden layer for B prompts; the UNet is not conditioned on a size."""
    return Conditioning(outputs[0].last_hidden_state.float())


def blank(config: Any, tokens: int, rows: int, dtype: torch.dtype) -> Conditioning:
    """The shapes of a Conditioning, on the meta device."""
    return Conditioning(torch.empty(rows, tokens, config.cross_attention_dim, dtype=dtype, device="meta"))


STABLE_DIFFUSION = Architecture(
    "StableDiffusionPipeline", {"safety_checker": None, "requires_safety_checker": False}, condition, blank
)
