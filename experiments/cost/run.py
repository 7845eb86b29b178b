"""What an edit costs, the reference implementation's way against ours: `python -m experiments.cost.run`.

Both ways run on the machine at hand, each in a process of its own, with the same photograph, prompts, steps and inner
iterations: seconds, UNet rows and peak memory of every phase, and the quality of what came out.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.cost import reference_way
from experiments.cost.meter import Meter, peak_gb, reset_peak
from experiments.cost.results import OURS, REFERENCE, Measured, Setup, keep, rows, table, title
from rli import codec
from rli.dataset import photos
from rli.editing import edit, reconstruct
from rli.images import to_uint8
from rli.inversion import invert
from rli.metrics import psnr
from rli.model import DTYPES, Model, load, pick_device, random_model
from rli.types import EditSettings, InversionSettings, Target

SOURCE = "photo of a crack defect image"
WORDS = ("corrosion", "rust", "dent", "blistering", "peeling", "wear", "degradation", "scratch")
LABELS = {"inversion": "inversion", "null": "optimization", "editing": "edits"}  # first words of rli's progress
# size, steps, inner iterations, unless others are asked for. Few steps for the mid-size model,
# because the reference's way takes seven seconds for each on one CPU thread.
USUAL = {"mini": (128, 50, 10), "midsize": (256, 6, 10), "sdxl": (512, 50, 10)}


def rows_expected(setup: Setup) -> tuple[int, int]:
    """UNet rows (forward, backward) by the structure of each way, for all defects together."""
    moves, inner, defects = setup.steps - 1, setup.inner, setup.defects
    if setup.way == OURS:  # the last level's identity is left out everywhere
        return moves + moves * (inner + 2) + moves * (1 + 2 * defects), moves * inner
    return defects * setup.steps * (1 + (1 + inner + 2) + 4), defects * setup.steps * inner


def settings(setup: Setup) -> tuple[InversionSettings, EditSettings]:
    """The defaults, without early stop, so that both ways do the same iterations."""
    return InversionSettings(steps=setup.steps, solver="adam", inner_steps=setup.inner, early_stop=0.0), EditSettings()


def targets(count: int) -> list[Target]:
    return [Target(word, f"photo of a crack {word} image") for word in WORDS[:count]]


def prepare(setup: Setup) -> Model:
    """The model; random weights for all but the miniature, which time and memory do not notice."""
    frugal = setup.frugal and setup.way == OURS
    if setup.model == "mini":
        return load("mini", device=setup.device, dtype=setup.dtype, checkpointing=frugal, vae_tiling=frugal)
    if setup.model == "sdxl":
        return load("sdxl", "random", device=setup.device, dtype=setup.dtype, checkpointing=frugal, vae_tiling=frugal)
    return random_model(setup.model, dtype=DTYPES[setup.dtype], device=setup.device, checkpointing=frugal)


def ours(model: Model, image: Tensor, setup: Setup, meter: Meter) -> Tensor:
    """One inversion, one batch of targets: images (1+N,3,H,W), the reconstruction first.

    The phases that rli's stages announce are taken from around them: encode is what comes before, decode after.
    """
    inversion, edits = settings(setup)
    shown = meter.progress(lambda label: LABELS[label.split()[0]])
    with meter.phase("encode"):
        inverted = invert(model, image, SOURCE, inversion, shown)
    with meter.phase("decode"):
        back = reconstruct(model, inverted)
        edited = edit(model, inverted, targets(setup.defects), edits, progress=shown)
    return torch.cat([back, *(e.image for e in edited)])


def theirs(model: Model, image: Tensor, setup: Setup, meter: Meter) -> Tensor:
    """The reference's way, target by target: images (1+N,3,H,W), the first reconstruction first."""
    inversion, edits = settings(setup)
    pairs = reference_way.run(model, image, SOURCE, targets(setup.defects), inversion, edits, meter)
    return torch.cat([pairs[0][:1], *(pair[1:] for pair in pairs)])


def spend(model: Model, image: Tensor, setup: Setup) -> Measured:
    """Measure one way with a model at hand."""
    meter = Meter(model.device)
    reset_peak(model.device)
    rest = peak_gb(model.device)
    with meter.watching(model.unet):
        images = {REFERENCE: theirs, OURS: ours}[setup.way](model, image, setup, meter)
    photo, made = to_uint8(image), np.stack([to_uint8(x[None]) for x in images])
    round_trip = to_uint8(codec.decode(model, codec.encode(model, image)))
    return Measured(
        setup=setup,
        phases=meter.phases,
        rest_gb=rest,
        psnr=psnr(made[0], photo),
        psnr_vae=psnr(made[0], round_trip),
        images=made,
    )


def measure(setup: Setup) -> Measured:
    """In a process of its own: load, warm up with one step, measure."""
    torch.set_num_threads(setup.threads)
    model = prepare(setup)
    image = photos("sample")[0].read(setup.size, setup.size)
    spend(model, image, replace(setup, steps=2, inner=1, defects=1))
    return spend(model, image, setup)


def apart(setup: Setup) -> Measured | None:
    """`measure` in a fresh process; None when it ran out of memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(measure, setup).result()
        except (BrokenProcessPool, torch.OutOfMemoryError):
            return None


def setups(args: argparse.Namespace) -> list[Setup]:
    """For each number of defects the reference's way in float32 and ours in every dtype."""
    usual = dict(zip(("size", "steps", "inner"), USUAL[args.model], strict=True))
    shared = {key: getattr(args, key) or value for key, value in usual.items()}
    shared |= {"model": args.model, "device": str(pick_device(args.device)), "threads": args.threads}
    return [
        Setup(**shared, defects=defects, way=way, dtype=dtype, frugal=args.frugal and way == OURS)
        for defects in args.defects
        for way, dtype in [(REFERENCE, "float32"), *((OURS, dtype) for dtype in args.dtype)]
        if way in args.ways
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini", choices=USUAL)
    parser.add_argument("--size", type=int, help="pixels of a side; each model has its own, like steps and inner")
    parser.add_argument("--steps", type=int, help="DDIM steps")
    parser.add_argument("--inner", type=int, help="inner iterations of the null embedding optimization")
    parser.add_argument("--defects", type=int, nargs="+", default=[1, 8], help="numbers of defects, 8 at most")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=DTYPES, help="of our way")
    parser.add_argument("--ways", nargs="+", default=[REFERENCE, OURS], choices=[REFERENCE, OURS])
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--frugal", action="store_true", help="our way with checkpointing and VAE tiles")
    parser.add_argument("--out", type=Path, default=Path("experiments/cost"), help="folder of results.csv")
    args = parser.parse_args()
    if not all(1 <= count <= len(WORDS) for count in args.defects):
        parser.error(f"--defects: 1 to {len(WORDS)}")
    lines, standards = [], {}
    for setup in setups(args):
        measured = apart(setup)
        name = f"{title(setup.way, setup.dtype, setup.frugal)}, {setup.defects} defects"
        if measured is None:
            print(f"{name}: out of memory", flush=True)
            continue
        if setup.way == REFERENCE:
            standards[setup.defects] = measured
        lines += rows(measured, standards.get(setup.defects))
        keep(pd.DataFrame(lines), args.out)  # at once: an interrupted command leaves what it measured
        print(f"{name}: {lines[-1]['seconds']:.1f} s, {lines[-1]['peak_gb']:.2f} GB", flush=True)
    if lines:
        print("\n" + table(pd.DataFrame(lines)))


if __name__ == "__main__":
    main()
