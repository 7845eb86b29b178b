"""One data set made by one process, by Ray's workers of which one is killed, and in four parts: is it the same?

python -m experiments.datasets.spread ray shards submitit_local
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from experiments.datasets.runs import command, differences, environment, prepare
from experiments.harness import markdown

PARTS = [f"shard={k}/4" for k in range(4)]
# Ray's own processes.
RAY = ("raylet", "gcs_server")


def one_process(place: Path) -> str:
    finish(start(place))
    return ""


def ray(place: Path) -> str:
    """Two workers; one is killed (SIGKILL) when three photographs are done."""
    process, known = start(place, "runtime=ray", "runtime.device=cpu", "runtime.workers=2"), set(rays())
    while not (workers := at_work(process)) or len([*(place / "run" / "records").rglob("*.safetensors")]) < 3:
        if process.poll() is not None:
            raise RuntimeError((place / "log.txt").read_text())
        time.sleep(0.1)
    workers[0].kill()
    finish(process)
    end = time.monotonic() + 20  # they are told to end, and do so after the command
    while (left := set(rays()) - known) and time.monotonic() < end:
        time.sleep(0.2)
    return f"worker {workers[0].pid} of {len(workers)} at work killed; Ray processes left: {len(left)}"


def shards(place: Path) -> str:
    """Four processes at the same time."""
    for process in [start(place, part) for part in PARTS]:
        finish(process)
    return "four processes at a time"


def submitit_local(place: Path) -> str:
    """The same as one multirun, as on SLURM."""
    parts = "shard=" + ",".join(part.removeprefix("shard=") for part in PARTS)
    finish(start(place, parts, "hydra/launcher=submitit_local", "hydra.sweep.dir=sweep", "-m"))
    return "hydra/launcher=submitit_local"


WAYS: dict[str, Callable[[Path], str]] = {
    "one process": one_process,
    "ray": ray,
    "shards": shards,
    "submitit_local": submitit_local,
}


def start(place: Path, *arguments: str) -> subprocess.Popen:
    with (place / "log.txt").open("a") as log:
        return subprocess.Popen(command(*arguments), cwd=place, env=environment(), stdout=log, stderr=log)


def finish(process: subprocess.Popen) -> None:
    if process.wait():
        raise RuntimeError(f"{' '.join(process.args)} ended with {process.returncode}")


def at_work(process: subprocess.Popen) -> list[psutil.Process]:
    """The actors that are making photographs now: Ray puts what they do into their titles."""
    family = psutil.Process(process.pid).children(recursive=True)
    return [one for one in family if "ray::Worker.make" in title(one)]


def rays() -> Iterator[int]:
    return (one.pid for one in psutil.process_iter() if title(one).startswith("ray::") or named(one) in RAY)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def named(process: psutil.Process) -> str:
    try:
        return process.name() if process.status() != psutil.STATUS_ZOMBIE else ""
    except psutil.Error:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="+", choices=[*WAYS][1:])
    parser.add_argument("--photos", type=int, default=12, help="cracked photographs")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("one process", *args.ways):
            place, began = prepare(Path(folder, name.replace(" ", "_")), args.photos), time.perf_counter()
            told = WAYS[name](place)
            other = differences(Path(folder, "one_process", "run"), place / "run")
            seconds = time.perf_counter() - began
            rows.append((name, ", ".join(other[:5]) or "the same", f"{seconds:.0f}", told))
            print((place / "log.txt").read_text(), file=sys.stderr)
    print(markdown(("way", "files", "seconds", ""), rows, words=2, notes=1))
    sys.exit(any(row["files"] != "the same" for row in rows))


if __name__ == "__main__":
    main()
