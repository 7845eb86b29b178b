"""A run that is killed (SIGKILL) at random moments and started again each time: is its data set an undisturbed one?

python -m experiments.datasets.kills --kills 20
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from experiments.datasets.runs import command, differences, environment, markdown, prepare


def undisturbed(place: Path) -> tuple[float, float]:
    """Seconds until the first photograph was begun, and from there to the end."""
    began, first = time.perf_counter(), 0.0
    with (place / "log.txt").open("w") as log:
        process = subprocess.Popen(command(), cwd=place, env=environment(), stdout=log, stderr=log)
        while process.poll() is None:
            if not first and (place / "run" / "images").exists():
                first = time.perf_counter() - began
            time.sleep(0.01)
    if process.returncode:
        raise RuntimeError((place / "log.txt").read_text())
    return first, time.perf_counter() - began - first


def disturbed(place: Path, kills: int, seed: int, loading: float, working: float) -> list[str]:
    """What each kill met: loading, making, writing, or nothing, where the run had ended before; at last it may end."""
    draw, met = random.Random(seed), []
    with (place / "log.txt").open("w") as log:
        while len(met) < kills:
            # Most of a life goes into loading: of what remains each gets its share, once more or less.
            life = loading * draw.uniform(0.7, 1.0) + draw.uniform(0, 2) * working / kills
            process = subprocess.Popen(command(), cwd=place, env=environment(), stdout=log, stderr=log)
            before = len(records(place))
            try:
                process.wait(life)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            process.wait()
            if process.returncode == 0:
                # It was at its end: the data set goes, and is written anew.
                (place / "run" / "manifest.csv").unlink()
                continue
            if process.returncode != -signal.SIGKILL:
                raise RuntimeError((place / "log.txt").read_text())
            made = len(records(place)) - before
            met.append("while photographs were made" if made else stage(place))
        subprocess.run(command(), cwd=place, env=environment(), stdout=log, stderr=log, check=True)
    return met


def records(place: Path) -> list[Path]:
    return [*(place / "run" / "records").rglob("*.safetensors")]


def stage(place: Path) -> str:
    """Where a process was that has finished no photograph."""
    if (place / "run" / ".dataset.part").exists() or (place / "run" / "dataset").exists():
        return "while tables and data set were written"
    return "before the first photograph of that life was done"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=int, default=12, help="cracked photographs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        calm, wild = (prepare(Path(folder, name), args.photos) for name in ("calm", "wild"))
        loading, working = undisturbed(calm)
        met = disturbed(wild, args.kills, args.seed, loading, working)
        left = [*(wild / "run").rglob(".part-*")]
        for path in left:
            path.unlink()  # what runs do themselves when these are ten minutes old
        other = differences(calm / "run", wild / "run")
        counts = json.loads((wild / "run" / "dataset" / "export.json").read_text())["formats"]
        print(markdown([{"killed": name, "times": count} for name, count in Counter(met).items()]))
        print(f"\nimages: {json.dumps({name: told['images'] for name, told in counts.items()})}")
        print(f"half-written files that kills left beside the others: {len(left)}")
        print(f"seconds undisturbed: {loading:.0f} until the first photograph, {working:.0f} from there")
        print("the same, byte for byte" if not other else f"not the same: {', '.join(other[:10])}")
    sys.exit(bool(other))


if __name__ == "__main__":
    main()
