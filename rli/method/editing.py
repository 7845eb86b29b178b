"""The story: an inverted photograph, edited prompt-to-prompt (Hertz et al. 2022) along its recorded walk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rli.errors import RLIError
from rli.method import blend as masks
from rli.method.attention import install as attention
from rli.method.attention.install import Control, MapStore
from rli.method.prompts import Plan, plan, tokenize
from rli.method.records import Edit, EditSettings, Inversion, NullEmbeddings, Target, TokenMap
from rli.method.schedule import guide, move, sampling_steps
from rli.models import text
from rli.models import vae as codec
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise import Step
from rli.progress import Progress, quiet

# Share of the steps before the local blend first acts (the reference: 10 of 50).
BLEND_START = 0.2

# What photographs edited together must have in common of their inversions' settings.
ALIKE = ("steps", "guidance", "location", "alpha", "time_ids")


@dataclass(frozen=True, eq=False)
class _Source:
    """One photograph to edit: mask (H,W) bool, the region that was asked for, or None; kept (1,3,H,W), the picture to
    keep outside the mask, or None where the edit is left whole. Two are equal only when they are the same one."""

    inversion: Inversion
    mask: np.ndarray | None
    kept: Tensor | None


@dataclass(frozen=True)
class _Batch:
    """M pairs of photograph and target, of P photographs, on the model's device.

    walk (T+1,P,C,h,w) and P nulls: the photographs'. owner (M,) long: each pair's photograph. texts: the source prompt
    P times, then M target prompts. wishes: of M targets. given: M masks (1,1,h,w) bool, None where attention finds it.
    """

    walk: Tensor
    nulls: tuple[NullEmbeddings, ...]
    owner: Tensor
    texts: Conditioning
    wishes: Plan
    given: tuple[Tensor | None, ...]

    @property
    def size(self) -> tuple[int, int]:
        return tuple(self.walk.shape[-2:])


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
    return edit_batch(model, [inversion], targets, settings, masks=[mask], batch=batch, progress=progress)[0]


def edit_batch(
    model: Model,
    inversions: Sequence[Inversion],
    targets: Sequence[Target | str],
    settings: EditSettings | None = None,
    *,
    masks: Sequence[np.ndarray | None] | None = None,
    batch: int = 8,
    progress: Progress = quiet,
) -> list[list[Edit]]:
    """Edit every inverted photograph to every target: for each photograph its edits, in the order of the targets.

    Photographs of one size, one source prompt and equal inversion settings where sampling takes part (ALIKE); `batch`
    pairs of photograph and target are sampled at a time, a photograph's pairs side by side, beside one source branch
    for each photograph among them. targets as in `edit`; masks: one for each photograph, (H,W) bool or None. Raises
    RLIError for photographs that differ and for prompts and masks that do not fit, NonFiniteError.
    """
    settings = settings or EditSettings()
    named = [target if isinstance(target, Target) else Target(target, target) for target in targets]
    masks = [None] * len(inversions) if masks is None else masks
    _check_alike(inversions)
    if len(masks) != len(inversions):
        raise RLIError(f"{len(masks)} masks for {len(inversions)} photographs: one for each, None where there is none")
    if not named:
        return [[] for _ in inversions]
    sources = [_source(model, *given, settings) for given in zip(inversions, masks, strict=True)]
    pairs = [(source, target) for source in sources for target in named]
    chunks = [pairs[k : k + batch] for k in range(0, len(pairs), batch)]
    edits = [e for chunk in chunks for e in _edit_together(model, chunk, settings, progress)]
    return [edits[k : k + len(named)] for k in range(0, len(edits), len(named))]


def _check_alike(inversions: Sequence[Inversion]) -> None:
    """One UNet call is told one size, one source prompt and one step: raises RLIError where photographs differ."""
    for other in inversions[1:]:
        for (name, value), another in zip(_told(inversions[0]).items(), _told(other).values(), strict=True):
            if value != another:
                raise RLIError(f"photographs edited together need one {name}, not {value} and {another}")


def _told(inversion: Inversion) -> dict[str, object]:
    """What a UNet call on the photograph is told for its whole batch, by name."""
    options = {name: getattr(inversion.settings, name) for name in ALIKE}
    return {"size of latents": tuple(inversion.walk.shape[-2:]), "source prompt": inversion.prompt, **options}


def _source(model: Model, inversion: Inversion, mask: np.ndarray | None, settings: EditSettings) -> _Source:
    """Raises RLIError for a mask of another size than the photograph's."""
    pixels = _pixels(model, inversion)
    if mask is not None and mask.shape != pixels:
        raise RLIError(f"the mask is {mask.shape[1]}×{mask.shape[0]} pixels, the photograph {pixels[1]}×{pixels[0]}")
    # The decoder's normalisation carries an edit's colours over the whole picture: what the blend keeps in the latent
    # is kept in the pixels too.
    blends = settings.local_blend or mask is not None
    kept = reconstruct(model, inversion) if blends and settings.convention == "standard" else None
    return _Source(inversion, mask, kept)


