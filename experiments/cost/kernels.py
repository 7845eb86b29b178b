"""Do a memory layout or a compiler make a UNet call faster here? `python -m experiments.cost.kernels`.

Each way in one process, call by call in turn, so that what else the machine does meets all of them alike: the median
seconds of one forward, and of one forward with its backward to the embeddings.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor

from experiments.cost.results import machine
from rli.method.attention import install as attention
from rli.method.schedule import sampling_steps
from rli.models import text
from rli.models.diffusion import DTYPES, Model, compiled, load, pick_device, random_model

SOURCE = "photo of a crack defect image"


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini", choices=["mini", "midsize", "sdxl"])
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
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
    factor = 2 ** (len(model.vae.config.block_out_channels) - 1)
    latent = torch.randn(1, 4, args.size // factor, args.size // factor, generator=torch.Generator().manual_seed(0))
    models = ways(model, args.ways)
    works = {name: calls(way, latent.to(model.device), args.size) for name, way in models.items()}
    with ExitStack() as stack:
        for way in models.values():
            stack.enter_context(attention.install(way.unet))
        first = {name: [clock(call, model.device) for call in work.values()] for name, work in works.items()}
        found = {name: [] for name in works}
        for _ in range(args.rounds):
            for name, work in works.items():
                found[name].append([clock(call, model.device) for call in work.values()])
    where = machine(device)
    print(f"{args.model}, {args.size} pixels, {args.dtype}, on {where['gpu'] or where['cpu']}\n")
    print("| | forward, ms | forward and backward, ms | first calls, s |\n| --- | ---: | ---: | ---: |")
    for name, rounds in found.items():
        medians = [1000 * statistics.median(column) for column in zip(*rounds, strict=True)]
        print(f"| {name} | {medians[0]:.1f} | {medians[1]:.1f} | {sum(first[name]):.1f} |")


if __name__ == "__main__":
    main()
