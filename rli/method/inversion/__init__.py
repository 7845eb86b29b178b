"""Photograph → Inversion: noise and null embeddings from which guided sampling gives the photograph back.

One file for each method; `base.py` says what a method gets and gives, `settings.py` holds what all of them share.
"""

from __future__ import annotations

import time

from torch import Tensor

from rli.method.attention.install import install
from rli.method.inversion.base import InversionTask
from rli.method.inversion.settings import InversionSettings
from rli.method.prompts import tokenize
from rli.method.records import Inversion
from rli.method.sampler import check_steps
from rli.models import vae
from rli.models.diffusion import Model
from rli.models.text import encode_prompts
from rli.progress import Progress, quiet


def invert(
    model: Model, image: Tensor, prompt: str, settings: InversionSettings | None = None, progress: Progress = quiet
) -> Inversion:
    """Invert one photograph: see `invert_batch`.

    Args:
        image: (1,3,H,W) in [-1,1].
        prompt: the source prompt, which describes it.
    """
    return invert_batch(model, image, prompt, settings, progress)[0]


def invert_batch(
    model: Model, images: Tensor, prompt: str, settings: InversionSettings | None = None, progress: Progress = quiet
) -> list[Inversion]:
    """Invert photographs of one size together; each stops on its own.

    Args:
        images: (B,3,H,W) in [-1,1].
        prompt: the source prompt, which describes all of them.
        settings: the default is the paper's method with our solver.
        progress: passes the steps of each stage through and may display them.

    Returns:
        B inversions, on the CPU.

    Raises:
        RLIError: for more steps than the model's noise schedule allows.
        NonFiniteError: where the model's output is not finite.
        RLIError: where the prompt is longer than the text encoder reads.
    """
    tokenize(model.tokenizers[0], prompt)  # longer prompts would be cut without a word
    settings = settings or InversionSettings()
    check_steps(settings.steps, model.abar)
    began, count = time.perf_counter(), len(images)
    latents = vae.encode(model, images, settings.encode, settings.seed)
    both = encode_prompts(model, [prompt, ""], (images.shape[-2], images.shape[-1]), settings.time_ids)
    task = InversionTask(
        model=model,
        latents=latents,
        source=both[:1].repeat(count),
        empty=both[1:].repeat(count),
        steps=settings.steps,
        guidance=settings.guidance,
        alignment=settings.alignment,
        seed=settings.seed,
        progress=progress,
    )
    with install(model.unet, settings.hooks, (latents.shape[-2], latents.shape[-1])):
        branch = settings.method(task)
    seconds = (time.perf_counter() - began) / count
    return [
        Inversion(
            prompt=prompt,
            settings=settings,
            latent=latents[b : b + 1].cpu(),
            source_latents=branch.latents[:, b].cpu(),
            nulls=branch.nulls.photo(b),
            losses=tuple(tuple(float(loss[b]) for loss in move) for move in branch.losses),
            seconds=seconds,
        )
        for b in range(count)
    ]
