"""What the tests of tracking share: photographs to track, a server of W&B's, and what an offline run holds."""

import json
import math
import os
import re
import struct
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
from builders import photo_result
from PIL import Image

from rli.metrics.columns import ORIGINAL
from rli.reports.results import frame_of
from rli.tracking.tracker import open_tracker

KEY = "0123456789abcdef" * 2 + "deadbeef"


def fresh_home(tmp_path, monkeypatch):
    """A home folder without a configuration, and no wandb variables; returns the folder."""
    for name in [n for n in os.environ if n.startswith("WANDB_")] + ["NETRC", "XDG_CACHE_HOME", "XDG_DATA_HOME"]:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def photograph(name="plate"):
    return photo_result(name, figures=lambda defect: {"psnr": 30.0 if defect == ORIGINAL else 25.0})


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


class Tracked:
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
