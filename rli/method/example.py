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

from rli.method import blend, fresh_noise
from rli.method.attention.graft import Graft
from rli.method.records import EditSettings, Inversion
from rli.models import vae
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.noise_schedule import Step
from rli.models.text import encode_prompts


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
    # (M,1,h,w) bool: where each pair's photograph may change.
    regions: Tensor
    # (M,C,1,1): what is to be added to the example's latents so that they are of the same colour in the pair's
    # photograph.
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
        graft = Graft(targets, len(rows) + self.example_of, self.regions.float(), masks, self.strength)
        return torch.cat([rows, self.latents[step.index]]), Conditioning.cat([texts, self.texts]), graft

    def begun(self, latents: Tensor) -> Tensor:
        """Where sampling begins: the example's own noise, in that place of the region where most of it fits.

        Args:
            latents: The pairs', (M,C,h,w) at the highest noise level.

        Returns:
            (M,C,h,w); outside the regions the latents themselves.
        """
        begun = []
        for z, region, k in zip(latents, self.regions, self.example_of, strict=True):
            move = best_move(self.masks[k, 0], region[0])
            noise, mask = moved(self.latents[0, k], move), moved(self.masks[k].float(), move) > 0
            begun.append(fresh_noise.mixed(z, noise, region & mask, self.strength))
        return torch.stack(begun)

    def matched(self, latents: Tensor, step: Step, abar: float) -> Tensor:
        """Latents with the example's colour in the regions.

        Their contrast is lowered to the example's where it is higher, and never raised: raised noise becomes stripes.

        Args:
            latents: The pairs', (M,C,h,w) at the noise level where the step ends.
            step: The step that was taken.
            abar: The cumulative alpha of that level.

        Returns:
            (M,C,h,w); outside the regions the latents themselves.
        """
        theirs = self.latents[step.index + 1]
        mean, deviation = (part[self.example_of] for part in _statistics(theirs, self.masks))
        own_mean, own_deviation = _statistics(latents, self.regions)
        contrast = (deviation / own_deviation.clamp_min(1e-6)).clamp_max(1)
        wanted = (latents - own_mean) * contrast + mean + abar**0.5 * self.shifts
        return torch.where(self.regions, torch.lerp(latents, wanted, self.strength), latents)


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


def moved(values: Tensor, move: tuple[int, int]) -> Tensor:
    """(C,h,w) moved down and to the right; what comes in is 0."""
    h, w = values.shape[-2:]
    padded = F.pad(values, (w, w, h, h)).roll(move, (-2, -1))
    return padded[..., h : 2 * h, w : 2 * w]


def colour_shift(model: Model, example: Example, photo: Tensor, region: Tensor) -> Tensor:
    """How a colour's latents in a photograph differ from those of the same colour in an example's photograph.

    A VAE whose normalizations see the whole picture gives the same colour other latents in other surroundings. Both
    pictures are encoded with the defect's mean colour in the mask and in the region; without such normalizations the
    difference is 0.

    Args:
        model: The model.
        example: The example.
        photo: The photograph (1,3,H,W) in [-1,1].
        region: In the photograph, (h,w) bool of the latent's size.

    Returns:
        (C,1,1).
    """
    defect = example.reconstruction[0, :, torch.from_numpy(example.mask)]
    size = (region.shape[0], region.shape[1])
    own = blend.to_latent(example.mask, size)[0, 0]
    pictures, masks = (photo, example.reconstruction), (region.cpu(), own)
    there, here = (_painted(model, *pair, defect.mean(1)) for pair in zip(pictures, masks, strict=True))
    return there - here


def _painted(model: Model, picture: Tensor, mask: Tensor, colour: Tensor) -> Tensor:
    """The mean latent (C,1,1) in a mask (h,w) bool of a picture that has one colour (3,) there."""
    place = F.interpolate(mask[None, None].float(), size=picture.shape[-2:]) > 0
    latents = vae.encode(model, torch.where(place, colour.view(1, 3, 1, 1), picture.cpu()))
    return _statistics(latents, mask[None, None].to(latents.device))[0][0]


def branch(
    model: Model, examples: Sequence[Example], photos: Sequence[Tensor], regions: Tensor, settings: EditSettings
) -> ExampleBranch:
    """The source branches of examples, each once.

    Args:
        model: The model.
        examples: M of them, each pair's own.
        photos: The pairs' photographs, (1,3,H,W) in [-1,1] each.
        regions: The pairs', (M,1,h,w) bool.
        settings: Of the edits.
    """
    distinct = list(dict.fromkeys(examples))
    first = distinct[0].inversion
    latents = torch.stack([one.inversion.source_latents for one in distinct], 1)
    pixels = (examples[0].mask.shape[0], examples[0].mask.shape[1])
    texts = encode_prompts(model, [one.inversion.prompt for one in distinct], pixels, first.settings.time_ids)
    size = (latents.shape[-2], latents.shape[-1])
    masks = torch.cat([blend.to_latent(one.mask, size) for one in distinct])
    pairs = zip(examples, photos, regions, strict=True)
    shifts = [colour_shift(model, example, photo, region[0]) for example, photo, region in pairs]
    return ExampleBranch(
        latents.to(model.device),
        texts,
        masks.to(model.device),
        torch.tensor([distinct.index(one) for one in examples], device=model.device),
        regions.to(model.device),
        torch.stack(shifts).to(model.device),
        settings.example_strength,
        settings.example_steps,
    )
