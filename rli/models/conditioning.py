"""What the UNet is conditioned on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is conditioned on, for B rows; pooled and time_ids are None for Stable Diffusion 1 and 2."""

    # Token embeddings (B,S,D) float32.
    tokens: Tensor
    # Pooled text embedding (B,P) float32.
    pooled: Tensor | None = None
    # SDXL's size conditioning (B,6) float32.
    time_ids: Tensor | None = None

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """The parts' rows, one after the other."""

        def joined(values: Sequence[Tensor | None]) -> Tensor | None:
            known = [value for value in values if value is not None]
            return torch.cat(known) if known else None

        return Conditioning(
            torch.cat([part.tokens for part in parts]),
            joined([part.pooled for part in parts]),
            joined([part.time_ids for part in parts]),
        )

    def repeat(self, count: int) -> Conditioning:
        """Every row `count` times, whole batch after whole batch."""
        return Conditioning.cat([self] * count)

    def map(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        """The same with every tensor changed."""
        pooled, time_ids = self.pooled, self.time_ids
        return Conditioning(
            change(self.tokens),
            None if pooled is None else change(pooled),
            None if time_ids is None else change(time_ids),
        )

    def __getitem__(self, rows: slice | Tensor) -> Conditioning:
        return self.map(lambda value: value[rows])

    def put(self, rows: Tensor, other: Conditioning) -> Conditioning:
        """`other` in place of these rows' token and pooled embeddings."""
        pooled = self.pooled
        if pooled is not None and other.pooled is not None:
            pooled = pooled.index_copy(0, rows, other.pooled)
        return Conditioning(self.tokens.index_copy(0, rows, other.tokens), pooled, self.time_ids)

    def added(self, dtype: torch.dtype) -> dict[str, Tensor] | None:
        """What diffusers' UNet takes as added_cond_kwargs; None where there is nothing."""
        if self.pooled is None or self.time_ids is None:
            return None
        return {"text_embeds": self.pooled.to(dtype), "time_ids": self.time_ids}
