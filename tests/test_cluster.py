"""Ray's workers: what they make is what one process makes; what Ray's errors become, with a stand-in for Ray."""

import sys
import types
from pathlib import Path

import pytest

from rli.errors import RLIError
from rli.method.records import EditSettings, InversionSettings
from rli.photos.sources import photos
from rli.runs import ray_cluster as cluster
from rli.runs.job import Job
from rli.runs.runner import Maker, outcome
from rli.store.records import Failure, write_failure

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
        self.make = types.SimpleNamespace(remote=lambda chunk, folder: Call(lambda: make(chunk, folder)))


def wait(calls, num_returns):
    ready = [call for call in calls if call.act is not None]
    assert ready, "everything waits for what never comes"
    return [ready[0]], []


RAY = types.SimpleNamespace(
    wait=wait, get=lambda call: call.act(), exceptions=types.SimpleNamespace(RayActorError=Died)
)


@pytest.fixture
def maker(tmp_path) -> Maker:
    return Maker(Job("mini", 64, 64, "photo", (), True, InversionSettings(steps=2), EditSettings(), tmp_path / "cache"))


def shared_out(maker, crew, folder) -> None:
    source = photos("sample", samples=NAMES)
    cluster._share_out(RAY, crew, cluster._chunks(source, 2), maker, folder)


def noting(maker, folder):
    """A worker that fails at every photograph, which leaves a trace."""

    def make(chunk, into):
        assert into == folder
        for photo in chunk:
            write_failure(folder, photo.name, maker.job.key(photo), f"{photo.name}: tried")

    return Actor(make)


def reasons(maker, folder) -> list[str]:
    found = [outcome(maker.job, photo, folder) for photo in photos("sample", samples=NAMES)]
    assert all(isinstance(one, Failure) for one in found)
    return [one.reason for one in found]


def test_every_photograph_is_given_out_and_failures_are_told(maker, tmp_path, capsys):
    shared_out(maker, [noting(maker, tmp_path), noting(maker, tmp_path)], tmp_path)
    assert reasons(maker, tmp_path) == [f"{name}: tried" for name in NAMES]
    assert capsys.readouterr().err.count("skipped: ") == 6


def test_workers_without_room_are_not_waited_for(maker, tmp_path):
    nowhere = Actor(None)
    nowhere.ready = types.SimpleNamespace(remote=lambda: Call(None))
    shared_out(maker, [nowhere, noting(maker, tmp_path), nowhere], tmp_path)
    assert len(reasons(maker, tmp_path)) == 6


def test_a_photograph_whose_worker_keeps_dying_is_given_up_and_the_rest_go_on(maker, tmp_path):
    good = noting(maker, tmp_path)

    def make(chunk, folder):
        if chunk[0].name == "surface-2":
            raise Died
        good.make.remote(chunk, folder).act()

    shared_out(maker, [Actor(make)], tmp_path)
    told = reasons(maker, tmp_path)
    assert told[2:4] == [f"{name}: its worker died 4 times" for name in NAMES[2:4]]
    assert all(reason.endswith("tried") for reason in told[:2] + told[4:])


def test_a_model_that_cannot_be_loaded_ends_it(maker, tmp_path):
    def ready():
        raise Died("The actor died\nTraceback\nrli.errors.RLIError: no such weights\n")

    with pytest.raises(RLIError, match=r"could not load the model: rli\.types\.RLIError: no such weights"):
        shared_out(maker, [Actor(None, ready)], tmp_path)


def test_without_ray_it_says_how_to_get_it(maker, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RLIError, match=r'runtime=ray needs Ray: pip install "rli\[ray\]"'):
        cluster.make_on_ray(maker, [], tmp_path)


@pytest.mark.parametrize("workers", [0, 1.5, "x", True])
def test_bad_numbers_of_workers(maker, tmp_path, workers):
    with pytest.raises(RLIError, match=r"runtime\.workers="):
        cluster.make_on_ray(maker, [], tmp_path, workers=workers)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "ray://", "host:99999999"])
def test_a_wrong_address_ends_in_one_line(maker, tmp_path, address, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr("socket.getaddrinfo", lambda *a, **k: [(2, 1, 6, "", ("127.0.0.1", 1))])
    with pytest.raises(RLIError) as caught:
        cluster.make_on_ray(maker, [], tmp_path, address=address)
    assert str(caught.value).startswith(f"runtime.address={address}: no Ray cluster answers there")
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
    monkeypatch.setattr("rli.metrics.lpips.load_lpips", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    job = Job("mini", 64, 64, "photo", (), True, InversionSettings(steps=2, inner_steps=1), EditSettings(), Path("c"))
    (photo,) = photos("sample", samples=["surface"])
    write_failure(tmp_path / "run", photo.name, job.key(photo), "once")  # tried again: the driver asked for it
    monkeypatch.chdir(tmp_path / "elsewhere")
    cluster._Worker(Maker(job, device="cpu"), str(tmp_path)).make([photo], Path("run").absolute())
    assert outcome(job, photo, tmp_path / "run").rows
    assert (tmp_path / "c").is_dir()
