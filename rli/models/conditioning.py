"""What the UNet is told beside the latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told beside the latent.

    tokens (B,S,D) float32; pooled (B,P) float32 and time_ids (B,6) float32 for SDXL, None for Stable Diffusion 1 and 2.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """The parts' rows, one after the other."""
        columns = zip(*((p.tokens, p.pooled, p.time_ids) for p in parts), strict=True)
        return Conditioning(*(None if column[0] is None else torch.cat(column) for column in columns))

    def repeat(self, count: int) -> Conditioning:
        """Every row `count` times, whole batch after whole batch."""
        return Conditioning.cat([self] * count)

    def __getitem__(self, rows: slice | Tensor) -> Conditioning:
        return Conditioning(*(None if v is None else v[rows] for v in (self.tokens, self.pooled, self.time_ids)))

    def put(self, rows: Tensor, other: Conditioning) -> Conditioning:
        """`other` in place of these rows' tokens and pooled embeddings."""
        pooled = None if self.pooled is None else self.pooled.index_copy(0, rows, other.pooled)
        return Conditioning(self.tokens.index_copy(0, rows, other.tokens), pooled, self.time_ids)
