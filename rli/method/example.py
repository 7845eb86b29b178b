"""By example: a defect that was photographed elsewhere comes into a region.

Three things are taken from the example's source branch, which is walked beside the targets. The noise that sampling
begins with gives its form; its keys and values in self-attention (`attention/graft.py`) its material; the mean and the
contrast of its latents, level by level, its colour: adaptive instance normalization (Huang and Belongie 2017, held to
masks as in Cross-Image Attention, Alaluf et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rli.method import blend
from rli.method.attention.graft import Graft
from rli.method.records import EditSettings, Inversion
from rli.models import vae
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise_schedule import Step
from rli.models.text import encode_prompts

# How far around a defect its surroundings reach, in latent positions.
NEAR = 3


@dataclass(frozen=True, eq=False)
class Example:
    """A defect to take over."""

    # Of the photograph that shows it.
    inversion: Inversion
    # Where it lies there: (H,W) bool, not empty.
    mask: np.ndarray
    # The photograph as the inversion gives it back, (1,3,H,W) in [-1,1].
    reconstruction: Tensor


@dataclass(frozen=True)
class _InPair:
    """Where an example comes to lie."""

    # The photograph's reconstruction (1,3,H,W), and its latent (1,C,h,w).
    photo: Tensor
    latent: Tensor
    # Where it may change, and where the example lies: (1,h,w) bool.
    region: Tensor
    place: Tensor


@dataclass(frozen=True)
class ExampleBranch:
    """The source branches of E examples beside M pairs of photograph and target, on the model's device."""

    # (T+1,E,C,h,w), noisiest first.
    latents: Tensor
    # Of the E photographs that show them.
    texts: Conditioning
    # (E,1,h,w) bool: their defects.
    masks: Tensor
    # (M,) long: each pair's example.
    example_of: Tensor
    # For each pair how its example is moved (down, right), and where it then lies in the photograph: (M,1,h,w) bool.
    moves: tuple[tuple[int, int], ...]
    places: Tensor
    # (M,C,1,1): what is to be added to the example's latents so that their colours are right in the pair's photograph.
    shifts: Tensor
    # In (0,1], and the share of the steps, in [0,1].
    strength: float
    share: float

    def acts(self, step: Step) -> bool:
        """Whether attention and colours are the example's at this step."""
        return step.index < self.share * step.total

    def beside(
        self, rows: Tensor, texts: Conditioning, step: Step, targets: slice
    ) -> tuple[Tensor, Conditioning, Graft]:
        """A UNet call with the examples as its last rows, and the attention hook that looks at them.

        Args:
            rows: Latents of the call without examples (B,C,h,w).
            texts: What they are conditioned on, B rows.
            step: The call's.
            targets: The rows of the pairs' conditional halves.
        """
        masks = self.masks[self.example_of].float()
        graft = Graft(targets, len(rows) + self.example_of, self.places.float(), masks, self.strength)
        return torch.cat([rows, self.latents[step.index]]), Conditioning.cat([texts, self.texts]), graft

    def begun(self, latents: Tensor) -> Tensor:
        """Where sampling begins: with the example's own noise where it comes to lie.

        Args:
            latents: The pairs', (M,C,h,w) at the highest noise level.

        Returns:
            (M,C,h,w); outside the places the latents themselves.
        """
        pairs = list(zip(self.example_of, self.moves, strict=True))
        noise = torch.stack([moved(self.latents[0, k], move) for k, move in pairs])
        masks = torch.stack([moved(self.masks[k], move) for k, move in pairs])
        return _between(latents, noise, self.places & masks, self.strength)

    def matched(self, latents: Tensor, step: Step, abar: float) -> Tensor:
        """Latents with the example's colour in their places.

        Their contrast is lowered to the example's where it is higher, and never raised: raised noise becomes stripes.

        Args:
            latents: The pairs', (M,C,h,w) at the noise level where the step ends.
            step: The step that was taken.
            abar: The cumulative alpha of that level.

        Returns:
            (M,C,h,w); outside the places the latents themselves.
        """
        theirs = self.latents[step.index + 1]
        mean, deviation = (part[self.example_of] for part in _statistics(theirs, self.masks))
        own_mean, own_deviation = _statistics(latents, self.places)
        contrast = (deviation / own_deviation.clamp_min(1e-6)).clamp_max(1)
        wanted = (latents - own_mean) * contrast + mean + abar**0.5 * self.shifts
        return torch.where(self.places, torch.lerp(latents, wanted, self.strength), latents)


def _between(latents: Tensor, others: Tensor, places: Tensor, share: float) -> Tensor:
    """Between two noises (M,C,h,w) of unit variance in places (M,1,h,w) bool: the variance stays, and equal noises stay
    what they are."""
    a, b = latents * places, others * places
    alike = F.cosine_similarity(a.flatten(1), b.flatten(1))[:, None, None, None].clamp_min(0)
    deviation = ((1 - share) ** 2 + share**2 + 2 * share * (1 - share) * alike).sqrt()
    return torch.where(places, torch.lerp(latents, others, share) / deviation, latents)


