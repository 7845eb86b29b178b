"""Where does the time go? `python -m experiments.cost.profile --model sdxl --size 1024`.

A few steps of the default inversion, every move optimized, and one edit, under PyTorch's profiler: the operators with
the largest share of the device's own time.
"""

from __future__ import annotations

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from experiments.cost.results import Setup, machine
from experiments.cost.run import SOURCE, prepare, targets
from rli.method.editing import edit
from rli.method.inversion import invert
from rli.method.records import InversionSettings
from rli.models.diffusion import DTYPES, pick_device
from rli.photos.sources import photos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini", choices=["mini", "midsize", "sdxl"])
    parser.add_argument("--size", type=int, default=128, help="pixels")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--items", type=int, default=12, help="operators shown")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = str(pick_device(args.device))
    setup = Setup(args.model, args.size, args.steps, 2, 1, "ours", args.dtype, device=device)
    (sample,) = photos("sample")
    model, image = prepare(setup), sample.read(args.size, args.size)
    settings = InversionSettings(steps=args.steps, stop_db=200.0, slack_db=0.0)

    def work() -> None:
        edit(model, invert(model, image, SOURCE, settings), targets(1))

    work()  # warm
    cuda = model.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as seen:
        work()
    own = "self_device_time_total" if cuda else "self_cpu_time_total"
    items = sorted(seen.key_averages(), key=lambda item: -getattr(item, own))
    whole = sum(getattr(item, own) for item in items)
    where = machine(device)
    print(f"{args.model}, {args.size} pixels, {args.steps} steps, {args.dtype}, on {where['gpu'] or where['cpu']}\n")
    print("| Operator | Calls | Own time, ms | Share |\n| --- | ---: | ---: | ---: |")
    for item in items[: args.items]:
        spent = getattr(item, own)
        print(f"| `{item.key}` | {item.count} | {spent / 1000:.0f} | {spent / whole:.0%} |")


if __name__ == "__main__":
    main()
