"""What an edit costs, the reference implementation's way against ours: `python -m experiments.cost.run`.

Both ways run on the machine at hand, each in a process of its own, with the same photograph, prompts, steps and inner
iterations: seconds, UNet rows and peak memory of every phase, and the quality of what came out.
"""

from __future__ import annotations

import argparse
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from experiments.cost import reference_way
from experiments.cost.meter import Meter, peak_gb, reset_peak
from experiments.cost.results import OURS, REFERENCE, SAME, Measured, Setup, keep, rows, table, title
from experiments.harness import SOURCE, apart, options, photographs, targets
from rli.images import to_uint8
from rli.method.editing import edit_batch, reconstruct
from rli.method.inversion import invert_batch
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings
from rli.method.sampler import sampling_steps
from rli.method.solvers.adam import Adam
from rli.metrics.image import psnr
from rli.models import text
from rli.models import vae as codec
from rli.models.device import DTYPES, pick_device
from rli.models.diffusion import Model, arrange
from rli.models.loading import load, random_model
from rli.models.mini import SIDE

WORDS = ("corrosion", "rust", "dent", "blistering", "peeling", "wear", "degradation", "scratch")
LABELS = {"inversion": "inversion", "null": "optimization", "editing": "edits"}  # first words of rli's progress
# size, steps, inner iterations, unless others are asked for. Few steps for the mid-size model,
# because the reference's way takes seven seconds for each on one CPU thread.
USUAL = {"mini": (SIDE, 50, 10), "midsize": (256, 6, 10), "sdxl": (512, 50, 10)}


def rows_expected(setup: Setup) -> tuple[int, int]:
    """UNet rows (forward, backward) by the structure of the two ways that do every iteration, for all defects."""
    moves, inner, defects = setup.steps - 1, setup.inner, setup.defects
    if setup.way == SAME:  # the last level's identity is left out everywhere
        return moves + moves * (inner + 2) + moves * (1 + 2 * defects), moves * inner
    return defects * setup.steps * (1 + (1 + inner + 2) + 4), defects * setup.steps * inner


def settings(setup: Setup) -> tuple[InversionSettings, EditSettings]:
    """Our defaults; or the paper's solver without early stop, so that two ways do the same iterations."""
    if setup.way == OURS:
        return InversionSettings(steps=setup.steps), EditSettings()
    adam = InversionSettings(NullText(Adam(inner_steps=setup.inner, early_stop=0.0)), steps=setup.steps)
    return adam, EditSettings()


def prepare(setup: Setup) -> Model:
    """The model; random weights for all but the miniature, which time and memory do not notice. Where memory need not
    be spared, all parts are on the device, as in a run."""
    frugal = setup.frugal and setup.way != REFERENCE
    if setup.model == "midsize":
        model = random_model(setup.model, dtype=DTYPES[setup.dtype], device=setup.device)
    else:
        weights = "random" if setup.model == "sdxl" else None
        model = load(setup.model, weights, device=setup.device, dtype=setup.dtype)
    spared = {"checkpointing": frugal, "vae_tiling": frugal and setup.model != "midsize"}
    return arrange(model, **spared, offload=False, encoders_on_device=not frugal)


def ours(model: Model, images: Tensor, setup: Setup, meter: Meter) -> Tensor:
    """One inversion of all photographs (B,3,H,W), their targets together: images (B·(1+N),3,H,W), each photograph's
    reconstruction first.

    The phases that rli's stages announce are taken from around them: encode is what comes before, decode after.
    """
    inversion, edits = settings(setup)
    shown = meter.progress(lambda label: LABELS[label.split()[0].rstrip(",")])
    with meter.phase("encode"):
        inverted = invert_batch(model, images, SOURCE, inversion, shown)
    with meter.phase("decode"):
        back = [reconstruct(model, one) for one in inverted]
        wanted = targets(WORDS[: setup.defects])
        edited = edit_batch(model, inverted, wanted, edits, batch=len(inverted) * len(wanted), progress=shown)
    return torch.cat([x for b, done in zip(back, edited, strict=True) for x in (b, *(e.image for e in done))])


def theirs(model: Model, images: Tensor, setup: Setup, meter: Meter) -> Tensor:
    """The reference's way, target by target: images (1+N,3,H,W), the first reconstruction first."""
    inversion, edits = settings(setup)
    pairs = reference_way.run(model, images, SOURCE, targets(WORDS[: setup.defects]), inversion, edits, meter)
    return torch.cat([pairs[0][:1], *(pair[1:] for pair in pairs)])


def spend(model: Model, images: Tensor, setup: Setup, matrix_side: int = 2048) -> Measured:
    """Measures one way with a model at hand, on photographs (B,3,H,W); matrix_side as in `matrix_rate`."""
    meter = Meter(model.device)
    reset_peak(model.device)
    rest = peak_gb(model.device)
    run = theirs if setup.way == REFERENCE else ours
    rate = matrix_rate(model, matrix_side)
    with meter.watching(model.unet):
        made = run(model, images, setup, meter)
    photo, pictures = to_uint8(images[:1]), np.stack([to_uint8(x[None]) for x in made])
    round_trip = to_uint8(codec.decode(model, codec.encode(model, images[:1])))
    # Photographs together are compared with each by itself; one is alone already.
    singly, one = images.split(1) if len(images) > 1 else (), Meter(model.device)
    alone = [to_uint8(x[None]) for image in singly for x in run(model, image, setup, one)]
    return Measured(
        setup=setup,
        phases=meter.phases,
        rest_gb=rest,
        psnr=psnr(pictures[0], photo),
        psnr_vae=min(psnr(pictures[0], round_trip), 99.0),
        alone=min((psnr(a, b) for a, b in zip(pictures, alone, strict=False)), default=float("inf")),
        alone_seconds=sum(spent.seconds for spent in one.phases.values()) or float("nan"),
        row_flops=row_flops(model, images[:1]),
        matrix_rate=max(rate, matrix_rate(model, matrix_side)),  # before and after: other jobs can only lower it
        images=pictures,
    )


