"""Tracking: offline without key or network, readable afterwards, and never in a run's way."""

import builtins
import json
import math
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rli.errors import RLIError
from rli.images import write_png
from rli.metrics.columns import NAMES, Row
from rli.reports.comparison import comparison
from rli.reports.results import frame_of, read_results, write_results
from rli.store.records import EditedPhoto, Failure, PhotoResult
from rli.tracking import offline, wandb_run
from rli.tracking.offline import re_root
from rli.tracking.summary import objective, summary
from rli.tracking.tracker import open_tracker
from rli.tracking.wandb_log import read_log, write_log
from rli.tracking.wandb_run import start, tidy_tags

wandb = pytest.importorskip("wandb")

KEY = "0123456789abcdef" * 2 + "deadbeef"
PUBLISHED = Path(__file__).parents[1] / "experiments" / "defect_comparison" / "published.csv"


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


def log(tracker, photos):
    """As a run does it: each photograph's pictures, then the rows of all."""
    tracker.log(frame_of([row for photo in photos for row in photo.rows]), shown(tracker, photos))


def shown(tracker, photos):
    return {(photo.job, photo.name): tracker.thumbnails(photo) for photo in photos}


def track(folder, **options):
    photos = [photograph("one"), photograph("two")]
    with open_tracker("wandb", folder, {"model": {"weights": Path("a/b")}, "steps": 4}, **options) as tracker:
        log(tracker, photos)
    return tracker


