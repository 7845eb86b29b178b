"""Stable Diffusion XL (Podell et al. 2023): two text encoders, a pooled embedding, and the picture's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rli.models.architecture import Architecture
from rli.models.conditioning import Conditioning


def condition(outputs: Sequence[Any], size: tuple[int, int]) -> Conditioning:
    """Both encoders' last hidden layer but one, side by side; the second's projection as pooled embedding.

    Args:
        outputs: of the two text encoders for B prompts.
        size: (height, width) of the picture; the time ids are height, width, 0, 0, height, width.
    """
    tokens = torch.cat([out.hidden_states[-2].float() for out in outputs], -1)
    height, width = size
    ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=tokens.device)
    return Conditioning(tokens, outputs[-1][0].float(), ids.repeat(len(tokens), 1))


def blank(config: Any, tokens: int, rows: int, dtype: torch.dtype) -> Conditioning:
    """The shapes of a Conditioning, on the meta device."""
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return Conditioning(
        torch.empty(rows, tokens, config.cross_attention_dim, dtype=dtype, device="meta"),
        torch.empty(rows, pooled, dtype=dtype, device="meta"),
        torch.empty(rows, 6, dtype=dtype, device="meta"),
    )


SDXL = Architecture("StableDiffusionXLPipeline", {}, condition, blank, encoders=2)
