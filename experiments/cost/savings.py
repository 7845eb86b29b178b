"""What each memory saving is worth, by the estimate that runs are planned with: `python -m experiments.cost.savings`.

The base models' real shapes on PyTorch's meta device, where tensors have no data: neither weights nor a GPU are needed.
Weights in 8 bits need torchao, which is asked how it rounds and what it keeps; those in 4 bits are counted.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from experiments.harness import markdown, options, tell
from rli.method.inversion.settings import InversionSettings
from rli.models.base_models import BASE_MODELS
from rli.models.checkpoint import Origin
from rli.models.device import DTYPES
from rli.models.diffusion import Model
from rli.models.noise_schedule import read_schedule
from rli.models.quantized import KINDS
from rli.models.single_file import tokenizer_of
from rli.runs.memory_estimate import Footprint, measure, weight_bytes
from rli.runs.memory_plan import EDITING, INVERTING, Plan, described, estimate

# As many as `experiments.cost.memory` asks for.
GENEROUS = Plan(photos=2, targets=4)
MOST = Plan(photos=1, targets=1, encoders_on_device=False, checkpointing=True, offload=True, vae_tiling=True)
SAVINGS = (
    replace(GENEROUS, encoders_on_device=False),
    replace(GENEROUS, checkpointing=True),
    replace(GENEROUS, photos=1),
    replace(GENEROUS, targets=1),
    replace(GENEROUS, offload=True),
    replace(GENEROUS, vae_tiling=True),
    MOST,
)
# Bits of a weight in nf4: its own, a scale of 8 bits for each 64, and for each 256 of those a scale in float32.
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)


def shapes_of(name: str, dtype: torch.dtype) -> Model:
    """A base model of shapes alone, as if it were on a GPU."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    base = BASE_MODELS[name]
    folder, origin = base.configuration, Origin("model", name)
    config = {part: json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae")}
    suffixes = ("", "_2")[: base.architecture.encoders]
    texts = [CLIPTextConfig.from_pretrained(folder / f"text_encoder{suffix}") for suffix in suffixes]
    kinds = {kind.__name__: kind for kind in (CLIPTextModel, CLIPTextModelWithProjection)}
    schedule = read_schedule(json.loads((folder / "scheduler" / "scheduler_config.json").read_text()))
    with torch.device("meta"):
        return Model(
            name=name,
            architecture=base.architecture,
            unet=UNet2DConditionModel.from_config(config["unet"]).to(dtype).eval().requires_grad_(False),
            vae=AutoencoderKL.from_config(config["vae"]).eval().requires_grad_(False),
            tokenizers=tuple(tokenizer_of(folder / f"tokenizer{suffix}", origin) for suffix in suffixes),
            text_encoders=tuple(kinds[one.architectures[0]](one).to(dtype) for one in texts),
            abar=schedule.abar,
            prediction=schedule.prediction,
            fingerprint="",
            device=torch.device("cuda"),
        )


def in_int8(model: Model) -> Model:
    """The model with the weights of its UNet and text encoders in 8 bits; it is changed."""
    for part in (model.unet, *model.text_encoders):
        KINDS["int8"].apply(part, model.device)
    return model


def in_nf4(footprint: Footprint, model: Model) -> Footprint:
    """With these weights in 4 bits, of which a graph keeps nothing beside them."""

    def saved(part: nn.Module) -> int:
        layers = [layer for layer in part.modules() if isinstance(layer, nn.Linear)]
        return sum(round(layer.weight.nbytes - layer.weight.numel() * NF4_BITS / 8) for layer in layers)

    encoders = [weight_bytes(encoder) - saved(encoder) for encoder in model.text_encoders]
    unet = footprint.unet - saved(model.unet)
    return replace(footprint, unet=unet, encoders=sum(encoders), encoder=max(encoders))


def line(footprint: Footprint, plan: Plan, weights: str = "") -> list[str]:
    """What is on, and the GB of both stages with it."""
    needed = [estimate(footprint, plan, stage) for stage in (INVERTING, EDITING)]
    told = ", ".join(
        filter(None, (weights, "all of the above" if weights and plan == MOST else described(GENEROUS, plan)))
    )
    return [told or "none", *(f"{bytes_ / 2**30:.1f}" for bytes_ in needed)]


def column(args: argparse.Namespace, size: int) -> list[list[str]]:
    """All lines at one size."""
    model, settings = shapes_of(args.model, DTYPES[args.dtype]), InversionSettings()
    whole = measure(model, size, size, settings)
    lines = [line(whole, plan) for plan in (GENEROUS, *SAVINGS)]
    rounded = {"model.quantize=nf4": in_nf4(whole, model)}
    if find_spec("torchao") is not None:
        rounded["model.quantize=int8"] = measure(in_int8(model), size, size, settings)
    for weights, footprint in rounded.items():
        lines += [line(footprint, plan, weights) for plan in (GENEROUS, replace(GENEROUS, checkpointing=True), MOST)]
    return lines


def main() -> None:
    parser = options(__doc__, dtype="bfloat16", out=Path(__file__).parent)
    parser.add_argument("--model", default="sdxl", choices=sorted(BASE_MODELS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024], help="pixels of a side")
    args = parser.parse_args()
    columns = [column(args, size) for size in args.sizes]
    head = ["Saving", *(f"{stage}, {size} pixels, GB" for size in args.sizes for stage in (INVERTING, EDITING))]
    lines = [[rows[0][0], *(cell for row in rows for cell in row[1:])] for rows in zip(*columns, strict=True)]
    about = f"{args.model}, {args.dtype}, 2 photographs inverted and 4 targets edited together, weights included"
    tell(args.out, "savings", about, markdown(head, lines))


if __name__ == "__main__":
    main()
