"""The autoencoder's training: surfaces and generic textures, cut into 64 x 64 crops."""

from __future__ import annotations

import copy
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from tqdm import tqdm

from rli.models.mini.loop import Budget, Stage, bfloat16
from rli.models.mini.networks import SCALING, autoencoder
from rli.models.mini.surfaces import random_defects, surface
from rli.models.mini.textures import texture

CROP = 64


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1]."""
    return torch.tensor(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def pictures(count: int, offset: int = 0) -> np.ndarray:
    """(count, 128, 128, 3) uint8: six surfaces in ten as they are, one seen from nearer, three generic textures."""
    images = []
    for seed in tqdm(range(offset, offset + count), desc="pictures", leave=False, mininterval=5):
        defects = random_defects(np.random.default_rng([seed, 1]))
        if seed % 10 < 6:
            images.append(surface(seed, defects).image)
        elif seed % 10 == 6:
            images.append(surface(seed, defects, 256, 256).image[64:192, 64:192])
        else:
            images.append(texture(seed))
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


def loss(vae: AutoencoderKL, x: torch.Tensor) -> torch.Tensor:
    """L1 + 4 L2 + 0.5 gradient + 2 L1 of 8 x 8 means + 1e-4 KL, for x (B, 3, H, W) in [-1, 1].

    The means keep plain colours: without them the third colour axis is given up for texture for thousands of steps.
    """
    with bfloat16():
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
    y = y.float()
    slopes = sum((a - b).abs().mean() for a, b in zip(_gradients(y), _gradients(x), strict=True))
    tone = F.avg_pool2d(y - x, 8).abs().mean()
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
    return (y - x).abs().mean() + 4 * (y - x).square().mean() + 0.5 * slopes + 2 * tone + 1e-4 * kl


@torch.no_grad()
def standardise(vae: AutoencoderKL, x: torch.Tensor) -> None:
    """Fold a shift and a scale per channel into the 1 x 1 convolutions, so that latents times SCALING are standard.

    A diffusion model needs latents of mean 0 and deviation 1; SDXL gets there by one number, SCALING.
    """
    latents = vae.encode(x).latent_dist.mean
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3)) * SCALING  # new = (old - mean) / std
    into, out = vae.quant_conv, vae.post_quant_conv
    into.bias[:4] = (into.bias[:4] - mean) / std
    into.weight[:4] /= std[:, None, None, None]
    into.bias[4:] -= 2 * std.log()  # the second half is the logarithm of the variance
    out.bias += (out.weight[:, :, 0, 0] * mean).sum(1)
    out.weight *= std[None, :, None, None]


def train(work: pathlib.Path, budget: Budget, pool_size: int = 8000, batch: int = 12) -> AutoencoderKL:
    """Train or finish training; returns the moving average, standardised."""
    model = autoencoder()
    stage = Stage("autoencoder", model, copy.deepcopy(model), 2e-3, budget, work / "autoencoder.pt")
    if stage.progress < 1:
        pool, rng, total = pictures(pool_size), np.random.default_rng(stage.step), 0.0
        for step in stage.steps():
            value = loss(model, _crops(rng, pool, batch))
            stage.descend(value)
            total += value.item()
            if (step + 1) % 100 == 0:
                tqdm.write(f"autoencoder step {step + 1} loss {total / 100:.4f}")
                total = 0.0
    result = stage.average.eval()
    standardise(result, to_tensor(pictures(min(300, pool_size), offset=9_000_000)))
    return result
