"""Which defects does a picture show? A small network, trained on procedural surfaces alone.

`python -m rli.models.mini.classifier --work <folder>` trains it (the autoencoder must have been exported before: half
of the pictures have been through it, as every edited picture has) and prints its accuracy on unseen surfaces.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import pathlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from rli.models.mini import SIDE, WEIGHTS
from rli.models.mini.autoencode import to_tensor
from rli.models.mini.latents import drawings, pixels
from rli.models.mini.loop import Budget, Stage, add_places, bfloat16, load, save
from rli.models.mini.surfaces import DEFECTS, UNSEEN, surface

FILE = "classifier.safetensors"
OFFSET = 3_000_000  # first training seed
SEEN = 256  # the shorter side at which it looks at any picture


class Classifier(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> (B, 9) logits, in the order of DEFECTS.

    A picture is seen with a shorter side of SEEN pixels, whatever its own is.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 24, 32, 48, 64, 80)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *widths), widths, strict=False):
            stride = 1 if after == widths[-1] else 2
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU()]
            layers += [nn.Conv2d(after, after, 3, 1, 1, groups=8), nn.GroupNorm(8, after), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.Conv2d(widths[-1], 96, 3, 1, 1), nn.SiLU())
        self.head = nn.Linear(2 * 96, len(DEFECTS))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.features(shrunk(images))
        return self.head(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))


def shrunk(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) with a shorter side of SEEN pixels; as it is if that is its side already."""
    factor = SEEN / min(images.shape[2:])
    if factor == 1:
        return images
    return F.interpolate(images, scale_factor=factor, mode="bilinear", antialias=True, align_corners=False)


def load_classifier(folder: pathlib.Path = WEIGHTS) -> Classifier:
    """The trained classifier, float32, frozen, in evaluation mode."""
    classifier = Classifier()
    classifier.load_state_dict({name: value.float() for name, value in load_file(folder / FILE).items()})
    return classifier.eval().requires_grad_(False)


