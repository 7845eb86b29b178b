"""A sweep is the same under every launcher, and what dies takes nothing else with it.

Whole commands on the miniature with two steps. The slow tests run the experiment's twelve
jobs, the others the first three of them.
"""

import os
import signal

import pandas as pd
import pytest
from command import CONF, ROOT, composed, run, run_process, started, wait_for_line
from filelock import FileLock

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
    """Three jobs, one made to fail, with Hydra's own launcher."""
    return sweep("basic", tmp_path_factory.mktemp("basic"), 3)


def sweep(launcher, folder, jobs):
    """The sweep's command is given in this process; what the launcher starts are processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        answer = run(*twelve.typed(launcher, *twelve.SMALL, twelve.edits(twelve.EQ[:jobs])))
    return twelve.outcome(launcher, folder, answer.status, answer.stderr)


def needs(plugin):
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")


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


def test_three_jobs_one_made_to_fail(basic):
    assert basic.status == 2
    assert basic.results["eq"].tolist() == [eq for eq in twelve.EQ[:3] if eq >= 0]
    measured = basic.results[["psnr", "ssim", "psnr_recon", "ssim_recon"]]
    assert len(measured.drop_duplicates()) == 2  # jobs that changed places would be seen
    (reason,) = basic.failed["reason"]
    assert reason.startswith("edit.eq=-1: out of range")
    assert basic.inversions == 1


def test_joblib_gives_the_same_table_from_one_inversion(basic, tmp_path):
    needs("joblib")
    from joblib.externals.loky import get_reusable_executor

    joblib = sweep("joblib", tmp_path, 3)
    get_reusable_executor().shutdown()  # its workers would wait for more work
    assert joblib.same_as(basic), joblib.log
    assert joblib.status == 2
    assert joblib.inversions == 1
    assert joblib.results["seconds_inversion"].nunique() == 1


def test_submitit_gives_the_same_rows(basic, tmp_path):
    needs("submitit")
    few = sweep("submitit_local", tmp_path, 2)
    assert twelve.unmeasured(few.results).equals(twelve.unmeasured(basic.results[:1])), few.log
    assert few.failed.equals(basic.failed)
    assert (few.status, few.inversions) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("plugin", "launcher"), [("joblib", "joblib"), ("submitit", "submitit_local")])
def test_twelve_jobs_give_the_same_table_under_every_launcher(tmp_path, plugin, launcher):
    needs(plugin)
    jobs = (*twelve.SMALL, twelve.edits(twelve.EQ))
    basic = twelve.sweep("basic", tmp_path / "basic", *jobs)
    assert twelve.sweep(launcher, tmp_path / "other", *jobs).same_as(basic)


def test_a_job_that_waits_for_one_that_is_killed_does_its_work(basic, tmp_path, monkeypatch):
    with started("-c", STUCK, *SETTINGS, "runtime.cache=cache", "hydra.run.dir=stuck", folder=tmp_path) as stuck:
        wait_for_line(stuck, "inverting")
        acquire = FileLock.acquire

        def kill_and_wait(lock, **options):
            if options.get("blocking", True):
                stuck.kill()
            return acquire(lock, **options)

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(FileLock, "acquire", kill_and_wait)
        answer = run(*SETTINGS, "runtime.cache=cache", "hydra.run.dir=waits", "edit.eq=0.25")
    assert answer.status == 0
    assert "waiting: another process inverts the same photograph" in answer.stderr
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
