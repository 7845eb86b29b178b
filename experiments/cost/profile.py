"""Where does the time go? `python -m experiments.cost.profile --model sdxl --size 1024`.

A few steps of the default inversion, every move optimized, and one edit, under PyTorch's profiler: the operators with
the largest share of the device's own time.
"""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from experiments.cost.results import Setup
from experiments.cost.run import WORDS, prepare
from experiments.harness import SOURCE, machine, markdown, options, targets
from rli.method.editing import edit
from rli.method.inversion import invert
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.solvers.gauss_newton import GaussNewton
from rli.models.device import pick_device
from rli.models.mini import SIDE
from rli.photos.sources import photos


def main() -> None:
    parser = options(__doc__, size=SIDE, steps=4, device="auto", dtype="float32")
    parser.add_argument("--model", default="mini", choices=["mini", "midsize", "sdxl"])
    parser.add_argument("--items", type=int, default=12, help="operators shown")
    args = parser.parse_args()
    torch.set_num_threads(1)
    device = str(pick_device(args.device))
    setup = Setup(args.model, args.size, args.steps, 2, 1, "ours", args.dtype, device=device)
    (sample,) = photos("sample")
    model, image = prepare(setup), sample.read(args.size, args.size)
    settings = InversionSettings(NullText(GaussNewton(stop_db=200.0, slack_db=0.0)), steps=args.steps)

    def work() -> None:
        edit(model, invert(model, image, SOURCE, settings), targets(WORDS[:1]))

    work()  # warm
    cuda = model.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as seen:
        work()
    own = "self_device_time_total" if cuda else "self_cpu_time_total"
    items = sorted(seen.key_averages(), key=lambda item: -getattr(item, own))
    whole = sum(getattr(item, own) for item in items)
    where = machine(device)
    print(f"{args.model}, {args.size} pixels, {args.steps} steps, {args.dtype}, on {where['gpu'] or where['cpu']}\n")
    lines = [
        (f"`{item.key}`", f"{item.count}", f"{getattr(item, own) / 1000:.0f}", f"{getattr(item, own) / whole:.0%}")
        for item in items[: args.items]
    ]
    print(markdown(("Operator", "Calls", "Own time, ms", "Share"), lines))


if __name__ == "__main__":
    main()
