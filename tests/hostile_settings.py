"""Configurations that cannot be meant, made from the settings' own names: every key with values of every kind.

python tests/hostile_settings.py 2000     tries so many of them, and prints those that are not answered well
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from command import composed, run
from omegaconf import OmegaConf

from rli.runs import run as story

QUICK = ("model=mini", "tracking=off", "runtime=cpu", "hydra.run.dir=run")
# Seconds within which a command says what is wrong.
MOST_SECONDS = 10
VALUES = (
    *("null", "true", "off", "yes", "0", "-1", "1", "2", "1.5", "1e309", "-1e309", "nan", "007", "2024_01_15", "1e3"),
    *(str(10**30), "9" * 5000, "", "' '", "[]", "[1,2]", "[[]]", "[a,a]", "{}", "{a:1}", "text", "a,b", "x" * 300),
    *("${nowhere}", "${defect}", "${", "\\", "'", "a:b", "../..", "\x1b[31m", "caf\udce9", "\u200b", "con", "=1+1"),
    *("/dev/zero", "/dev/null", "/proc/self/mem", "pipe", "folder", "file.csv", "file.png", "missing", "1/1", "1e9/1"),
    *("(crack:1.3)", "word " * 100, "mps", "cuda:99", "rli.errors.RLIError", "os.system", "..x"),
)


def leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The dotted name of every group and every key."""
    for name, value in values.items():
        yield f"{above}{name}"
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")


def cases(seed: int) -> Iterator[tuple[str, ...]]:
    """Overrides without end: keys with values, deletions, additions, and two at a time."""
    rng = random.Random(seed)
    keys = [*leaves(OmegaConf.to_container(composed("model=mini"), resolve=False))]
    # Everything by name first, then by chance.
    every = [f"{key}={value}" for key in keys for value in VALUES] + [f"~{key}" for key in keys]
    every += [f"{plus}{key}.unknown={value}" for key in keys for value in ("1", "x") for plus in ("+", "++")]
    rng.shuffle(every)
    for one in every:
        also = rng.choice(((), (), ("data=folder", "data.path=folder"), ("export=[coco]",), (rng.choice(every),)))
        yield (*also, one)


def place(folder: Path) -> None:
    """What the paths among the values lead to."""
    (folder / "folder").mkdir()
    (folder / "file.csv").write_text("a,b\n1,2\n")
    (folder / "file.png").write_bytes(b"\x89PNG")
    os.mkfifo(folder / "pipe")


def complaint(overrides: tuple[str, ...]) -> str:
    """What is wrong with the command's answer; "" where nothing is."""
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(story, "work", lambda config, folder, group=None: False)
        answer = run(*QUICK, *overrides)
    seconds, lines = time.monotonic() - began, [line for line in answer.stderr.splitlines() if line.strip()]
    if answer.status not in (0, 2):
        return f"status {answer.status}: {answer.stderr[-300:]}"
    if answer.status == 2 and (len(lines) != 1 or not lines[0].startswith("error: ") or not lines[0].isprintable()):
        return f"{len(lines)} lines: {answer.stderr[-300:]}"
    return f"{seconds:.0f} s" if seconds > MOST_SECONDS else ""


def main(count: int, seed: int) -> None:
    import tempfile

    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        place(Path(folder))
        for _, overrides in zip(range(count), cases(seed), strict=False):
            if found := complaint(overrides):
                bad += 1
                print(overrides, "→", found, flush=True)
    print(f"{count} configurations, {bad} not answered well")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
