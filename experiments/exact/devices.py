"""Does a GPU give what the CPU gives, and the same twice? `python -m experiments.exact.devices --device cuda`.

The miniature inverts a drawn surface and edits it, by each way of inverting: on the CPU, and on the device twice, as it
is and with the kernels that PyTorch calls deterministic.
"""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from experiments.harness import SOURCE, apart, machine, markdown, options, photographs, targets, tell
from rli.images import to_uint8
from rli.method.editing import edit, reconstruct
from rli.method.inversion import invert
from rli.method.inversion.base import Inverter
from rli.method.inversion.ddim import Ddim
from rli.method.inversion.direct import Direct
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.inversion.virtual import Virtual
from rli.method.solvers.adam import Adam
from rli.metrics.image import psnr
from rli.models.device import deterministic, pick_device
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini import SIDE

WAYS: dict[str, Inverter] = {
    "null-text, L-BFGS": NullText(),
    "null-text, Adam (the paper's)": NullText(Adam()),
    "direct": Direct(),
    "ddim": Ddim(),
    "virtual": Virtual(),
}
HEAD = (
    "Inversion",
    "Precision",
    "Reconstruction to the CPU's, dB",
    "Edit to the CPU's, dB",
    "Twice on the device",
    "Twice, deterministic",
    "Seconds on the CPU",
    "Seconds on the device",
    "Seconds, deterministic",
)


@dataclass(frozen=True)
class Measured:
    """pictures (2,H,W,3) uint8, reconstruction and edit; how near a repetition came; the seconds of one."""

    pictures: np.ndarray
    twice: str
    seconds: float


def pictures(model: Model, way: Inverter, photo: torch.Tensor, steps: int) -> tuple[np.ndarray, float]:
    """Reconstruction and edit of the photograph, (2,H,W,3) uint8, and the seconds that both took."""
    began = time.perf_counter()
    found = invert(model, photo, SOURCE, InversionSettings(way, steps=steps))
    back = reconstruct(model, found)
    (changed,) = edit(model, found, targets(("rust",)), reconstruction=back)
    return np.stack([to_uint8(back), to_uint8(changed.image)]), time.perf_counter() - began


def measure(
    device: str, repeatable: bool, steps: int, photo: torch.Tensor, on_cpu: dict[tuple[str, str], Measured]
) -> dict[tuple[str, str], Measured]:
    """Every way in both precisions, in a process of its own: `deterministic` must come before CUDA's first product.

    A line on stderr for each, beside what the CPU gave, so that a run that ends early has said something.
    """
    done: dict[tuple[str, str], Measured] = {}
    with deterministic(torch.device(device)) if repeatable else nullcontext():
        for dtype in ("float32", "bfloat16") if device != "cpu" else ("float32",):
            model = load("mini", device=device, dtype=dtype)
            for name, way in WAYS.items():
                pictures(model, way, photo, 2)  # kernels are chosen and loaded
                (one, seconds), (other, _) = (pictures(model, way, photo, steps) for _ in range(2))
                done[name, dtype] = Measured(one, decibels(one, other), seconds)
                here = (on_cpu or done)[name, "float32"].pictures
                near = ", ".join(decibels(one[k], here[k]) for k in range(2))
                print(f"{device}, {name}, {dtype}: to the CPU's {near}; {seconds:.1f} s", file=sys.stderr, flush=True)
    return done


def decibels(one: np.ndarray, other: np.ndarray) -> str:
    """PSNR of two series of pictures; equal where they are."""
    return "equal" if np.array_equal(one, other) else f"{psnr(one, other):.1f}"


def table(on_cpu: dict, as_it_is: dict, repeatable: dict) -> str:
    """Markdown of what `measure` gave."""
    lines = []
    for (name, dtype), there in as_it_is.items():
        here, again = on_cpu[name, "float32"], repeatable[name, dtype]
        near = [decibels(there.pictures[k], here.pictures[k]) for k in range(2)]
        seconds = [f"{one.seconds:.1f}" for one in (here, there, again)]
        lines.append((name, dtype, *near, there.twice, again.twice, *seconds))
    return markdown(HEAD, lines, words=2)


def main() -> None:
    parser = options(__doc__, side=SIDE, steps=20, device="auto", out=Path(__file__).parent)
    asked = parser.parse_args()
    (_, _, photo), *_ = photographs(1, asked.side)
    device = str(pick_device(asked.device))
    on_cpu = apart(measure, "cpu", False, asked.steps, photo, {})
    there = [apart(measure, device, repeatable, asked.steps, photo, on_cpu) for repeatable in (False, True)]
    where = machine(device)
    about = f"mini, {asked.side} pixels, {asked.steps} steps, {where['gpu'] or where['cpu']}, torch {where['torch']}"
    tell(asked.out, "devices", about, table(on_cpu, *there))


if __name__ == "__main__":
    main()
