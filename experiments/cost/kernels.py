"""Do a memory layout or a compiler make a UNet call faster here? `python -m experiments.cost.kernels`.

Each way in one process, call by call in turn, so that what else the machine does meets all of them alike: the median
seconds of one forward, and of one forward with its backward to the embeddings.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from experiments.harness import SOURCE, machine, markdown, options
from rli.method.attention.install import install
from rli.method.sampler import sampling_steps
from rli.models import text
from rli.models.device import DTYPES, pick_device
from rli.models.diffusion import Model, compiled
from rli.models.loading import load, random_model
from rli.models.mini import SIDE


def clock(work: Callable[[], None], device: torch.device) -> float:
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def ways(model: Model, asked: list[str]) -> dict[str, Model]:
    """The model as it is, its convolutions' weights in channels_last, and compiled."""
    made = {"plain": model}
    if "channels_last" in asked:
        unet = copy.deepcopy(model.unet).to(memory_format=torch.channels_last)
        made["channels_last"] = replace(model, unet=unet)
    if "compiled" in asked:
        made["compiled"] = compiled(replace(model, unet=copy.deepcopy(model.unet)))
    return made


def calls(model: Model, latent: Tensor, size: int) -> dict[str, Callable[[], None]]:
    told = text.encode_prompts(model, [SOURCE], (size, size))
    step = sampling_steps(10)[4]

    @torch.no_grad()
    def forward() -> None:
        model.predict(latent, step, told, "timing")

    def both() -> None:
        tokens = told.tokens.clone().requires_grad_()
        model.predict(latent, step, replace(told, tokens=tokens), "timing").sum().backward()

    return {"forward": forward, "forward and backward": both}


def main() -> None:
    parser = options(__doc__, size=SIDE, device="auto", dtype="float32")
    parser.add_argument("--model", default="mini", choices=["mini", "midsize", "sdxl"])
    parser.add_argument("--ways", nargs="*", default=["channels_last", "compiled"], help="beside plain")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = str(pick_device(args.device))
    weights = {"mini": None, "sdxl": "random"}
    if args.model == "midsize":
        model = random_model("midsize", dtype=DTYPES[args.dtype], device=device)
    else:
        model = load(args.model, weights[args.model], device=device, dtype=args.dtype)
    side = args.size // model.pixels_per_latent
    latent = torch.randn(1, model.unet.config.in_channels, side, side, generator=torch.Generator().manual_seed(0))
    models = ways(model, args.ways)
    works = {name: calls(way, latent.to(model.device), args.size) for name, way in models.items()}
    with ExitStack() as stack:
        for way in models.values():
            stack.enter_context(install(way.unet, (), (side, side)))
        first = {name: [clock(call, model.device) for call in work.values()] for name, work in works.items()}
        found = {name: [] for name in works}
        for _ in range(args.rounds):
            for name, work in works.items():
                found[name].append([clock(call, model.device) for call in work.values()])
    where = machine(device)
    print(f"{args.model}, {args.size} pixels, {args.dtype}, on {where['gpu'] or where['cpu']}\n")
    lines = [
        [
            name,
            *(f"{1000 * median(one):.1f}" for one in zip(*rounds, strict=True)),
            f"{sum(first[name]):.1f}",
        ]
        for name, rounds in found.items()
    ]
    print(markdown(("", "forward, ms", "forward and backward, ms", "first calls, s"), lines))


if __name__ == "__main__":
    main()
