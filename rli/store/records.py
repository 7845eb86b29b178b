"""The files that a run leaves for each photograph, and how they are read back.

images/<name>/ holds the pictures; records/<name>.safetensors the rest: rows, prompts, losses, token maps, and the key
of the job that made them. The record is written last, so where there is one, its pictures are whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rli.errors import RLIError
from rli.files import write_whole
from rli.images import write_png
from rli.method.records import EditSettings, TokenMap
from rli.metrics.columns import Row


@dataclass(frozen=True)
class EditedPhoto:
    """One edit as the outputs need it: image (H,W,3) uint8, mask (H,W) bool, token maps of source and target prompt.

    label: the defect's class, which several variants may share; settings: what it was made with. For a data set also
    change (H,W) bool, where it shows; scores, by name, and the reason why the gate set it aside, None where it is kept.
    """

    image: np.ndarray
    mask: np.ndarray
    maps: tuple[TokenMap, ...] = ()
    source_maps: tuple[TokenMap, ...] = ()
    label: str = ""
    settings: EditSettings = field(default_factory=EditSettings)
    change: np.ndarray | None = None
    scores: dict[str, float] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True)
class Origin:
    """Where a photograph comes from, for a data set. file, truth_file: paths as they were given, empty where there is
    none; sha256: of the file; source: its path relative to the data's; label, category, split: what is known of it."""

    file: str = ""
    truth_file: str = ""
    sha256: str = ""
    source: str = ""
    label: str = ""
    category: str = ""
    split: str = ""


