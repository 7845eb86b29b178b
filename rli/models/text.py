"""Prompt → Conditioning, as diffusers' pipelines encode plain prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rli.models.conditioning import Conditioning
from rli.models.device import visiting
from rli.models.diffusion import Model

# The size on which the reference code conditions SDXL for every picture.
REFERENCE_SIZE = (1024, 1024)


@torch.no_grad()
def encode_prompts(model: Model, prompts: Sequence[str], size: tuple[int, int], time_ids: str = "size") -> Conditioning:
    """Encode B prompts; empty ones are encoded like any other, not zeroed.

    Args:
        model: its architecture says which layers count.
        prompts: those longer than the text encoder reads are cut.
        size: (height, width) of the picture in pixels.
        time_ids: "size" conditions the UNet on that size, "reference" always on 1024×1024, as the reference code does.

    Returns:
        B rows on the model's device, float32.
    """
    outputs = []
    for tokenizer, encoder in zip(model.tokenizers, model.text_encoders, strict=True):
        ids = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        model.make_room_for(encoder)
        with visiting(encoder, model.device):
            outputs.append(encoder(ids.to(model.device), output_hidden_states=True))
    return model.architecture.condition(outputs, REFERENCE_SIZE if time_ids == "reference" else size)
