"""Attention processors: Residual Linear Interpolation and prompt-to-prompt, through diffusers' own door.

One processor serves every layer. It keeps no state between calls: what an edit wants of a UNet call arrives with that
call, as the keyword `control`, and the maps that are looked at leave through the store that `control` carries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Prompt-to-prompt's 32×32: self-attention is injected, and maps are read, where the shorter side is at most this.
SIDE = 32


@dataclass
class MapStore:
    """Cross-attention maps of P sources and M targets, summed over calls: total (P+M, h, w, S) of the layers at one
    resolution."""

    size: tuple[int, int]
    total: Tensor | None = None
    layers: int = 0

    def add(self, maps: Tensor) -> None:
        """maps (P+M, h*w, S): one layer's, averaged over its heads."""
        maps = maps.detach().float().unflatten(1, self.size)
        self.total = maps if self.total is None else self.total + maps
        self.layers += 1

    def mean(self) -> Tensor:
        """(P+M, h, w, S), averaged over layers and steps."""
        assert self.total is not None, "no layer had the store's resolution"
        return self.total / self.layers


@dataclass(frozen=True)
class Control:
    """What prompt-to-prompt wants of one UNet call whose batch rows are: P sources, M targets, any number of others.

    sources: P; owner (M,) long: the source row that each target takes its maps from. mapper (M,S,S): source token to
    target token; own (M,S): share of a target token's own map; factor (M,S): word amplifier. cross, self_: whether this
    step injects. latent: the (h,w) of the UNet's input, to tell layers apart.
    """

    sources: int
    owner: Tensor
    mapper: Tensor
    own: Tensor
    factor: Tensor
    cross: bool
    self_: bool
    latent: tuple[int, int]
    store: MapStore = field(repr=False, default=None)

    @property
    def edited(self) -> slice:
        """The targets' rows."""
        return slice(self.sources, self.sources + len(self.owner))

    def layer_size(self, positions: int) -> tuple[int, int]:
        ratio = round((self.latent[0] * self.latent[1] / positions) ** 0.5)
        return self.latent[0] // ratio, self.latent[1] // ratio


class Processor:
    """Scaled dot-product attention, then RLI in self-attention layers: out = (1-alpha)·attention(x) + alpha·x.

    x is the layer's input (after its layer norm), attention includes the output projection (RLI manuscript). Layers
    with text as context are cross-attention and never interpolated.
    """

    def __init__(self, alpha: float = 0.0) -> None:
        self.alpha = alpha

    def __call__(
        self,
        attn: nn.Module,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        control: Control | None = None,
    ) -> Tensor:
        x, is_self = hidden_states, encoder_hidden_states is None
        context = x if is_self else encoder_hidden_states
        q, k, v = (
            project(states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for project, states in ((attn.to_q, x), (attn.to_k, context), (attn.to_v, context))
        )
        if control is None:
            out = attend(q, k, v, attn.scale)
        elif is_self:
            out = _self_attention(q, k, v, attn.scale, control)
        else:
            out = _cross_attention(q, k, v, attn.scale, control)
        out = attn.to_out[0](out.transpose(1, 2).flatten(2))
        return torch.lerp(out, x, self.alpha) if is_self and self.alpha else out


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Scaled dot-product attention: PyTorch's fused kernel, but the plain form for small maps in half precision on a
    CPU, where the kernel takes up to a quarter longer forward and backward."""
    if q.device.type == "cpu" and q.dtype != torch.float32 and k.shape[2] <= SIDE**2:
        return (q * scale @ k.transpose(-1, -2)).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=scale)


def _self_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, control: Control) -> Tensor:
    """Targets attend with their source's queries and keys: the injected map is never formed."""
    if control.self_ and min(control.layer_size(q.shape[2])) <= SIDE:
        rows = torch.arange(len(q), device=q.device)
        rows[control.edited] = control.owner
        q, k = q[rows], k[rows]
    return attend(q, k, v, scale)


def _cross_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, control: Control) -> Tensor:
    """Sources and targets with their maps at hand, where they are edited or looked at; the others fused."""
    n = control.edited.stop
    watched = control.layer_size(q.shape[2]) == control.store.size
    if not (control.cross or watched):
        return attend(q, k, v, scale)
    # float32: half-precision logits overflow in Stable Diffusion 2.1, and the maps are read as numbers.
    probs = (q[:n].float() @ k[:n].float().transpose(-1, -2) * scale).softmax(-1)
    if control.cross:
        source, target = probs[: control.sources], probs[control.edited]
        target = inject(source[control.owner], target, control.mapper, control.own, control.factor)
        probs = torch.cat([source, target])
    if watched:
        control.store.add(probs.mean(1))
    out = probs.to(v.dtype) @ v[:n]
    if len(q) == n:
        return out
    return torch.cat([out, attend(q[n:], k[n:], v[n:], scale)])


def inject(source: Tensor, target: Tensor, mapper: Tensor, own: Tensor, factor: Tensor) -> Tensor:
    """Cross-attention injection and word amplifier (Hertz et al. 2022, section 3.2).

    source (M,heads,hw,S), each target's own, or one for all (1,heads,hw,S); target (M,heads,hw,S) probabilities; mapper
    (M,S,S), own and factor (M,S). Returns the targets' new maps; the amplifier acts after the softmax and nothing is
    normalised again.
    """
    mapped = source @ mapper[:, None]
    own = own[:, None, None]
    return (mapped * (1 - own) + target * own) * factor[:, None, None]


def map_size(unet: nn.Module, latent: tuple[int, int]) -> tuple[int, int]:
    """The resolution whose cross-attention maps are read: the finest whose shorter side is at most 32 (method: 32×32
    at latents of 64 and 128), the coarsest where there is none."""
    kinds = unet.config.down_block_types
    ratios = [2**depth for depth, kind in enumerate(kinds) if "CrossAttn" in kind] or [2 ** (len(kinds) - 1)]
    ratio = next((r for r in ratios if min(latent) // r <= SIDE), ratios[-1])
    return latent[0] // ratio, latent[1] // ratio


@contextmanager
def install(unet: nn.Module, location: str = "off", alpha: float = 0.0) -> Iterator[None]:
    """Within the scope the UNet attends with `Processor`: RLI of strength alpha in up, mid or down blocks, or off."""
    before = dict(unet.attn_processors)
    unet.set_attn_processor(
        {
            name: Processor(alpha if name.startswith((f"{location}_block", f"{location}_blocks")) else 0.0)
            for name in before
        }
    )
    try:
        yield
    finally:
        unet.set_attn_processor(before)
