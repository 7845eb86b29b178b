"""Inversion → edits: prompt-to-prompt (Hertz et al. 2022) beside the photograph's recorded source branch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rli.errors import RLIError
from rli.method import blend
from rli.method.attention.install import install
from rli.method.attention.prompt_to_prompt import MapStore, PromptToPrompt, map_size
from rli.method.prompts import TokenAlignment, align, tokenize
from rli.method.records import Edit, EditSettings, Inversion, NullEmbeddings, Target, TokenMap
from rli.method.sampler import guide, move, sampling_steps
from rli.models import vae
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise_schedule import Step
from rli.models.text import encode_prompts
from rli.progress import Progress, quiet

# Share of the steps before the local blend first acts (the reference: 10 of 50).
BLEND_START = 0.2
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
    batch: int = 8,
    progress: Progress = quiet,
) -> list[Edit]:
    """Edit one inverted photograph to every target: see `edit_batch`.

    Args:
        mask: (H,W) bool, the region that may change, instead of what attention finds; it holds with local_blend off
        too. reconstruction: (1,3,H,W), where it has been decoded already.
    """
    return edit_batch(
        model,
        [inversion],
        targets,
        settings,
        masks=[mask],
        reconstructions=[reconstruction],
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
    batch: int = 8,
    progress: Progress = quiet,
) -> list[list[Edit]]:
    """Edit every inverted photograph to every target.

    Args:
        inversions: of photographs of one size and source prompt, with equal settings as far as SHARED names them.
        targets: prompts, or Target records that name the changed words.
        masks: for each photograph the region (H,W) bool that may change, or None.
        reconstructions: for each photograph its reconstruction (1,3,H,W), where it has been decoded already, or None.
        batch: so many pairs of photograph and target are sampled at a time, a photograph's pairs side by side, beside
            one source branch for each photograph among them.
        progress: passes the steps through and may display them.

    Returns:
        For each photograph its edits, in the order of the targets.

    Raises:
        RLIError: for photographs that differ, and for prompts and masks that do not fit.
        NonFiniteError: where the model's output is not finite.
    """
    settings = settings or EditSettings()
    named = [target if isinstance(target, Target) else Target(target, target) for target in targets]
    masks = [None] * len(inversions) if masks is None else masks
    reconstructions = [None] * len(inversions) if reconstructions is None else reconstructions
    _check_shared(inversions)
    if len(masks) != len(inversions):
        raise RLIError(
            f"{len(inversions)} photographs need {len(inversions)} masks (None for a photograph without one), but "
            f"{len(masks)} are given"
        )
    if not named:
        return [[] for _ in inversions]
    sources = [_source(model, *given, settings) for given in zip(inversions, masks, reconstructions, strict=True)]
    pairs = [(source, target) for source in sources for target in named]
    chunks = [pairs[k : k + batch] for k in range(0, len(pairs), batch)]
    edits = [e for chunk in chunks for e in _edit_together(model, chunk, settings, progress)]
    return [edits[k : k + len(named)] for k in range(0, len(edits), len(named))]


@dataclass(frozen=True, eq=False)
class _Source:
    """One photograph to edit. Two are equal only when they are the same one."""

    inversion: Inversion
    # The region (H,W) bool that was asked for, or None.
    mask: np.ndarray | None
    # The reconstruction (1,3,H,W) that stays outside the mask, or None where the edit is left whole.
    kept: Tensor | None


@dataclass(frozen=True)
class _Batch:
    """M pairs of photograph and target, of P photographs, on the model's device."""

    # The photographs' source branches (T+1,P,C,h,w), and their null embeddings, P of them.
    source_latents: Tensor
    nulls: tuple[NullEmbeddings, ...]
    # (M,) long: each pair's photograph.
    source_of: Tensor
    # The source prompt P times, then M target prompts.
    texts: Conditioning
    # Of M targets.
    alignment: TokenAlignment
    # M masks (1,1,h,w) bool, None where attention finds it.
    given: tuple[Tensor | None, ...]

    @property
    def size(self) -> tuple[int, int]:
        return self.source_latents.shape[-2], self.source_latents.shape[-1]


