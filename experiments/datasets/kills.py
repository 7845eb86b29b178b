"""A run that is killed (SIGKILL) at random moments and started again each time: is its data set an undisturbed one?

python -m experiments.datasets.kills --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from experiments.datasets.runs import command, differences, environment, prepare
from experiments.harness import markdown


def undisturbed(place: Path, also: Sequence[str] = ()) -> tuple[int, int]:
    """How many files a run writes of photographs, and in all."""
    with (place / "log.txt").open("w") as log:
        subprocess.run(command(*also), cwd=place, env=environment(), stdout=log, stderr=log, check=True)
    run = place / "run"
    return written(run / "images") + written(run / "records"), written(run)


def disturbed(place: Path, kills: int, seed: int, made: int, files: int, also: Sequence[str] = ()) -> list[str]:
    """What each kill met; at last the run may end. Half the moments are drawn evenly over the photographs' files, half
    over all that follow; the kill comes up to 0.3 seconds later."""
    draw = random.Random(seed)
    moments = sorted(draw.uniform(*((0, made) if k % 2 else (made, files))) for k in range(kills))
    met = []
    with (place / "log.txt").open("w") as log:
        for moment in moments:
            process = subprocess.Popen(command(*also), cwd=place, env=environment(), stdout=log, stderr=log)
            while process.poll() is None and written(place / "run") < moment:
                time.sleep(0.02)
            with suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(0, 0.3))
            process.kill()
            if process.wait() == -signal.SIGKILL:
                met.append("photographs were made" if moment < made else "tables, page and data set were written")
            else:
                met.append("nothing: it had ended")
        subprocess.run(command(*also), cwd=place, env=environment(), stdout=log, stderr=log, check=True)
    return met


def written(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photos", type=int, default=12, help="cracked photographs")
    parser.add_argument("--also", nargs="*", default=(), help="further settings, such as placement=pool")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        calm, wild = (prepare(Path(folder, name), args.photos) for name in ("calm", "wild"))
        met = disturbed(wild, args.kills, args.seed, *undisturbed(calm, args.also), args.also)
        left = [*(wild / "run").rglob(".part-*")]
        for path in left:
            path.unlink()  # what runs do themselves when these are ten minutes old
        other = differences(calm / "run", wild / "run")
        counts = json.loads((wild / "run" / "dataset" / "export.json").read_text())["formats"]
        print(markdown(("killed while", "times"), [(name, f"{count}") for name, count in Counter(met).items()]))
        print(f"\nimages: {json.dumps({name: told['images'] for name, told in counts.items()})}")
        print(f"half-written files that kills left beside the others: {len(left)}")
        print("the same, byte for byte" if not other else f"not the same: {', '.join(other[:10])}")
    sys.exit(bool(other))


if __name__ == "__main__":
    main()
