"""The files that a run leaves for each photograph, and how they are read back.

images/<name>/ holds the pictures; records/<name>.safetensors the rest: rows, prompts, losses, token maps, and the key
of the job that made them. The record is written last, so where there is one, its pictures are whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from rli.files import write_whole
from rli.images import write_png
from rli.types import EditedPhoto, Failure, PhotoResult, RLIError, Row, TokenMap

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
    for defect, edited in result.edits.items():
        write_png(place / f"{defect}.png", edited.image)
        write_png(place / f"{defect}_mask.png", edited.mask)
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
        "defects": [*result.edits],
        "words": words,
    }
    write_whole(_record(folder, result.name), save(maps, {"photo": json.dumps(facts)}))


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
                d: EditedPhoto(picture(d), picture(f"{d}_mask") > 0, maps(f"{d}/target"), maps(f"{d}/source"))
                for d in facts["defects"]
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
            )
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise RLIError(f"{place}: its files are not whole ({type(error).__name__}): run it again") from None


def rows_of(folder: Path, name: str, key: str) -> tuple[Row, ...] | None:
    """The rows of a photograph that a job of this key has done in this folder; None where there is none."""
    facts = _facts(folder, name)
    return _rows(facts) if facts is not None and facts.get("key") == key else None


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


def _facts(folder: Path, name: str) -> Mapping[str, Any] | None:
    try:
        with safe_open(_record(folder, name), "np") as file:
            return json.loads(file.metadata()["photo"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        return None


def _rows(facts: Mapping[str, Any]) -> tuple[Row, ...]:
    return tuple(Row(**row) for row in facts["rows"])