def _check_shared(inversions: Sequence[Inversion]) -> None:
    """Raises RLIError where photographs differ in what a UNet call takes once for its whole batch."""
    for other in inversions[1:]:
        for (name, value), another in zip(_shared(inversions[0]).items(), _shared(other).values(), strict=True):
            if value != another:
                raise RLIError(
                    f"photographs can be edited together only with equal {name}, and these have {value} and {another}"
                )


def _shared(inversion: Inversion) -> dict[str, object]:
    """What a UNet call takes once for its whole batch, by name."""
    options = {name: getattr(inversion.settings, name) for name in SHARED}
    size = tuple(inversion.source_latents.shape[-2:])
    return {"size of latents": size, "source prompt": inversion.prompt, **options}


def _source(
    model: Model, inversion: Inversion, mask: np.ndarray | None, reconstruction: Tensor | None, settings: EditSettings
) -> _Source:
    """Raises RLIError for a mask of another size than the photograph's."""
    pixels = _pixels(model, inversion)
    if mask is not None and mask.shape != pixels:
        raise RLIError(
            f"the mask has {mask.shape[1]}×{mask.shape[0]} pixels and its photograph {pixels[1]}×{pixels[0]}; they "
            "must have the same size"
        )
    # The decoder's normalisation carries an edit's colours over the whole picture: what the blend keeps in the latent
    # is kept in the pixels too.
    keeps = (settings.local_blend or mask is not None) and settings.convention == "standard"
    if keeps and reconstruction is None:
        reconstruction = reconstruct(model, inversion)
    return _Source(inversion, mask, reconstruction if keeps else None)


def _pixels(model: Model, inversion: Inversion) -> tuple[int, int]:
    """(H,W) of the photograph."""
    height, width = inversion.source_latents.shape[-2:]
    return height * model.pixels_per_latent, width * model.pixels_per_latent


