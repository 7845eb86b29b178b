"""Train the miniature: `python -m rli.models.mini.train --out rli/models/mini/weights --work <folder>`.

Stages: autoencoder, latents, denoiser (UNet and text encoders together), softer words, export. A killed run continues
from the checkpoints in the work folder. One thread is best on a shared machine: OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import copy
import math
import pathlib
import time

import numpy as np
import torch
from diffusers import AutoencoderKL
from tqdm import tqdm

from rli.models.mini import WEIGHTS, autoencode
from rli.models.mini.latents import SIZES, Batch, Captions, Pool, draw, examples, noised, pool
from rli.models.mini.localise import Recorder, outside, record
from rli.models.mini.loop import Budget, Stage, bfloat16
from rli.models.mini.networks import Denoiser, export, scheduler
from rli.models.mini.soften import soften
from rli.models.mini.surfaces import UNSEEN
from rli.models.mini.transform import as_convolution

POOLS = (2_400, 200, 200, 400)  # examples per size in SIZES
OFFSETS = (0, 1_000_000, 1_250_000, 1_500_000)  # their first seeds
SHARES = (0.82, 0.06, 0.06, 0.06)  # of the batches
FRESH = 2_000_000  # seeds of the pictures drawn while training


def loss(
    model: Denoiser,
    recorder: Recorder,
    batch: Batch,
    abar: torch.Tensor,
    generator: torch.Generator,
    inside_weight: float = 8.0,
    local_weight: float = 0.04,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise prediction, heavier inside the defect, plus the localisation of the words; and the first part alone.

    abar: (1000,) cumulative products of 1 - beta.
    """
    seen = noised(batch.latents, abar, generator)
    recorder.maps.clear()
    recorder.pixels = batch.latents.shape[-2] * batch.latents.shape[-1]
    with bfloat16():
        predicted = model(seen.latents, seen.timesteps, batch.tokens, batch.size).float()
    weight = 1 + (inside_weight - 1) * batch.masks.amax(1, keepdim=True)
    error = ((predicted - seen.noise).square() * weight).mean() / weight.mean()
    places = outside(recorder.maps, batch.marks, batch.masks.flatten(2), seen.signal)
    return error + local_weight * places, error.detach()


def train_denoiser(
    vae: AutoencoderKL,
    pools: list[Pool],
    work: pathlib.Path,
    out: pathlib.Path,
    budget: Budget,
    batch: int = 16,
    empty: float = 0.18,
    export_minutes: float = 12,
) -> Denoiser:
    """Train or finish training; the moving average is exported now and then, and returned."""
    model = Denoiser()
    stage = Stage("denoiser", model, copy.deepcopy(model), 1e-3, budget, work / "denoiser.pt")
    encode = as_convolution(vae)
    recorder, captions, abar = record(model.unet), Captions(), scheduler().alphas_cumprod
    rng, generator = np.random.default_rng(stage.step), torch.Generator().manual_seed(stage.step)
    total, local, exported = 0.0, 0.0, time.monotonic()
    for step in stage.steps():
        if step % 2 == 0:  # the pool slowly renews itself
            fresh = examples(encode, range(FRESH + step, FRESH + step + 1), SIZES[0])
            pools[0].put(step // 2 % len(pools[0]), fresh, 0)
        chosen = pools[rng.choice(len(pools), p=SHARES)]
        value, error = loss(model, recorder, draw(rng, chosen, captions, batch, empty), abar, generator)
        stage.descend(value)
        total, local = total + error.item(), local + (value.item() - error.item())
        if (step + 1) % 100 == 0:
            tqdm.write(f"denoiser step {step + 1} loss {total / 100:.4f} localisation {local / 100:.4f}")
            total = local = 0.0
        if time.monotonic() - exported > 60 * export_minutes:
            export(stage.average, vae, out)
            exported = time.monotonic()
    export(stage.average, vae, out)
    return stage.average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="checkpoints and encoded pictures")
    parser.add_argument("--vae-steps", type=int, default=12_000)
    parser.add_argument("--vae-minutes", type=float, default=math.inf, help="ends the autoencoder's training earlier")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="ends the denoiser's training earlier")
    parser.add_argument("--soft-steps", type=int, default=1_200, help="in which the words become weaker")
    parser.add_argument("--pools", type=int, nargs=len(SIZES), default=POOLS, help="encoded pictures of each size")
    parser.add_argument("--pictures", type=int, default=3_000, help="pictures that the autoencoder is trained on")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    vae = autoencode.train(asked.work, Budget(asked.vae_steps, asked.vae_minutes), asked.pictures)
    assert FRESH + asked.steps < UNSEEN
    pools = [
        pool(as_convolution(vae), count, offset, size, asked.work)
        for count, offset, size in zip(asked.pools, OFFSETS, SIZES, strict=True)
    ]
    denoiser = train_denoiser(vae, pools, asked.work, asked.out, Budget(asked.steps, asked.minutes))
    checkpoint = asked.work / f"softer-{asked.steps}.pt"  # a denoiser that went on begins this stage anew
    export(soften(denoiser, pools, SHARES, checkpoint, Budget(asked.soft_steps)), vae, asked.out)


if __name__ == "__main__":
    main()
