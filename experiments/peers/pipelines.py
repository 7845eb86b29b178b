"""diffusers' pipelines, built from a loaded model's own parts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, LEditsPPPipelineStableDiffusionXL, StableDiffusionXLInpaintPipeline
from PIL import Image
from torch import Tensor

from rli.images import to_uint8
from rli.method.blend import to_latent
from rli.models.diffusion import Model

GUIDANCE = 5.0  # RLI's
# Of the noise that inpainting begins with: just less than all.
STRENGTH = 0.99


class WordCounter:
    """A tokenizer whose `length` counts the words alone, as LEDITS++ expects: transformers 5 counts padding too."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, *texts: Any, **settings: Any) -> Any:
        told = self.tokenizer(*texts, **settings)
        if settings.get("return_length"):
            told["length"] = torch.as_tensor(told["attention_mask"]).sum(-1)
        return told


class AttentionMap(Tensor):
    """Maps from which LEDITS++ makes a mask, and repeats it for SDXL's four channels; here it is for `channels`."""

    channels = 4

    def repeat(self, *times: int) -> Tensor:
        plain = self.as_subclass(Tensor)
        return plain.repeat(1, self.channels, 1, 1) if times == (1, 4, 1, 1) else plain.repeat(*times)


class AnyLatents(LEditsPPPipelineStableDiffusionXL):
    """LEDITS++ with masks of as many channels as the model's latents have."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "smoothing":  # the last that is done to the maps before they become masks
            kind = type("OfLatents", (AttentionMap,), {"channels": self.unet.config.in_channels})
            super().__setattr__(name, lambda maps: value(maps).as_subclass(kind))
        else:
            super().__setattr__(name, value)


def scheduler(**settings: Any) -> DDIMScheduler:
    """SDXL's noise schedule, for DDIM."""
    common = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
    return DDIMScheduler(**common, set_alpha_to_one=False, **settings)


def inpainting(model: Model, photo: Tensor, region: np.ndarray, prompt: str, seed: int, steps: int) -> Tensor:
    """A photograph (1,3,H,W) in [-1,1] painted anew in a region (H,W) bool: (1,3,H,W)."""
    # By its settings' four channels the pipeline tells a UNet of text to image, however many the latents have.
    unet = copy.copy(model.unet)
    unet.register_to_config(in_channels=4)
    pipe = _assembled(StableDiffusionXLInpaintPipeline, replace(model, unet=unet), model.tokenizers)
    height, width = region.shape
    picture = pipe(
        prompt=prompt,
        image=Image.fromarray(to_uint8(photo)),
        mask_image=Image.fromarray(region.astype(np.uint8) * 255),
        height=height,
        width=width,
        strength=STRENGTH,
        num_inference_steps=steps,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
    ).images
    return picture.float() * 2 - 1


def leditspp(
    model: Model, photo: Tensor, region: np.ndarray, source: str, prompts: Sequence[str], seed: int, steps: int
) -> Tensor:
    """A photograph (1,3,H,W) in [-1,1] edited in a region (H,W) bool to each prompt: (N,3,H,W)."""
    pipe = _assembled(AnyLatents, model, [WordCounter(t) for t in model.tokenizers])
    height, width = region.shape
    pipe.invert(
        image=Image.fromarray(to_uint8(photo)),
        source_prompt=source,
        num_inversion_steps=steps,
        generator=torch.Generator().manual_seed(seed),
        height=height,
        width=width,
    )
    scale = model.pixels_per_latent
    mask = to_latent(region, (height // scale, width // scale)).float()
    before, pictures = dict(model.unet.attn_processors), []
    for prompt in prompts:
        done = pipe(
            editing_prompt=[prompt],
            edit_guidance_scale=GUIDANCE,
            user_mask=mask,
            use_intersect_mask=True,  # where attention and the noise's difference agree (Brack et al. 2024)
            output_type="pt",
            target_size=(height, width),
        )
        pictures.append(done.images.float() * 2 - 1)
    model.unet.set_attn_processor(before)  # the pipeline leaves its own
    return torch.cat(pictures)


def _assembled(kind: Any, model: Model, tokenizers: Sequence[Any]) -> Any:
    """A pipeline of a loaded model's parts, silent."""
    first, second = model.text_encoders
    pipe = kind(
        vae=model.vae,
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=model.unet,
        scheduler=scheduler(),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
