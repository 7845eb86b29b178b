"""Offline runs: a copied folder is sent whole, and its log is read and written as wandb frames it."""

import shlex
import shutil
from pathlib import Path

import pytest
from command import run_process
from wandb_harness import KEY, Tracked, fresh_home, raw_records, server, shown, sweep, track

from rli.errors import RLIError
from rli.images import write_png
from rli.reports.comparison import comparison
from rli.reports.sweep import PUBLISHED
from rli.store.failures import Failure
from rli.tracking import offline
from rli.tracking.offline import re_root
from rli.tracking.tracker import open_tracker
from rli.tracking.wandb_log import read_log, write_log

pytestmark = pytest.mark.integration

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def fresh_machine(tmp_path, monkeypatch):
    return fresh_home(tmp_path, monkeypatch)


def test_a_copied_folder_is_sent_whole(tmp_path, monkeypatch, capsys):
    photos, rows = sweep()
    first, second = tmp_path / "a" / "run", tmp_path / "elsewhere" / "a b"
    write_png(tmp_path / "plot.png", photos[0].input)
    with open_tracker("wandb", first, {"long": "x" * 100_000}) as tracker:  # longer than a block of the log
        tracker.log_sweep(
            comparison(rows, PUBLISHED), rows, shown(tracker, photos), tmp_path / "plot.png", [Failure("2", "no room")]
        )
    before = Tracked(first)
    shutil.copytree(first, second)
    shutil.rmtree(tmp_path / "a")
    copied = Tracked(second)
    copied.path.with_name(f"{copied.path.name}.synced").touch()  # somebody has sent it already, in part
    assert offline.main([str(second)]) == 0
    told = Tracked(second)
    assert [*told.staged] == [*before.staged]
    assert all(place.is_relative_to(second) and place.is_file() for place in told.staged.values())
    assert told.config == before.config
    assert len(told.found) == len(before.found)
    assert re_root(told.path.parent) == [told.path.parent]  # a second time changes nothing

    command = shlex.split(capsys.readouterr().out)
    assert command == ["wandb", "sync", str(told.path.parent)]
    with server() as w_b:
        place = {"WANDB_BASE_URL": w_b.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}
        place |= {"WANDB_CACHE_DIR": str(tmp_path / "cache")}
        answer = run_process("-m", *command, folder=tmp_path, env=place)
    assert answer.status == 0, answer.stderr
    for artifact in told.artifacts:
        for entry in artifact.manifest.contents:
            assert w_b.sent[f"{artifact.name}/{entry.path}"] == Path(entry.local_path).read_bytes()
    files = [file.path for r in told.found for file in r.files.files]
    assert len(files) == 5  # four tables and the plot
    for file in files:
        assert w_b.sent[f"files/{file}"] == (told.path.parent / "files" / file).read_bytes()


def test_a_copy_that_cannot_be_sent_whole_is_refused_and_left_alone(tmp_path, capsys):
    with pytest.raises(RLIError, match="no offline W&B runs"):
        re_root(tmp_path)
    track(tmp_path)
    told = Tracked(tmp_path)
    whole = told.path.read_bytes()
    told.path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(RLIError, match="damaged"):
        re_root(tmp_path)
    told.path.write_bytes(whole)
    told.staged["results.table.json"].unlink()
    assert offline.main([str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "is missing; copy the run's folder again" in err
    assert told.path.read_bytes() == whole


def test_logs_are_framed_as_wandb_frames_them(tmp_path):
    with open_tracker("wandb", tmp_path, {"long": "x" * 100_000}):
        pass
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    blob = path.read_bytes()
    assert len(blob) > 3 * 32768
    assert write_log(blob[:7], read_log(blob, path)) == blob


@pytest.mark.parametrize("length", [0, 1, *range(32768 - 30, 32768 + 10), 2 * 32768 - 21, 100_000])
def test_records_of_any_length_come_back(tmp_path, length):
    path, told = tmp_path / "log", [b"before", bytes(length), b"after"]
    path.write_bytes(write_log(b"1234567", told))
    assert [*raw_records(path)] == told
    assert [*read_log(path.read_bytes(), path)] == told
    # One that was never finished, for the run was killed, is left out.
    assert [*read_log(path.read_bytes()[:-1], path)] == told[:2]
