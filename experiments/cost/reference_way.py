"""How the reference implementation spends, with our numbers.

The same inversion, null embeddings and edits as rli's, within rounding, computed at the reference's price (method:
sections 2, 4 and 6): float32, weights that collect gradients, attention probabilities formed in every layer, every
map of at most 32×32 positions kept, four rows for each target and step, each target inverted afresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.cost.meter import Meter
from rli.method import blend as masks
from rli.method import sampler
from rli.method.attention.install import SMALL_SIDE, Attend, AttentionHook, Layer, install
from rli.method.attention.prompt_to_prompt import inject, map_size
from rli.method.inversion.settings import InversionSettings
from rli.method.prompts import TokenAlignment, align
from rli.method.records import EditSettings, NullEmbeddings, Target
from rli.method.solvers.adam import PUBLISHED_STEPS
from rli.method.target_branch import BLEND_START
from rli.models import text
from rli.models import vae as codec
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise_schedule import Step


class Materialised(AttentionHook):
    """Attention whose probabilities are a tensor in every layer of every call."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, layer: Layer, attend: Attend) -> Tensor:
        maps = (q @ k.transpose(-1, -2) * layer.scale).softmax(-1)
        return self.edited(maps, layer) @ v

    def edited(self, maps: Tensor, layer: Layer) -> Tensor:
        """The maps (B,heads,n,m) that are used in their place."""
        return maps


@dataclass
class MapKeeper(Materialised):
    """The edit of one UNet call, and the reference's store: maps (2,heads,hw,S) of one call, and their sums over calls.

    Rows of a call: source and target under the null embedding, then source and target under their prompts.
    """

    alignment: TokenAlignment
    inject_cross: bool = False
    inject_self: bool = False
    call: list[tuple[bool, Tensor]] = field(default_factory=list)
    sums: list[tuple[bool, Tensor]] = field(default_factory=list)

    def edited(self, maps: Tensor, layer: Layer) -> Tensor:
        null, maps = maps.chunk(2)
        small = maps.shape[2] <= SMALL_SIDE**2
        if layer.is_self and self.inject_self and small:
            maps = torch.cat([maps[:1], maps[:1]])
        elif not layer.is_self and self.inject_cross:
            a = self.alignment
            maps = torch.cat([maps[:1], inject(maps[:1], maps[1:], a.mapper, a.keep_own_map, a.equalizer)])
        if small:
            self.call.append((layer.is_self, maps))
        return torch.cat([null, maps])

    def close_call(self) -> None:
        """Add the call's maps to the sums."""
        self.sums = [
            (is_self, maps if before is None else before + maps)
            for (is_self, maps), (_, before) in zip(
                self.call, self.sums or [(None, None)] * len(self.call), strict=True
            )
        ]
        self.call = []

    def words(self, size: tuple[int, int]) -> Tensor:
        """(2,h,w,S): cross-attention of the layers of this size, averaged over heads, summed over layers and calls."""
        chosen = [maps for is_self, maps in self.sums if not is_self and maps.shape[2] == size[0] * size[1]]
        return torch.stack([maps.mean(1) for maps in chosen]).sum(0).unflatten(1, size)


# Of every call that edits nothing.
PLAIN = (Materialised(),)


@contextmanager
def spending(unet: nn.Module, hooks: Sequence[AttentionHook], latent: tuple[int, int]) -> Iterator[None]:
    """Within the scope hooks are installed and the weights collect gradients."""
    with install(unet, hooks, latent):
        unet.requires_grad_(True)
        try:
            yield
        finally:
            unet.requires_grad_(False)
            unet.zero_grad(set_to_none=True)


