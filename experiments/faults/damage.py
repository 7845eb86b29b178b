"""Every file of a finished run and of its cache is lost or damaged: does the same command make it as it was?

python -m experiments.faults.damage --rounds 3
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

from experiments.faults.trial import (
    GATHER,
    SETTINGS,
    correctable_files,
    finished,
    kept_files,
    not_healed,
    restored,
    run,
)
from experiments.harness import markdown
from rli.progress import shown


def missing(file: Path, other: bytes, draw: random.Random) -> None:
    file.unlink()


def empty(file: Path, other: bytes, draw: random.Random) -> None:
    file.write_bytes(b"")


def truncated(file: Path, other: bytes, draw: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: draw.randrange(max(1, len(data)))])


def another_s(file: Path, other: bytes, draw: random.Random) -> None:
    file.write_bytes(other)


def null_bytes(file: Path, other: bytes, draw: random.Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def bit_flip(file: Path, other: bytes, draw: random.Random) -> None:
    data = bytearray(file.read_bytes() or b"\0")
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)


DAMAGES: dict[str, Callable[[Path, bytes, random.Random], None]] = {
    "missing": missing,
    "empty": empty,
    "truncated": truncated,
    "another's": another_s,
    "null bytes": null_bytes,
    "bit flip": bit_flip,
}


def files_for(place: Path, damage: str) -> list[Path]:
    """The files that are made again after a damage."""
    is_healed = damage == "missing"
    return [file for file in kept_files(place) if is_healed or file not in correctable_files(place)]


def damaged(place: Path, file: Path, damage: str, draw: random.Random) -> None:
    """Damages one file; another's is a file of the same suffix, where there is one."""
    files = [path for path in kept_files(place) if path != file]
    others = [path for path in files if path.suffix == file.suffix] or files
    DAMAGES[damage](place / file, (place / "calm" / draw.choice(others)).read_bytes(), draw)


def trial(place: Path, files: list[Path], damage: str, seed: int) -> str | None:
    """What is wrong after files were damaged and the same command was given again, with a gathering before and after;
    None where nothing is."""
    draw = random.Random(seed)
    restored(place)
    for file in files:
        damaged(place, file, damage, draw)
    gathered = run(place, *GATHER)
    again = run(place, *SETTINGS)
    return gathered.fault or not_healed(place, [again]) or run(place, *GATHER).fault


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="how often each damage is done to each file")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    healed, faults = Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        place = finished(Path(folder))
        pairs = [(file, damage) for damage in DAMAGES for file in files_for(place, damage)]
        trials = list(product(pairs, range(args.rounds)))
        for (file, damage), k in shown(trials, "trials"):
            fault = trial(place, [file], damage, args.seed + k)
            healed[damage, fault is None] += 1
            if fault:
                faults.append(f"{file}, {damage}: {fault}")
                print(faults[-1], file=sys.stderr, flush=True)
        rows = [(name, f"{healed[name, True]}", f"{healed[name, False]}") for name in DAMAGES]
        print(markdown(("Damage", "healed", "not"), rows))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