def raw_records(path):
    """The records of a .wandb file: blocks of 32 KiB with fragments, each with checksum, length and kind before it."""
    blob, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(blob):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", blob, at)
        whole += blob[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last of its fragments
            yield whole
            whole = b""


def records(path):
    from wandb.proto import wandb_internal_pb2

    return [wandb_internal_pb2.Record.FromString(record) for record in raw_records(path)]


class Told:
    """What the one offline run below a folder tells."""

    def __init__(self, folder):
        (self.path,) = folder.glob("wandb/offline-run-*/*.wandb")
        self.found = records(self.path)
        self.run = next(r.run for r in self.found if r.WhichOneof("record_type") == "run")
        self.config = {item.key: json.loads(item.value_json) for item in self.run.config.update}
        self.history = {
            item.key or ".".join(item.nested_key): json.loads(item.value_json)
            for r in self.found
            for item in r.history.item
        }
        self.artifacts = [r.artifact for r in self.found if r.WhichOneof("record_type") == "artifact"]
        self.staged = {entry.path: Path(entry.local_path) for a in self.artifacts for entry in a.manifest.contents}

    def table(self, key):
        """A logged table as a frame; a cell with a picture as the file that was staged for it, without one as None."""
        content = json.loads(self.staged[f"{key}.table.json"].read_text())
        frame = pd.DataFrame(content["data"], columns=content["columns"])
        return frame.map(lambda cell: self.staged[cell["path"]] if isinstance(cell, dict) else cell)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


class Handler(BaseHTTPRequestHandler):
    """As much of a W&B server as wandb needs to start a run or to send one; what is sent stays in server.sent."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, content):
        data = json.dumps(content).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self):
        self.answer({})

    def do_PUT(self):
        self.server.sent[self.path.removeprefix("/")] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.status != 200:
            return self.answer({"errors": [{"message": "no"}]})
        if self.path != "/graphql":
            return self.answer({})
        asked = json.loads(body)
        name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])[1]
        return self.answer({"data": self.data(name, asked.get("variables") or {})})

    def place(self, name):
        url = f"http://127.0.0.1:{self.server.server_address[1]}/{name}"
        return {"id": name, "name": name, "displayName": name, "uploadUrl": url, "uploadHeaders": []}

    def data(self, name, told):
        if name == "Viewer":
            return {"viewer": {"id": "u", "username": "someone", "entity": "someone", "flags": "{}"}}
        if name == "ArtifactType":
            return {"project": None}
        if name == "UpsertBucket":
            project = {"id": "p", "name": "rli", "entity": {"id": "e", "name": "someone"}}
            bucket = {"id": "r", "name": told["name"], "displayName": "d", "config": "{}", "historyLineCount": 0}
            return {"upsertBucket": {"bucket": bucket | {"sweepName": None, "project": project}, "inserted": True}}
        if name == "CreateArtifact":
            made = {"id": told["input"]["artifactCollectionName"], "state": "PENDING"}
            return {"createArtifact": {"artifact": made | {"artifactSequence": {"latestArtifact": None}}}}
        if name == "CreateArtifactManifest":
            file = self.place(f"{told['artifactID']}/manifest")
            return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}
        if name == "CreateArtifactFiles":
            nodes = [
                self.place(f"{one['artifactID']}/{one['name']}")
                | {"name": one["name"], "displayName": one["name"], "storagePath": one["name"]}
                | {"uploadMultipartUrls": None, "artifact": {"id": one["artifactID"]}}
                for one in told["input"]["artifactFiles"]
            ]
            return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}
        if name == "CommitArtifact":
            return {"commitArtifact": {"artifact": {"id": told["artifactID"], "digest": "d"}}}
        if name == "CreateRunFiles":
            files = [self.place(f"files/{file}") | {"name": file} for file in told["files"]]
            return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        pass  # a client that hangs up


@contextmanager
def server(status=200):
    with Server(("127.0.0.1", 0), Handler) as made:
        made.status, made.sent = status, {}
        made.url = f"http://127.0.0.1:{made.server_address[1]}"
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_offline_leaves_everything_in_the_run_s_folder(tmp_path, fresh_machine, capfd):
    before = dict(os.environ)
    assert track(tmp_path / "run", name="a name", group="a group", tags=["a tag"]).mode == "offline"
    assert dict(os.environ) == before
    assert list(fresh_machine.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    (table,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media/table/*.table.json")
    content = json.loads(table.read_text())
    assert tuple(content["columns"]) == (*NAMES, "input", "reconstruction", "edit", "mask")
    assert [line[:2] for line in content["data"]] == [
        ["one", "original"],
        ["one", "rust"],
        ["two", "original"],
        ["two", "rust"],
    ]


def test_the_offline_file_is_readable_and_tells_the_run(tmp_path):
    tags = ["a tag", "", "a tag", " ", "x" * 80]
    track(tmp_path, name="a name", group="a group", tags=tags, job_type="job")
    told = Told(tmp_path)
    run = told.run
    assert (run.display_name, run.run_group, run.job_type, run.project) == ("a name", "a group", "job", "rli")
    assert [*run.tags] == ["a tag", "x" * 64]
    assert told.config["model"] == {"weights": "a/b"}
    assert told.config["steps"] == 4
    assert told.history["psnr/rust"] == 25.0
    assert told.history["results.nrows"] == 4
    # The two photographs are alike here, and a picture is stored once: the photograph (its reconstruction is the same),
    # the edit and the mask.
    pictures = [place for name, place in told.staged.items() if name.startswith("media/images/")]
    assert sorted(pixels(place).ndim for place in pictures) == [2, 3, 3]
    assert all(place.is_relative_to(told.path.parent) and place.is_file() for place in told.staged.values())
    assert next(r.exit for r in told.found if r.WhichOneof("record_type") == "exit").exit_code == 0


def test_the_table_is_results_csv_with_its_pictures(tmp_path):
    one = photograph("one")
    rows = [*one.rows, *photograph("none").rows, replace(one.rows[1], strength=4.5, psnr_background=math.inf)]
    write_results(frame_of(rows), tmp_path / "results.csv")
    with open_tracker("wandb", tmp_path, {}) as tracker:
        tracker.log(frame_of(rows), shown(tracker, [one]))
    table = Told(tmp_path).table("results")
    expected = read_results(tmp_path / "results.csv")
    table = table.replace("Infinity", math.inf)
    pd.testing.assert_frame_equal(table[[*NAMES]].astype(expected.dtypes), expected)
    assert (table[["input", "reconstruction", "edit"]].map(bool).all(axis=1) == (table["image"] == "one")).all()
    original, rust = table.iloc[0], table.iloc[1]
    assert np.array_equal(pixels(original["edit"]), one.reconstruction)
    assert original["mask"] is None
    assert np.array_equal(pixels(rust["input"]), one.input)
    assert np.array_equal(pixels(rust["edit"]), one.edits["rust"].image)
    assert np.array_equal(pixels(rust["mask"]) > 0, one.edits["rust"].mask)


def sweep():
    """Photographs of two jobs, and their rows with two knobs, one of them words."""
    photos = [
        replace(photograph("one"), job=job, input=np.full((32, 48, 3), k, np.uint8)) for k, job in enumerate("01")
    ]
    frames = [
        frame_of(photo.rows).assign(job=photo.job, **{"edit.eq": eq, "inversion.start": start})
        for photo, eq, start in zip(photos, (1, 2.5), (None, "empty"), strict=True)
    ]
    rows = pd.concat(frames, ignore_index=True)
    known = rows["defect"] == "rust"
    return photos, rows.assign(
        strength=rows["eq"].where(known), psnr_background=pd.Series(math.inf, rows.index).where(known)
    )


def test_a_sweep_s_summary_run_tells_it_whole(tmp_path):
    photos, rows = sweep()
    write_png(tmp_path / "plot.png", photos[0].edits["rust"].image)
    table = comparison(rows, PUBLISHED)
    with open_tracker("wandb", tmp_path, {}, group="monday", job_type="summary") as tracker:
        tracker.log_sweep(table, rows, shown(tracker, photos), tmp_path / "plot.png", [Failure("2", "no room")])
    told = Told(tmp_path)
    assert (told.run.run_group, told.run.job_type) == ("monday", "summary")
    pd.testing.assert_frame_equal(told.table("comparison").astype(table.dtypes), table)
    every = told.table("sweep_results").replace("Infinity", math.inf)
    expected = rows.assign(**{"inversion.start": rows["inversion.start"].fillna("")})
    pd.testing.assert_frame_equal(every[[*rows]].astype(expected.dtypes), expected)
    assert [pixels(place).max() for place in every["input"]] == [0, 0, 1, 1]  # each row has its own job's
    assert told.table("failed").to_numpy().tolist() == [["2", "no room"]]
    points = told.table("strength_background_table")
    assert points[["image", "defect", "job", "edit.eq"]].to_numpy().tolist() == [
        ["one", "rust", "0", 1.0],
        ["one", "rust", "1", 2.5],
    ]
    assert points["psnr_background"].tolist() == [99.0, 99.0]  # no chart shows infinity
    plot = told.path.parent / "files" / told.history["trade_off.path"]
    assert plot.read_bytes() == (tmp_path / "plot.png").read_bytes()
    charts = json.loads(
        next(item.value_json for r in told.found for item in r.config.update if "visualize" in item.nested_key)
    )
    assert charts["panel_config"]["fieldSettings"] == {"x": "psnr_background", "y": "strength"}


def test_a_sweep_without_edits_plot_or_failures_tells_its_tables(tmp_path):
    rows = sweep()[1]
    rows = rows[rows["defect"] == "original"]
    with open_tracker("wandb", tmp_path, {}) as tracker:
        tracker.log_sweep(comparison(rows, PUBLISHED), rows, {})
    told = Told(tmp_path)
    assert [*told.staged] == ["comparison.table.json", "sweep_results.table.json"]
    assert told.table("sweep_results")[["input", "reconstruction", "edit", "mask"]].isna().all(axis=None)


def test_an_agent_of_a_w_b_sweep_names_the_run(tmp_path, monkeypatch):
    (tmp_path / "sampled.yaml").write_text("wandb_version: 1\n\nedit.eq:\n  value: 3.5\n")
    values = {"SWEEP_ID": "sweep1", "RUN_ID": "abcd1234", "PROJECT": "a project"}
    for name, value in (values | {"SWEEP_PARAM_PATH": str(tmp_path / "sampled.yaml")}).items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    track(tmp_path)
    run = Told(tmp_path).run
    assert (run.run_id, run.sweep_id, run.project) == ("abcd1234", "sweep1", "a project")


def test_a_copied_folder_is_sent_whole(tmp_path, monkeypatch, capsys):
    photos, rows = sweep()
    first, second = tmp_path / "a" / "run", tmp_path / "elsewhere" / "a b"
    write_png(tmp_path / "plot.png", photos[0].input)
    with open_tracker("wandb", first, {"long": "x" * 100_000}) as tracker:  # longer than a block of the log
        tracker.log_sweep(
            comparison(rows, PUBLISHED), rows, shown(tracker, photos), tmp_path / "plot.png", [Failure("2", "no room")]
        )
    before = Told(first)
    shutil.copytree(first, second)
    shutil.rmtree(tmp_path / "a")
    copied = Told(second)
    copied.path.with_name(f"{copied.path.name}.synced").touch()  # somebody has sent it already, in part
    assert offline.main([str(second)]) == 0
    told = Told(second)
    assert [*told.staged] == [*before.staged]
    assert all(place.is_relative_to(second) and place.is_file() for place in told.staged.values())
    assert told.config == before.config
    assert len(told.found) == len(before.found)
    assert re_root(told.path.parent) == [told.path.parent]  # a second time changes nothing

    command = shlex.split(capsys.readouterr().out)
    assert command == ["wandb", "sync", str(told.path.parent)]
    with server() as w_b:
        place = {"WANDB_BASE_URL": w_b.url, "WANDB_API_KEY": KEY, "WANDB_ERROR_REPORTING": "false"}
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path,
            env=os.environ | place | {"WANDB_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    for artifact in told.artifacts:
        for entry in artifact.manifest.contents:
            assert w_b.sent[f"{artifact.name}/{entry.path}"] == Path(entry.local_path).read_bytes()
    files = [file.path for r in told.found for file in r.files.files]
    assert len(files) == 5  # four tables and the plot
    for file in files:
        assert w_b.sent[f"files/{file}"] == (told.path.parent / "files" / file).read_bytes()


def test_with_a_key_the_same_goes_out_at_once(tmp_path, fresh_machine, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with server() as w_b:
        monkeypatch.setenv("WANDB_BASE_URL", w_b.url)
        assert track(tmp_path / "run").mode == "online"
    (table,) = (name for name in w_b.sent if name.endswith("/results.table.json"))
    assert [line[0] for line in json.loads(w_b.sent[table])["data"]] == ["one", "one", "two", "two"]
    assert len([name for name in w_b.sent if "/media/images/" in name]) == 3
    assert capfd.readouterr() == ("", "")
    assert [*fresh_machine.iterdir()] == []


def test_a_copy_that_cannot_be_sent_whole_is_refused_and_left_alone(tmp_path, capsys):
    with pytest.raises(RLIError, match="no offline runs"):
        re_root(tmp_path)
    track(tmp_path)
    told = Told(tmp_path)
    whole = told.path.read_bytes()
    told.path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    with pytest.raises(RLIError, match="damaged"):
        re_root(tmp_path)
    told.path.write_bytes(whole)
    told.staged["results.table.json"].unlink()
    assert offline.main([str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "is gone: copy the whole folder" in err
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
        "from rli.tracking.wandb_run import start; from tests.test_tracking import log, photograph\n"
        "tracker = start(Path(sys.argv[1]), {}, timeout=3); log(tracker, [photograph()])\n"
        "tracker.finish(); print(tracker.mode)"
    )
    with server(status=401) as w_b:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run")],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"WANDB_BASE_URL": w_b.url, "WANDB_API_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout == "offline\n"
    assert done.stderr.count("\n") == 1
    assert "did not take the run (a wrong key, or no answer in time), so the run is tracked offline" in done.stderr
    assert KEY not in done.stderr
    assert Told(tmp_path / "run").table("results").shape[0] == 2
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


def test_off_and_missing_wandb_go_untracked(tmp_path, monkeypatch, capfd):
    with open_tracker("off", tmp_path / "off", {}) as tracker:
        log(tracker, [photograph()])
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
    rows = [
        replace(row, strength=s, psnr_background=math.inf) for row, s in zip(rows, (None, 2.0, None, 4.0), strict=True)
    ]
    told = summary(frame_of(rows))
    assert told["psnr/original"] == 30.0
    assert told["psnr/rust"] == told["mean/psnr"] == 25.0  # over the edits alone
    assert told["mean/strength"] == told["strength/rust"] == told["objective"] == 3.0
    assert told["psnr_background/rust"] == 99.0  # infinity is no number to a chart
    assert not any(name.startswith(("lpips", "strength/original", "mean/named")) for name in told)
    assert "objective" not in summary(frame_of(rows[:1]))


def test_whatever_keeps_the_background_is_better_than_whatever_does_not():
    def settings(strength, background):
        return frame_of([replace(photograph().rows[1], strength=strength, psnr_background=background)] * 2)

    good = [
        objective(settings(strength, background))
        for strength, background in ((0.0, 32.0), (3.0, 40.0), (9.0, math.inf))
    ]
    bad = [objective(settings(200.0, background)) for background in (-5.0, 12.0, 31.9)]
    assert good == [0.0, 3.0, 9.0]
    assert bad == sorted(bad) and bad[-1] < 0
    assert objective(settings(3.0, 30.0), floor_db=30.0) == 3.0
    assert objective(frame_of([])) is None
    assert objective(settings(None, 30.0)) is None


def test_tags_are_tidied():
    assert tidy_tags([]) == []
    assert tidy_tags(["sdxl", " rust ", "rust", "", "y" * 65, "y" * 66]) == ["sdxl", "rust", "y" * 64]
