"""What Ray is told before it starts: to listen on this machine alone, to ask for a token, and to report to nobody."""

import os
import sys
from types import SimpleNamespace

import builders
import pytest

from rli.errors import RLIError
from rli.runs.config import RayCluster
from rli.runs.model_spec import ModelSpec
from rli.runs.ray_cluster import make_on_ray

OURS = ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN")


class Ray(SimpleNamespace):
    """Stands in for the module: it notes what it is started with, and then starts no more."""

    def init(self, address, **options):
        self.seen = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
        self.address, self.options = address, options
        raise RuntimeError("no\nmore")


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Starts a run on Ray; returns what Ray was told."""
    for name in (*OURS, "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back after the test
        monkeypatch.delenv(name)

    def started(**cluster):
        ray = Ray(seen=None, address=None, options=None)
        monkeypatch.setitem(sys.modules, "ray", ray)
        with pytest.raises(RLIError, match=r"address=\S+: no Ray cluster answers at this address \(no more\)"):
            make_on_ray(RayCluster(**cluster), builders.job(tmp_path), ModelSpec("mini"), [], tmp_path)
        return ray

    return started


def test_a_cluster_of_its_own_listens_on_this_machine_and_asks_for_a_token(start):
    ray = start(workers=3)
    assert ray.address == "local" and ray.options["_node_ip_address"] == "127.0.0.1"
    assert ray.options["include_dashboard"] is False and ray.options["num_cpus"] >= 3
    assert [ray.seen[name] for name in OURS[:3]] == ["0", "0", "token"]
    assert len(bytes.fromhex(ray.seen["RAY_AUTH_TOKEN"])) == 32


def test_each_cluster_has_a_token_of_its_own(start, monkeypatch):
    tokens = set()
    for _ in range(2):
        tokens.add(start().seen["RAY_AUTH_TOKEN"])
        monkeypatch.delenv("RAY_AUTH_TOKEN")
    assert len(tokens) == 2


def test_what_the_user_has_set_holds(start, monkeypatch):
    own = dict(zip(OURS, ("1", "1", "disabled", "mine"), strict=True))
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert start().seen == own


def test_a_token_in_a_file_is_not_overruled(start, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "token")
    assert "RAY_AUTH_TOKEN" not in start().seen


def test_a_running_cluster_s_own_settings_hold(start):
    ray = start(address="auto")
    assert ray.address == "auto" and ray.seen == {"RAY_USAGE_STATS_ENABLED": "0"}
    assert not {"num_cpus", "_node_ip_address"} & {*ray.options}