def run(
    model: Model,
    image: Tensor,
    prompt: str,
    targets: Sequence[Target],
    inversion: InversionSettings,
    edits: EditSettings,
    meter: Meter,
) -> list[Tensor]:
    """Every target by itself, from the photograph on: images [reconstruction, edit] (2,3,H,W) in [-1,1] of each."""
    latent = (image.shape[-2] // model.pixels_per_latent, image.shape[-1] // model.pixels_per_latent)
    with spending(model.unet, inversion.hooks, latent):
        return [_one(model, image, prompt, target, inversion, edits, meter) for target in targets]


def _one(
    model: Model,
    image: Tensor,
    prompt: str,
    target: Target,
    inversion: InversionSettings,
    edits: EditSettings,
    meter: Meter,
) -> Tensor:
    with meter.phase("encode"):
        latent = codec.encode(model, image, inversion.encode, inversion.seed)
        texts = text.encode_prompts(model, [prompt, target.prompt, ""], tuple(image.shape[-2:]), inversion.time_ids)
    with meter.phase("inversion"):
        trajectory = _walk_up(model, latent, texts[:1], inversion)
    with meter.phase("optimization"):
        nulls = _optimize(model, trajectory, texts[:1], texts[2:], inversion, meter)
    with meter.phase("edits"):
        latents = _edit(model, trajectory[-1], texts[:2], nulls, prompt, target, inversion, edits)
    with meter.phase("decode"):
        return codec.decode(model, latents)


@torch.no_grad()
def _walk_up(model: Model, latent: Tensor, source: Conditioning, settings: InversionSettings) -> list[Tensor]:
    trajectory = [latent]
    for step in sampler.inversion_steps(settings.steps, settings.alignment, len(model.abar)):
        eps = model.predict(latent, step, source, "inversion", PLAIN)
        latent = sampler.move(latent, eps, model.abar[step.start], model.abar[step.end])
        trajectory.append(latent)
    return trajectory


def _optimize(
    model: Model,
    trajectory: list[Tensor],
    source: Conditioning,
    null: Conditioning,
    settings: InversionSettings,
    meter: Meter,
) -> NullEmbeddings:
    """Algorithm 1 of Mokady et al. 2023, the identity at the last level included (metered by itself)."""
    solver = settings.method.solver
    latent, tokens, pooled, kept = trajectory[-1], null.tokens, null.pooled, []
    for step in sampler.sampling_steps(settings.steps, len(model.abar)):
        goal = trajectory[-2 - step.index]
        with meter.phase("identity step") if step.is_identity else nullcontext():
            tokens, pooled = (v.detach().clone().requires_grad_() for v in (tokens, pooled))
            candidate = Conditioning(tokens, pooled, null.time_ids)
            clock = step.index * PUBLISHED_STEPS / step.total
            adam = torch.optim.Adam([tokens, pooled], lr=solver.learning_rate * (1 - clock / (2 * PUBLISHED_STEPS)))
            with torch.no_grad():
                eps_text = model.predict(latent, step, source, "null optimization", PLAIN)
            for _ in range(solver.inner_steps):
                eps_null = model.predict(latent, step, candidate, "null optimization", PLAIN)
                loss = F.mse_loss(_move(model, step, latent, eps_null, eps_text, settings.guidance), goal)
                adam.zero_grad()
                loss.backward()
                adam.step()
            with torch.no_grad():
                both = Conditioning.cat([candidate, source])
                eps = model.predict(torch.cat([latent, latent]), step, both, "null optimization", PLAIN)
                latent = _move(model, step, latent, eps[:1], eps[1:], settings.guidance)
        kept.append((tokens.detach(), pooled.detach()))
    return NullEmbeddings(*(torch.stack(values) for values in zip(*kept, strict=True)))


@torch.no_grad()
def _edit(
    model: Model,
    noisiest: Tensor,
    texts: Conditioning,
    nulls: NullEmbeddings,
    prompt: str,
    target: Target,
    inversion: InversionSettings,
    settings: EditSettings,
) -> Tensor:
    """Source and target sampled side by side: latents (2,C,h,w)."""
    alignment = align(model.tokenizers[0], prompt, [target], settings).to(model.device)
    size = tuple(noisiest.shape[-2:])
    watched = map_size(model.unet, size)
    keeper, z = MapKeeper(alignment), noisiest.repeat(2, 1, 1, 1)
    chosen = torch.cat([alignment.source_words, alignment.target_words])
    for step in sampler.sampling_steps(inversion.steps, len(model.abar)):
        keeper.inject_cross = step.index < settings.cross * step.total
        keeper.inject_self = step.index < settings.replace * step.total
        both = Conditioning.cat([nulls.at(step.index, texts.time_ids[:1]).repeat(2), texts])
        eps = model.predict(torch.cat([z, z]), step, both, "editing", (keeper,))
        keeper.close_call()
        if step.is_identity:
            continue  # predicted, as published; used by nothing, as in rli
        z = _move(model, step, z, *eps.chunk(2), inversion.guidance)
        if settings.local_blend and step.index >= BLEND_START * step.total:
            seen = masks.local_blend_mask(
                keeper.words(watched), chosen, size, settings.threshold, settings.map_interpolation
            )
            z = torch.where(seen.any(0), z, z[:1])
    return z


def _move(model: Model, step: Step, z: Tensor, eps_null: Tensor, eps_text: Tensor, guidance: float) -> Tensor:
    return sampler.move(z, sampler.guide(eps_null, eps_text, guidance), model.abar[step.start], model.abar[step.end])
