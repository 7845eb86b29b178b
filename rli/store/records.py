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

STATUS = "status.json"
# What reading a record that is missing, cut short or of another version raises.
_NOT_WHOLE = (SafetensorError, KeyError, TypeError, ValueError, OSError)


@dataclass(frozen=True, kw_only=True)
class EditRecord:
    """What is known of an edit without its pictures."""

    # The defect's class, which several variants may share.
    label: str = ""
    # What it was made with.
    settings: EditSettings = field(default_factory=EditSettings)
    # For a data set: what the quality gate measured, by name.
    scores: dict[str, float] = field(default_factory=dict)
    # For a data set: why the quality gate rejected it; None where it is kept.
    reason: str | None = None


@dataclass(frozen=True)
class EditedPhoto(EditRecord):
    """An edit with its pictures."""

    # (H,W,3) uint8.
    image: np.ndarray
    # (H,W) bool: where it may differ from the reconstruction.
    mask: np.ndarray
    # Token maps of the target prompt, and of the source prompt.
    maps: tuple[TokenMap, ...] = ()
    source_maps: tuple[TokenMap, ...] = ()
    # For a data set: (H,W) bool, the pixels that visibly changed.
    change: np.ndarray | None = None


@dataclass(frozen=True)
class PhotoResult:
    """One photograph's results with their pictures."""

    name: str
    # (H,W,3) uint8: the photograph as it was worked on, and as the inversion gives it back.
    input: np.ndarray
    reconstruction: np.ndarray
    # By the defect's name, in the order of the rows.
    edits: dict[str, EditedPhoto]
    rows: tuple[Row, ...]
    # Of the null embedding optimization: for each move at its start and after each iteration.
    losses: tuple[tuple[float, ...], ...] = ()
    # The source prompt as `original`, the target prompts by the defect's name.
    prompts: dict[str, str] = field(default_factory=dict)
    # The sweep's job that made it; "" in a run of its own.
    job: str = ""
    # Hash of everything that it depends on.
    key: str = ""
    # The model, its hash and the version that made it.
    made: dict[str, str] = field(default_factory=dict)
    # As the photograph's own (see `Photo`); sha256 is "" where no data set is wanted.
    source: str = ""
    sha256: str = ""
    # For a data set: (H,W) bool, where the photograph's own defect is; None where nothing says it.
    truth: np.ndarray | None = None


@dataclass(frozen=True)
class PhotoRecord:
    """What a run's folder keeps of one photograph, without the pictures and token maps, which `read` adds.

    The fields are those of `PhotoResult` but for these.
    """

    # The run's folder.
    folder: Path
    name: str
    job: str
    key: str
    rows: tuple[Row, ...]
    prompts: dict[str, str]
    edits: dict[str, EditRecord]
    made: dict[str, str]
    source: str
    sha256: str
    # Whether there is a picture of its truth.
    has_truth: bool

    def picture(self, stem: str) -> Path:
        """The path of one of its pictures, such as `input`, `truth`, `rust` or `rust_change`."""
        return _picture(self.folder, self.name, stem)

    def read(self) -> PhotoResult:
        """The same with its pictures, and token maps in half precision.

        Raises:
            RLIError: Files are missing or damaged.
        """
        try:
            with safe_open(_record(self.folder, self.name), "np") as file:
                facts = _facts(file)
                edits = {defect: self._edit(file, facts, defect) for defect in self.edits}
            return PhotoResult(
                name=self.name,
                input=_pixels(self.picture("input")),
                reconstruction=_pixels(self.picture("reconstruction")),
                edits=edits,
                rows=self.rows,
                losses=tuple(map(tuple, facts["losses"])),
                prompts=self.prompts,
                job=self.job,
                key=self.key,
                made=self.made,
                source=self.source,
                sha256=self.sha256,
                truth=_pixels(self.picture("truth")) > 0 if self.has_truth else None,
            )
        except _NOT_WHOLE as error:
            raise _not_whole(self.folder, self.name, type(error).__name__) from None

    def _edit(self, file: Any, facts: Mapping[str, Any], defect: str) -> EditedPhoto:
        def maps(branch: str) -> tuple[TokenMap, ...]:
            tensors = ((word, file.get_tensor(f"{branch}/{k}")) for k, word in enumerate(facts["words"][branch]))
            return tuple(TokenMap(word, tensor.astype(np.float32)) for word, tensor in tensors)

        return EditedPhoto(
            _pixels(self.picture(defect)),
            _pixels(self.picture(f"{defect}_mask")) > 0,
            maps(f"{defect}/target"),
            maps(f"{defect}/source"),
            _pixels(self.picture(f"{defect}_change")) > 0 if facts["edits"][defect]["has_change"] else None,
            **vars(self.edits[defect]),
        )


@dataclass(frozen=True)
class Failure:
    """A photograph, or a sweep's job, that could not be done."""

    name: str
    # Why, in one line.
    reason: str
    # What tells a job from the others; "" for a photograph.
    settings: str = ""


