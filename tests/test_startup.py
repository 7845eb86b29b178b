"""Nothing heavy is imported before it is needed: help and typing errors are answered at once."""

import os

import pytest
from command import ROOT, run_process

import rli

pytestmark = pytest.mark.integration

HEAVY = {
    "torch", "diffusers", "transformers", "accelerate", "numpy", "pandas", "pyarrow", "scipy", "skimage", "PIL",
    "matplotlib", "altair", "wandb", "lpips", "torchvision",
}  # fmt: skip
# Says at the end of whatever ran which of them came.
REPORT = f"print('imported:', *sorted({HEAVY!r} & set(sys.modules)))"
COMMAND = f"""
import sys
from rli.cli.app import command
status = command()
{REPORT}
sys.exit(status)
"""


def imported(stdout: str) -> list[str]:
    return stdout.splitlines()[-1].removeprefix("imported:").split()


def test_importing_the_library(tmp_path):
    answer = run_process("-c", f"import sys, rli\n{REPORT}", folder=tmp_path)
    assert answer.status == 0, answer.stderr
    assert imported(answer.stdout) == []


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--help"], 0), (["--cfg", "job"], 0), (["defect=corosion"], 2), (["edit.qe=1"], 2)]
)
def test_the_command_before_there_is_work(tmp_path, arguments, status):
    answer = run_process("-c", COMMAND, *arguments, folder=tmp_path)
    assert answer.status == status, answer.stderr
    assert imported(answer.stdout) == []
    assert [*tmp_path.iterdir()] == []


def test_a_bad_value_waits_for_no_model_and_no_tables(tmp_path):
    answer = run_process("-c", COMMAND, "edit.eq=-1", "hydra.run.dir=out", folder=tmp_path)
    assert answer.error.startswith("error: edit.eq=-1: out of range")
    assert not {"diffusers", "transformers", "scipy", "matplotlib", "altair", "wandb", "lpips"} & {
        *imported(answer.stdout)
    }


def test_every_public_name_is_found_and_no_other():
    assert len(rli.__all__) > 15 and sorted(rli.__all__) == sorted({*rli.__all__})
    for name in rli.__all__:
        assert getattr(rli, name) is not None
    assert {*rli.__all__} <= {*dir(rli)}
    assert rli.invert.__module__ == "rli.method.inversion"
    with pytest.raises(AttributeError, match="invret"):
        _ = rli.invret


def test_python_main_py_in_a_checkout_is_the_same_command(tmp_path):
    """Also where the package is not on the path: the script's own folder is."""
    nowhere = {"PYTHONPATH": os.devnull}
    answers = [
        run_process(*typed, "--cfg", "job", folder=tmp_path, env=env)
        for typed, env in (((str(ROOT / "main.py"),), nowhere), (("-m", "rli"), None))
    ]
    assert answers[0] == answers[1] and answers[0].status == 0
    assert "corrosion" in answers[0].stdout
