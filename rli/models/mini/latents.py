"""Training examples of the denoiser: encoded photographs with their defects' words and masks."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm import tqdm
from transformers import CLIPTokenizer

from rli.models.mini.autoencode import to_tensor
from rli.models.mini.loop import load, save
from rli.models.mini.networks import SCALING
from rli.models.mini.surfaces import DEFECTS, caption, random_defects, surface
from rli.models.mini.tokenizer import EOS, LENGTH, tokenizers

SIZES = ((128, 128), (96, 160), (160, 96))  # height, width of the training photographs


@dataclass
class Pool:
    """Training examples whose pictures have one size."""

    size: tuple[int, int]  # height, width
    latents: torch.Tensor  # (N, 4, h, w) float16
    masks: torch.Tensor  # (N, 2, h, w) bool: where the first and the second defect are
    words: torch.Tensor  # (N, 2) int8: the defects' indices in DEFECTS, -1 for none

    def __len__(self) -> int:
        return len(self.latents)

    def put(self, index: int, other: Pool, source: int) -> None:
        """Replaces an example by another pool's."""
        for name in ("latents", "masks", "words"):
            getattr(self, name)[index] = getattr(other, name)[source]


@torch.no_grad()
def examples(vae: AutoencoderKL, seeds: range, size: tuple[int, int]) -> Pool:
    """Draw and encode one example per seed."""
    defects = [random_defects(np.random.default_rng([seed, 2])) for seed in seeds]
    drawn = [surface(seed, words, *size) for seed, words in zip(seeds, defects, strict=True)]
    masks = np.zeros((len(drawn), 2, *size), bool)
    words = torch.full((len(drawn), 2), -1, dtype=torch.int8)
    for k, (picture, names) in enumerate(zip(drawn, defects, strict=True)):
        for m, name in enumerate(names):
            masks[k, m], words[k, m] = picture.masks[name], DEFECTS.index(name)
    latents = vae.encode(to_tensor(np.stack([picture.image for picture in drawn]))).latent_dist.mean * SCALING
    pooled = F.max_pool2d(torch.from_numpy(masks).float(), 4) > 0
    return Pool(size, latents.half(), pooled, words)


def pool(vae: AutoencoderKL, count: int, offset: int, size: tuple[int, int], work: pathlib.Path) -> Pool:
    """`count` examples of seeds from `offset` on, kept in the work folder for the next start."""
    path = work / f"latents-{size[0]}x{size[1]}.pt"
    if (stored := load(path)) is None:
        starts = tqdm(range(offset, offset + count, 20), desc=f"latents {size[0]}x{size[1]}", mininterval=5)
        parts = [examples(vae, range(start, min(start + 20, offset + count)), size) for start in starts]
        stored = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("latents", "masks", "words")}
        save(stored, path)
    return Pool(size, **stored)


class Captions:
    """Token ids and token masks of every caption, looked up by the defects' indices."""

    def __init__(self) -> None:
        self.tokenizers = tokenizers()
        self.known: dict[tuple[int, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    def look_up(self, words: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        """ids (2, 77) for the two tokenizers; marks (2, 77): which tokens speak of the first and the second defect.

        With one defect, "defect" speaks of it as well as its own word; with none, nothing does.
        """
        if words not in self.known:
            names = [DEFECTS[word] for word in words if word >= 0]
            ids = torch.stack([self._ids(tokenizer, caption(names)) for tokenizer in self.tokenizers])
            marks = torch.zeros(2, LENGTH)
            at = 1 + len(self.tokenizers[0].tokenize("photo of a"))
            for m, name in enumerate(names):
                length = len(self.tokenizers[0].tokenize(name))
                marks[m, at : at + length + (len(names) == 1)] = 1
                at += length
            self.known[words] = ids, marks
        return self.known[words]

    def empty(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The same of an empty caption."""
        return torch.stack([self._ids(tokenizer, "") for tokenizer in self.tokenizers]), torch.zeros(2, LENGTH)

    @staticmethod
    def _ids(tokenizer: CLIPTokenizer, text: str) -> torch.Tensor:
        ids = tokenizer(text, padding="max_length", max_length=LENGTH, truncation=True).input_ids
        assert EOS in ids and len(ids) == LENGTH
        return torch.tensor(ids)


@dataclass(frozen=True)
class Batch:
    """What one training step sees."""

    latents: torch.Tensor  # (B, 4, h, w) float32
    masks: torch.Tensor  # (B, 2, h, w) float32 in {0, 1}: where the first and the second defect are
    tokens: torch.Tensor  # (2, B, 77) ids, a row for each tokenizer
    marks: torch.Tensor  # (B, 2, 77): which tokens speak of the first and of the second defect
    size: tuple[int, int]  # of the pictures, height and width


def draw(rng: np.random.Generator, pool: Pool, captions: Captions, count: int, empty: float) -> Batch:
    """Random examples; a share `empty` of the captions is left out, for classifier-free guidance."""
    chosen = torch.from_numpy(rng.integers(0, len(pool), count))
    texts = [
        captions.empty() if rng.random() < empty else captions.look_up(tuple(pool.words[k].tolist())) for k in chosen
    ]
    tokens, marks = (torch.stack(part) for part in zip(*texts, strict=True))
    return Batch(pool.latents[chosen].float(), pool.masks[chosen].float(), tokens.transpose(0, 1), marks, pool.size)
