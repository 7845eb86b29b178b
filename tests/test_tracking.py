"""Tracking: offline without key or network, readable afterwards, and never in a run's way."""

import builtins
import json
import os
import socket
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rli import tracking
from rli.tracking import open_tracker, start, summary
from rli.types import COLUMNS, EditedPhoto, PhotoResult, Row

wandb = pytest.importorskip("wandb")

KEY = "0123456789abcdef" * 2 + "deadbeef"


@pytest.fixture(autouse=True)
def fresh_machine(tmp_path, monkeypatch):
    """A home folder without a configuration, and no wandb variables."""
    for name in [n for n in os.environ if n.startswith("WANDB_")] + ["NETRC", "XDG_CACHE_HOME", "XDG_DATA_HOME"]:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def photograph(name="plate"):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (32, 48, 3), np.uint8)
    rows = [
        Row(name, d, "32x48", "mini", "null_text", 0.1, 2.0, 1.0, 0.8, psnr, 0.9)
        for d, psnr in (("original", 30.0), ("rust", 25.0))
    ]
    edits = {"rust": EditedPhoto(picture[::-1].copy(), rng.random((32, 48)) > 0.5)}
    return PhotoResult(name, picture, picture.copy(), edits, tuple(rows))


def track(folder, **options):
    photos = [photograph("one"), photograph("two")]
    with open_tracker("wandb", folder, {"model": {"weights": Path("a/b")}, "steps": 4}, **options) as tracker:
        tracker.log([row for photo in photos for row in photo.rows], photos)
    return tracker


def records(path):
    """The records of a .wandb file: blocks of 32 KiB with fragments, each with checksum, length and kind before it."""
    from wandb.proto import wandb_internal_pb2

    blob, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(blob):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", blob, at)
        whole += blob[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last of its fragments
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def test_offline_leaves_everything_in_the_run_s_folder(tmp_path, fresh_machine, capfd):
    before = dict(os.environ)
    assert track(tmp_path / "run", name="a name", group="a group", tags=["a tag"]).mode == "offline"
    assert dict(os.environ) == before
    assert list(fresh_machine.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    (table,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media/table/*.table.json")
    content = json.loads(table.read_text())
    assert tuple(content["columns"]) == (*COLUMNS, "input", "reconstruction", "edit", "mask")
    assert [line[:2] for line in content["data"]] == [
        ["one", "original"],
        ["one", "rust"],
        ["two", "original"],
        ["two", "rust"],
    ]


def test_the_offline_file_is_readable_and_tells_the_run(tmp_path):
    track(tmp_path, name="a name", group="a group", tags=["a tag"])
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    found = list(records(path))
    run = next(r.run for r in found if r.WhichOneof("record_type") == "run")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.display_name, run.run_group, list(run.tags), run.project) == ("a name", "a group", ["a tag"], "rli")
    assert config["model"] == {"weights": "a/b"}
    assert config["steps"] == 4
    summaries = {u.key or ".".join(u.nested_key): u.value_json for r in found for u in r.summary.update}
    assert json.loads(summaries["psnr/rust"]) == 25.0
    history = {i.key or ".".join(i.nested_key): i.value_json for r in found for i in r.history.item}
    assert json.loads(history["results.nrows"]) == 4
    artifact = next(r.artifact for r in found if r.WhichOneof("record_type") == "artifact")
    staged = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    pictures = [place for name, place in staged.items() if name.startswith("media/images/")]
    # The two photographs are alike here, and a picture is stored once: the photograph (its reconstruction is the same),
    # the edit and the mask.
    assert sorted(Image.open(place).mode for place in pictures) == ["L", "RGB", "RGB"]
    assert all(place.is_relative_to(tmp_path / "wandb") and place.is_file() for place in staged.values())
    assert next(r.exit for r in found if r.WhichOneof("record_type") == "exit").exit_code == 0


def test_a_failed_run_is_marked_and_its_error_goes_on(tmp_path):
    with pytest.raises(KeyError), open_tracker("wandb", tmp_path, {}):
        raise KeyError
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert next(r.exit for r in records(path) if r.WhichOneof("record_type") == "exit").exit_code == 1


def test_two_runs_of_one_process_stay_apart(tmp_path):
    for name in ("a", "b"):
        track(tmp_path / name)
        assert len(list(tmp_path.glob(f"{name}/wandb/offline-run-*"))) == 1


def test_an_unreachable_server_costs_a_line_and_seconds(tmp_path, monkeypatch, capfd):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        began = time.monotonic()
        tracker = start(tmp_path, {}, "auto", timeout=2)
        tracker.log(photograph().rows, [photograph()])
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
        tracker.log(photograph().rows, [photograph()])
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
    monkeypatch.setattr(tracking, "_answers", lambda *_: True)
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


def test_auto_finds_a_key_in_netrc_for_the_host_alone(tmp_path, fresh_machine, monkeypatch):
    tried = []
    monkeypatch.setattr(tracking, "_answers", lambda *_: True)
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


def test_off_and_missing_wandb_go_untracked(tmp_path, monkeypatch, capfd):
    with open_tracker("off", tmp_path / "off", {}) as tracker:
        tracker.log(photograph().rows, [photograph()])
    assert not (tmp_path / "off").exists()
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    track(tmp_path / "missing")
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "not installed" in err


def test_a_failure_while_logging_does_not_stop_the_run(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(wandb, "Table", lambda **_: (_ for _ in ()).throw(OSError(f"disk full {KEY}")))
    track(tmp_path)
    err = capfd.readouterr().err
    assert err == "warning: the results were not tracked (OSError)\n"


@pytest.mark.parametrize(("kind", "mode"), [("mlflow", "auto"), ("wandb", "later")])
def test_unknown_kinds_and_modes_are_refused(tmp_path, kind, mode):
    with pytest.raises(ValueError, match="is not known"), open_tracker(kind, tmp_path, {}, mode):
        pass


def test_summary_means_what_was_measured():
    rows = [r for photo in (photograph("one"), photograph("two")) for r in photo.rows]
    assert summary(rows)["psnr/rust"] == 25.0
    assert not any(name.startswith("lpips") for name in summary(rows))
