"""Training examples of the denoiser: encoded photographs with their defects' words and masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from transformers import CLIPTokenizer

from rli.models.mini.loop import onto
from rli.models.mini.networks import SCALING
from rli.models.mini.surfaces import DEFECTS, MATERIALS, caption_words, random_defects, surface
from rli.models.mini.tokenizer import EOS, LENGTH, tokenizers

SIZES = ((256, 256), (192, 320), (320, 192), (128, 128))  # height, width of the training photographs
CELL = 8  # pixels of a latent's side

Drawn = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Surfaces: images (B, H, W, 3) uint8; masks (B, 2, h, w) bool, where in the latents the first and the second defect
are; words (B, 2) int64, the defects' indices in DEFECTS, -1 for none; materials (B,) int64, indices in MATERIALS."""
Shown = Callable[[int], tuple[int, tuple[str, ...]]]
"""The seed and the defects of the picture of a number."""


def any_defects(number: int) -> tuple[int, tuple[str, ...]]:
    """The seed and the defects of the training picture of this number: itself, and random ones."""
    return number, random_defects(np.random.default_rng([number, 2]))


class Surfaces(Dataset[Any]):
    """Pictures of these numbers, of one size (height, width), each as a row of `Drawn`."""

    def __init__(self, numbers: range, size: tuple[int, int], shown: Shown = any_defects) -> None:
        self.numbers, self.size, self.shown = numbers, size, shown

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        (seed, defects), (height, width) = self.shown(self.numbers[index]), self.size
        picture = surface(seed, defects, height, width)
        masks = np.zeros((2, height, width), bool)
        words = torch.full((2,), -1)
        for k, name in enumerate(defects):
            masks[k], words[k] = picture.masks[name], DEFECTS.index(name)
        cells = masks.reshape(2, height // CELL, CELL, width // CELL, CELL).any((2, 4))
        return torch.from_numpy(picture.image), torch.from_numpy(cells), words, MATERIALS.index(picture.material)


def drawings(
    numbers: range, size: tuple[int, int], batch: int, workers: int = 0, shown: Shown = any_defects
) -> Iterator[Drawn]:
    """Pictures of these numbers in order, `batch` at a time, drawn by so many processes beside this one."""
    return iter(DataLoader(Surfaces(numbers, size, shown), batch, num_workers=workers))


def pixels(images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return images.movedim(-1, 1).float() / 127.5 - 1


@dataclass
class Pool:
    """Training examples whose pictures have one size; latents and masks are on the training's device."""

    size: tuple[int, int]  # height, width
    latents: torch.Tensor  # (N, 16, h, w) float16
    masks: torch.Tensor  # (N, 2, h, w) bool: where the first and the second defect are
    words: torch.Tensor  # (N, 2): the defects' indices in DEFECTS, -1 for none
    materials: torch.Tensor  # (N,): indices in MATERIALS

    def __len__(self) -> int:
        return len(self.latents)

    def put(self, first: int, encode: nn.Conv2d, drawn: Drawn) -> None:
        """Replaces examples, from the first one on and round to the pool's beginning."""
        images, masks, words, materials = drawn
        at = (first + torch.arange(len(images))) % len(self)
        there, pictures, cells = onto(self.latents.device, at, images, masks)
        self.latents[there], self.masks[there] = _encoded(encode, pictures), cells
        self.words[at], self.materials[at] = words, materials


@torch.no_grad()
def _encoded(encode: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> latents (B, 16, h, w) float16."""
    return (encode(pixels(images)) * SCALING).half()


def pool(
    encode: nn.Conv2d, numbers: range, size: tuple[int, int], workers: int = 0, shown: Shown = any_defects
) -> Pool:
    """One example for each number, on the encoder's device."""
    device, parts, batch = encode.weight.device, [], 20
    rounds = -(-len(numbers) // batch)
    drawn = drawings(numbers, size, batch, workers, shown)
    title = f"surfaces of {size[1]}x{size[0]}"
    for images, masks, words, materials in tqdm(drawn, title, rounds, mininterval=5):
        pictures, cells = onto(device, images, masks)
        parts.append((_encoded(encode, pictures), cells, words, materials))
    return Pool(size, *(torch.cat(part) for part in zip(*parts, strict=True)))


class Captions:
    """Token ids and token masks of every caption, looked up by the indices of defects and material."""

    def __init__(self) -> None:
        self.tokenizers = tokenizers()
        self.known: dict[tuple[tuple[int, ...], int], tuple[torch.Tensor, torch.Tensor]] = {}
        self.nothing = torch.stack([self._ids(each, "") for each in self.tokenizers]), torch.zeros(2, LENGTH)

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
        return self.nothing

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

    abar: (1000,) cumulative products of 1 - beta; like the generator on the latents' device.
    """
    count = len(latents)
    place: dict[str, Any] = {"generator": generator, "device": latents.device}
    strata = (torch.arange(count, device=latents.device) + torch.rand(count, **place)) / count
    timesteps = (strata * len(abar)).long()
    noise = torch.randn(latents.shape, **place)
    return mixed(latents, noise, timesteps, abar)


def mixed(latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, abar: torch.Tensor) -> Noised:
    """Latents (B, 16, h, w) with the noise of these timesteps (B,)."""
    signal = abar[timesteps]
    both = signal.sqrt()[:, None, None, None] * latents + (1 - signal).sqrt()[:, None, None, None] * noise
    return Noised(both, noise, timesteps, signal)


def draw(
    rng: np.random.Generator, pool: Pool, captions: Captions, count: int, empty: float, named: float = 0.2
) -> Batch:
    """Random examples; a share `empty` of the captions is left out, for classifier-free guidance.

    A share `named` of the others names the material.
    """
    return batch_of(rng, pool, torch.from_numpy(rng.integers(0, len(pool), count)), captions, empty, named)


def batch_of(
    rng: np.random.Generator, pool: Pool, chosen: torch.Tensor, captions: Captions, empty: float, named: float
) -> Batch:
    """The same of chosen examples (B,)."""
    texts = []
    for words, material in zip(pool.words[chosen].tolist(), pool.materials[chosen].tolist(), strict=True):
        told = captions.look_up(tuple(words), material if rng.random() < named else -1)
        texts.append(captions.empty() if rng.random() < empty else told)
    tokens, marks = (torch.stack(part) for part in zip(*texts, strict=True))
    there, tokens, marks = onto(pool.latents.device, chosen, tokens, marks)
    return Batch(pool.latents[there].float(), pool.masks[there].float(), tokens.transpose(0, 1), marks, pool.size)
