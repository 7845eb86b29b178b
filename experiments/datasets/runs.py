"""One small data set, whole commands that make it, and whether two folders hold the same."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pandas as pd
from safetensors import safe_open

from experiments import harness
from experiments.datasets import surfaces
from experiments.harness import MEASURED, ROOT, unmeasured

# Where it was typed, what Hydra keeps of that, and the page, which has the measured seconds on it.
ASIDE = ("rli.log", "report.html", ".hydra")
SETTINGS = (
    "model=mini",
    "runtime=cpu",
    "tracking=off",
    "inversion.steps=5",
    "inversion.inner_steps=1",
    "resolution.height=64",
    "resolution.width=64",
    "data=mvtec_ad",
    "data.path=photos/mvtec_ad",
    "data.good=true",
    "task=both",
    "defect=rust",
    '+defect.all.dent="photo of a crack dent image"',
    "dataset.variants.count=2",
    "dataset.variants.eq=[1.5,3]",
    "dataset.split=0.6/0.2/0.2",
    "export=[mvtec_ad,anomalib_folder,imagefolder,segmentation,yolo,coco]",
    "out=run",
)


def prepare(place: Path, count: int) -> Path:
    """A folder to type commands in: photographs, a third of them more without a defect, and one file that is none."""
    surfaces.write(place / "photos", count, ("mvtec_ad",), size=64)
    (place / "photos" / "mvtec_ad" / "concrete" / "test" / "crack" / "broken.png").write_text("no photograph")
    for file in (place / "photos").rglob("*"):
        os.utime(file, (0, 0))  # a record knows its photograph's
    return place


def command(*arguments: str) -> list[str]:
    """The command that makes the data set."""
    return harness.command(*SETTINGS, *arguments)


def environment() -> dict[str, str]:
    """One thread, because sums depend on how they are shared out; a network is not looked for."""
    told = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "https_proxy": "http://127.0.0.1:9"}
    return {**os.environ, **told}


def held(folder: Path) -> dict[str, str]:
    """Every file of a run's folder and a digest of what it holds, without what is measured."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    names = ((path.relative_to(folder), path) for path in files)
    return {str(name): _digest(path) for name, path in names if name.parts[0] not in ASIDE}


def differences(one: Path, other: Path) -> list[str]:
    """The files that two runs' folders do not share."""
    a, b = held(one), held(other)
    return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))


def _digest(path: Path) -> str:
    data = path.read_bytes()
    if path.name in ("results.csv", "manifest.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        data = unmeasured(frame).to_csv(index=False).encode()
    elif path.name == "manifest.parquet":
        frame = pd.read_parquet(path)
        data = unmeasured(frame).to_csv(index=False).encode()
    elif path.name == "README.md":
        lines = data.decode().splitlines()
        data = "\n".join(line for line in lines if not line.startswith(tuple(f"| {m}" for m in MEASURED))).encode()
    elif path.suffix == ".safetensors":
        data = _record(path)
    return hashlib.sha256(data).hexdigest()


def _record(path: Path) -> bytes:
    with safe_open(path, "np") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name).tobytes() for name in sorted(file.keys())}
    facts["rows"] = [
        {name: value for name, value in row.items() if not name.startswith(MEASURED)} for row in facts["rows"]
    ]
    return json.dumps(facts, sort_keys=True).encode() + b"".join(tensors.values())
