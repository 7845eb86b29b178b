"""The autoencoder's training on surfaces, generic textures and a few free photographs, cut into 96 x 96 crops.

Its encoder stays the linear one that it starts as: components of 8 x 8 blocks lose hardly more than a trained encoder
did, keep every colour, and let the decoder be trained on at any time, under a denoiser that has learned the latents.
"""

from __future__ import annotations

import copy
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm import tqdm

from rli.models.mini import SIDE
from rli.models.mini.latents import pixels
from rli.models.mini.loop import Budget, Stage, bfloat16
from rli.models.mini.networks import autoencoder
from rli.models.mini.surfaces import random_defects, surface
from rli.models.mini.textures import photograph_cut, texture
from rli.models.mini.transform import as_convolution, start

CROP = 96
RATE = 2e-4  # highest learning rate: at 1e-3 the first hundred steps undo the linear start
NOISE = 0.03  # in the latents, as a share of their deviation: what a denoiser makes is not exact either
STARTERS = 100  # pictures that the linear start is fitted to


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return pixels(torch.tensor(np.ascontiguousarray(images)))


def pictures(count: int, offset: int = 0) -> np.ndarray:
    """(count, 256, 256, 3) uint8: of ten, five surfaces as they are, one from nearer, three textures, a photograph."""
    images = []
    for seed in tqdm(range(offset, offset + count), desc="pictures", leave=False, mininterval=5):
        defects = random_defects(np.random.default_rng([seed, 1]))
        if seed % 10 < 5:
            images.append(surface(seed, defects, SIDE, SIDE).image)
        elif seed % 10 == 5:
            images.append(surface(seed, defects, 2 * SIDE, 2 * SIDE).image[SIDE // 2 :, SIDE // 2 :][:SIDE, :SIDE])
        elif seed % 10 < 9:
            images.append(texture(seed, SIDE, SIDE))
        else:
            images.append(photograph_cut(seed, SIDE))
    return np.stack(images)


def _crops(rng: np.random.Generator, pool: np.ndarray, count: int) -> torch.Tensor:
    """Random crops, each turned and mirrored at random, some with their colours exchanged."""
    crops = []
    for _ in range(count):
        y, x = rng.integers(0, pool.shape[1] - CROP + 1), rng.integers(0, pool.shape[2] - CROP + 1)
        crop = np.rot90(pool[rng.integers(len(pool)), y : y + CROP, x : x + CROP], int(rng.integers(4)))
        crop = crop[..., rng.permutation(3)] if rng.random() < 0.3 else crop
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return to_tensor(np.stack(crops))


def _gradients(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.diff(dim=-1), x.diff(dim=-2)


def loss(vae: AutoencoderKL, latents: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """How far the decoded latents are from their picture x (B, 3, H, W) in [-1, 1].

    L1 + 8 L2 + 0.5 gradient + 2 L1 of 8 x 8 means. The means keep plain colours, which people see before texture.
    """
    with bfloat16(latents.device):
        y = vae.decode(latents).sample
    y = y.float()
    slopes = sum((a - b).abs().mean() for a, b in zip(_gradients(y), _gradients(x), strict=True))
    tone = F.avg_pool2d(y - x, 8).abs().mean()
    return (y - x).abs().mean() + 8 * (y - x).square().mean() + 0.5 * slopes + 2 * tone


def started(count: int) -> AutoencoderKL:
    """A fresh autoencoder at its linear start, which is fitted to this many pictures."""
    vae = autoencoder()
    start(vae, to_tensor(pictures(count, offset=9_000_000)))
    return vae


def train(work: pathlib.Path, budget: Budget, pool_size: int = 3000, batch: int = 6) -> AutoencoderKL:
    """Train the decoder or finish its training; returns the moving average."""
    path = work / "autoencoder.pt"
    model = autoencoder() if path.exists() else started(min(STARTERS, pool_size))
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)
    stage = Stage("autoencoder", model, copy.deepcopy(model), RATE, budget, path)
    if stage.progress < 1:
        pool, rng, total = pictures(pool_size), np.random.default_rng(stage.step), 0.0
        encode = as_convolution(model)
        deviations = encode(to_tensor(pool[:40])).std((0, 2, 3), keepdim=True)
        for step in stage.steps():
            x = _crops(rng, pool, batch)
            latents = encode(x)
            value = loss(model, latents + NOISE * deviations * torch.randn_like(latents), x)
            stage.descend(value)
            total += value.item()
            if (step + 1) % 100 == 0:
                tqdm.write(f"autoencoder step {step + 1} loss {total / 100:.4f}")
                total = 0.0
    return stage.average.eval()