def _scale(model: Model) -> int:
    """Pixels a side of one latent position."""
    return 2 ** (len(model.vae.config.block_out_channels) - 1)


def _pixels(model: Model, inversion: Inversion) -> tuple[int, int]:
    """(H,W) of the photograph."""
    height, width = inversion.walk.shape[-2:]
    return height * _scale(model), width * _scale(model)


def _edit_together(
    model: Model, pairs: Sequence[tuple[_Source, Target]], settings: EditSettings, progress: Progress
) -> list[Edit]:
    """One UNet batch of pairs."""
    sources = list(dict.fromkeys(source for source, _ in pairs))
    prompts = [*(source.inversion.prompt for source in sources), *(target.prompt for _, target in pairs)]
    batch = _batch(model, sources, pairs, prompts, settings)
    options = sources[0].inversion.settings
    store = MapStore(attention.map_size(model.unet, batch.size))
    steps = progress(sampling_steps(options.steps, len(model.abar)), f"editing, {len(pairs)} at once")
    with attention.install(model.unet, options.location, options.alpha):
        latents, blend = _sample(model, batch, settings, steps, store, options.guidance)
    images = codec.decode(model, latents)
    words = _word_maps(model, prompts, store)
    edits = []
    for (source, target), image, region, maps in zip(pairs, images.split(1), blend, words[len(sources) :], strict=True):
        mask = source.mask if source.mask is not None else masks.to_pixels(region[0], tuple(image.shape[-2:]))
        edits.append(Edit(target, _kept_outside(model, source, image, mask), mask, maps, words[sources.index(source)]))
    return edits


def _batch(
    model: Model,
    sources: Sequence[_Source],
    pairs: Sequence[tuple[_Source, Target]],
    prompts: Sequence[str],
    settings: EditSettings,
) -> _Batch:
    """Everything that sampling needs, gathered; a prompt that occurs more than once is encoded once."""
    first = sources[0].inversion
    walk = torch.stack([source.inversion.walk for source in sources], 1).to(model.device)
    size, pixels = tuple(walk.shape[-2:]), _pixels(model, first)
    # Before the encoders run: it is here that prompts are refused.
    wishes = plan(model.tokenizers[0], first.prompt, [target for _, target in pairs], settings).to(model.device)
    distinct = list(dict.fromkeys(prompts))
    texts = text.encode_prompts(model, distinct, pixels, first.settings.time_ids)
    given = [None if s.mask is None else masks.to_latent(s.mask, size).to(model.device) for s, _ in pairs]
    return _Batch(
        walk=walk,
        nulls=tuple(source.inversion.nulls.map(lambda value: value.to(model.device)) for source in sources),
        owner=torch.tensor([sources.index(source) for source, _ in pairs], device=model.device),
        texts=texts[torch.tensor([distinct.index(prompt) for prompt in prompts], device=model.device)],
        wishes=wishes,
        given=tuple(given),
    )


