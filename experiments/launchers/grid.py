"""What a grid of edits of one photograph costs as one sweep, and as separate runs.

python -m experiments.launchers.grid

The grid is conf/sweep/grid.yaml's, on the miniature. The sweep starts with an empty cache, and so does each separate
run.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import yaml

from experiments import harness
from experiments.harness import ROOT, embed, markdown, options, unmeasured, write_csv
from rli.metrics.columns import NAMES
from rli.progress import shown

PLACE = Path(__file__).parent


@dataclass(frozen=True)
class Way:
    """What one way took: runs of main.py, inversions in their caches, seconds by the clock and of all cores together;
    equal: whether its rows, apart from time and memory, and its pictures are those of the first way."""

    way: str
    points: int
    runs: int
    inversions: int
    seconds: float
    cpu_seconds: float
    equal: bool


def knobs(counts: Sequence[int]) -> dict[str, list[str]]:
    """The first `counts` values of each of the grid's knobs."""
    grid = yaml.safe_load((ROOT / "conf" / "sweep" / "grid.yaml").read_text())["hydra"]["sweeper"]["params"]
    return {name: str(values).split(",")[:n] for (name, values), n in zip(grid.items(), counts, strict=True)}


def run(folder: Path, *arguments: str) -> None:
    """One command in `folder`, everything that it leaves below it. Raises CalledProcessError where it fails."""
    folder.mkdir(parents=True)
    where = ("runtime.cache=cache", "hydra.run.dir=out", "hydra.sweep.dir=out")
    command = harness.command("model=mini", "runtime=cpu", "tracking=off", *arguments, *where)
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def spent() -> tuple[float, float]:
    """The clock, and the CPU seconds of all processes that were waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), children.ru_utime + children.ru_stime


def left(folders: Sequence[Path]) -> tuple[pd.DataFrame, list[bytes]]:
    """The rows of all the folders' tables, without what was measured, and the edits' pictures."""
    rows = pd.concat([pd.read_csv(folder / "results.csv") for folder in folders], ignore_index=True)[list(NAMES)]
    pictures = [p for folder in folders for p in sorted((folder / "images").rglob("*.png"))]
    return unmeasured(rows), [p.read_bytes() for p in pictures]


def compare(place: Path, counts: Sequence[int], steps: int) -> list[Way]:
    """Both ways, one after the other, in folders below `place`."""
    values, settings = knobs(counts), [f"inversion.steps={steps}"]
    points = [[f"{k}={v}" for k, v in zip(values, some, strict=True)] for some in itertools.product(*values.values())]
    clocks = [spent()]
    run(place / "sweep", "sweep=grid", *settings, *(f"{name}={','.join(some)}" for name, some in values.items()))
    clocks.append(spent())
    for k, point in enumerate(shown(points, "separate runs")):
        run(place / "separate" / f"{k}", *settings, *point)
    clocks.append(spent())
    jobs = [place / "sweep" / "out" / f"{k}" for k in range(len(points))]
    folders = [place / "separate" / f"{k}" / "out" for k in range(len(points))]
    rows, pictures = left(jobs)
    other_rows, other_pictures = left(folders)
    equal = rows.equals(other_rows) and pictures == other_pictures
    sweep, separate = ((round(b[0] - a[0], 1), round(b[1] - a[1], 1)) for a, b in itertools.pairwise(clocks))
    return [
        Way("one sweep", len(points), 1, inversions(place / "sweep"), *sweep, True),
        Way("separate runs", len(points), len(points), inversions(place / "separate"), *separate, equal),
    ]


def inversions(place: Path) -> int:
    return len(list(place.rglob("cache/*.safetensors")))


def text(ways: Sequence[Way]) -> str:
    """A line for each way."""
    head = ("Way", "Points", "Runs", "Inversions", "Seconds", "CPU seconds", "Rows and pictures")
    lines = [
        [
            way.way,
            *(f"{x:.0f}" for x in (way.points, way.runs, way.inversions, way.seconds, way.cpu_seconds)),
            "the same" if way.equal else "others",
        ]
        for way in ways
    ]
    return markdown(head, lines, notes=1)


def main() -> None:
    parser = options(__doc__, steps=50, out=PLACE)
    parser.add_argument("--points", type=int, nargs=3, default=[3, 3, 3], help="values of eq, cross and replace")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        ways = compare(Path(place), args.points, args.steps)
    write_csv(args.out / "grid.csv", pd.DataFrame(map(asdict, ways)))
    embed(args.out, "grid", text(ways))
    print(text(ways))


if __name__ == "__main__":
    main()