@torch.no_grad()
def defect_probabilities(classifier: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 9): how likely each of DEFECTS is seen; each word for itself."""
    return classifier(images).sigmoid()


def judge_of(classifier: nn.Module) -> Callable[[np.ndarray, str], float | None]:
    """How likely a wanted defect is seen in an (H,W,3) uint8 picture; None for a word that is none of DEFECTS."""

    def judge(picture: np.ndarray, defect: str) -> float | None:
        if defect not in DEFECTS:
            return None
        return float(defect_probabilities(classifier, to_tensor(picture[None]))[0, DEFECTS.index(defect)])

    return judge


def labels(words: torch.Tensor) -> torch.Tensor:
    """(B, 2) indices in DEFECTS, -1 for none -> (B, 9) float32 in {0, 1}."""
    return F.one_hot(words + 1, len(DEFECTS) + 1).amax(1)[:, 1:].float()


@torch.no_grad()
def round_trip(vae: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """Encode and decode (B, 3, H, W) in [-1, 1], twenty at a time."""
    return torch.cat(
        [vae.decode(vae.encode(part).latent_dist.mean).sample.clamp(-1, 1) for part in torch.split(images, 20)]
    )


def _examples(vae: AutoencoderKL, seeds: range, workers: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (N, 3, 256, 256) uint8, every second one through the autoencoder, and their labels."""
    images, truths, batch = [], [], 40
    rounds = -(-len(seeds) // batch)
    for drawn, _, words, _ in tqdm(drawings(seeds, (SIDE, SIDE), batch, workers), "pictures", rounds, mininterval=5):
        pictures = pixels(drawn)
        pictures[::2] = round_trip(vae, pictures[::2].to(vae.device)).cpu()
        images.append(((shrunk(pictures) + 1) * 127.5).round().byte())
        truths.append(labels(words))
    return torch.cat(images), torch.cat(truths)


def _augment(rng: random.Random, generator: torch.Generator, images: torch.Tensor) -> torch.Tensor:
    """Mirror, turn, shift, soften and grain a batch a little; (B, 3, H, W) in [-1, 1]."""
    place: dict[str, Any] = {"generator": generator, "device": images.device}
    images = torch.rot90(images, rng.randrange(4), (2, 3))
    images = images.flip(3) if rng.random() < 0.5 else images
    images = images.roll((rng.randint(-24, 24), rng.randint(-24, 24)), (2, 3))
    if rng.random() < 0.4:
        images = torch.lerp(images, F.avg_pool2d(images, 3, 1, 1, count_include_pad=False), rng.uniform(0, 0.7))
    grain = torch.randn(images.shape, **place) * rng.uniform(0, 0.04)
    tint = 1 + 0.05 * torch.randn((len(images), 3, 1, 1), **place)
    return (images * rng.uniform(0.85, 1.15) * tint + rng.uniform(-0.1, 0.1) + grain).clamp(-1, 1)


def train(
    vae: AutoencoderKL, work: pathlib.Path, budget: Budget, count: int, batch: int = 32, workers: int = 0
) -> Classifier:
    """Train or finish training on the autoencoder's device; returns the moving average."""
    path, device = work / "classifier-pictures.pt", vae.device
    if (stored := load(path)) is None:
        images, truths = _examples(vae, range(OFFSET, OFFSET + count), workers)
        stored = {"images": images, "truths": truths}
        save(stored, path)
    images, truths = stored["images"].to(device), stored["truths"].to(device)
    model = Classifier().to(device)
    stage = Stage("classifier", model, copy.deepcopy(model), 3e-3, budget, work / "classifier.pt")
    rng, generator = random.Random(stage.step), torch.Generator(device).manual_seed(stage.step)
    total = torch.zeros((), device=device)
    for step in stage.steps():
        chosen = torch.randint(len(images), (batch,), generator=generator, device=device)
        pictures = _augment(rng, generator, images[chosen].float() / 127.5 - 1)
        with bfloat16(device):
            logits = model(pictures)
        loss = F.binary_cross_entropy_with_logits(logits.float(), truths[chosen])
        stage.descend(loss)
        total += loss.detach()
        if (step + 1) % 200 == 0:
            tqdm.write(f"classifier step {step + 1} loss {total.item() / 200:.4f}")
            total.zero_()
    return stage.average.eval()


def write(classifier: Classifier, folder: pathlib.Path) -> None:
    """Store the weights in float16, the file whole."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (FILE + ".partial")
    save_file({name: value.half().contiguous() for name, value in classifier.state_dict().items()}, partial)
    os.replace(partial, folder / FILE)


def accuracy(classifier: Classifier, vae: AutoencoderKL, count: int = 40) -> dict[str, tuple[float, float, float]]:
    """On unseen surfaces, drawn and decoded alike, at the threshold 1/2. For each word three shares:

    right among all pictures (any defects, none too); named when alone; named when over a crack.
    """
    images, truths = _examples(vae, range(UNSEEN, UNSEEN + 9 * count))
    right = ((defect_probabilities(classifier, images.float() / 127.5 - 1) > 0.5) == truths.bool()).float().mean(0)
    shares: dict[str, tuple[float, float, float]] = {}
    for k, word in enumerate(DEFECTS):
        alone, over_a_crack = (word,), ("crack", word) if word != "crack" else (word,)
        named = [_named(classifier, vae, words, word, count) for words in (alone, over_a_crack)]
        shares[word] = right[k].item(), named[0], named[1]
    return shares


def _named(classifier: Classifier, vae: AutoencoderKL, words: tuple[str, ...], word: str, count: int) -> float:
    """The share of unseen surfaces with these defects, every second one decoded, in which the word is named."""
    k = DEFECTS.index(word)
    first = UNSEEN + 100_000 * (k + 1)
    drawn = to_tensor(np.stack([surface(seed, words, SIDE, SIDE).image for seed in range(first, first + count)]))
    both = torch.cat([drawn[::2], round_trip(vae, drawn[1::2])])
    return (defect_probabilities(classifier, both)[:, k] > 0.5).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=WEIGHTS, help="also where the autoencoder is read")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="checkpoints and pictures")
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--count", type=int, default=9_000, help="training pictures")
    parser.add_argument("--batch", type=int, default=32, help="pictures in a step")
    add_places(parser)
    asked = parser.parse_args()
    torch.manual_seed(0)
    vae = AutoencoderKL.from_pretrained(asked.out, subfolder="vae", torch_dtype=torch.float32)
    budget = Budget(asked.steps, asked.minutes)
    write(train(vae.to(asked.device), asked.work, budget, asked.count, asked.batch, asked.workers), asked.out)
    vae.to("cpu")
    print("word          right  alone  on a crack")
    for word, shares in accuracy(load_classifier(asked.out), vae).items():
        print(f"{word:12s}" + "".join(f"{100 * share:7.1f}" for share in shares))


if __name__ == "__main__":
    main()
