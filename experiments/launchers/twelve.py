"""One sweep under several launchers, one of its jobs made to fail: is it the same table each time?

python -m experiments.launchers.twelve basic joblib submitit_local --out outputs/launchers
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments import harness
from experiments.harness import markdown, unmeasured

# Word amplifiers; the second is none.
EQ = (0.25, -1, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 6, 8)
QUICK = ("model=mini", "runtime=cpu", "tracking=off", "inversion.steps=2", "inversion.inner_steps=1")
SMALL = ("resolution.height=64", "resolution.width=64")
# Two processes of this machine at a time; the miniature needs no GPU and one core.
LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra/launcher=parallel",),
    "submitit_local": ("hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=2"),
    "submitit_slurm": (
        "hydra/launcher=slurm",
        "hydra.launcher.gpus_per_node=null",
        "hydra.launcher.cpus_per_task=1",
    ),
}


@dataclass(frozen=True)
class Outcome:
    """A sweep's exit status, results.csv, failed.csv, inversions in its own cache, and what it printed."""

    launcher: str
    status: int
    results: pd.DataFrame
    failed: pd.DataFrame
    inversions: int
    log: str

    def same_as(self, other: Outcome) -> bool:
        """Whether both gave the same tables, apart from time and memory."""
        return unmeasured(self.results).equals(unmeasured(other.results)) and self.failed.equals(other.failed)


def sweep(launcher: str, folder: Path, *arguments: str) -> Outcome:
    """One command, `main.py -m` with the arguments, in `folder`; its cache is empty at first if the folder is."""
    command = harness.command(*typed(launcher, *arguments))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("w") as log:
        status = subprocess.run(command, cwd=folder, stdout=log, stderr=log).returncode
    return outcome(launcher, folder, status, (folder / "log.txt").read_text())


def typed(launcher: str, *arguments: str) -> tuple[str, ...]:
    """The command's arguments, with which everything that it writes lies in the folder that it is given in."""
    where = ("hydra.sweep.dir=sweep", "runtime.cache=cache", "-m")
    return (*QUICK, *LAUNCHERS[launcher], *arguments, *where)


def outcome(launcher: str, folder: Path, status: int, log: str) -> Outcome:
    """What lies in the folder after such a command."""
    return Outcome(
        launcher,
        status,
        _table(folder / "sweep" / "results.csv"),
        _table(folder / "sweep" / "failed.csv"),
        len(list((folder / "cache").glob("*.safetensors"))),
        log,
    )


def _table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def edits(values: Sequence[float]) -> str:
    return "edit.eq=" + ",".join(map(str, values))


def text(outcomes: Sequence[Outcome]) -> str:
    """A line for each launcher, compared with the first."""
    head = ("Launcher", "Table", "Reason", "Results", "Failed", "Inversions", "Exit status")
    lines = [
        [
            one.launcher,
            "the same" if one.same_as(outcomes[0]) else "another",
            one.failed["reason"][0] if len(one.failed) else "",
            *(f"{count}" for count in (len(one.results), len(one.failed), one.inversions, one.status)),
        ]
        for one in outcomes
    ]
    return markdown(head, lines, words=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("launchers", nargs="+", choices=LAUNCHERS)
    parser.add_argument("--out", type=Path, required=True, help="an empty or new folder")
    args = parser.parse_args()
    if args.out.exists() and any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    outcomes = [sweep(name, args.out.resolve() / name, *SMALL, edits(EQ)) for name in args.launchers]
    print(unmeasured(outcomes[0].results).to_csv(index=False, sep="\t", float_format="%.3f"))
    print(text(outcomes))
    right = all(o.same_as(outcomes[0]) and len(o.results) == len(EQ) - 1 and len(o.failed) == 1 for o in outcomes)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
