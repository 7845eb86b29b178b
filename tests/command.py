"""The command as a person gives it, in this process or in one of its own, and what it answers."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from shortcuts import shortcuts

from rli.cli.app import command
from rli.cli.errors import FULL_ERROR, HYDRA_FULL_ERROR
from rli.package_files import resource_folder

ROOT = Path(__file__).parents[1]
CONF = resource_folder("conf")
# The least that still goes through every stage; two steps make no good pictures.
QUICK = ("model=mini", "inversion.steps=2", "inversion.inner_steps=1", "tracking=off", "runtime=cpu")
SMALL = ("resolution.height=64", "resolution.width=64")
# What a user's own environment may say about errors; a test starts without.
TRACES = (HYDRA_FULL_ERROR, FULL_ERROR)


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The one line that a bad command ends in."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert self.status == 2, self.stderr
        assert len(lines) == 1 and "Traceback" not in self.stderr, self.stderr
        return lines[0]

    @property
    def folder(self) -> Path:
        """Where a command that ended well says that its results are."""
        assert self.status == 0, self.stderr
        (line,) = [line for line in self.stdout.splitlines() if line.startswith("results: ")]
        return Path(line.removeprefix("results: ").partition(";")[0]).parent


def run(*arguments: str) -> Answer:
    """One command in this process, where the imports are done and parts may be patched."""
    with pytest.MonkeyPatch.context() as patch, shortcuts():
        for name in TRACES:
            patch.delenv(name, raising=False)
        patch.setattr("sys.argv", ["rli"])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = command(arguments)
    return Answer(status, out.getvalue(), err.getvalue())


def run_process(
    *command: str, folder: Path, env: Mapping[str, str] | None = None, timeout: float = 300, stdin: str | None = None
) -> Answer:
    """Python with this command line (a script, or -c and code), in a process of its own, in the folder."""
    options = {"cwd": folder, "env": environment(env), "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, *command], input=stdin, timeout=timeout, **options)
    return Answer(done.returncode, done.stdout, done.stderr)


@contextmanager
def started(
    *command: str, folder: Path, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen]:
    """As `run_process`, but still running, with pipes to read from; killed at the end."""
    pipes = {"stdout": subprocess.PIPE, "text": True, **options}
    with subprocess.Popen([sys.executable, *command], cwd=folder, env=environment(env), **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_line(process: subprocess.Popen, line: str) -> None:
    """Until the process has printed the line; fails where it ends without."""
    assert process.stdout is not None
    if line not in (said.strip() for said in process.stdout):
        pytest.fail(f"it ended before it said {line!r}")


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child process sees: the tests' own surroundings and this checkout's packages."""
    own = {name: value for name, value in os.environ.items() if name not in TRACES}
    places = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH")]))
    return {**own, "PYTHONPATH": places, **(changes or {})}


def composed(*overrides: str, **options: Any) -> DictConfig:
    """The configuration that a command line stands for."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", [*overrides], **options)
