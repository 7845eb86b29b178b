"""Grafting: where a defect is to come, self-attention also attends to an example's defect.

Reference keys and values in self-attention: Cao et al. 2023, MasaCtrl (arXiv:2304.08465), and Alaluf et al. 2023,
Cross-Image Attention (arXiv:2311.03335). Here they are weighted, and held to masks on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rli.method.attention.install import Attend, AttentionHook, Layer


@dataclass(frozen=True, eq=False)
class Graft(AttentionHook):
    """M targets attend to E examples in a UNet call that has a row for each of them.

    A query in the place of the target's new defect attends to three kinds of keys: outside the place to its own
    picture's, as ever; inside to its own with the weight 1 - strength; and to those in the example's mask with the
    weight strength, together as heavy as if they were as many as the place's. So an example that is the target itself,
    with the place as its mask, changes nothing. Queries outside the place attend as ever.
    """

    # The rows of the targets.
    targets: slice
    # (M,) long: each target's example, as a row of the call.
    example_of: Tensor
    # (M,1,h,w) in {0,1} of the latent's size: each target's place, and the mask of its example.
    places: Tensor
    masks: Tensor
    # In (0,1].
    strength: float

    def attention(self, q: Tensor, k: Tensor, v: Tensor, layer: Layer, attend: Attend) -> Tensor:
        out = attend(q, k, v)
        if not layer.is_self:
            return out
        rows = range(len(q))[self.targets]
        shares = (F.adaptive_avg_pool2d(part, layer.size).flatten(1) for part in (self.places, self.masks))
        for row, example, place, mask in zip(rows, self.example_of, *shares, strict=True):
            inside, theirs = place > 0, mask > 0
            keys, values = (torch.cat([of[row], of[example][:, theirs]], 1)[None] for of in (k, v))
            weights = torch.cat([1 - self.strength * place, self._weights(place, mask)[theirs]])
            bias = weights.log().to(q.dtype)[None, None, None]
            out[row, :, inside] = F.scaled_dot_product_attention(
                q[row, :, inside][None], keys, values, attn_mask=bias, scale=layer.scale
            )[0]
        return out

    def _weights(self, place: Tensor, mask: Tensor) -> Tensor:
        """Of an example's keys: (n,) each, together strength times the positions of the place."""
        return self.strength * mask * (place.sum() / mask.sum())