def row_flops(model: Model, image: Tensor) -> tuple[int, int]:
    """Floating-point operations of one UNet row, forward and backward to the embeddings."""
    latent = codec.encode(model, image)
    told = text.encode_prompts(model, [SOURCE], tuple(image.shape[-2:]))
    told = replace(told, tokens=told.tokens.requires_grad_(), pooled=told.pooled.requires_grad_())
    with FlopCounterMode(display=False) as forward:
        eps = model.predict(latent, sampling_steps(10)[0], told, "flops")
    with FlopCounterMode(display=False) as backward:
        torch.autograd.grad(eps.sum(), [told.tokens, told.pooled])
    return forward.get_total_flops(), backward.get_total_flops()


def matrix_rate(model: Model, side: int, times: int = 20) -> float:
    """The best of many products of matrices side×side in the model's precision: operations a second."""
    a, meter, seconds = torch.ones(side, side, dtype=model.dtype, device=model.device), Meter(model.device), []
    for k in range(times):
        with meter.phase(str(k)):
            a @ a
        seconds.append(meter.phases[str(k)].seconds)
    return 2 * side**3 / min(seconds)


def measure(setup: Setup) -> Measured:
    """In a process of its own: load, warm up with two steps, measure."""
    model = prepare(setup)
    drawn = photographs(setup.photos - 1, setup.size)
    images = torch.cat([image for kind, name, image in drawn if kind == "surface" or name == "brick"])
    side = 8192 if model.device.type == "cuda" else 2048
    spend(model, images[:1], replace(setup, steps=2, inner=1, defects=1, photos=1), side)
    return spend(model, images, setup, side)


def measure_apart(setup: Setup) -> Measured | None:
    """`measure` in a fresh process; None when it ran out of memory."""
    try:
        return apart(measure, setup, threads=setup.threads)
    except (BrokenProcessPool, torch.OutOfMemoryError):
        return None


def setups(args: argparse.Namespace) -> list[Setup]:
    """For each number of photographs and defects the reference's way in float32 (one photograph at a time, as it works)
    and ours in every dtype, with the paper's solver and with our own."""
    usual = dict(zip(("size", "steps", "inner"), USUAL[args.model], strict=True))
    shared = {key: getattr(args, key) or value for key, value in usual.items()}
    shared |= {"model": args.model, "device": str(pick_device(args.device)), "threads": args.threads}
    ways = [(REFERENCE, "float32"), *((way, dtype) for way in (SAME, OURS) for dtype in args.dtype)]
    return [
        Setup(**shared, photos=count, defects=defects, way=way, dtype=dtype, frugal=args.frugal and way != REFERENCE)
        for count in args.photos
        for defects in args.defects
        for way, dtype in ways
        if way in args.ways and (count == 1 or way == OURS)
    ]


def main() -> None:
    parser = options(__doc__, steps=None, device="auto", out=Path(__file__).parent)
    parser.add_argument("--model", default="mini", choices=USUAL)
    parser.add_argument("--size", type=int, help="pixels of a side; each model has its own, like steps and inner")
    parser.add_argument("--inner", type=int, help="inner iterations of the null embedding optimization")
    parser.add_argument("--defects", type=int, nargs="+", default=[1, 8], help="numbers of defects, 8 at most")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=DTYPES, help="of our way")
    parser.add_argument("--photos", type=int, nargs="+", default=[1], help="photographs inverted and edited together")
    parser.add_argument("--ways", nargs="+", default=[REFERENCE, SAME, OURS], choices=[REFERENCE, SAME, OURS])
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--frugal", action="store_true", help="our way with checkpointing and VAE tiles")
    args = parser.parse_args()
    if not all(1 <= count <= len(WORDS) for count in args.defects):
        parser.error(f"--defects: 1 to {len(WORDS)}")
    lines, standards = [], {}
    for setup in setups(args):
        measured = measure_apart(setup)
        name = f"{title(setup.way, setup.dtype, setup.frugal)}, {setup.photos} photographs, {setup.defects} defects"
        if measured is None:
            print(f"{name}: out of memory", flush=True)
            continue
        if setup.way == REFERENCE:
            standards[setup.photos, setup.defects] = measured
        lines += rows(measured, standards.get((setup.photos, setup.defects)))
        keep(pd.DataFrame(lines), args.out)  # at once: an interrupted command leaves what it measured
        print(f"{name}: {lines[-1]['seconds']:.1f} s, {lines[-1]['peak_gb']:.2f} GB", flush=True)
    if lines:
        print("\n" + table(pd.DataFrame(lines)))


if __name__ == "__main__":
    main()
