"""A sweep is the same under every launcher, and what dies takes nothing else with it.

Whole commands in processes of their own, on the miniature with two steps. The slow tests run the experiment's twelve
jobs, the others the first five of them.
"""

import os
import signal
import subprocess

import pandas as pd
import pytest
from command import CONF, ROOT, composed, run_process, started, wait_for_line

from experiments.launchers import grid, twelve

pytestmark = pytest.mark.integration

LONG = 300  # seconds, after which something never came
SETTINGS = [*twelve.QUICK, *twelve.SMALL]
# A run that stands still in its inversion.
STUCK = """
import sys, threading
import rli.runs.stages
from rli.cli.app import command

def stand_still(*args):
    print("inverting", flush=True)
    threading.Event().wait()

rli.runs.stages.invert_batch = stand_still
sys.exit(command())
"""
PLAIN = "import sys; from rli.cli.app import command; sys.exit(command())"
# A sweep whose last job is killed as soon as the two others have ended.
DYING = """
import os, signal, sys
from rli.cli import app

plain = app.run

def run(cfg):
    if cfg.rli.alpha < 0.2:
        plain(cfg)
        with open("ended", "wb") as ended:
            ended.write(b".")
    else:
        with open("ended", "rb", buffering=0) as ended:
            ended.read(1), ended.read(1)
        os.kill(os.getpid(), signal.SIGKILL)

app.run = run
sys.exit(app.command())
"""


@pytest.fixture(scope="module")
def basic(tmp_path_factory):
    """Five jobs, one made to fail, with Hydra's own launcher."""
    return sweep("basic", tmp_path_factory.mktemp("basic"), 5)


def sweep(launcher, folder, jobs):
    return twelve.sweep(launcher, folder, *twelve.SMALL, twelve.edits(twelve.EQ[:jobs]))


def needs(plugin):
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")


def run_of(script, folder, *arguments, **pipes):
    """A run whose parts the script has changed."""
    return started("-c", script, *SETTINGS, "runtime.cache=cache", *arguments, folder=folder, **pipes)


def launcher(name):
    return composed("model=mini", f"hydra/launcher={name}", return_hydra_config=True).hydra.launcher


def test_our_launchers_are_the_plugins_own_with_other_values():
    needs("joblib")
    needs("submitit")
    pairs = {"parallel": "joblib", "slurm": "submitit_slurm"}
    assert {path.stem for path in (CONF / "hydra" / "launcher").iterdir()} == set(pairs)
    for ours, plugin in pairs.items():
        assert launcher(ours)._target_ == launcher(plugin)._target_
        assert launcher(ours).keys() == launcher(plugin).keys()
    assert 0 < launcher("parallel").n_jobs < 4  # each holds a model in the same device's memory
    assert launcher("slurm").gpus_per_node == 1


def test_five_jobs_one_made_to_fail(basic):
    assert basic.status == 2
    assert basic.results["eq"].tolist() == [eq for eq in twelve.EQ[:5] if eq >= 0]
    measured = basic.results[["psnr", "ssim", "psnr_recon", "ssim_recon"]]
    assert len(measured.drop_duplicates()) == 4  # jobs that changed places would be seen
    (reason,) = basic.failed["reason"]
    assert reason.startswith("edit.eq=-1: out of range")
    assert basic.inversions == 1


def test_joblib_gives_the_same_table_from_one_inversion(basic, tmp_path):
    needs("joblib")
    joblib = sweep("joblib", tmp_path, 5)
    assert joblib.same_as(basic), joblib.log
    assert joblib.status == 2
    assert joblib.inversions == 1
    assert joblib.results["seconds_inversion"].nunique() == 1


def test_submitit_gives_the_same_rows_from_one_inversion(basic, tmp_path):
    needs("submitit")
    few = sweep("submitit_local", tmp_path, 3)
    assert twelve.unmeasured(few.results).equals(twelve.unmeasured(basic.results[:2])), few.log
    assert few.failed.equals(basic.failed)
    assert (few.status, few.inversions, few.results["seconds_inversion"].nunique()) == (2, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("plugin", "launcher"), [("joblib", "joblib"), ("submitit", "submitit_local")])
def test_twelve_jobs_give_the_same_table_under_every_launcher(tmp_path, plugin, launcher):
    needs(plugin)
    assert sweep(launcher, tmp_path / "other", 12).same_as(sweep("basic", tmp_path / "basic", 12))


def test_a_job_that_waits_for_one_that_is_killed_does_its_work(basic, tmp_path):
    with run_of(STUCK, tmp_path, "hydra.run.dir=stuck") as stuck:
        wait_for_line(stuck, "inverting")
        with run_of(PLAIN, tmp_path, "hydra.run.dir=waits", "edit.eq=0.25", stderr=subprocess.STDOUT) as waiting:
            wait_for_line(waiting, "waiting: another process inverts the same photograph")
            stuck.kill()
            waiting.communicate(timeout=LONG)
            assert waiting.returncode == 0
    assert stuck.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1
    rows = twelve.unmeasured(pd.read_csv(tmp_path / "waits" / "results.csv"))
    assert rows.equals(basic.results.loc[:0, rows.columns])


@pytest.mark.slow
def test_a_sweep_whose_worker_is_killed_keeps_the_rest_and_goes_on_where_it_was(tmp_path):
    needs("joblib")
    command = [*SETTINGS, "hydra/launcher=parallel", "rli.alpha=0,0.1,0.2"]
    command += ["hydra.sweep.dir=sweep", "runtime.cache=cache", "-m"]
    place, ended = tmp_path / "sweep", tmp_path / "ended"
    os.mkfifo(ended)
    keeper = os.open(ended, os.O_RDWR)  # what is written into it waits for its reader
    try:
        answer = run_process("-c", DYING, *command, folder=tmp_path, timeout=LONG)
    finally:
        os.close(keeper)
    assert answer.status == 2
    assert "Traceback" not in answer.stderr
    first, lost = pd.read_csv(place / "results.csv"), pd.read_csv(place / "failed.csv")
    assert first["alpha"].tolist() == [0, 0.1]
    assert lost["name"].tolist() == [2]
    assert "stopped before its end" in lost["reason"][0]

    assert run_process(str(ROOT / "main.py"), *command, folder=tmp_path).status == 0
    both = pd.read_csv(place / "results.csv")
    assert both["alpha"].tolist() == [0, 0.1, 0.2]
    assert both[:2].equals(first[both.columns])  # also the seconds: they were not done again
    assert not (place / "failed.csv").exists()


@pytest.mark.slow
def test_the_grid_s_two_ways(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("<!-- grid -->\n<!-- end of grid -->\n")
    options = ["--steps", "2", "--points", "1", "1", "2", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["grid", *options])
    grid.main()
    ways = pd.read_csv(tmp_path / "grid.csv").set_index("way")
    assert ways["points"].tolist() == [2, 2]
    assert ways["runs"].tolist() == [1, 2]
    assert ways["inversions"].tolist() == [1, 2]
    assert ways["equal"].all()
    assert "| separate runs | 2 | 2 | 2 |" in (tmp_path / "README.md").read_text()


def test_the_grid_has_27_points():
    assert [len(values) for values in grid.knobs([3, 3, 3]).values()] == [3, 3, 3]
