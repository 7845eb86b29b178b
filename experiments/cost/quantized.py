"""What weights in fewer bits change on the miniature: `python -m experiments.cost.quantized`. It needs torchao, and
on a GPU bitsandbytes.

Photographs are inverted with gradients through the rounded weights, and edited; each picture is compared with the one
that whole weights make.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.harness import SOURCE, machine, markdown, options, photographs, targets, tell
from rli.images import to_uint8
from rli.method.editing import edit, reconstruct, vae_round_trip
from rli.method.inversion import invert
from rli.method.inversion.settings import InversionSettings
from rli.metrics.image import psnr
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.runs.memory_estimate import weight_bytes

WAYS = ((), ("text_encoders:int8",), ("unet:int8",), ("int8",))
WAYS_ON_CUDA = (*WAYS, ("nf4",))
WANTED = ("corrosion",)
HEAD = (
    "model.quantize",
    "UNet, MB",
    "Text encoders, MB",
    "Reconstruction to round trip, dB",
    "Reconstruction to whole weights', dB",
    "Edit to whole weights', dB",
)


def pictures(
    quantize: Sequence[str], photos: Sequence[Tensor], steps: int, device: str
) -> tuple[list[float], list[Tensor]]:
    """The MB of UNet and text encoders; and of each photograph its VAE round trip, its reconstruction and an edit."""
    model, made = load("mini", quantize=quantize, device=device, dtype="float32"), []
    for photo in photos:
        found = invert(model, photo, SOURCE, InversionSettings(steps=steps))
        back = reconstruct(model, found)
        (changed,) = edit(model, found, targets(WANTED), reconstruction=back)
        made += [vae_round_trip(model, found), back, changed.image]
    sizes = weight_bytes(model.unet), sum(map(weight_bytes, model.text_encoders))
    return [size / 2**20 for size in sizes], made


def decibels(one: Sequence[Tensor], other: Sequence[Tensor]) -> str:
    """The median PSNR of two series of pictures; equal where they are."""
    values = [psnr(to_uint8(a), to_uint8(b)) for a, b in zip(one, other, strict=True)]
    return "equal" if np.isinf(np.median(values)) else f"{np.median(values):.1f}"


def main() -> None:
    parser = options(__doc__, surfaces=4, side=SIDE, steps=20, device="cpu", out=Path(__file__).parent)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    photos = [image for _, _, image in photographs(asked.surfaces, asked.side)]
    whole: list[Tensor] = []
    lines = []
    for quantize in WAYS_ON_CUDA if asked.device.startswith("cuda") else WAYS:
        sizes, made = pictures(quantize, photos, asked.steps, asked.device)
        whole = whole or made
        compared = (made[1::3], made[::3]), (made[1::3], whole[1::3]), (made[2::3], whole[2::3])
        told = " ".join(quantize) or "nothing"
        lines.append([told, *(f"{size:.1f}" for size in sizes), *(decibels(*pair) for pair in compared)])
    where = machine(asked.device)
    about = f"mini, float32, {asked.steps} steps, null-text inversion, medians of {len(photos)} photographs"
    about += f", on {where['gpu'] or where['cpu']}"
    name = "quantized" if asked.device == "cpu" else "quantized on a GPU"
    tell(asked.out, name, about, markdown(HEAD, lines))


if __name__ == "__main__":
    main()
