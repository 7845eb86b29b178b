"""Where each word looks: cross-attention maps of one resolution, recorded while training, and a loss on them.

Prompt-to-prompt's local blend cuts those maps at a fraction of their maximum, so a defect's words had better look at
the defect alone. After TokenCompose (Wang et al., CVPR 2024, equation 4): the share of a token's attention that falls
outside its object's mask is penalised.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import nn

from rli.models.mini.latents import Batch, Noised
from rli.models.mini.loop import bfloat16


class Recorder:
    """An attention processor: plain attention, whose cross-attention probabilities over `pixels` queries go to `maps`.

    maps: list of (B, pixels, 77), averaged over heads. Plain matrix products: their backward pass is faster on a CPU
    at these sizes than the fused kernel's.
    """

    def __init__(self, maps: list[torch.Tensor]) -> None:
        self.maps = maps
        self.pixels = 0  # 0 records nothing

    def __call__(
        self,
        attn: Attention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key, value = attn.head_to_batch_dim(attn.to_k(text)), attn.head_to_batch_dim(attn.to_v(text))
        probabilities = attn.get_attention_scores(query, key, attention_mask)
        if encoder_hidden_states is not None and hidden_states.shape[1] == self.pixels:
            self.maps.append(probabilities.unflatten(0, (-1, attn.heads)).mean(1))
        out = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        return attn.to_out[1](attn.to_out[0](out))


def record(unet: UNet2DConditionModel) -> Recorder:
    """Put one recorder on every attention layer of the UNet."""
    recorder = Recorder([])
    unet.set_attn_processor(recorder)
    return recorder


def outside(maps: list[torch.Tensor], words: torch.Tensor, masks: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean squared share of attention outside the masks, a scalar.

    maps: n of (B, P, 77); words: (B, 2, 77) 1 where a token belongs to the defect; masks: (B, 2, P) in {0, 1};
    weight: (B,), how much each sample counts (a noisy latent does not show where its defect will be).
    """
    attention = torch.stack(maps).float().mean(0)  # (B, P, 77)
    inside = torch.einsum("bpt,bmp->bmt", attention, masks)
    share = 1 - inside / (attention.sum(1)[:, None] + 1e-6)
    counts = words * masks.amax(-1, keepdim=True) * weight[:, None, None]
    return (share.square() * counts).sum() / (counts.sum() + 1e-6)


def loss(
    model: nn.Module,
    recorder: Recorder,
    batch: Batch,
    seen: Noised,
    inside_weight: float = 8.0,
    local_weight: float = 0.04,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise prediction, heavier inside the defect, plus the localisation of the words; and the first part alone."""
    recorder.maps.clear()
    recorder.pixels = batch.latents.shape[-2] * batch.latents.shape[-1]
    with bfloat16(batch.latents.device):
        predicted = model(seen.latents, seen.timesteps, batch.tokens, batch.size).float()
    weight = 1 + (inside_weight - 1) * batch.masks.amax(1, keepdim=True)
    error = ((predicted - seen.noise).square() * weight).mean() / weight.mean()
    places = outside(recorder.maps, batch.marks, batch.masks.flatten(2), seen.signal)
    return error + local_weight * places, error.detach()
