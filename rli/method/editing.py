"""Inversion → edits: prompt-to-prompt (Hertz et al. 2022) beside the photograph's recorded source branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rli.errors import RLIError
from rli.method import blend, fresh_noise
from rli.method.attention.install import install
from rli.method.attention.prompt_to_prompt import MapStore, map_size
from rli.method.example import Example, ExampleBranch
from rli.method.example import branch as example_branch
from rli.method.photograph_region import photograph_region
from rli.method.prompts import align, tokenize
from rli.method.records import Edit, EditSettings, Inversion, Target, TokenMap
from rli.method.sampler import sampling_steps
from rli.method.target_branch import Batch, blend_masks, sample
from rli.models import vae
from rli.models.diffusion import Model
from rli.models.text import encode_prompts
from rli.progress import Progress, quiet

# What photographs edited together must have in common of their inversions' settings.
SHARED = ("steps", "guidance", "hooks", "time_ids")


def reconstruct(model: Model, inversion: Inversion) -> Tensor:
    """The photograph as guided sampling gives it back.

    Args:
        model: The model.
        inversion: Of the photograph.

    Returns:
        (1,3,H,W) in [-1,1].
    """
    return vae.decode(model, inversion.source_latents[-1:])


def vae_round_trip(model: Model, inversion: Inversion) -> Tensor:
    """The photograph encoded and decoded: the best that any latent method can give back.

    Args:
        model: The model.
        inversion: Of the photograph.

    Returns:
        (1,3,H,W) in [-1,1].
    """
    return vae.decode(model, inversion.latent)


def edit(
    model: Model,
    inversion: Inversion,
    targets: Sequence[Target | str],
    settings: EditSettings | None = None,
    *,
    mask: np.ndarray | None = None,
    reconstruction: Tensor | None = None,
    example: Example | None = None,
    seed: int = 0,
    batch: int = 8,
    progress: Progress = quiet,
) -> list[Edit]:
    """Edit one inverted photograph to every target: see `edit_batch`.

    Args:
        mask: (H,W) bool, the region that may change, instead of what attention finds; it holds with local_blend off
        too. reconstruction: (1,3,H,W), where it has been decoded already. example: what every target is to look like;
        None where words alone say it. seed: of fresh noise.
    """
    return edit_batch(
        model,
        [inversion],
        targets,
        settings,
        masks=[mask],
        reconstructions=[reconstruction],
        examples=None if example is None else [[example] * len(targets)],
        seeds=[seed],
        batch=batch,
        progress=progress,
    )[0]


def edit_batch(
    model: Model,
    inversions: Sequence[Inversion],
    targets: Sequence[Target | str],
    settings: EditSettings | None = None,
    *,
    masks: Sequence[np.ndarray | None] | None = None,
    reconstructions: Sequence[Tensor | None] | None = None,
    examples: Sequence[Sequence[Example]] | None = None,
    seeds: Sequence[int] | None = None,
    batch: int = 8,
    progress: Progress = quiet,
) -> list[list[Edit]]:
    """Edit every inverted photograph to every target.

    Args:
        inversions: of photographs of one size and source prompt, with equal settings as far as SHARED names them.
        targets: prompts, or Target records that name the changed words.
        masks: for each photograph the region (H,W) bool that may change, or None.
        reconstructions: for each photograph its reconstruction (1,3,H,W), where it has been decoded already, or None.
        examples: for each photograph an example for each target; None where words alone say what is wanted. A target
            with an example may have the source prompt's words.
        seeds: for each photograph the seed of its fresh noise, which differs from target to target by their names;
            None is 0 for all.
        batch: so many pairs of photograph and target are sampled at a time, a photograph's pairs side by side, beside
            one source branch for each photograph among them.
        progress: passes the steps through and may display them.

    Returns:
        For each photograph its edits, in the order of the targets.

    Raises:
        RLIError: for photographs and examples that differ, and for prompts and masks that do not fit.
        NonFiniteError: where the model's output is not finite.
    """
    settings = settings or EditSettings()
    named = [target if isinstance(target, Target) else Target(target, target) for target in targets]
    masks = [None] * len(inversions) if masks is None else masks
    reconstructions = [None] * len(inversions) if reconstructions is None else reconstructions
    seeds = [0] * len(inversions) if seeds is None else seeds
    _check_fit(inversions, masks, [one for own in examples or () for one in own])
    if not named:
        return [[] for _ in inversions]
    given = zip(inversions, masks, reconstructions, seeds, strict=True)
    sources = [_source(model, named, *of_one, settings) for of_one in given]
    wanted: Sequence[Sequence[Example | None]] = examples or [[None] * len(named)] * len(sources)
    pairs = [
        _Pair(source, target, example)
        for source, own in zip(sources, wanted, strict=True)
        for target, example in zip(named, own, strict=True)
    ]
    chunks = [pairs[k : k + batch] for k in range(0, len(pairs), batch)]
    edits = [e for chunk in chunks for e in _edit_together(model, chunk, settings, progress)]
    return [edits[k : k + len(named)] for k in range(0, len(edits), len(named))]


@dataclass(frozen=True, eq=False)
class _Source:
    """One photograph to edit. Two are equal only when they are the same one."""

    inversion: Inversion
    # The region (H,W) bool that may change, or None where the edit itself is to find it.
    mask: np.ndarray | None
    # Where fresh noise goes (H,W) bool, or None where none is wanted.
    begun: np.ndarray | None
    # The reconstruction (1,3,H,W) that stays outside the mask, or None where the edit is left whole.
    kept: Tensor | None
    # Of its fresh noise.
    seed: int


@dataclass(frozen=True)
class _Pair:
    """A photograph, what is wanted of it, and what that is to look like, where an example says it."""

    source: _Source
    target: Target
    example: Example | None


def _check_fit(
    inversions: Sequence[Inversion], masks: Sequence[np.ndarray | None], examples: Sequence[Example]
) -> None:
    """Raises RLIError where photographs, masks and examples do not belong together."""
    _check_shared(inversions)
    _check_shared([*inversions[:1], *(example.inversion for example in examples)], ("source prompt",))
    if len(masks) != len(inversions):
        raise RLIError(
            f"{len(inversions)} photographs need {len(inversions)} masks (None for a photograph without one), but "
            f"{len(masks)} are given"
        )
    if examples and any(mask is None for mask in masks):
        raise RLIError("an example needs a mask of the region that it is to come into")


def _check_shared(inversions: Sequence[Inversion], but: Sequence[str] = ()) -> None:
    """Raises RLIError where photographs differ in what a UNet call takes once for its whole batch, some names left
    out."""
    for other in inversions[1:]:
        for (name, value), another in zip(_shared(inversions[0]).items(), _shared(other).values(), strict=True):
            if value != another and name not in but:
                raise RLIError(
                    f"photographs can be edited together only with equal {name}, and these have {value} and {another}"
                )


def _shared(inversion: Inversion) -> dict[str, object]:
    """What a UNet call takes once for its whole batch, by name."""
    options = {name: getattr(inversion.settings, name) for name in SHARED}
    size = tuple(inversion.source_latents.shape[-2:])
    return {"size of latents": size, "source prompt": inversion.prompt, **options}


def _source(
    model: Model,
    targets: Sequence[Target],
    inversion: Inversion,
    mask: np.ndarray | None,
    reconstruction: Tensor | None,
    seed: int,
    settings: EditSettings,
) -> _Source:
    """Raises RLIError for a mask of another size than the photograph's, and where no region can be found."""
    pixels = _pixels(model, inversion)
    if mask is not None and mask.shape != pixels:
        raise RLIError(
            f"the mask has {mask.shape[1]}×{mask.shape[0]} pixels and its photograph {pixels[1]}×{pixels[0]}; they "
            "must have the same size"
        )
    begun = mask
    if mask is None and (settings.fresh or settings.mask_from == "photograph"):
        begun = photograph_region(model, inversion, targets, settings)
        if settings.mask_from == "photograph":
            mask = begun
            if not begun.any():
                raise RLIError(
                    f'no word of "{inversion.prompt}" changes, so that nothing says where in the photograph an edit is '
                    "to be: give a mask, or use edit.mask_from=edit"
                )
    # The decoder's normalisation carries an edit's colours over the whole picture: what the blend keeps in the latent
    # is kept in the pixels too.
    keeps = (settings.local_blend or mask is not None) and settings.convention == "standard"
    if keeps and reconstruction is None:
        reconstruction = reconstruct(model, inversion)
    return _Source(inversion, mask, begun, reconstruction if keeps else None, seed)


