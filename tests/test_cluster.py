"""Ray's workers: what they make is what one process makes; what Ray's errors become, with a stand-in for Ray."""

import sys
import types
from pathlib import Path

import builders
import pytest

from rli.errors import RLIError
from rli.photos.sources import photos
from rli.runs import ray_cluster
from rli.runs.config import RayCluster
from rli.runs.job import Job
from rli.runs.model_spec import ModelSpec
from rli.runs.shards import outcome
from rli.store.failures import Failure, write_failure

pytestmark = pytest.mark.integration

NAMES = ["surface", *(f"surface-{k}" for k in range(1, 6))]


class Died(Exception):
    """Stands in for ray.exceptions.RayActorError."""


class Call:
    def __init__(self, act):
        self.act = act


class Actor:
    """make and ready as Ray's actors have them; acts happen when they are waited for."""

    def __init__(self, make, ready=lambda: None):
        self.ready = types.SimpleNamespace(remote=lambda: Call(ready))
        self.make = types.SimpleNamespace(remote=lambda batch, folder: Call(lambda: make(batch, folder)))


def wait(calls, num_returns):
    ready = [call for call in calls if call.act is not None]
    assert ready, "everything waits for what never comes"
    return [ready[0]], []


RAY = types.SimpleNamespace(
    wait=wait, get=lambda call: call.act(), exceptions=types.SimpleNamespace(RayActorError=Died)
)


@pytest.fixture
def job(tmp_path) -> Job:
    return builders.job(tmp_path / "cache", batch_size=2)


def share_out(job, workers, folder) -> None:
    ray_cluster.share_out(RAY, workers, photos("sample", samples=NAMES), job, folder)


def noting(job, folder):
    """A worker that fails at every photograph, which leaves a trace."""

    def make(batch, into):
        assert into == folder
        for photo in batch:
            write_failure(folder, Failure(photo.name, f"{photo.name}: tried"), job.key(photo))

    return Actor(make)


def reasons(job, folder) -> list[str]:
    found = [outcome(job, photo, folder) for photo in photos("sample", samples=NAMES)]
    assert all(isinstance(one, Failure) for one in found)
    return [one.reason for one in found]


def test_every_photograph_is_given_out_and_failures_are_told(job, tmp_path, capsys):
    share_out(job, [noting(job, tmp_path), noting(job, tmp_path)], tmp_path)
    assert reasons(job, tmp_path) == [f"{name}: tried" for name in NAMES]
    assert capsys.readouterr().err.count("skipped: ") == 6


def test_workers_without_room_are_not_waited_for(job, tmp_path):
    nowhere = Actor(None)
    nowhere.ready = types.SimpleNamespace(remote=lambda: Call(None))
    share_out(job, [nowhere, noting(job, tmp_path), nowhere], tmp_path)
    assert len(reasons(job, tmp_path)) == 6


def test_a_photograph_whose_worker_keeps_dying_is_given_up_and_the_rest_go_on(job, tmp_path):
    good = noting(job, tmp_path)

    def make(batch, folder):
        if batch[0].name == "surface-2":
            raise Died
        good.make.remote(batch, folder).act()

    share_out(job, [Actor(make)], tmp_path)
    told = reasons(job, tmp_path)
    assert told[2:4] == [f"{name}: its Ray worker died 4 times, and the photograph was given up" for name in NAMES[2:4]]
    assert all(reason.endswith("tried") for reason in told[:2] + told[4:])


def test_a_model_that_cannot_be_loaded_ends_it(job, tmp_path):
    def ready():
        raise Died("The actor died\nTraceback\nrli.errors.RLIError: no such weights\n")

    with pytest.raises(RLIError, match=r"could not load the model: rli\.errors\.RLIError: no such weights"):
        share_out(job, [Actor(None, ready)], tmp_path)


def test_without_ray_it_says_how_to_get_it(job, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RLIError, match=r'runtime=ray needs Ray: pip install "rli\[ray\]"'):
        ray_cluster.make_on_ray(RayCluster(), job, ModelSpec("mini"), [], tmp_path)


@pytest.mark.parametrize("workers", [0, 1.5, "x", True])
def test_bad_numbers_of_workers(workers):
    with pytest.raises(RLIError, match=r"workers=.*: out of range"):
        RayCluster(workers=workers)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "ray://", "host:99999999"])
def test_a_wrong_address_ends_in_one_line(job, tmp_path, address, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: [(2, 1, 6, "", ("127.0.0.1", 1))])
    with pytest.raises(RLIError) as caught:
        ray_cluster.make_on_ray(RayCluster(address), job, ModelSpec("mini"), [], tmp_path)
    assert str(caught.value).startswith(f"address={address}: no Ray cluster answers there")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_ray_and_parts_make_what_one_process_makes(monkeypatch, capsys):
    pytest.importorskip("ray")
    from experiments.datasets import spread

    monkeypatch.setattr("sys.argv", ["spread", "ray", "shards", "--photos", "6"])
    with pytest.raises(SystemExit) as end:
        spread.main()
    assert end.value.code == 0, capsys.readouterr()
    assert "Ray processes left: 0" in capsys.readouterr().out


def test_a_worker_makes_what_one_process_makes(tmp_path, monkeypatch):
    """In this process: what Ray does beside it is in the slow test above."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    job = builders.job(Path("c"))
    (photo,) = photos("sample", samples=["surface"])
    write_failure(tmp_path / "run", Failure(photo.name, "once"), job.key(photo))  # tried again: the driver asked for it
    monkeypatch.chdir(tmp_path / "elsewhere")
    ray_cluster.Worker(job, ModelSpec("mini", device="cpu"), str(tmp_path)).make([photo], Path("run").absolute())
    assert outcome(job, photo, tmp_path / "run").rows
    assert (tmp_path / "c").is_dir()