@dataclass(frozen=True)
class PhotoResult:
    """One photograph's results: input and reconstruction (H,W,3) uint8, edits by defect name in row order, its rows,
    the losses of the null embedding optimization (for each move at its start and after each iteration), and the prompts
    by defect name. job: the sweep's job that made it, empty in a run of its own; key: of what it depends on; made: by
    which model, its hash and which version. For a data set also origin, and truth (H,W) bool, its own defect's mask."""

    name: str
    input: np.ndarray
    reconstruction: np.ndarray
    edits: dict[str, EditedPhoto]
    rows: tuple[Row, ...]
    losses: tuple[tuple[float, ...], ...] = ()
    prompts: dict[str, str] = field(default_factory=dict)
    job: str = ""
    key: str = ""
    made: dict[str, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    truth: np.ndarray | None = None


@dataclass(frozen=True)
class Failure:
    """A photograph, or a sweep's job, that could not be done, and why, in one line. settings: what tells the job from
    the others."""

    name: str
    reason: str
    settings: str = ""


STATUS = "status.json"


@dataclass(frozen=True)
class Place:
    """Where a photograph's results lie: in `folder`, under its name; job: the sweep's job whose folder it is."""

    folder: Path
    name: str
    job: str = ""

    def read(self) -> PhotoResult:
        return read_photo(self.folder, self.name, self.job)


def write_photo(folder: Path, result: PhotoResult) -> None:
    """images/<name>/: input.png, reconstruction.png, <defect>.png, <defect>_mask.png; then the record."""
    place = folder / "images" / result.name
    write_png(place / "input.png", result.input)
    write_png(place / "reconstruction.png", result.reconstruction)
    if result.truth is not None:
        write_png(place / "truth.png", result.truth)
    for defect, edited in result.edits.items():
        write_png(place / f"{defect}.png", edited.image)
        write_png(place / f"{defect}_mask.png", edited.mask)
        if edited.change is not None:
            write_png(place / f"{defect}_change.png", edited.change)
    maps, words = {}, {}
    for defect, edited in result.edits.items():
        for branch, some in (("target", edited.maps), ("source", edited.source_maps)):
            words[f"{defect}/{branch}"] = [one.word for one in some]
            maps.update({f"{defect}/{branch}/{k}": one.map.astype(np.float16) for k, one in enumerate(some)})
    facts = {
        "key": result.key,
        "rows": [asdict(row) for row in result.rows],
        "losses": result.losses,
        "prompts": result.prompts,
        "edits": {
            name: {
                "label": edited.label,
                "settings": asdict(edited.settings),
                "scores": edited.scores,
                "reason": edited.reason,
                "changes": edited.change is not None,
            }
            for name, edited in result.edits.items()
        },
        "words": words,
        "made": result.made,
        "origin": asdict(result.origin),
        "truth": result.truth is not None,
    }
    write_whole(_record(folder, result.name), save(maps, {"photo": json.dumps(facts)}))
    _failure(folder, result.name).unlink(missing_ok=True)


def read_photo(folder: Path, name: str, job: str = "") -> PhotoResult:
    """What `write_photo` wrote, token maps in half precision. Raises RLIError where files are missing or damaged."""
    place = folder / "images" / name

    def picture(stem: str) -> np.ndarray:
        with Image.open(place / f"{stem}.png") as image:
            return np.asarray(image)

    try:
        with safe_open(_record(folder, name), "np") as file:
            facts = json.loads(file.metadata()["photo"])

            def maps(branch: str) -> tuple[TokenMap, ...]:
                words = enumerate(facts["words"][branch])
                return tuple(TokenMap(word, file.get_tensor(f"{branch}/{k}").astype(np.float32)) for k, word in words)

            edits = {
                d: EditedPhoto(
                    picture(d),
                    picture(f"{d}_mask") > 0,
                    maps(f"{d}/target"),
                    maps(f"{d}/source"),
                    told["label"],
                    EditSettings(**told["settings"]),
                    picture(f"{d}_change") > 0 if told["changes"] else None,
                    told["scores"],
                    told["reason"],
                )
                for d, told in facts["edits"].items()
            }
            return PhotoResult(
                name=name,
                input=picture("input"),
                reconstruction=picture("reconstruction"),
                edits=edits,
                rows=_rows(facts),
                losses=tuple(map(tuple, facts["losses"])),
                prompts=facts["prompts"],
                job=job,
                key=facts["key"],
                made=facts["made"],
                origin=Origin(**facts["origin"]),
                truth=picture("truth") > 0 if facts["truth"] else None,
            )
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise RLIError(f"{place}: its files are not whole ({type(error).__name__}): run it again") from None


@dataclass(frozen=True)
class Told:
    """A photograph's record without its pictures and maps. edits: for each its label, settings, scores and reason."""

    rows: tuple[Row, ...]
    prompts: dict[str, str]
    edits: dict[str, dict[str, Any]]
    made: dict[str, str]
    origin: Origin
    has_truth: bool


def read_record(folder: Path, name: str, key: str) -> Told | None:
    """What a job of this key has done to a photograph in this folder; None where it has not."""
    try:
        with safe_open(_record(folder, name), "np") as file:
            facts = json.loads(file.metadata()["photo"])
        if facts["key"] != key:
            return None
        origin = Origin(**facts["origin"])
        return Told(_rows(facts), facts["prompts"], facts["edits"], facts["made"], origin, facts["truth"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        return None


def write_failure(folder: Path, name: str, key: str, reason: str) -> None:
    """That a photograph could not be done, and why, beside the records of those that could."""
    write_whole(_failure(folder, name), json.dumps({"key": key, "reason": reason}))


def read_failure(folder: Path, name: str, key: str) -> str | None:
    """Why a job of this key could not do a photograph; None where nothing is told."""
    try:
        told = json.loads(_failure(folder, name).read_text())
        return told["reason"] if told["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_status(folder: Path, reason: str | None = None) -> None:
    """How a job ended: done, or failed with its reason."""
    write_whole(folder / STATUS, json.dumps({"status": "failed" if reason else "done", "reason": reason}))


def read_status(folder: Path) -> str | None:
    """Why the job failed, also where it never said so; None where it is done."""
    try:
        return json.loads((folder / STATUS).read_text())["reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return "it was stopped before its end, or is still running"


def read_failures(folder: Path) -> list[Failure]:
    """What failed.csv says; nothing where there is none."""
    path = folder / "failed.csv"
    if not path.is_file():
        return []
    lines = pd.read_csv(path, dtype="str", keep_default_na=False)
    return [Failure(name, reason) for name, reason in zip(lines["name"], lines["reason"], strict=True)]


def _record(folder: Path, name: str) -> Path:
    return folder / "records" / f"{name}.safetensors"


def _failure(folder: Path, name: str) -> Path:
    return folder / "records" / f"{name}.failed.json"


def _rows(facts: Mapping[str, Any]) -> tuple[Row, ...]:
    return tuple(Row(**row) for row in facts["rows"])
