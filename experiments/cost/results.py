"""What was measured, as lines of results.csv and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.cost.meter import Spent
from experiments.harness import embed, machine
from rli.files import write_whole
from rli.metrics.image import psnr

# The reference implementation; ours with its solver and all its iterations; ours as it is.
REFERENCE, SAME, OURS = "reference", "same", "ours"
PHASES = ("encode", "inversion", "optimization", "identity step", "edits", "decode")


@dataclass(frozen=True)
class Setup:
    """One measurement: way is reference (float32 whatever dtype says), same or ours; photos are inverted and edited
    together; inner iterations count for the first two; frugal: checkpointing and VAE tiles."""

    model: str
    size: int
    steps: int
    inner: int
    defects: int
    way: str
    dtype: str
    photos: int = 1
    device: str = "cpu"
    threads: int = 1
    frugal: bool = False


@dataclass(frozen=True)
class Measured:
    """What came of it.

    rest_gb: memory with the model at rest; psnr, psnr_vae: of the first photograph; alone: the worst image's PSNR
    against the same photograph done by itself, alone_seconds: what these took; row_flops: of one UNet row forward and
    backward; matrix_rate: operations a second; images (B·(1+N),H,W,3) uint8: reconstruction and edits of each.
    """

    setup: Setup
    phases: dict[str, Spent]
    rest_gb: float
    psnr: float
    psnr_vae: float
    alone: float
    alone_seconds: float
    row_flops: tuple[int, int]
    matrix_rate: float
    images: np.ndarray


def rows(measured: Measured, standard: Measured | None) -> list[dict]:
    """Lines of results.csv: one for each phase and one for all. agreement: PSNR against the images of `standard`, the
    reference's way with as many defects, of the reconstruction and of the worst edit; infinite where they are equal."""
    phases = {name: measured.phases[name] for name in PHASES if name in measured.phases}
    phases["all"] = Spent(
        **{f.name: sum(getattr(s, f.name) for s in phases.values()) for f in fields(Spent) if f.name != "peak_gb"},
        peak_gb=max(s.peak_gb for s in phases.values()),
    )
    agreement = [float("nan")] * 2
    if standard is not None:
        agreement = [psnr(a, b) for a, b in zip(measured.images, standard.images, strict=True)]
    common = {
        "rest_gb": measured.rest_gb,
        "psnr": measured.psnr,
        "psnr_vae": measured.psnr_vae,
        "alone": measured.alone,
        "alone_seconds": measured.alone_seconds,
        "matrix_gflops": measured.matrix_rate / 1e9,
        "agreement": agreement[0],
        "agreement_edits": min(agreement[1:]),
    }
    about = {**machine(measured.setup.device), **asdict(measured.setup)}

    def floor(spent: Spent) -> float:
        forward, backward = measured.row_flops
        return (spent.forwards * forward + spent.backwards * backward) / measured.matrix_rate

    return [
        {**about, "phase": name, **asdict(spent), "floor_seconds": floor(spent), **common}
        for name, spent in phases.items()
    ]


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=["nan"])


def keep(new: pd.DataFrame, folder: Path) -> None:
    """Put the lines into the folder's results.csv, in the place of those of the same machine and setup, and the tables
    of all of them into its README.md, where there is one that marks the place."""
    path = folder / "results.csv"
    merged = new
    if path.is_file():
        key, old = ["cpu", "gpu", *(f.name for f in fields(Setup))], read(path)
        fresh = set(new[key].astype(str).itertuples(index=False, name=None))
        stay = [tuple(line) not in fresh for line in old[key].astype(str).itertuples(index=False, name=None)]
        merged = pd.concat([old[stay], new], ignore_index=True)
    write_whole(path, merged.to_csv(index=False, na_rep="nan"))
    embed(folder, "results.csv", table(read(path)))


def table(results: pd.DataFrame) -> str:
    """Markdown: for each machine, setting and number of defects a table with a column for each way."""
    shared = ["cpu", "gpu", "torch", "threads", "model", "size", "steps", "inner", "photos", "defects"]
    return "\n\n".join(_table(part) for _, part in results.groupby(shared, sort=False))


def _table(part: pd.DataFrame) -> str:
    of = part.iloc[0]
    what = f"{of.model}, {of['size']}×{of['size']}, {of.steps} steps, " + (
        f"{of.photos} photographs together" if of.photos > 1 else f"{of.inner} inner iterations of Adam"
    )
    where = f"{of.gpu or of.cpu}, {of.threads} CPU thread{'s' if of.threads > 1 else ''}, torch {of.torch}"
    columns = {title(*key): p.set_index("phase") for key, p in part.groupby(["way", "dtype", "frugal"], sort=False)}
    alls = [column.loc["all"] for column in columns.values()]
    lines = [
        f"**{what}, {of.defects} defect{'s' if of.defects > 1 else ''}** on {where}",
        "",
        "| | " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * len(columns),
        *(
            _line(phase, [_spent(c.loc[phase]) if phase in c.index else "" for c in columns.values()])
            for phase in (*PHASES, "all")
        ),
        _line("rows forward / backward", [f"{a.forwards} / {a.backwards}" for a in alls]),
        _line("model at rest, GB", [f"{a.rest_gb:.2f}" for a in alls]),
        _line(
            "floor by the UNet rows' operations (share of it reached)",
            [
                "" if a.way == REFERENCE else f"{a.floor_seconds:.2f} s ({a.floor_seconds / a.seconds:.0%})"
                for a in alls
            ],
        ),
        _line("photographs an hour", [f"{3600 * a.photos / a.seconds:.0f}" for a in alls]),
        *(
            [
                _line("the same, one at a time", [f"{3600 * a.photos / a.alone_seconds:.0f}" for a in alls]),
                _line("worst image against the photograph alone, dB", [f"{a.alone:.1f}" for a in alls]),
            ]
            if of.photos > 1
            else []
        ),
        _line("PSNR to photo / to VAE round trip, dB", [f"{a.psnr:.2f} / {a.psnr_vae:.2f}" for a in alls]),
    ]
    if (part["way"] == REFERENCE).any():
        theirs, idle = part[part["way"] == REFERENCE].set_index("phase").loc[["all", "identity step"], "cpu_seconds"]
        first = next(a for a in alls if a.way == REFERENCE)
        lines += [
            _line(
                "agreement with the reference's way, reconstruction / worst edit, dB",
                ["" if a.way == REFERENCE else f"{a.agreement:.1f} / {a.agreement_edits:.1f}" for a in alls],
            ),
            _line("**times faster**, by the clock", [f"{first.seconds / a.seconds:.2f}" for a in alls]),
            _line("by processor time", [f"{theirs / a.cpu_seconds:.2f}" for a in alls]),
            _line(
                "by processor time, without the identity step",
                ["" if a.way == REFERENCE else f"{(theirs - idle) / a.cpu_seconds:.2f}" for a in alls],
            ),
        ]
    return "\n".join(lines)


def title(way: str, dtype: str, frugal: bool) -> str:
    names = {REFERENCE: "the reference's way", SAME: "ours with its solver", OURS: "ours"}
    return f"{names[way]}, {dtype}" + ", checkpointing and tiles" * (way != REFERENCE and str(frugal) == "True")


def _spent(phase: pd.Series) -> str:
    return f"{phase.seconds:.2f} s, {phase.peak_gb:.2f} GB"


def _line(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"
