"""Prompt → Conditioning, as the stock pipelines encode plain prompts."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model, visiting


@torch.no_grad()
def encode_prompts(model: Model, prompts: Sequence[str], size: tuple[int, int], time_ids: str = "size") -> Conditioning:
    """B prompts as one Conditioning on the model's device, float32.

    SDXL: both encoders' last hidden layer but one, side by side; pooled, the second's projection; time ids (height,
    width, 0, 0, height, width) of `size`, or always 1024 as the reference has them (time_ids="reference"). Empty
    prompts are encoded, not zeroed. Stable Diffusion 1 and 2: the last hidden layer.
    """
    hidden, pooled = [], None
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
            out = encoder(ids.to(model.device), output_hidden_states=True)
        hidden.append((out.hidden_states[-2] if model.is_sdxl else out.last_hidden_state).float())
        pooled = out[0].float() if model.is_sdxl else None
    if not model.is_sdxl:
        return Conditioning(hidden[0])
    height, width = (1024, 1024) if time_ids == "reference" else size
    ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=model.device)
    return Conditioning(torch.cat(hidden, -1), pooled, ids.repeat(len(prompts), 1))
