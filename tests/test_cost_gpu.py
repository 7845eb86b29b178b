"""Every command of `make cost-gpu`, smaller, on a CUDA device that is simulated: mixed devices and dtypes would fail.

Left out is the profile, which reads a real device's clock.
"""

import importlib
import re
import shlex

import pytest
from command import ROOT
from simulated_cuda import simulated_cuda

from experiments.cost import solvers
from rli.models.random import random_parts

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# What makes each command small; the sizes that it names itself are replaced.
SMALL = {
    "run": ("--steps", "3", "--inner", "1", "--defects", "1"),
    "memory": ("--photos", "2", "--targets", "2"),
    "kernels": ("--rounds", "1", "--ways", "channels_last"),
    "solvers": ("--surfaces", "1", "--few", "1", "--side", "64", "--steps", "3", "--settings", solvers.DEFAULT),
}
LINES = [
    shlex.split(line)
    for line in re.findall(r"^\t\$\(COST\)\.(.*--device cuda.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("line", [line for line in LINES if line[0] in SMALL], ids=" ".join)
def test_a_command_works_on_one_device(line, tmp_path, monkeypatch):
    module = importlib.import_module(f"experiments.cost.{line[0]}")
    words = [re.sub(r"^(512|1024)$", "64", word) for word in line[1:]]
    monkeypatch.setattr("sys.argv", [line[0], *words, *SMALL[line[0]], *keeps(line[0], tmp_path)])
    # SDXL's structure, but tiny; and everything in this process, where the device is simulated.
    monkeypatch.setattr("rli.models.loading.random_parts", lambda shape, dtype, device: random_parts("tiny", dtype))
    for name in ("run", "memory"):
        monkeypatch.setattr(f"experiments.cost.{name}.apart", lambda work, *given, **_: work(*given))
    # The machine's own figures: a clock's, and a count of operations that looks below the simulation.
    monkeypatch.setattr("experiments.cost.run.matrix_rate", lambda *given: 1.0)
    monkeypatch.setattr("experiments.cost.run.row_flops", lambda *given: (1, 1))
    with simulated_cuda():
        module.main()


def keeps(name, folder) -> tuple[str, ...]:
    """Nothing is written beside the recorded results."""
    return () if name == "kernels" else ("--out", str(folder))


def test_every_command_is_tried_but_the_profile():
    assert {line[0] for line in LINES} == {*SMALL, "profile"} and len(LINES) == 9
