"""Does a job keep within its memory budget? `python -m experiments.cost.memory`.

The same job, photographs and targets together as the budget allows, on a random model of SDXL's architecture, each
budget in a process of its own: what runtime.memory=auto chose, the process's peak, seconds, and whether the pictures
are the same as without a budget.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.cost.meter import peak_gb, reset_peak
from experiments.cost.run import WORDS
from experiments.harness import SOURCE, apart, machine, markdown, options, targets, tell
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings
from rli.method.solvers.gauss_newton import GaussNewton
from rli.metrics.image import psnr
from rli.models.device import DTYPES, pick_device
from rli.models.loading import load, random_model
from rli.photos.sources import Photo, photos
from rli.runs.job import Job
from rli.runs.memory_plan import Memory, described, memory_manager
from rli.runs.runner import Runner
from rli.store.records import PhotoResult

HEAD = ("Budget, GB", "Chosen", "At rest, GB", "Peak, GB", "Seconds", "Worst picture against no budget's, dB")


@dataclass(frozen=True)
class Asked:
    """One job: budget in GB, None for none; model midsize or sdxl; size in pixels; photographs and targets wished
    together."""

    budget: float | None
    model: str
    size: int
    photos: int
    targets: int
    steps: int
    device: str
    dtype: str
    quantize: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """What came of it: the plan in words, GB with the model at rest and at the peak, seconds, the pictures."""

    plan: str
    rest_gb: float
    peak_gb: float
    seconds: float
    images: list[np.ndarray]


def measure(asked: Asked) -> Kept:
    """One job in this process."""
    if asked.model == "sdxl":
        shared = {"device": asked.device, "dtype": asked.dtype, "quantize": asked.quantize}
        model = load("sdxl", "random", **shared, offload=True)
    else:
        model = random_model(asked.model, dtype=DTYPES[asked.dtype], device=asked.device)
    with tempfile.TemporaryDirectory() as cache:
        job = Job(
            model="sdxl",
            height=asked.size,
            width=asked.size,
            source=SOURCE,
            targets=targets(WORDS[: asked.targets]),
            original=True,
            inversion=InversionSettings(
                NullText(GaussNewton(start="empty", stop_db=200.0, slack_db=0.0)), steps=asked.steps
            ),
            edit=EditSettings(),
            cache=Path(cache),
            batch_size=asked.photos,
            target_batch=asked.targets,
            memory=Memory("auto", asked.budget),
        )
        together = asked.photos, min(asked.targets, asked.photos * asked.targets)
        plan = memory_manager(model, job.memory, job.height, job.width, job.inversion, *together).plan
        reset_peak(model.device)
        rest = peak_gb(model.device)
        results = [r for r in Runner(job, model).results(_photographs(asked.photos)) if isinstance(r, PhotoResult)]
        peak = peak_gb(model.device)
    generous = replace(plan, photos=asked.photos, targets=together[1], checkpointing=False)
    images = [image for r in results for image in (r.reconstruction, *(e.image for e in r.edits.values()))]
    seconds = sum(
        row.seconds_edit + row.seconds_inversion * (row.defect == "original") for r in results for row in r.rows
    )
    return Kept(described(generous, plan) or "no savings", rest, peak, seconds, images)


def _photographs(count: int) -> list[Photo]:
    (brick,) = photos("sample", samples=["brick"])
    return [replace(brick, name=f"brick{k}") for k in range(count)]


def main() -> None:
    parser = options(__doc__, size=512, steps=2, device="auto", dtype="float32", out=Path(__file__).parent)
    parser.add_argument("--budgets", type=float, nargs="*", default=[2.0, 1.8, 1.6], help="GB; none is always measured")
    parser.add_argument("--model", default="midsize", choices=["tiny", "midsize", "sdxl"])
    parser.add_argument("--photos", type=int, default=2)
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--quantize", nargs="*", default=[], help="weights of SDXL in fewer bits, as model.quantize")
    args = parser.parse_args()
    device = str(pick_device(args.device))
    shared = (args.model, args.size, args.photos, args.targets, args.steps, device, args.dtype, tuple(args.quantize))
    where, lines, free = machine(device), [], None
    for budget in (None, *args.budgets):
        kept = apart(measure, Asked(budget, *shared))
        free = free or kept
        worst = min(psnr(a, b) for a, b in zip(kept.images, free.images, strict=True))
        limit = "none" if budget is None else f"{budget:.1f}"
        same = "equal" if np.isinf(worst) else f"{worst:.1f}"
        numbers = (f"{kept.rest_gb:.2f}", f"{kept.peak_gb:.2f}", f"{kept.seconds:.1f}")
        lines.append((limit, kept.plan, *numbers, same))
        print(*lines[-1], sep=" | ", file=sys.stderr, flush=True)
    precision = " ".join((args.dtype, *args.quantize))
    about = (
        f"{args.model}, {args.size} pixels, {precision}, {args.photos} photographs to {args.targets} targets each, "
        f"{args.steps} steps, on {where['gpu'] or where['cpu']}"
    )
    tell(args.out, "memory", about, markdown(HEAD, lines, words=2))


if __name__ == "__main__":
    main()