def _pixels(model: Model, inversion: Inversion) -> tuple[int, int]:
    """(H,W) of the photograph."""
    height, width = inversion.source_latents.shape[-2:]
    return height * model.pixels_per_latent, width * model.pixels_per_latent


def _edit_together(model: Model, pairs: Sequence[_Pair], settings: EditSettings, progress: Progress) -> list[Edit]:
    """One UNet batch of pairs."""
    sources = list(dict.fromkeys(pair.source for pair in pairs))
    prompts = [*(source.inversion.prompt for source in sources), *(pair.target.prompt for pair in pairs)]
    batch = _batch(model, sources, pairs, prompts, settings)
    options = sources[0].inversion.settings
    store = MapStore(map_size(model.unet, batch.size))
    steps = sampling_steps(options.steps, len(model.abar))
    with install(model.unet, options.hooks, batch.size):
        latents = sample(model, batch, settings, steps, store, options.guidance, progress)
    images = vae.decode(model, latents)
    masks = blend_masks(store, batch, settings, (images.shape[-2], images.shape[-1])).cpu().numpy()
    words = _word_maps(model, prompts, store)
    edits = []
    for pair, image, (found,), maps in zip(pairs, images.split(1), masks, words[len(sources) :], strict=True):
        source = pair.source
        mask = found if source.mask is None else source.mask
        if source.kept is not None:  # feathered within half a latent position
            weights = blend.feathered(mask, max(1, model.pixels_per_latent // 2))
            image = torch.lerp(source.kept, image, weights)
        edits.append(Edit(pair.target, image, mask, maps, words[sources.index(source)]))
    return edits


def _batch(
    model: Model,
    sources: Sequence[_Source],
    pairs: Sequence[_Pair],
    prompts: Sequence[str],
    settings: EditSettings,
) -> Batch:
    """Everything that sampling needs; a prompt that occurs more than once is encoded once."""
    first = sources[0].inversion
    source_latents = torch.stack([source.inversion.source_latents for source in sources], 1).to(model.device)
    size = (source_latents.shape[-2], source_latents.shape[-1])
    # Before the encoders run: it is here that prompts are refused.
    targets, by_words = [pair.target for pair in pairs], any(pair.example is None for pair in pairs)
    alignment = align(model.tokenizers[0], first.prompt, targets, settings, by_words=by_words).to(model.device)
    distinct = list(dict.fromkeys(prompts))
    texts = encode_prompts(model, distinct, _pixels(model, first), first.settings.time_ids)
    regions = _in_latents([pair.source.mask for pair in pairs], size)
    begun = _in_latents([pair.source.begun for pair in pairs], size)
    is_given = torch.tensor([pair.source.mask is not None for pair in pairs])
    shape = source_latents.shape[2:]
    seeds = [fresh_noise.seed_of(pair.source.seed, pair.target.name) for pair in pairs if settings.fresh]
    noise = [fresh_noise.drawn(seed, shape) for seed in seeds]
    return Batch(
        source_latents=source_latents,
        nulls=tuple(source.inversion.nulls.map(lambda value: value.to(model.device)) for source in sources),
        source_of=torch.tensor([sources.index(pair.source) for pair in pairs], device=model.device),
        texts=texts[torch.tensor([distinct.index(prompt) for prompt in prompts], device=model.device)],
        alignment=alignment,
        regions=regions.to(model.device),
        is_given=is_given[:, None, None, None].to(model.device),
        noise=torch.stack(noise).to(model.device) if noise else None,
        begun=begun.to(model.device),
        example=_examples(model, pairs, regions, settings),
    )


def _in_latents(masks: Sequence[np.ndarray | None], size: tuple[int, int]) -> Tensor:
    """Pixel masks (H,W) bool as (M,1,h,w) bool; false everywhere where there is none."""
    nowhere = np.zeros(size, bool)
    return torch.cat([blend.to_latent(nowhere if mask is None else mask, size) for mask in masks])


def _examples(model: Model, pairs: Sequence[_Pair], regions: Tensor, settings: EditSettings) -> ExampleBranch | None:
    """The branches of the pairs' examples; None where there are none, or none counts."""
    examples = [pair.example for pair in pairs if pair.example is not None]
    if not examples or not settings.example_strength:
        return None
    kept = {pair.source: pair.source.kept for pair in pairs}
    photos = {source: reconstruct(model, source.inversion) if own is None else own for source, own in kept.items()}
    given = [(pair.source.inversion, photos[pair.source]) for pair in pairs]
    return example_branch(model, examples, given, regions, settings)


def _word_maps(model: Model, prompts: Sequence[str], store: MapStore) -> list[tuple[TokenMap, ...]]:
    """For each row of the store one map for each word of its prompt, its tokens summed; none where nothing was seen."""
    if store.total is None:
        return [()] * len(prompts)
    views = [tokenize(model.tokenizers[0], prompt) for prompt in prompts]
    return [
        tuple(TokenMap(word, maps[:, :, slice(*span)].sum(-1)) for word, span in zip(v.words, v.spans, strict=True))
        for v, maps in zip(views, store.mean().cpu().numpy(), strict=True)
    ]
