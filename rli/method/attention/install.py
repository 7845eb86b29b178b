"""Attention hooks: what may happen inside the UNet's attention layers, through diffusers' own attention processors.

A hook is a small class (`rli.py`, `prompt_to_prompt.py`). Those that hold for every call of the UNet are installed for
the length of a scope; those of one call alone come with that call, as the keyword `hooks`. Nothing is kept in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# Queries (B,heads,n,d), keys and values (B,heads,m,d) → the layer's output before its projection (B,heads,n,d).
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
# The most positions a side of what counts as a small layer: prompt-to-prompt's 32×32.
SMALL_SIDE = 32
# PyTorch's kernels of attention on a GPU, but for cuDNN's: on an H100 its backward pass gives NaN at some lengths, such
# as 64 positions (PyTorch's issue 196678, in 2.11 and later).
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass(frozen=True)
class Layer:
    """The attention layer that a hook is called in."""

    # Of the UNet: down, mid or up. Not the layer's name, or a compiler would compile each layer anew.
    part: str
    # Self-attention, or cross-attention to the text.
    is_self: bool
    # Positions (h,w) that attend.
    size: tuple[int, int]
    # Of the logits.
    scale: float


class AttentionHook:
    """Something that acts inside attention layers. Either method may be left as it is.

    Those of inversion settings are frozen dataclasses: their equality says which photographs may be edited together,
    and their fields are part of the cache's key.
    """

    def attention(self, q: Tensor, k: Tensor, v: Tensor, layer: Layer, attend: Attend) -> Tensor:
        """The layer's output before its projection (B,heads,n,d).

        Args:
            q: queries (B,heads,n,d).
            k: keys (B,heads,m,d).
            v: values (B,heads,m,d).
            layer: where this is.
            attend: what happens without this hook; it may be called with other tensors, several times or not at all.
        """
        return attend(q, k, v)

    def output(self, x: Tensor, out: Tensor, layer: Layer) -> Tensor:
        """The layer's output after its projection.

        Args:
            x: The layer's input (B,n,D), after the layer norm.
            out: The output (B,n,D) without this hook.
            layer: Where this is.

        Returns:
            The output (B,n,D) that is used.
        """
        return out


class Processor:
    """diffusers' attention processor of one layer: scaled dot-product attention with hooks around it."""

    def __init__(self, part: str, hooks: Sequence[AttentionHook], latent: tuple[int, int]) -> None:
        self.part, self.hooks, self.latent = part, tuple(hooks), latent

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        hooks: Sequence[AttentionHook] = (),
    ) -> Tensor:
        x = hidden_states
        context = x if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            project(states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project, states in ((attn.to_q, x), (attn.to_k, context), (attn.to_v, context))
        )
        layer = Layer(self.part, encoder_hidden_states is None, layer_size(self.latent, q.shape[2]), attn.scale)
        both = (*self.hooks, *hooks)
        out: Tensor = attn.to_out[0](_with_hooks(q, k, v, layer, both).transpose(1, 2).flatten(2))
        for hook in both:
            out = hook.output(x, out, layer)
        return out


def _with_hooks(q: Tensor, k: Tensor, v: Tensor, layer: Layer, hooks: tuple[AttentionHook, ...]) -> Tensor:
    """The first hook around the others around plain attention."""
    if not hooks:
        return attend(q, k, v, layer.scale)
    return hooks[0].attention(q, k, v, layer, partial(_with_hooks, layer=layer, hooks=hooks[1:]))


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Scaled dot-product attention.

    PyTorch's fused kernel, but the plain form for small maps in half precision on a CPU, where the kernel takes up to a
    quarter longer forward and backward.

    Args:
        q: Queries (B,heads,n,d).
        k: Keys (B,heads,m,d).
        v: Values (B,heads,m,d).
        scale: Factor on the logits.

    Returns:
        (B,heads,n,d).
    """
    if q.device.type == "cpu" and q.dtype != torch.float32 and k.shape[2] <= SMALL_SIDE**2:
        return (q * scale @ k.transpose(-1, -2)).softmax(-1) @ v
    with sdpa_kernel(KERNELS) if q.device.type == "cuda" else nullcontext():
        return F.scaled_dot_product_attention(q, k, v, scale=scale)


def layer_size(latent: tuple[int, int], positions: int) -> tuple[int, int]:
    """The size (h,w) of a layer with so many positions, in a UNet whose latent has the size (h,w)."""
    ratio = round((latent[0] * latent[1] / positions) ** 0.5)
    return latent[0] // ratio, latent[1] // ratio


@contextmanager
def install(unet: Any, hooks: Sequence[AttentionHook], latent: tuple[int, int]) -> Iterator[None]:
    """Within the scope the UNet's attention layers call hooks; afterwards they are as before.

    Args:
        unet: diffusers' UNet2DConditionModel.
        hooks: of every call, the first one outermost; those of a single call come with `Model.predict`.
        latent: (h,w) of the latents that come.
    """
    before: dict[str, nn.Module] = dict(unet.attn_processors)
    unet.set_attn_processor({name: Processor(name.partition("_")[0], hooks, latent) for name in before})
    try:
        yield
    finally:
        unet.set_attn_processor(before)