def _edit_together(
    model: Model, pairs: Sequence[tuple[_Source, Target]], settings: EditSettings, progress: Progress
) -> list[Edit]:
    """One UNet batch of pairs."""
    sources = list(dict.fromkeys(source for source, _ in pairs))
    prompts = [*(source.inversion.prompt for source in sources), *(target.prompt for _, target in pairs)]
    batch = _batch(model, sources, pairs, prompts, settings)
    options = sources[0].inversion.settings
    store = MapStore(map_size(model.unet, batch.size))
    steps = progress(sampling_steps(options.steps, len(model.abar)), f"editing, {len(pairs)} at once")
    with install(model.unet, options.hooks, batch.size):
        latents, masks = _sample(model, batch, settings, steps, store, options.guidance)
    images = vae.decode(model, latents)
    words = _word_maps(model, prompts, store)
    edits = []
    for (source, target), image, found, maps in zip(pairs, images.split(1), masks, words[len(sources) :], strict=True):
        pixels = (image.shape[-2], image.shape[-1])
        mask = source.mask if source.mask is not None else blend.to_pixels(found[0], pixels)
        if source.kept is not None:  # feathered within half a latent position
            weights = blend.feathered(mask, max(1, model.pixels_per_latent // 2))
            image = torch.lerp(source.kept, image, weights)
        edits.append(Edit(target, image, mask, maps, words[sources.index(source)]))
    return edits


def _batch(
    model: Model,
    sources: Sequence[_Source],
    pairs: Sequence[tuple[_Source, Target]],
    prompts: Sequence[str],
    settings: EditSettings,
) -> _Batch:
    """Everything that sampling needs; a prompt that occurs more than once is encoded once."""
    first = sources[0].inversion
    source_latents = torch.stack([source.inversion.source_latents for source in sources], 1).to(model.device)
    size = (source_latents.shape[-2], source_latents.shape[-1])
    # Before the encoders run: it is here that prompts are refused.
    alignment = align(model.tokenizers[0], first.prompt, [target for _, target in pairs], settings).to(model.device)
    distinct = list(dict.fromkeys(prompts))
    texts = encode_prompts(model, distinct, _pixels(model, first), first.settings.time_ids)
    given = [None if s.mask is None else blend.to_latent(s.mask, size).to(model.device) for s, _ in pairs]
    return _Batch(
        source_latents=source_latents,
        nulls=tuple(source.inversion.nulls.map(lambda value: value.to(model.device)) for source in sources),
        source_of=torch.tensor([sources.index(source) for source, _ in pairs], device=model.device),
        texts=texts[torch.tensor([distinct.index(prompt) for prompt in prompts], device=model.device)],
        alignment=alignment,
        given=tuple(given),
    )


@torch.no_grad()
def _sample(
    model: Model, batch: _Batch, settings: EditSettings, steps: Iterable[Step], store: MapStore, guidance: float
) -> tuple[Tensor, Tensor]:
    """Sample M pairs beside the source branches of their photographs: latents (M,C,h,w) and the last blend masks
    (M,1,h,w) bool.

    Batch rows: the photographs' conditional halves (their unconditional halves are not needed, since their branches are
    known), the targets' conditional halves, and their unconditional halves.
    """
    source_latents, source_of, texts = batch.source_latents, batch.source_of, batch.texts
    time_ids = None if texts.time_ids is None else texts.time_ids[:1]
    z = source_latents[0, source_of]
    mask = torch.ones_like(z[:, :1], dtype=torch.bool)
    whole = torch.tensor([given is None and not settings.local_blend for given in batch.given], device=z.device)
    for step in steps:
        if step.is_identity and settings.convention == "standard":
            continue  # the reference predicts here too, which moves nothing but its mask
        null = Conditioning.cat([nulls.at(step.index, time_ids) for nulls in batch.nulls])[source_of]
        hook = _injection(batch, settings, step, store)
        rows = torch.cat([source_latents[step.index], z, z])
        eps = model.predict(rows, step, Conditioning.cat([texts, null]), "editing", (hook,))
        guided = guide(eps[hook.targets.stop :], eps[hook.targets], guidance)
        z = move(z, guided, model.abar[step.start], model.abar[step.end])
        mask = _blend_masks(store, batch, settings)
        if step.index >= BLEND_START * step.total:
            z = torch.where(mask | whole[:, None, None, None], z, source_latents[step.index + 1, source_of])
    return z, mask


def _injection(batch: _Batch, settings: EditSettings, step: Step, store: MapStore) -> PromptToPrompt:
    """This step's: windows are shares of the steps; the reference counts the cross window in fiftieths."""
    return PromptToPrompt(
        sources=len(batch.nulls),
        source_of=batch.source_of,
        mapper=batch.alignment.mapper,
        keep_own_map=batch.alignment.keep_own_map,
        equalizer=batch.alignment.equalizer,
        inject_cross=step.index < settings.cross * (50 if settings.convention == "reference" else step.total),
        inject_self=step.index < settings.replace * step.total,
        store=store,
    )


def _blend_masks(store: MapStore, batch: _Batch, settings: EditSettings) -> Tensor:
    """(M,1,h,w) bool: the given mask, or where the changed words look, in the source or in the target."""
    assert store.total is not None, "no layer had the store's resolution"
    source, target = store.total[: len(batch.nulls)][batch.source_of], store.total[len(batch.nulls) :]
    words = (source, batch.alignment.source_words), (target, batch.alignment.target_words)
    one, other = (blend.local_blend_mask(maps, chosen, batch.size, settings.threshold) for maps, chosen in words)
    found = (one | other).split(1)
    return torch.cat([f if given is None else given for f, given in zip(found, batch.given, strict=True)])


def _word_maps(model: Model, prompts: Sequence[str], store: MapStore) -> list[tuple[TokenMap, ...]]:
    """For each row of the store one map for each word of its prompt, its tokens summed; none where nothing was seen."""
    if not store.layers:
        return [()] * len(prompts)
    views = [tokenize(model.tokenizers[0], prompt) for prompt in prompts]
    return [
        tuple(TokenMap(word, maps[:, :, slice(*span)].sum(-1)) for word, span in zip(v.words, v.spans, strict=True))
        for v, maps in zip(views, store.mean().cpu().numpy(), strict=True)
    ]
