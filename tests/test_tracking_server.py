"""The server: with a key everything goes out at once, and without an answer nobody waits."""

import builtins
import json
import socket
import time

import pytest
from command import run_process
from wandb_harness import KEY, Tracked, fresh_home, log, photograph, server, track

from rli.tracking import wandb_run
from rli.tracking.wandb_run import start

pytestmark = pytest.mark.integration

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def fresh_machine(tmp_path, monkeypatch):
    return fresh_home(tmp_path, monkeypatch)


def test_with_a_key_the_same_goes_out_at_once(tmp_path, fresh_machine, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with server() as w_b:
        monkeypatch.setenv("WANDB_BASE_URL", w_b.url)
        assert track(tmp_path / "run").mode == "online"
    (table,) = (name for name in w_b.sent if name.endswith("/results.table.json"))
    assert [line[0] for line in json.loads(w_b.sent[table])["data"]] == ["one", "one", "two", "two"]
    assert len([name for name in w_b.sent if "/media/images/" in name]) == 4
    assert capfd.readouterr() == ("", "")
    assert [*fresh_machine.iterdir()] == []


def test_an_unreachable_server_costs_a_line_and_seconds(tmp_path, monkeypatch, capfd):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        began = time.monotonic()
        tracker = start(tmp_path, {}, "auto", timeout=2)
        log(tracker, [photograph()])
        tracker.finish()
    assert time.monotonic() - began < 10
    assert tracker.mode == "offline"
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "offline" in err
    assert [p.name.startswith("offline-run-") for p in tmp_path.glob("wandb/*run-*") if not p.is_symlink()] == [True]
    assert KEY not in err
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


@pytest.mark.parametrize("mode", ["offline", "auto"])
def test_a_server_that_never_answers_keeps_nobody_waiting(tmp_path, monkeypatch, mode, capfd):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        began = time.monotonic()
        tracker = start(tmp_path, {}, mode, timeout=1)
        log(tracker, [photograph()])
        tracker.finish()
        assert time.monotonic() - began < 6
        if mode == "auto":
            silent.accept()[0].close()  # it was asked once whether it is there
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert tracker.mode == "offline"
    assert capfd.readouterr().err.count("\n") == (mode == "auto")


def test_online_without_a_key_or_with_a_bad_one_never_asks(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(wandb_run, "answers", lambda *_: True)
    for key, words in ((None, "no W&B key is configured"), ("too short", "a wrong key")):
        if key:
            monkeypatch.setenv("WANDB_API_KEY", key)
        tracker = start(tmp_path, {}, "online", timeout=2)
        tracker.finish()
        assert tracker.mode == "offline"
        err = capfd.readouterr().err
        assert err.count("\n") == 1
        assert words in err
        assert "too short" not in err


def test_a_wrong_key_costs_one_line(tmp_path, fresh_machine):
    code = (
        "import sys; from pathlib import Path\n"
        "from rli.tracking.wandb_run import start; from wandb_harness import log, photograph\n"
        "tracker = start(Path(sys.argv[1]), {}, timeout=3); log(tracker, [photograph()])\n"
        "tracker.finish(); print(tracker.mode)"
    )
    with server(status=401) as w_b:
        place = {"WANDB_BASE_URL": w_b.url, "WANDB_API_KEY": KEY}
        done = run_process("-c", code, str(tmp_path / "run"), folder=tmp_path, env=place)
    assert done.stdout == "offline\n"
    assert done.stderr.count("\n") == 1
    assert "did not take the run (a wrong key, or no answer in time), so the run is tracked offline" in done.stderr
    assert KEY not in done.stderr
    assert Tracked(tmp_path / "run").table("results").shape[0] == 2
    assert [*fresh_machine.iterdir()] == []


def test_auto_finds_a_key_in_netrc_for_the_host_alone(tmp_path, fresh_machine, monkeypatch):
    tried = []
    monkeypatch.setattr(wandb_run, "answers", lambda *_: True)
    monkeypatch.setattr(wandb, "init", lambda mode, **_: tried.append(mode))
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    netrc = fresh_machine / ".netrc"
    for host in ("elsewhere.example.org", "wandb.example.org"):
        netrc.write_text(f"machine {host} login user password {KEY}\n")
        netrc.chmod(0o600)
        start(tmp_path, {}, "auto")
    monkeypatch.setenv("WANDB_MODE", "offline")
    start(tmp_path, {}, "auto")
    assert tried == ["offline", "online", "offline"]
