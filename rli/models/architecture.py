"""What differs between the architectures of latent diffusion models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rli.models.conditioning import Conditioning


@dataclass(frozen=True)
class Architecture:
    """One kind of model; `sdxl.py` and `stable_diffusion.py` are the two that there are.

    A new kind is a file with one of these, a line in `base_models.BASE_MODELS`, and a file in conf/model.
    """

    # diffusers' pipeline class, which model_index.json must name.
    pipeline: str
    # Further arguments of the pipeline's from_pretrained.
    options: dict[str, Any]
    # (the text encoders' outputs for B prompts, (height, width) to condition on) → Conditioning of B rows.
    condition: Callable[[Sequence[Any], tuple[int, int]], Conditioning]
    # (the UNet's configuration, tokens, rows, dtype) → a Conditioning of shapes alone, on the meta device.
    blank: Callable[[Any, int, int, torch.dtype], Conditioning]
    # How many text encoders, each with its tokenizer, it has.
    encoders: int = 1
