"""Prompt-to-prompt (Hertz et al. 2022): the source's attention maps in its targets' branches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rli.method.attention.install import SMALL_SIDE, Attend, AttentionHook, Layer


@dataclass
class MapStore:
    """Cross-attention maps of P sources and M targets, summed over calls, of the layers at one resolution."""

    # (h,w) of the layers that are watched.
    size: tuple[int, int]
    # (P+M,h,w,S), and how many layers were added to each row (P+M,); None before the first call.
    total: Tensor | None = None
    layers: Tensor | None = None

    def add(self, maps: Tensor) -> None:
        """Add one layer's maps (P+M,h*w,S), averaged over its heads; or those of the M targets alone."""
        maps = maps.detach().float().unflatten(1, self.size)
        one = maps.new_ones(len(maps))
        if self.total is None or self.layers is None:
            self.total, self.layers = maps, one
            return
        others = len(self.total) - len(maps)
        self.total = torch.cat([self.total[:others], self.total[others:] + maps])
        self.layers = torch.cat([self.layers[:others], self.layers[others:] + one])

    def mean(self) -> Tensor:
        """(P+M,h,w,S), averaged over layers and steps."""
        assert self.total is not None and self.layers is not None, "no layer had the store's resolution"
        return self.total / self.layers[:, None, None, None]


@dataclass(frozen=True, eq=False)
class PromptToPrompt(AttentionHook):
    """Injection at one step, in a UNet call whose batch rows are: P sources, M targets, any number of others."""

    # P.
    sources: int
    # (M,) long: the source row that each target takes its maps from.
    source_of: Tensor
    # (M,S,S): which source token's map each target token takes.
    mapper: Tensor
    # (M,S) in [0,1]: share of a target token's own map.
    keep_own_map: Tensor
    # (M,S): factor on each target token's map.
    equalizer: Tensor
    # Whether this step injects in cross-attention, and in self-attention.
    inject_cross: bool
    inject_self: bool
    # Where the maps that are watched go.
    store: MapStore = field(repr=False)

    @property
    def targets(self) -> slice:
        """The targets' rows."""
        return slice(self.sources, self.sources + len(self.source_of))

    def attention(self, q: Tensor, k: Tensor, v: Tensor, layer: Layer, attend: Attend) -> Tensor:
        return (self._self if layer.is_self else self._cross)(q, k, v, layer, attend)

    def _self(self, q: Tensor, k: Tensor, v: Tensor, layer: Layer, attend: Attend) -> Tensor:
        """Targets attend with their source's queries and keys: the injected map is never formed."""
        if self.inject_self and min(layer.size) <= SMALL_SIDE:
            rows = torch.arange(len(q), device=q.device)
            rows[self.targets] = self.source_of
            q, k = q[rows], k[rows]
        return attend(q, k, v)

    def _cross(self, q: Tensor, k: Tensor, v: Tensor, layer: Layer, attend: Attend) -> Tensor:
        """Sources and targets with their maps at hand, where these are edited or watched; the others fused."""
        n = self.targets.stop
        watched = layer.size == self.store.size
        if not (self.inject_cross or watched):
            return attend(q, k, v)
        # float32: half-precision logits overflow in Stable Diffusion 2.1, and the maps are read as numbers.
        maps = (q[:n].float() @ k[:n].float().transpose(-1, -2) * layer.scale).softmax(-1)
        if self.inject_cross:
            source, target = maps[: self.sources], maps[self.targets]
            target = inject(source[self.source_of], target, self.mapper, self.keep_own_map, self.equalizer)
            maps = torch.cat([source, target])
        if watched:
            self.store.add(maps.mean(1))
        out = maps.to(v.dtype) @ v[:n]
        if len(q) == n:
            return out
        return torch.cat([out, attend(q[n:], k[n:], v[n:])])


def inject(source: Tensor, target: Tensor, mapper: Tensor, keep_own_map: Tensor, equalizer: Tensor) -> Tensor:
    """Cross-attention injection and word amplifier (Hertz et al. 2022, section 3.2).

    Args:
        source: (M,heads,hw,S) probabilities, each target's own source's, or one for all (1,heads,hw,S).
        target: (M,heads,hw,S) probabilities.
        mapper: (M,S,S).
        keep_own_map: (M,S).
        equalizer: (M,S); acts after the softmax, and nothing is normalised again.

    Returns:
        The targets' new maps (M,heads,hw,S).
    """
    mapped = source @ mapper[:, None]
    own = keep_own_map[:, None, None]
    return (mapped * (1 - own) + target * own) * equalizer[:, None, None]


def map_size(unet: Any, latent: tuple[int, int]) -> tuple[int, int]:
    """The resolution whose cross-attention maps are read: the finest whose shorter side is at most 32, the coarsest
    where there is none (the reference code: 32×32 at latents of 64 and 128)."""
    kinds = unet.config.down_block_types
    ratios = [2**depth for depth, kind in enumerate(kinds) if "CrossAttn" in kind] or [2 ** (len(kinds) - 1)]
    ratio = next((r for r in ratios if min(latent) // r <= SMALL_SIDE), ratios[-1])
    return latent[0] // ratio, latent[1] // ratio