def _statistics(latents: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B,C,1,1) of latents (B,C,h,w) in masks (B,1,h,w) bool that are not empty."""
    count = masks.sum((2, 3), keepdim=True).clamp_min(1)
    mean = (latents * masks).sum((2, 3), keepdim=True) / count
    square = ((latents - mean).square() * masks).sum((2, 3), keepdim=True) / count
    return mean, square.sqrt()


def best_move(mask: Tensor, region: Tensor) -> tuple[int, int]:
    """The move (down, right) that brings the most of a mask into a region, and of several the one that brings their
    centres nearest to each other; both (h,w) bool and not empty."""
    h, w = mask.shape
    size = (2 * h, 2 * w)  # twice as large, so that nothing comes in again on the other side
    spectrum = torch.fft.rfft2(region.float().cpu(), size) * torch.fft.rfft2(mask.float().cpu(), size).conj()
    overlap = torch.fft.irfft2(spectrum, size).round()
    down, right = (torch.fft.fftfreq(side, 1 / side) for side in size)
    apart = region.nonzero().float().mean(0).cpu() - mask.nonzero().float().mean(0).cpu()
    distance = (down - apart[0])[:, None].square() + (right - apart[1])[None].square()
    best = int((overlap - distance / (4 * (size[0] ** 2 + size[1] ** 2))).argmax())
    return int(down[best // size[1]]), int(right[best % size[1]])


def place_of(mask: Tensor, move: tuple[int, int], region: Tensor) -> Tensor:
    """Where a defect lies in a region of another form.

    It may spread as far as its own half width, so that what is broad fills the region and a crack stays a crack.

    Args:
        mask: The defect's, (1,h,w) bool.
        move: How it is moved into the region.
        region: (1,h,w) bool.

    Returns:
        (1,h,w) bool, inside the region.
    """
    spread, core = -1, mask.float()
    while core.any():
        spread, core = spread + 1, (F.avg_pool2d(core, 3, 1, 1) > 0.99).float()
    return region & (F.max_pool2d(moved(mask, move).float(), 2 * spread + 1, 1, spread) > 0)


def moved(values: Tensor, move: tuple[int, int]) -> Tensor:
    """(C,h,w) moved down and to the right; what comes in is 0, or false."""
    h, w = values.shape[-2:]
    padded = F.pad(values, (w, w, h, h)).roll(move, (-2, -1))
    return padded[..., h : 2 * h, w : 2 * w]


def shift(model: Model, seen: Example, mask: Tensor, pair: _InPair, how: str) -> Tensor:
    """What is to be added to an example's latents so that its colours are right in another photograph.

    Args:
        model: The model.
        seen: The example.
        mask: Its defect, (1,h,w) bool of the latent's size.
        pair: Where it comes to lie.
        how: own for the same colours, contrast for the same difference to what lies around it, auto for contrast
            between grey photographs, whose exposures differ, and else own.

    Returns:
        (C,1,1).
    """
    is_grey = all((one[:, :1] == one).all() for one in (seen.reconstruction, pair.photo))
    if how == "contrast" or (how == "auto" and is_grey):
        return _around(pair.latent, pair.region) - _around(seen.inversion.source_latents[-1:], mask)
    colour = seen.reconstruction[0, :, torch.from_numpy(seen.mask)].mean(1)
    return _painted(model, pair.photo, pair.place, colour) - _painted(model, seen.reconstruction, mask, colour)


def _around(latent: Tensor, mask: Tensor) -> Tensor:
    """The mean (C,1,1) of a latent (1,C,h,w) around a mask (1,h,w) bool; in all of it where there is nothing around."""
    near = (F.max_pool2d(mask[None].float(), 2 * NEAR + 1, 1, NEAR) > 0) & ~mask
    return _statistics(latent.cpu(), near if near.any() else torch.ones_like(near))[0][0]


def _painted(model: Model, picture: Tensor, mask: Tensor, colour: Tensor) -> Tensor:
    """The mean latent (C,1,1) in a mask (1,h,w) bool of a picture (1,3,H,W) that has one colour (3,) there.

    A VAE whose normalizations see the whole picture gives the same colour other latents in other pictures.
    """
    covered = F.interpolate(mask[None].float(), size=picture.shape[-2:]) > 0
    latents = vae.encode(model, torch.where(covered, colour.view(1, 3, 1, 1), picture.cpu()))
    return _statistics(latents.cpu(), mask[None])[0][0]


def branch(
    model: Model,
    examples: Sequence[Example],
    photos: Sequence[tuple[Inversion, Tensor]],
    regions: Tensor,
    settings: EditSettings,
) -> ExampleBranch:
    """The source branches of examples, each once.

    Args:
        model: The model.
        examples: M of them, each pair's own.
        photos: The pairs' photographs: inversions and reconstructions (1,3,H,W) in [-1,1].
        regions: Where they may change, (M,1,h,w) bool on the CPU.
        settings: Of the edits.
    """
    distinct = list(dict.fromkeys(examples))
    first = distinct[0].inversion
    latents = torch.stack([one.inversion.source_latents for one in distinct], 1)
    pixels = (examples[0].mask.shape[0], examples[0].mask.shape[1])
    texts = encode_prompts(model, [one.inversion.prompt for one in distinct], pixels, first.settings.time_ids)
    size = (latents.shape[-2], latents.shape[-1])
    masks = torch.cat([blend.to_latent(one.mask, size) for one in distinct])
    number = [distinct.index(one) for one in examples]
    moves = [best_move(masks[k, 0], region[0]) for k, region in zip(number, regions, strict=True)]
    placing = zip(number, moves, regions, strict=True)
    places = torch.stack([place_of(masks[k], move, region) for k, move, region in placing])
    targets = [
        _InPair(photo, inversion.source_latents[-1:], region, place)
        for (inversion, photo), region, place in zip(photos, regions, places, strict=True)
    ]
    shifts = [
        shift(model, example, masks[k], target, settings.example_colours)
        for example, k, target in zip(examples, number, targets, strict=True)
    ]
    return ExampleBranch(
        latents=latents.to(model.device),
        texts=texts,
        masks=masks.to(model.device),
        example_of=torch.tensor(number, device=model.device),
        moves=tuple(moves),
        places=places.to(model.device),
        shifts=torch.stack(shifts).to(model.device),
        strength=settings.example_strength,
        share=settings.example_steps,
    )
