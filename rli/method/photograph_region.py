"""Where the words that an edit exchanges look in the photograph, before anything is edited."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from rli.method import blend
from rli.method.attention.install import install
from rli.method.attention.prompt_to_prompt import MapStore, PromptToPrompt, map_size
from rli.method.prompts import align
from rli.method.records import EditSettings, Inversion, Target
from rli.method.sampler import sampling_steps
from rli.models.diffusion import Model
from rli.models.text import encode_prompts

# Shares of the way down from noise at which it is looked: earlier nothing can be told, later maps say little of words.
LOOKS = (1 / 2, 2 / 3, 3 / 4)


@torch.no_grad()
def photograph_region(
    model: Model, inversion: Inversion, targets: Sequence[Target], settings: EditSettings
) -> np.ndarray:
    """Where the source prompt's changed words look along the source branch, for one call of the UNet at each of LOOKS.

    Args:
        model: The model.
        inversion: Of the photograph.
        targets: All that it is edited to; a word counts that any of them changes.
        settings: The threshold, and how maps are brought to the picture's size.

    Returns:
        (H,W) bool: the blend mask of these maps, and one latent position more on every side.

    Raises:
        RLIError: For prompts that do not fit together.
    """
    size = (inversion.source_latents.shape[-2], inversion.source_latents.shape[-1])
    cell, options = model.pixels_per_latent, inversion.settings
    pixels = (size[0] * cell, size[1] * cell)
    words = align(model.tokenizers[0], inversion.prompt, targets, settings).to(model.device)
    text = encode_prompts(model, [inversion.prompt], pixels, options.time_ids)
    steps, store = sampling_steps(options.steps, len(model.abar)), MapStore(map_size(model.unet, size))
    nobody = torch.zeros(0, dtype=torch.long, device=model.device)
    hook = PromptToPrompt(
        sources=1,
        source_of=nobody,
        mapper=words.mapper,
        keep_own_map=words.keep_own_map,
        equalizer=words.equalizer,
        inject_cross=False,
        inject_self=False,
        store=store,
    )
    with install(model.unet, options.hooks, size):
        for share in LOOKS:
            step = steps[int(share * len(steps))]
            latent = inversion.source_latents[step.index][None].to(model.device)
            model.predict(latent, step, text, "editing", (hook,))
    assert store.total is not None, "no layer had the store's resolution"
    changed = words.source_words.amax(0, keepdim=True)
    looked = blend.local_blend_mask(store.total, changed, pixels, settings.threshold, settings.map_interpolation)
    found: np.ndarray = (F.max_pool2d(looked.float(), 2 * cell + 1, 1, cell) > 0)[0, 0].cpu().numpy()
    return found
