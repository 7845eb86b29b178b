"""Measure the exported miniature: `python -m rli.models.mini.measure --sheet sheet.png [--photos a.png b.png]`.

Prints the autoencoder's fidelity on unseen surfaces (and on given photographs), and how often the classifier finds the
asked defect in samples, per prompt and guidance; `--sheet` shows the samples, one row per guidance and kind of prompt.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn
from tqdm import tqdm

from rli.models.mini import SIDE, WEIGHTS
from rli.models.mini.autoencode import to_tensor
from rli.models.mini.classifier import FILE, defect_probabilities, load_classifier, round_trip
from rli.models.mini.surfaces import DEFECTS, UNSEEN, caption, random_defects, surface

KINDS: dict[str, list[tuple[str, ...]]] = {
    "alone": [(word,) for word in DEFECTS],
    "over a crack": [("crack", word) for word in DEFECTS[1:]],
}


@dataclass(frozen=True)
class Fidelity:
    """How well one picture comes back from the autoencoder."""

    psnr: float  # dB
    ssim: float  # structural similarity, at most 1
    colour: float  # mean CIEDE2000 difference; 1 is just seen


def fidelity(vae: AutoencoderKL, picture: np.ndarray) -> Fidelity:
    """Of an (H, W, 3) uint8 picture; H and W are whole latents."""
    back = to_uint8(round_trip(vae, to_tensor(picture[None])))[0]
    return Fidelity(
        peak_signal_noise_ratio(picture, back),
        structural_similarity(picture, back, channel_axis=2),
        float(deltaE_ciede2000(rgb2lab(picture), rgb2lab(back)).mean()),
    )


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8."""
    return ((images + 1) * 127.5).round().byte().movedim(1, -1).numpy()


def unseen(count: int) -> np.ndarray:
    """(count, 256, 256, 3) uint8 surfaces that no training has seen."""
    seeds = range(UNSEEN, UNSEEN + count)
    return np.stack(
        [surface(seed, random_defects(np.random.default_rng([seed, 4])), SIDE, SIDE).image for seed in seeds]
    )


def photograph(path: pathlib.Path) -> np.ndarray:
    """The central square of a picture file, (256, 256, 3) uint8."""
    picture = Image.open(path).convert("RGB")
    left, top = ((edge - min(picture.size)) // 2 for edge in picture.size)
    square = picture.crop((left, top, left + min(picture.size), top + min(picture.size)))
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def samples(
    pipe: StableDiffusionXLPipeline, prompt: str, guidance: float, rescale: float, count: int, steps: int, seed: int = 7
) -> np.ndarray:
    """(count, 256, 256, 3) uint8, by DDIM; the negative prompt is the empty one.

    rescale: how much of guidance's surplus contrast is taken back, 0 to 1 (Lin et al. 2023, section 3.4).
    """
    generators = [torch.Generator().manual_seed(seed + k) for k in range(count)]
    made = pipe(
        [prompt] * count,
        negative_prompt=[""] * count,
        guidance_scale=guidance,
        guidance_rescale=rescale,
        num_inference_steps=steps,
        generator=generators,
        height=SIDE,
        width=SIDE,
        output_type="np",
    ).images
    return (np.asarray(made) * 255 + 0.5).astype(np.uint8)


def vividness(images: np.ndarray) -> float:
    """Mean spread of the three channels, 0 to 255: how saturated pictures are."""
    return float(np.ptp(images.astype(int), axis=-1).mean())


def print_fidelity(vae: AutoencoderKL, photos: Sequence[pathlib.Path], count: int) -> None:
    """A line for the unseen surfaces and one for each photograph."""
    rows = [fidelity(vae, picture) for picture in unseen(count)]
    psnr, ssim, colour = (np.array([getattr(row, name) for row in rows]) for name in ("psnr", "ssim", "colour"))
    print(
        f"{count} unseen surfaces: PSNR {psnr.mean():.2f} dB (worst {psnr.min():.2f}), SSIM {ssim.mean():.3f} "
        f"({ssim.min():.3f}), colour difference {colour.mean():.2f} ({colour.max():.2f})"
    )
    for path in photos:
        row = fidelity(vae, photograph(path))
        print(f"{path.name}: PSNR {row.psnr:.2f} dB, SSIM {row.ssim:.3f}, colour difference {row.colour:.2f}")


def named(classifier: nn.Module | None, images: np.ndarray, word: str) -> str:
    """In how many of the pictures the classifier sees the word."""
    if classifier is None:
        return ""
    found = defect_probabilities(classifier, to_tensor(images))[:, DEFECTS.index(word)] > 0.5
    return f", {word} {int(found.sum())}/{len(images)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=pathlib.Path, default=WEIGHTS)
    parser.add_argument("--sheet", type=pathlib.Path, required=True)
    parser.add_argument("--photos", type=pathlib.Path, nargs="*", default=[])
    parser.add_argument("--surfaces", type=int, default=200, help="unseen surfaces for the autoencoder")
    parser.add_argument("--guidance", type=float, nargs="*", default=[1, 3, 5])
    parser.add_argument("--rescale", type=float, default=0.0, help="of guidance, 0 to 1")
    parser.add_argument("--count", type=int, default=4, help="samples per prompt")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--device", default="cpu", help="where samples are made")
    asked = parser.parse_args()
    pipe = StableDiffusionXLPipeline.from_pretrained(asked.weights, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    print_fidelity(pipe.vae, asked.photos, asked.surfaces)
    pipe.to(asked.device)
    classifier = load_classifier(asked.weights) if (asked.weights / FILE).exists() else None
    rows: list[np.ndarray] = []
    for guidance in asked.guidance:
        for kind, prompts in KINDS.items():
            made = [
                samples(pipe, caption(words), guidance, asked.rescale, asked.count, asked.steps)
                for words in tqdm(prompts, leave=False)
            ]
            rows += [np.concatenate([images[k] for images in made], 1) for k in range(min(asked.count, 2))]
            seen = "".join(named(classifier, images, words[-1]) for words, images in zip(prompts, made, strict=True))
            print(f"guidance {guidance:g} {kind}: vividness {vividness(np.concatenate(made)):.1f}{seen}", flush=True)
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    Image.fromarray(np.concatenate(rows)).save(asked.sheet)


if __name__ == "__main__":
    main()