def write_photo(folder: Path, result: PhotoResult) -> None:
    """Writes a photograph's pictures, images/<name>/: input.png, reconstruction.png, <defect>.png, <defect>_mask.png,
    for a data set truth.png and <defect>_change.png; then its record."""
    pictures = {"input": result.input, "reconstruction": result.reconstruction, "truth": result.truth}
    for defect, edited in result.edits.items():
        pictures |= {defect: edited.image, f"{defect}_mask": edited.mask, f"{defect}_change": edited.change}
    for stem, picture in pictures.items():
        if picture is not None:
            write_png(_picture(folder, result.name, stem), picture)
    maps: dict[str, np.ndarray] = {}
    words: dict[str, list[str]] = {}
    for defect, edited in result.edits.items():
        for branch, tokens in (("target", edited.maps), ("source", edited.source_maps)):
            words[f"{defect}/{branch}"] = [token.word for token in tokens]
            maps |= {f"{defect}/{branch}/{k}": token.map.astype(np.float16) for k, token in enumerate(tokens)}
    facts = {
        "key": result.key,
        "rows": [asdict(row) for row in result.rows],
        "losses": result.losses,
        "prompts": result.prompts,
        "edits": {
            defect: {
                "label": edited.label,
                "settings": asdict(edited.settings),
                "scores": edited.scores,
                "reason": edited.reason,
                "has_change": edited.change is not None,
            }
            for defect, edited in result.edits.items()
        },
        "words": words,
        "made": result.made,
        "source": result.source,
        "sha256": result.sha256,
        "has_truth": result.truth is not None,
    }
    write_whole(_record(folder, result.name), save(maps, {"photo": json.dumps(facts)}))
    _failure(folder, result.name).unlink(missing_ok=True)


def read_record(folder: Path, name: str, key: str | None = None, job: str = "") -> PhotoRecord | None:
    """What a run's folder keeps of a photograph.

    Args:
        folder: The run's folder.
        name: The photograph's name.
        key: Of the job that has to have made it; None takes any job's.
        job: The sweep's job whose folder it is.

    Returns:
        The record; None where there is none, it is damaged, or another job made it.
    """
    try:
        with safe_open(_record(folder, name), "np") as file:
            facts = _facts(file)
        if key is not None and facts["key"] != key:
            return None
        return PhotoRecord(
            folder=folder,
            name=name,
            job=job,
            key=facts["key"],
            rows=tuple(Row(**row) for row in facts["rows"]),
            prompts=facts["prompts"],
            edits={defect: _edit_record(edit) for defect, edit in facts["edits"].items()},
            made=facts["made"],
            source=facts["source"],
            sha256=facts["sha256"],
            has_truth=facts["has_truth"],
        )
    except _NOT_WHOLE:
        return None


def read_photo(folder: Path, name: str, job: str = "") -> PhotoResult:
    """A photograph's results as `write_photo` wrote them.

    Raises:
        RLIError: Files are missing or damaged.
    """
    record = read_record(folder, name, job=job)
    if record is None:
        raise _not_whole(folder, name, "no record")
    return record.read()


def write_failure(folder: Path, name: str, key: str, reason: str) -> None:
    """Notes that a photograph could not be done, and why, beside the records of those that could."""
    write_whole(_failure(folder, name), json.dumps({"key": key, "reason": reason}))


def read_failure(folder: Path, name: str, key: str) -> str | None:
    """Why a job of this key could not do a photograph; None where no such failure was noted."""
    try:
        facts = json.loads(_failure(folder, name).read_text())
        return facts["reason"] if facts["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_status(folder: Path, reason: str | None = None) -> None:
    """Notes how a job ended: done, or failed with its reason."""
    write_whole(folder / STATUS, json.dumps({"status": "failed" if reason else "done", "reason": reason}))


def read_status(folder: Path) -> str | None:
    """Why the job failed, also where it never said so; None where it is done."""
    try:
        return json.loads((folder / STATUS).read_text())["reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return "it was stopped before its end, or is still running"


def read_failures(folder: Path) -> list[Failure]:
    """What a run's failed.csv lists; nothing where there is none."""
    path = folder / "failed.csv"
    if not path.is_file():
        return []
    lines = pd.read_csv(path, dtype="str", keep_default_na=False)
    return [Failure(name, reason) for name, reason in zip(lines["name"], lines["reason"], strict=True)]


def _facts(file: Any) -> dict[str, Any]:
    """The part of a record that is no tensor."""
    return json.loads(file.metadata()["photo"])


def _edit_record(facts: Mapping[str, Any]) -> EditRecord:
    return EditRecord(
        label=facts["label"],
        settings=EditSettings(**facts["settings"]),
        scores=facts["scores"],
        reason=facts["reason"],
    )


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def _not_whole(folder: Path, name: str, why: str) -> RLIError:
    return RLIError(f"{folder / 'images' / name}: its files are not whole ({why}): run it again")


def _picture(folder: Path, name: str, stem: str) -> Path:
    return folder / "images" / name / f"{stem}.png"


def _record(folder: Path, name: str) -> Path:
    return folder / "records" / f"{name}.safetensors"


def _failure(folder: Path, name: str) -> Path:
    return folder / "records" / f"{name}.failed.json"
