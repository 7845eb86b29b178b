"""Train the miniature: `python -m rli.models.mini.train --out rli/models/mini/weights --work <folder>`.

Stages: autoencoder, latents, denoiser (UNet and text encoders together), noise of inversions, softer words, export. A
killed run continues from the checkpoints in the work folder. One thread is best on a shared machine: OMP_NUM_THREADS=1.
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

from rli.models.mini import WEIGHTS, autoencode, inverted
from rli.models.mini.inverted import Inputs
from rli.models.mini.latents import SIZES, Captions, Pool, draw, drawings, noised, pool
from rli.models.mini.localise import loss, record
from rli.models.mini.loop import Budget, Stage, add_places
from rli.models.mini.networks import Denoiser, export, scheduler
from rli.models.mini.soften import soften
from rli.models.mini.surfaces import UNSEEN
from rli.models.mini.transform import as_convolution

POOLS = (2_400, 200, 200, 400)  # examples per size in SIZES
OFFSETS = (0, 1_000_000, 1_250_000, 1_500_000)  # their first seeds
SHARES = (0.82, 0.06, 0.06, 0.06)  # of the batches
FRESH = 2_000_000  # seeds of the pictures drawn while training


def train_denoiser(
    vae: AutoencoderKL,
    pools: list[Pool],
    work: pathlib.Path,
    out: pathlib.Path,
    budget: Budget,
    batch: int = 16,
    fresh: int = 1,
    workers: int = 0,
    empty: float = 0.18,
    export_minutes: float = 12,
) -> Denoiser:
    """Train or finish training on the pools' device; the moving average is exported now and then, and returned.

    fresh: surfaces that are drawn anew in each step, by so many workers, and take the place of old ones in the pool.
    """
    device = pools[0].latents.device
    model = Denoiser().to(device)
    stage = Stage("denoiser", model, copy.deepcopy(model), 1e-3, budget, work / "denoiser.pt")
    encode = as_convolution(vae).to(device)
    recorder, captions, abar = record(model.unet), Captions(), scheduler().alphas_cumprod.to(device)
    rng, generator = np.random.default_rng(stage.step), torch.Generator(device).manual_seed(stage.step)
    seeds = range(FRESH + fresh * stage.step, FRESH + fresh * budget.steps)
    assert seeds.stop < UNSEEN
    drawn = drawings(seeds, SIZES[0], fresh, workers)
    losses, exported = torch.zeros(2, device=device), time.monotonic()
    for step in stage.steps():
        pools[0].put(fresh * step, encode, next(drawn))
        shown = draw(rng, pools[rng.choice(len(pools), p=SHARES)], captions, batch, empty)
        value, error = loss(model, recorder, shown, noised(shown.latents, abar, generator))
        stage.descend(value)
        losses += torch.stack([error, value.detach() - error])
        if (step + 1) % 100 == 0:
            total, local = (losses / 100).tolist()
            tqdm.write(f"denoiser step {step + 1} loss {total:.4f} localisation {local:.4f}")
            losses.zero_()
        if time.monotonic() - exported > 60 * export_minutes:
            export(stage.average, vae, out)
            exported = time.monotonic()
    export(stage.average, vae, out)
    return stage.average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS)
    parser.add_argument("--work", type=pathlib.Path, required=True, help="checkpoints")
    parser.add_argument("--vae-steps", type=int, default=12_000)
    parser.add_argument("--vae-minutes", type=float, default=math.inf, help="ends the autoencoder's training earlier")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=math.inf, help="ends the denoiser's training earlier")
    parser.add_argument("--batch", type=int, default=16, help="pictures in a step of the denoiser")
    parser.add_argument("--fresh", type=int, default=1, help="surfaces drawn anew in each of these steps")
    parser.add_argument("--soft-steps", type=int, default=1_200, help="in which the words become weaker")
    parser.add_argument("--inverted", type=int, default=200, help="surfaces that are inverted in 20 steps, and in 50")
    parser.add_argument("--inverted-steps", type=int, default=3_000, help="in which their noise is learnt")
    parser.add_argument("--pools", type=int, nargs=len(SIZES), default=POOLS, help="encoded pictures of each size")
    parser.add_argument("--pictures", type=int, default=3_000, help="pictures that the autoencoder is trained on")
    parser.add_argument("--seed", type=int, default=0)
    add_places(parser)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    vae = autoencode.train(asked.work, Budget(asked.vae_steps, asked.vae_minutes), asked.pictures)
    encode = as_convolution(vae).to(asked.device)
    pools = [
        pool(encode, range(first, first + count), size, asked.workers)
        for count, first, size in zip(asked.pools, OFFSETS, SIZES, strict=True)
    ]
    budget = Budget(asked.steps, asked.minutes)
    denoiser = train_denoiser(vae, pools, asked.work, asked.out, budget, asked.batch, asked.fresh, asked.workers)
    inputs = Inputs(denoiser, encode, pools, SHARES, asked.inverted)
    later = {name: asked.work / f"{name}-{asked.steps}.pt" for name in ("inverted", "softer")}  # anew after more steps
    robust = inverted.train(denoiser, inputs, later["inverted"], Budget(asked.inverted_steps), asked.batch)
    softer = soften(robust, inputs, later["softer"], Budget(asked.soft_steps), asked.batch)
    export(softer, vae, asked.out)


if __name__ == "__main__":
    main()
