"""Measure the exported miniature: `python -m rli.models.mini.measure --sheet sheet.png [--photos a.png b.png]`.

Prints the autoencoder's fidelity on unseen surfaces (and on given photographs), and how often the classifier finds the
asked defect in samples, per prompt and guidance; `--sheet` shows the samples, one row per guidance and kind of prompt.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from PIL import Image
from tqdm import tqdm

from rli.models.mini import WEIGHTS
from rli.models.mini.autoencode import SIDE, to_tensor
from rli.models.mini.classifier import FILE, defect_probabilities, load_classifier, round_trip
from rli.models.mini.surfaces import DEFECTS, UNSEEN, caption, random_defects, surface


def decibels(vae: AutoencoderKL, images: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of the round trip, one per picture; images (B, H, W, 3) uint8."""
    there = to_tensor(images)
    error = ((round_trip(vae, there) - there) / 2).square().mean((1, 2, 3))
    return (-10 * error.log10()).numpy()


def unseen(count: int) -> np.ndarray:
    """(count, 256, 256, 3) uint8 surfaces that no training has seen."""
    seeds = range(UNSEEN, UNSEEN + count)
    return np.stack(
        [surface(seed, random_defects(np.random.default_rng([seed, 4])), SIDE, SIDE).image for seed in seeds]
    )


def photograph(path: pathlib.Path, side: int) -> np.ndarray:
    """The central square of a picture file, (1, side, side, 3) uint8."""
    picture = Image.open(path).convert("RGB")
    left, top = ((edge - min(picture.size)) // 2 for edge in picture.size)
    square = picture.crop((left, top, left + min(picture.size), top + min(picture.size)))
    return np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))[None]


def samples(
    pipe: StableDiffusionXLPipeline, prompt: str, guidance: float, count: int, seed: int, steps: int = 50
) -> np.ndarray:
    """(count, 256, 256, 3) uint8, by DDIM; the negative prompt is the empty one."""
    generators = [torch.Generator().manual_seed(seed + k) for k in range(count)]
    made = pipe(
        [prompt] * count,
        negative_prompt=[""] * count,
        guidance_scale=guidance,
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=pathlib.Path, default=WEIGHTS)
    parser.add_argument("--sheet", type=pathlib.Path, required=True)
    parser.add_argument("--photos", type=pathlib.Path, nargs="*", default=[])
    parser.add_argument("--guidance", type=float, nargs="*", default=[1, 3, 5])
    parser.add_argument("--count", type=int, default=4, help="samples per prompt")
    parser.add_argument("--steps", type=int, default=50)
    asked = parser.parse_args()
    pipe = StableDiffusionXLPipeline.from_pretrained(asked.weights, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    surfaces = unseen(200)
    fidelity = decibels(pipe.vae, surfaces)
    print(f"autoencoder on {len(surfaces)} unseen surfaces: {fidelity.mean():.2f} dB, worst {fidelity.min():.2f}")
    for path in asked.photos:
        print(path.name, *(f"{side}: {decibels(pipe.vae, photograph(path, side))[0]:.2f} dB" for side in (128, 256)))
    print(f"vividness of unseen surfaces {vividness(surfaces):.1f}")
    classifier = load_classifier(asked.weights) if (asked.weights / FILE).exists() else None
    kinds: dict[str, list[tuple[str, ...]]] = {
        "alone": [(word,) for word in DEFECTS],
        "over a crack": [("crack", word) for word in DEFECTS[1:]],
    }
    rows: list[np.ndarray] = []
    for guidance in asked.guidance:
        for kind, prompts in kinds.items():
            made = [samples(pipe, caption(words), guidance, asked.count, 7) for words in tqdm(prompts, leave=False)]
            rows += [np.concatenate([images[k] for images in made], 1) for k in range(min(asked.count, 2))]
            print(f"guidance {guidance:g} {kind}: vividness {vividness(np.concatenate(made)):.1f}", end="")
            for words, images in zip(prompts, made, strict=True):
                if classifier is not None:
                    found = defect_probabilities(classifier, to_tensor(images))[:, DEFECTS.index(words[-1])] > 0.5
                    print(f", {words[-1]} {int(found.sum())}/{asked.count}", end="")
            print(flush=True)
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    Image.fromarray(np.concatenate(rows)).save(asked.sheet)


if __name__ == "__main__":
    main()
