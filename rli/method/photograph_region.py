"""Where the words that an edit exchanges look in the photograph, before anything is edited."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from rli.method import blend
from rli.method.attention.install import install
from rli.method.attention.prompt_to_prompt import MapStore, PromptToPrompt, map_size
from rli.method.prompts import align
from rli.method.records import EditSettings, Inversion, Target
from rli.method.sampler import sampling_steps
from rli.models.diffusion import Model
from rli.models.text import encode_prompts

# Shares of the way down from noise at which it is looked. The later, the better is a thin defect found
# (experiments/edit_quality/where.py); at the very end the model has nothing more to say.
LOOKS = (0.8, 0.85, 0.9)
# How far a region reaches beyond what is found, in positions of the maps: a thin defect's edges are not found.
REACH = 2


def photograph_region(
    model: Model,
    inversion: Inversion,
    targets: Sequence[Target],
    settings: EditSettings,
    looks: Sequence[float] = LOOKS,
) -> np.ndarray:
    """Where the source prompt's changed words look in the photograph.

    Args:
        model: The model.
        inversion: Of the photograph.
        targets: All that it is edited to; a word counts that any of them changes.
        settings: The threshold, and how maps are brought to the picture's size.
        looks: Shares in [0,1) of the way down from noise; for each the UNet is called once.

    Returns:
        (H,W) bool: where the maps lie above the threshold, and REACH positions further, by Euclidean distance; nowhere
        where no word of the source prompt changes.

    Raises:
        RLIError: For prompts that do not fit together.
    """
    attention = _attention(model, inversion, targets, settings, looks)
    height, width = (side * model.pixels_per_latent for side in inversion.source_latents.shape[-2:])
    above = blend.above(attention, (height, width), settings.threshold, settings.map_interpolation)[0, 0].cpu().numpy()
    if not above.any():
        return np.zeros((height, width), bool)
    return np.asarray(ndimage.distance_transform_edt(~above) <= REACH * height / attention.shape[-2])


@torch.no_grad()
def _attention(
    model: Model, inversion: Inversion, targets: Sequence[Target], settings: EditSettings, looks: Sequence[float]
) -> Tensor:
    """(1,1,h',w') float32 ≥ 0: how much the source prompt's changed words look at each place, summed over the looks."""
    size = (inversion.source_latents.shape[-2], inversion.source_latents.shape[-1])
    pixels, options = (size[0] * model.pixels_per_latent, size[1] * model.pixels_per_latent), inversion.settings
    words = align(model.tokenizers[0], inversion.prompt, targets, settings).to(model.device)
    text = encode_prompts(model, [inversion.prompt], pixels, options.time_ids)
    steps, store = sampling_steps(options.steps, len(model.abar)), MapStore(map_size(model.unet, size))
    hook = PromptToPrompt(
        sources=1,
        source_of=torch.zeros(0, dtype=torch.long, device=model.device),
        mapper=words.mapper,
        keep_own_map=words.keep_own_map,
        equalizer=words.equalizer,
        inject_cross=False,
        inject_self=False,
        store=store,
    )
    with install(model.unet, options.hooks, size):
        for share in looks:
            step = steps[int(share * len(steps))]
            latent = inversion.source_latents[step.index][None].to(model.device)
            model.predict(latent, step, text, "editing", (hook,))
    assert store.total is not None, "no layer had the store's resolution"
    return blend.attention_to(store.total, words.source_words.amax(0, keepdim=True))
