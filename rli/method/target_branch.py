"""Samples the targets' branches beside the source branches of their photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rli.method import blend, fresh_noise
from rli.method.attention.install import AttentionHook
from rli.method.attention.prompt_to_prompt import MapStore, PromptToPrompt
from rli.method.example import ExampleBranch
from rli.method.prompts import TokenAlignment
from rli.method.records import EditSettings, NullEmbeddings
from rli.method.sampler import guide, move
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise_schedule import Step
from rli.progress import Progress

# Share of the steps before the local blend first acts (the reference: 10 of 50).
BLEND_START = 0.2


@dataclass(frozen=True)
class Batch:
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
    # Regions (M,1,h,w) bool, and whether each was given (M,1,1,1) bool; where not, attention finds it.
    regions: Tensor
    is_given: Tensor
    # Fresh noise (M,C,h,w), None where the settings want none, and where it goes, (M,1,h,w) bool.
    noise: Tensor | None
    begun: Tensor
    # What the targets are to look like; None where words alone say it.
    example: ExampleBranch | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.source_latents.shape[-2], self.source_latents.shape[-1]


@torch.no_grad()
def sample(
    model: Model,
    batch: Batch,
    settings: EditSettings,
    steps: Sequence[Step],
    store: MapStore,
    guidance: float,
    progress: Progress,
) -> Tensor:
    """Sample M pairs beside the source branches of their photographs.

    Batch rows: the photographs' conditional halves (their unconditional halves are not needed, since their branches are
    known), the targets' conditional halves, their unconditional halves, and the examples' conditional halves. Where all
    regions are given, the photographs' rows are there for as long as something of them is injected, and once for their
    words' maps.

    Args:
        model: With its attention hooks installed.
        batch: The pairs.
        settings: Of the edits.
        steps: The moves.
        store: Where the maps of cross-attention go.
        guidance: The scale w.
        progress: Passes the steps through and may display them.

    Returns:
        Latents (M,C,h,w).

    Raises:
        NonFiniteError: Where the model's output is not finite.
    """
    source_latents, source_of, times = batch.source_latents, batch.source_of, batch.texts.time_ids
    time_ids = None if times is None else times[:1]
    needs_maps = not batch.is_given.all()
    z, example = source_latents[0, source_of], batch.example
    if example is not None:
        z = example.begun(z)
    if batch.noise is not None:
        z = fresh_noise.mixed(z, batch.noise, batch.begun, settings.fresh)
    for step in progress(steps, f"editing, {len(z)} at once"):
        if step.is_identity and settings.convention == "standard":
            continue  # the reference predicts here too, which moves nothing but its mask
        null = Conditioning.cat([nulls.at(step.index, time_ids) for nulls in batch.nulls])[source_of]
        hook = _injection(batch, settings, step, store)
        if not (needs_maps or hook.inject_cross or hook.inject_self or store.total is None):
            hook = replace(hook, sources=0)
        rows, words, hooks = _call(batch, z, null, hook, step)
        eps = model.predict(rows, step, words, "editing", hooks)
        end = hook.targets.stop
        guided = guide(eps[end : end + len(z)], eps[hook.targets], guidance)
        z = move(z, guided, model.abar[step.start], model.abar[step.end])
        if example is not None and example.acts(step):
            z = example.matched(z, step, model.abar[step.end])
        inside = _inside(store, batch, settings, step)
        z = torch.where(inside, z, source_latents[step.index + 1, source_of])
    return z


def _call(
    batch: Batch, z: Tensor, null: Conditioning, hook: PromptToPrompt, step: Step
) -> tuple[Tensor, Conditioning, tuple[AttentionHook, ...]]:
    """The rows of one UNet call, what they are conditioned on, and its attention hooks."""
    first = len(batch.nulls) - hook.sources
    rows = torch.cat([batch.source_latents[step.index][first:], z, z])
    words = Conditioning.cat([batch.texts[first:], null])
    if batch.example is None or not batch.example.acts(step):
        return rows, words, (hook,)
    rows, words, graft = batch.example.beside(rows, words, step, hook.targets)
    return rows, words, (hook, graft)


def _injection(batch: Batch, settings: EditSettings, step: Step, store: MapStore) -> PromptToPrompt:
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


def _inside(store: MapStore, batch: Batch, settings: EditSettings, step: Step) -> Tensor:
    """(M,1,h,w) bool: the latents that may differ from the source branch after this step. With fresh noise or an
    example a given region holds from the start, or what begins there would spread beyond it."""
    if step.index < BLEND_START * step.total:
        begins_anew = batch.noise is not None or batch.example is not None
        return batch.regions | ~batch.is_given if begins_anew else torch.ones_like(batch.regions)
    if not settings.local_blend:
        return batch.regions | ~batch.is_given
    return torch.where(batch.is_given, batch.regions, blend_masks(store, batch, settings, batch.size))


def blend_masks(store: MapStore, batch: Batch, settings: EditSettings, size: tuple[int, int]) -> Tensor:
    """The masks that attention finds: where the changed words look, in the source or in the target.

    Args:
        store: The maps of the steps so far.
        batch: The pairs.
        settings: Of the edits.
        size: (h,w) of the masks: the latent's, or the picture's.

    Returns:
        (M,1,h,w) bool; true everywhere before the first step.
    """
    if store.total is None:
        return torch.ones_like(batch.is_given).expand(-1, -1, *size)
    source, target = store.total[: len(batch.nulls)][batch.source_of], store.total[len(batch.nulls) :]
    words = (source, batch.alignment.source_words), (target, batch.alignment.target_words)
    one, other = (
        blend.local_blend_mask(maps, chosen, size, settings.threshold, settings.map_interpolation)
        for maps, chosen in words
    )
    return one | other
