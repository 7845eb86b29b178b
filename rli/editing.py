"""The story: an inverted photograph, edited prompt-to-prompt (Hertz et al. 2022) along its recorded walk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from rli import attention, codec, masks, text
from rli.alignment import Plan, Tokens, plan, tokenize
from rli.attention import Control, MapStore
from rli.ddim import guide, move, sampling_steps
from rli.inversion import Progress, quiet
from rli.model import Model
from rli.types import Conditioning, Edit, EditSettings, Inversion, NullEmbeddings, RLIError, Step, Target, TokenMap

# Share of the steps before the local blend first acts (the reference: 10 of 50).
BLEND_START = 0.2


def reconstruct(model: Model, inversion: Inversion) -> Tensor:
    """The photograph as guided sampling gives it back: (1,3,H,W) in [-1,1]."""
    return codec.decode(model, inversion.walk[-1:])


def vae_round_trip(model: Model, inversion: Inversion) -> Tensor:
    """The ceiling of every latent method: the encoded photograph decoded, (1,3,H,W) in [-1,1]."""
    return codec.decode(model, inversion.latent)


def edit(
    model: Model,
    inversion: Inversion,
    targets: Sequence[Target | str],
    settings: EditSettings | None = None,
    *,
    mask: np.ndarray | None = None,
    batch: int = 8,
    progress: Progress = quiet,
) -> list[Edit]:
    """Edit one inverted photograph to every target, `batch` targets at a time beside one source branch.

    targets: prompts, or Target records that name the changed words. mask (H,W) bool: the region to change, instead of
    the one that attention finds; it holds with local_blend off too. Raises RLIError for prompts that do not fit,
    NonFiniteError.
    """
    settings = settings or EditSettings()
    named = [target if isinstance(target, Target) else Target(target, target) for target in targets]
    chunks = [named[k : k + batch] for k in range(0, len(named), batch)]
    # The decoder's normalisation carries an edit's colours over the whole picture: what the blend keeps in the latent
    # is kept in the pixels too.
    blends = settings.local_blend or mask is not None
    kept = reconstruct(model, inversion) if named and blends and settings.convention == "standard" else None
    return [e for chunk in chunks for e in _edit_together(model, inversion, chunk, settings, mask, kept, progress)]


def _edit_together(
    model: Model,
    inversion: Inversion,
    targets: list[Target],
    settings: EditSettings,
    mask: np.ndarray | None,
    kept: Tensor | None,
    progress: Progress,
) -> list[Edit]:
    """One batch of targets. kept (1,3,H,W): the picture to keep outside the mask; None where the edit is left whole."""
    options, tokenizer = inversion.settings, model.tokenizers[0]
    walk = inversion.walk.to(model.device)
    scale = 2 ** (len(model.vae.config.block_out_channels) - 1)
    latent_size = tuple(walk.shape[-2:])
    pixels = (latent_size[0] * scale, latent_size[1] * scale)
    if mask is not None and mask.shape != pixels:
        raise RLIError(f"the mask is {mask.shape[1]}×{mask.shape[0]} pixels, the photograph {pixels[1]}×{pixels[0]}")
    given = None if mask is None else masks.to_latent(mask, latent_size).to(model.device)
    prompts = [inversion.prompt, *(t.prompt for t in targets)]
    wishes = plan(tokenizer, inversion.prompt, targets, settings).to(model.device)
    store = MapStore(attention.map_size(model.unet, latent_size))
    steps = sampling_steps(options.steps, len(model.abar))
    texts = text.encode_prompts(model, prompts, pixels, options.time_ids)
    nulls = inversion.nulls.map(lambda value: value.to(model.device))
    shown = progress(steps, f"editing to {len(targets)} target" + "s" * (len(targets) > 1))
    with attention.install(model.unet, options.location, options.alpha):
        latents, blend = _sample(model, walk, texts, nulls, wishes, settings, shown, store, options.guidance, given)
    images, maps = codec.decode(model, latents), store.mean().cpu().numpy() if store.layers else None
    regions = [mask if mask is not None else masks.to_pixels(blend[n, 0], pixels) for n in range(len(targets))]
    if kept is not None:
        weights = torch.cat([masks.feathered(region, max(1, scale // 2)) for region in regions])
        images = torch.lerp(kept.expand_as(images), images, weights)
    views = [tokenize(tokenizer, prompt) for prompt in prompts]
    return [
        Edit(
            target=target,
            image=images[n : n + 1],
            mask=regions[n],
            maps=() if maps is None else _word_maps(maps[1 + n], views[1 + n]),
            source_maps=() if maps is None else _word_maps(maps[0], views[0]),
        )
        for n, target in enumerate(targets)
    ]


@torch.no_grad()
def _sample(
    model: Model,
    walk: Tensor,
    texts: Conditioning,
    nulls: NullEmbeddings,
    wishes: Plan,
    settings: EditSettings,
    steps: Iterable[Step],
    store: MapStore,
    guidance: float,
    given: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Sample N targets beside the recorded source branch: latents (N,C,h,w) and the last blend mask (N,1,h,w) bool.

    Batch rows: the source's conditional half (its unconditional half is not needed, since its walk is known), the
    targets' conditional halves, and their unconditional halves.
    """
    count, size = len(wishes.own), tuple(walk.shape[-2:])
    z = walk[:1].repeat(count, 1, 1, 1)
    blend = torch.ones_like(z[:, :1], dtype=torch.bool) if given is None else given.expand(count, -1, -1, -1)
    for step in steps:
        if step.is_identity and settings.convention == "standard":
            continue  # the reference predicts here too, which moves nothing but its mask
        null = nulls.at(step.index, None if texts.time_ids is None else texts.time_ids[:1])
        conditioning = Conditioning.cat([texts, null.repeat(count)])
        control = _control(wishes, settings, step, size, store)
        eps = model.predict(torch.cat([walk[step.index][None], z, z]), step, conditioning, "editing", control)
        guided = guide(eps[1 + count :], eps[1 : 1 + count], guidance)
        z = move(z, guided, model.abar[step.start], model.abar[step.end])
        if given is None:
            blend = _blend(store, wishes, settings, size)
        if (settings.local_blend or given is not None) and step.index >= BLEND_START * step.total:
            z = torch.where(blend, z, walk[step.index + 1])
    return z, blend


def _control(wishes: Plan, settings: EditSettings, step: Step, latent: tuple[int, int], store: MapStore) -> Control:
    """This step's wishes: windows are shares of the steps; the reference counts the cross window in fiftieths."""
    return Control(
        mapper=wishes.mapper,
        own=wishes.own,
        factor=wishes.factor,
        cross=step.index < settings.cross * (50 if settings.convention == "reference" else step.total),
        self_=step.index < settings.replace * step.total,
        latent=latent,
        store=store,
    )


def _blend(store: MapStore, wishes: Plan, settings: EditSettings, size: tuple[int, int]) -> Tensor:
    """(N,1,h,w) bool: where the changed words look, in the source or in the target."""
    count = len(wishes.own)
    source = store.total[:1].expand(count, -1, -1, -1)
    return masks.local_blend_mask(source, wishes.source_words, size, settings.threshold) | masks.local_blend_mask(
        store.total[1:], wishes.target_words, size, settings.threshold
    )


def _word_maps(maps: np.ndarray, tokens: Tokens) -> tuple[TokenMap, ...]:
    """maps (h,w,S) of one prompt → one map for each of its words, its tokens summed."""
    return tuple(
        TokenMap(word, maps[:, :, slice(*span)].sum(-1)) for word, span in zip(tokens.words, tokens.spans, strict=True)
    )
