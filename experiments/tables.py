"""Every published table with our figures beside it: `python -m experiments.tables`, or `make tables`.

Runs each experiment's preset as a multirun of main.py and records in the experiment's folder what came out: table.csv,
its README's table with the command, and for the knobs the plot. A stopped run goes on where it was.

    python -m experiments.tables                         # all of them, on the miniature
    python -m experiments.tables rli_alpha knobs         # some
    python -m experiments.tables rli_alpha --out results --with data=folder data.path=photos
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments import harness
from experiments.harness import embed
from rli.files import write_whole

HERE = Path(__file__).parent
EXPERIMENTS = (
    "defect_comparison",
    "reconstruction",
    "rli_location",
    "rli_alpha",
    "rli_models",
    "prompt_specificity",
    "cost",
    "knobs",
)


def command(name: str, overrides: Sequence[str] = ()) -> list[str]:
    """What a user types for it, after `python`."""
    return ["main.py", "-m", f"experiment={name}", "model=mini", *overrides]


def make(name: str, overrides: Sequence[str], work: Path) -> Path:
    """Runs one experiment in `work`/<name> and returns that folder. Raises CalledProcessError where jobs failed."""
    folder = work.absolute() / name
    typed = [*command(name, overrides)[1:], "tracking=off", f"hydra.sweep.dir={folder}"]
    subprocess.run(harness.command(*typed), check=True)
    return folder


def record(name: str, folder: Path, out: Path, told: str) -> None:
    """table.csv, the README's table under the command `told`, and for the knobs the plot, in out/<name>."""
    place = out / name
    place.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "table.csv", place / "table.csv")
    text = (folder / "table.md").read_text().strip()
    if name == "defect_comparison":
        text += "\n\n" + (folder / "comparison.md").read_text().partition("\n\n")[2].strip().replace("\n## ", "\n### ")
    embed(place, "table.csv", f"`python {told}`\n\n{text}")
    if name == "knobs":
        shutil.copyfile(folder / "tradeoff.png", place / "tradeoff.png")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "experiments", nargs="*", default=EXPERIMENTS, metavar="experiment", help=", ".join(EXPERIMENTS)
    )
    parser.add_argument("--work", type=Path, default=Path("outputs/tables"), help="where the multiruns go")
    parser.add_argument("--out", type=Path, default=HERE, help="where tables are recorded")
    parser.add_argument("--with", nargs="*", default=[], dest="overrides", help="further settings for main.py")
    asked = parser.parse_args()
    unknown = [name for name in asked.experiments if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"there is no experiment {unknown[0]}: choose from {', '.join(EXPERIMENTS)}")
    took, failed = {}, []
    for name in asked.experiments:
        began = time.monotonic()
        try:
            folder = make(name, asked.overrides, asked.work)
        except subprocess.CalledProcessError:
            failed.append(name)
            continue
        record(name, folder, asked.out, " ".join(command(name, asked.overrides)))
        took[name] = time.monotonic() - began
    write_whole(asked.work / "seconds.txt", "".join(f"{name} {seconds:.0f}\n" for name, seconds in took.items()))
    for name, seconds in took.items():
        print(f"{name}: {seconds:.0f} s, {asked.out / name / 'table.csv'}")
    for name in failed:
        print(f"error: {name} had failed jobs: see {asked.work / name / 'failed.csv'}", file=sys.stderr)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
