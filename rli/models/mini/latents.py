"""Training examples of the denoiser: encoded photographs with their defects' words and masks."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm
from transformers import CLIPTokenizer

from rli.models.mini.autoencode import to_tensor
from rli.models.mini.networks import SCALING
from rli.models.mini.surfaces import DEFECTS, MATERIALS, caption_words, random_defects, surface
from rli.models.mini.tokenizer import EOS, LENGTH, tokenizers

SIZES = ((256, 256), (192, 320), (320, 192), (128, 128))  # height, width of the training photographs
CHUNK = 200  # examples in a file


@dataclass
class Pool:
    """Training examples whose pictures have one size."""

    size: tuple[int, int]  # height, width
    latents: torch.Tensor  # (N, 16, h, w) float16
    masks: torch.Tensor  # (N, 2, h, w) bool: where the first and the second defect are
    words: torch.Tensor  # (N, 2) int8: the defects' indices in DEFECTS, -1 for none
    materials: torch.Tensor  # (N,) int8: indices in MATERIALS

    def __len__(self) -> int:
        return len(self.latents)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the examples are made of, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "size"}

    def put(self, index: int, other: Pool, source: int) -> None:
        """Replaces an example by another pool's."""
        for name, tensor in self.tensors().items():
            tensor[index] = other.tensors()[name][source]


@torch.no_grad()
def examples(encode: nn.Conv2d, seeds: range, size: tuple[int, int]) -> Pool:
    """Draw and encode one example per seed."""
    defects = [random_defects(np.random.default_rng([seed, 2])) for seed in seeds]
    drawn = [surface(seed, words, *size) for seed, words in zip(seeds, defects, strict=True)]
    masks = np.zeros((len(drawn), 2, *size), bool)
    words = torch.full((len(drawn), 2), -1, dtype=torch.int8)
    for k, (picture, names) in enumerate(zip(drawn, defects, strict=True)):
        for m, name in enumerate(names):
            masks[k, m], words[k, m] = picture.masks[name], DEFECTS.index(name)
    latents = encode(to_tensor(np.stack([picture.image for picture in drawn]))) * SCALING
    pooled = F.max_pool2d(torch.from_numpy(masks).float(), 8) > 0
    materials = torch.tensor([MATERIALS.index(picture.material) for picture in drawn], dtype=torch.int8)
    return Pool(size, latents.half(), pooled, words, materials)


def pool(encode: nn.Conv2d, count: int, offset: int, size: tuple[int, int], work: pathlib.Path) -> Pool:
    """`count` examples of seeds from `offset` on, kept in the work folder, a file for every CHUNK of them."""
    folder = work / f"latents-{size[0]}x{size[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    starts = tqdm(range(offset, offset + count, CHUNK), desc=folder.name, mininterval=5)
    chunks = [_chunk(encode, range(start, min(start + CHUNK, offset + count)), size, folder) for start in starts]
    return Pool(size, **{name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]})


def _chunk(encode: nn.Conv2d, seeds: range, size: tuple[int, int], folder: pathlib.Path) -> dict[str, torch.Tensor]:
    """The examples of these seeds, from their file if there is one."""
    path = folder / f"{seeds.start}-{seeds.stop}.npz"
    if not path.exists():
        parts = [examples(encode, seeds[at : at + 10], size).tensors() for at in range(0, len(seeds), 10)]
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            arrays: dict[str, Any] = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
            np.savez(file, **arrays)
        os.replace(partial, path)
    with np.load(path, allow_pickle=False) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


class Captions:
    """Token ids and token masks of every caption, looked up by the indices of defects and material."""

    def __init__(self) -> None:
        self.tokenizers = tokenizers()
        self.known: dict[tuple[tuple[int, ...], int], tuple[torch.Tensor, torch.Tensor]] = {}

    def look_up(self, words: tuple[int, ...], material: int = -1) -> tuple[torch.Tensor, torch.Tensor]:
        """ids (2, 77) for the two tokenizers; marks (2, 77): which tokens speak of the first and the second defect.

        A material of -1 asks for the caption that names none.
        """
        if (words, material) not in self.known:
            names = [DEFECTS[word] for word in words if word >= 0]
            spoken = caption_words(names, MATERIALS[material] if material >= 0 else None)
            text = " ".join(word for word, _ in spoken)
            marks, at = torch.zeros(2, LENGTH), 1
            for word, defect in spoken:
                length = len(self.tokenizers[0].tokenize(word))
                if defect is not None:
                    marks[defect, at : at + length] = 1
                at += length
            self.known[words, material] = torch.stack([self._ids(each, text) for each in self.tokenizers]), marks
        return self.known[words, material]

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

    latents: torch.Tensor  # (B, 16, h, w) float32
    masks: torch.Tensor  # (B, 2, h, w) float32 in {0, 1}: where the first and the second defect are
    tokens: torch.Tensor  # (2, B, 77) ids, a row for each tokenizer
    marks: torch.Tensor  # (B, 2, 77): which tokens speak of the first and of the second defect
    size: tuple[int, int]  # of the pictures, height and width


@dataclass(frozen=True)
class Noised:
    """Latents between picture and noise, each at its own timestep."""

    latents: torch.Tensor  # (B, 16, h, w) float32
    noise: torch.Tensor  # (B, 16, h, w), what was added
    timesteps: torch.Tensor  # (B,)
    signal: torch.Tensor  # (B,): how much of the picture is left, a share of the variance


def noised(latents: torch.Tensor, abar: torch.Tensor, generator: torch.Generator) -> Noised:
    """Noise added to (B, 16, h, w) latents, at timesteps that are stratified over the batch.

    abar: (1000,) cumulative products of 1 - beta.
    """
    count = len(latents)
    strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    timesteps = (strata * len(abar)).long()
    noise = torch.randn(latents.shape, generator=generator)
    signal = abar[timesteps]
    mixed = signal.sqrt()[:, None, None, None] * latents + (1 - signal).sqrt()[:, None, None, None] * noise
    return Noised(mixed, noise, timesteps, signal)


def draw(
    rng: np.random.Generator, pool: Pool, captions: Captions, count: int, empty: float, named: float = 0.2
) -> Batch:
    """Random examples; a share `empty` of the captions is left out, for classifier-free guidance.

    A share `named` of the others names the material.
    """
    chosen = torch.from_numpy(rng.integers(0, len(pool), count))
    texts = []
    for k in chosen:
        material = int(pool.materials[k]) if rng.random() < named else -1
        told = captions.look_up(tuple(pool.words[k].tolist()), material)
        texts.append(captions.empty() if rng.random() < empty else told)
    tokens, marks = (torch.stack(part) for part in zip(*texts, strict=True))
    return Batch(pool.latents[chosen].float(), pool.masks[chosen].float(), tokens.transpose(0, 1), marks, pool.size)