def _kept_outside(model: Model, source: _Source, image: Tensor, mask: np.ndarray) -> Tensor:
    """image (1,3,H,W) inside mask (H,W), the kept picture outside; feathered within half a latent position."""
    if source.kept is None:
        return image
    return torch.lerp(source.kept, image, masks.feathered(mask, max(1, _scale(model) // 2)))


@torch.no_grad()
def _sample(
    model: Model, batch: _Batch, settings: EditSettings, steps: Iterable[Step], store: MapStore, guidance: float
) -> tuple[Tensor, Tensor]:
    """Sample M pairs beside the recorded walks of their photographs: latents (M,C,h,w) and the last blend mask
    (M,1,h,w) bool.

    Batch rows: the photographs' conditional halves (their unconditional halves are not needed, since their walks are
    known), the targets' conditional halves, and their unconditional halves.
    """
    walk, owner, texts = batch.walk, batch.owner, batch.texts
    time_ids = None if texts.time_ids is None else texts.time_ids[:1]
    z = walk[0, owner]
    blend = torch.ones_like(z[:, :1], dtype=torch.bool)
    whole = torch.tensor([mask is None and not settings.local_blend for mask in batch.given], device=z.device)
    for step in steps:
        if step.is_identity and settings.convention == "standard":
            continue  # the reference predicts here too, which moves nothing but its mask
        null = Conditioning.cat([nulls.at(step.index, time_ids) for nulls in batch.nulls])[owner]
        control = _control(batch, settings, step, store)
        rows = torch.cat([walk[step.index], z, z])
        eps = model.predict(rows, step, Conditioning.cat([texts, null]), "editing", control)
        guided = guide(eps[control.edited.stop :], eps[control.edited], guidance)
        z = move(z, guided, model.abar[step.start], model.abar[step.end])
        blend = _blend(store, batch, settings)
        if step.index >= BLEND_START * step.total:
            z = torch.where(blend | whole[:, None, None, None], z, walk[step.index + 1, owner])
    return z, blend


def _control(batch: _Batch, settings: EditSettings, step: Step, store: MapStore) -> Control:
    """This step's wishes: windows are shares of the steps; the reference counts the cross window in fiftieths."""
    return Control(
        sources=len(batch.nulls),
        owner=batch.owner,
        mapper=batch.wishes.mapper,
        own=batch.wishes.own,
        factor=batch.wishes.factor,
        cross=step.index < settings.cross * (50 if settings.convention == "reference" else step.total),
        self_=step.index < settings.replace * step.total,
        latent=batch.size,
        store=store,
    )


def _blend(store: MapStore, batch: _Batch, settings: EditSettings) -> Tensor:
    """(M,1,h,w) bool: the given mask, or where the changed words look, in the source or in the target."""
    source, target = store.total[: len(batch.nulls)][batch.owner], store.total[len(batch.nulls) :]
    found = masks.local_blend_mask(
        source, batch.wishes.source_words, batch.size, settings.threshold
    ) | masks.local_blend_mask(target, batch.wishes.target_words, batch.size, settings.threshold)
    return torch.cat([f if g is None else g for f, g in zip(found.split(1), batch.given, strict=True)])


def _word_maps(model: Model, prompts: Sequence[str], store: MapStore) -> list[tuple[TokenMap, ...]]:
    """For each row of the store one map for each word of its prompt, its tokens summed; none where nothing was seen."""
    if not store.layers:
        return [()] * len(prompts)
    views = [tokenize(model.tokenizers[0], prompt) for prompt in prompts]
    return [
        tuple(TokenMap(word, maps[:, :, slice(*span)].sum(-1)) for word, span in zip(v.words, v.spans, strict=True))
        for v, maps in zip(views, store.mean().cpu().numpy(), strict=True)
    ]
