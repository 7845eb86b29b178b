"""What inverting photographs together gains, and whether it changes them: `python -m experiments.datasets.batch`.

The same drawn surfaces through the miniature with the usual settings, one, two, four and eight together, each with an
empty cache of its own; every picture is held against the one that was made alone.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.datasets.evidence import EDITS, OPEN, job, photo, publish
from experiments.harness import markdown, options
from rli.metrics.image import psnr
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.photos.sources import Photo
from rli.progress import shown
from rli.runs.job import Job
from rli.runs.runner import Runner
from rli.store.records import PhotoResult, read_photo


def make(model: Model, work: Job, photos: list[Photo]) -> tuple[dict[str, float], list[PhotoResult]]:
    """Seconds by the clock and of the processor, and what the photographs became."""
    with tempfile.TemporaryDirectory() as place:
        runner = Runner(replace(work, cache=Path(place, "cache")), model)
        began, cpu = time.perf_counter(), time.process_time()
        runner.make(photos, Path(place))
        spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        return spent, [read_photo(Path(place), one.name) for one in photos]


def pictures(results: list[PhotoResult]) -> Iterator[np.ndarray]:
    """Every reconstruction and edit."""
    for result in results:
        yield result.reconstruction
        yield from (edited.image for edited in result.edits.values())


def apart(results: list[PhotoResult], alone: list[PhotoResult]) -> dict[str, float]:
    """How far pictures are from those made alone: worst PSNR in dB (99: equal), the largest difference of a pixel in
    grey levels, the share of pixels that differ at all, and whether any edit's masks do."""
    pairs = [*zip(pictures(results), pictures(alone), strict=True)]
    differences = [np.abs(a.astype(int) - b) for a, b in pairs]
    masks = [
        (edited.mask != other.edits[name].mask).mean() + (edited.change != other.edits[name].change).mean()
        for result, other in zip(results, alone, strict=True)
        for name, edited in result.edits.items()
    ]
    return {
        "worst_psnr": min(min(psnr(a, b), 99.0) for a, b in pairs),
        "largest": max(int(d.max()) for d in differences),
        "differing": float(np.mean([(d > 0).mean() for d in differences])),
        "masks": max(masks),
    }


def table(rows: pd.DataFrame) -> str:
    head = (
        "Together",
        "photographs an hour",
        "gain",
        "by processor time",
        "gain",
        "worst PSNR to alone, dB",
        "largest difference, grey levels",
        "pixels that differ",
        "mask pixels, most",
    )
    rate, cpu = (3600 * rows["photographs"] / rows[name] for name in ("seconds", "cpu_seconds"))
    lines = [
        [
            f"{row.batch}",
            f"{rate[row.Index]:.0f}",
            f"{rate[row.Index] / rate[0]:.2f}",
            f"{cpu[row.Index]:.0f}",
            f"{cpu[row.Index] / cpu[0]:.2f}",
            f"{row.worst_psnr:.1f}",
            f"{row.largest}",
            f"{row.differing:.2%}",
            f"{row.masks:.2%}",
        ]
        for row in rows.itertuples()
    ]
    return markdown(head, lines, words=0)


def main() -> None:
    parser = options(__doc__, surfaces=8, steps=50, out=Path(__file__).parent)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8], help="the first is what others are to")
    asked = parser.parse_args()
    model, photos = load("mini"), [photo(k) for k in range(asked.surfaces)]
    work = job(Path("unused"), EDITS["table"], OPEN, asked.steps, ["corrosion"])
    make(model, replace(work, inversion=replace(work.inversion, steps=3)), photos[:1])  # warms up
    rows, alone = [], None
    for batch in shown(asked.batches, "batches"):
        spent, results = make(model, replace(work, batch_size=batch), photos)
        alone = alone or results
        rows.append({"batch": batch, "photographs": len(photos), **spent, **apart(results, alone)})
    publish(asked.out, "batch", pd.DataFrame(rows), table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
