"""PIE-Bench's reading of edits (Ju et al. 2024): `python -m experiments.proof.pie --run FOLDER`.

Structure distance, background, and how well a picture fits its prompt. The published evaluator blackens the edited
region in both pictures and averages over the whole image, so that a large mask gives a good background: that reading is
called `_published`, and the one over the background's pixels alone `_background`. CLIP and DINO are read from this
machine's Hugging Face cache; without them their columns are empty.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments import harness
from experiments.proof.weights import CLIP, DINO, is_at_hand
from rli.images import image_size, read_image, read_mask, to_tensor, to_uint8
from rli.metrics.clip import Clip, load_clip
from rli.metrics.lpips import Lpips, imagenet_input, load_lpips

HERE = Path(__file__).parent
# A PSNR of pictures that are equal.
MOST = 99.0
COLUMNS = (
    *("structure", "psnr_published", "psnr_background", "mse_published", "mse_background", "lpips_published"),
    *("clip_whole", "clip_edited"),
)


@dataclass(frozen=True)
class Judges:
    """The networks that can be had; None for those that cannot."""

    lpips: Lpips | None
    # From a picture (H,W,3) uint8 to (P,D), the keys of its patches.
    keys: Callable[[np.ndarray], Tensor] | None = None
    # From a picture and a prompt to how well they fit, from 0 to 100.
    fits: Callable[[np.ndarray, str], float] | None = None


def background(edit: np.ndarray, photo: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Both readings of the background.

    Args:
        edit, photo: (H,W,3) uint8.
        mask: (H,W) bool, the edited region; not everything.

    Returns:
        mse_ and psnr_, as published (the region counts as equal, averaged over the whole image) and over the background
        alone. MSE is of values in [0,1].
    """
    error = np.square((edit.astype(np.float64) - photo) / 255).mean(-1)
    found = {"published": np.where(mask, 0, error).mean(), "background": error[~mask].mean()}
    psnr = {name: min(MOST, -10 * np.log10(max(value, 1e-12))) for name, value in found.items()}
    return {f"mse_{name}": float(found[name]) for name in found} | {f"psnr_{name}": float(psnr[name]) for name in psnr}


def structure_distance(keys: Callable[[np.ndarray], Tensor], edit: np.ndarray, photo: np.ndarray) -> float:
    """Mean squared difference of two pictures' self-similarity in a vision transformer's keys (Tumanyan et al. 2022).

    Args:
        keys: From a picture (H,W,3) uint8 to (P,D), the keys of its patches.
        edit, photo: (H,W,3) uint8.
    """
    own, other = (F.normalize(keys(picture), dim=-1) for picture in (edit, photo))
    return float((own @ own.T - other @ other.T).square().mean())


@torch.no_grad()
def last_keys(model: nn.Module, picture: np.ndarray) -> Tensor:
    """The keys of a transformers ViT's last layer, (P,D), of a picture (H,W,3) uint8, brought to the network's size."""
    side = model.config.image_size
    image = F.interpolate(imagenet_input(to_tensor(picture)), size=(side, side), mode="bilinear")
    kept: list[Tensor] = []
    # Whatever this version of transformers calls the module.
    layer = [module for name, module in model.named_modules() if name.rpartition(".")[2] in ("key", "k_proj")][-1]
    handle = layer.register_forward_hook(lambda module, given, told: kept.append(told))
    try:
        model(image)
    finally:
        handle.remove()
    return kept[0][0]


def measured(edit: np.ndarray, photo: np.ndarray, mask: np.ndarray, prompt: str, judges: Judges) -> dict[str, float]:
    """An edit's figures: those of `background`, and of each judge that there is."""
    found = background(edit, photo, mask)
    if judges.lpips is not None:
        hidden = (np.where(mask[..., None], 0, picture).astype(np.uint8) for picture in (edit, photo))
        found["lpips_published"] = judges.lpips.standard(*hidden)
    if judges.keys is not None:
        found["structure"] = structure_distance(judges.keys, edit, photo)
    if judges.fits is not None:
        only = np.where(mask[..., None], edit, 0).astype(np.uint8)
        found |= {"clip_whole": judges.fits(edit, prompt), "clip_edited": judges.fits(only, prompt)}
    return found


def judges_at_hand() -> Judges:
    """Those whose weights lie on this machine; of the others a line says that they do not."""
    from transformers import ViTModel

    keys, fits = None, None
    if is_at_hand(DINO):
        keys = partial(last_keys, ViTModel.from_pretrained(DINO, local_files_only=True).eval())
    if is_at_hand(CLIP):
        fits = partial(clip_score, load_clip(CLIP, download=False))
    return Judges(load_lpips(), keys, fits)


def clip_score(clip: Clip, picture: np.ndarray, prompt: str) -> float:
    """A hundred times the cosine of a picture's and a prompt's embeddings (Hessel et al. 2021), not below 0."""
    return max(0.0, *clip.similarities(picture, clip.encode([prompt])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="the folder of a run with a manifest")
    parser.add_argument("--out", **harness.OPTIONS["out"], default=HERE)
    asked = parser.parse_args()
    rows, judges, told = pd.read_csv(asked.run / "manifest.csv", keep_default_na=False), judges_at_hand(), []
    for row in rows[rows["kind"] == "edit"].itertuples():
        folder = asked.run / "images" / row.photo
        photo = to_uint8(read_image(folder / "input.png", *reversed(image_size(folder / "input.png"))))
        name = Path(row.image).stem
        edit = to_uint8(read_image(asked.run / row.image, *photo.shape[:2]))
        mask = read_mask(folder / f"{name}_mask.png", *photo.shape[:2])
        told.append({"name": row.name, **measured(edit, photo, mask, row.target, judges)})
    table = pd.DataFrame(told, columns=["name", *COLUMNS])
    table["name"] = harness.without_folder([*table["name"]])
    means = table[[*COLUMNS]].mean()
    cells = [["edits", str(len(table)), *("" if np.isnan(value) else f"{value:.4g}" for value in means)]]
    harness.record(asked.out, "pie", table, harness.markdown(["", "number", *COLUMNS], cells))


if __name__ == "__main__":
    sys.exit(main())
