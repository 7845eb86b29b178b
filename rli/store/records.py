"""The files that a run writes for each photograph, and how they are read back.

images/<name>/ holds the pictures; records/<name>.safetensors the rest: rows, prompts, losses, token maps, the key of
the job that made them, and a digest of each picture. The record is written last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rli.errors import RLIError
from rli.files import write_whole
from rli.images import png
from rli.method.records import EditSettings, TokenMap
from rli.metrics.columns import Row, row_read
from rli.store.failures import failure_path
from rli.store.paths import inside
from rli.store.pictures import PictureFile
from rli.store.sealed import read_sealed, write_sealed

# An edit's token maps of the target and of the source prompt.
BothMaps = tuple[tuple[TokenMap, ...], tuple[TokenMap, ...]]
# What a record of another version, or one that was made up, raises.
_UNLIKE = (KeyError, TypeError, ValueError, AttributeError)


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
    # By their stems, such as `input`, `truth`, `rust` or `rust_change`.
    pictures: dict[str, PictureFile]

    @property
    def has_truth(self) -> bool:
        """Whether there is a picture of its truth."""
        return "truth" in self.pictures

    def picture(self, stem: str) -> Path:
        """The path of one of its pictures, such as `input`, `truth`, `rust` or `rust_change`."""
        return _picture(self.folder, self.name, stem)

    def damage(self) -> str | None:
        """What is wrong with its pictures, in a few words; None where all are as they were written.

        Raises:
            OSError: One is there, but cannot be read now.
        """
        damages = (written.damage(self.picture(stem)) for stem, written in self.pictures.items())
        return next(filter(None, damages), None)

    def read(self) -> PhotoResult:
        """The same with its pictures, and token maps in half precision.

        Raises:
            RLIError: A file is missing, damaged or another's.
            OSError: One is there, but cannot be read now.
        """
        try:
            facts, tensors = _read(self.folder, self.name)
            maps = {defect: _maps(tensors, facts["words"], defect) for defect in self.edits}
            photo = self._pixels("input", "RGB")
            size = photo.shape[:2]
            return PhotoResult(
                name=self.name,
                input=photo,
                reconstruction=self._pixels("reconstruction", "RGB", size),
                edits={defect: self._edit(defect, size, maps[defect]) for defect in self.edits},
                rows=self.rows,
                losses=_losses(facts),
                prompts=self.prompts,
                job=self.job,
                key=self.key,
                made=self.made,
                source=self.source,
                sha256=self.sha256,
                truth=self._pixels("truth", "L", size) > 0 if self.has_truth else None,
            )
        except _UNLIKE as error:
            raise _not_whole(self.folder, self.name, str(error)) from None

    def _edit(self, defect: str, size: tuple[int, ...], maps: BothMaps) -> EditedPhoto:
        change, (of_target, of_source) = f"{defect}_change", maps
        return EditedPhoto(
            image=self._pixels(defect, "RGB", size),
            mask=self._pixels(f"{defect}_mask", "L", size) > 0,
            maps=of_target,
            source_maps=of_source,
            change=self._pixels(change, "L", size) > 0 if change in self.pictures else None,
            **vars(self.edits[defect]),
        )

    def _pixels(self, stem: str, mode: str, size: tuple[int, ...] | None = None) -> np.ndarray:
        return self.pictures[stem].pixels(self.picture(stem), mode, size)


def write_photo(folder: Path, result: PhotoResult) -> None:
    """Writes a photograph's pictures, images/<name>/: input.png, reconstruction.png, <defect>.png, <defect>_mask.png,
    for a data set truth.png and <defect>_change.png; then its record."""
    arrays = {"input": result.input, "reconstruction": result.reconstruction, "truth": result.truth}
    for defect, edited in result.edits.items():
        arrays |= {defect: edited.image, f"{defect}_mask": edited.mask, f"{defect}_change": edited.change}
    pictures = {stem: png(array) for stem, array in arrays.items() if array is not None}
    for stem, data in pictures.items():
        write_whole(_picture(folder, result.name, stem), data)
    maps: dict[str, torch.Tensor] = {}
    words: dict[str, list[str]] = {}
    for defect, edited in result.edits.items():
        for branch, tokens in (("target", edited.maps), ("source", edited.source_maps)):
            words[f"{defect}/{branch}"] = [token.word for token in tokens]
            maps |= {f"{defect}/{branch}/{k}": _half(token.map) for k, token in enumerate(tokens)}
    facts = {
        "key": result.key,
        "rows": [asdict(row) for row in result.rows],
        "losses": result.losses,
        "prompts": result.prompts,
        "edits": {defect: _facts_of(edited) for defect, edited in result.edits.items()},
        "words": words,
        "made": result.made,
        "source": result.source,
        "sha256": result.sha256,
        "pictures": {stem: asdict(PictureFile.of(data)) for stem, data in pictures.items()},
    }
    write_sealed(record_path(folder, result.name), maps, facts)
    failure_path(folder, result.name).unlink(missing_ok=True)


def _half(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).half()


def _facts_of(edited: EditedPhoto) -> dict[str, Any]:
    settings = asdict(edited.settings)
    return {"label": edited.label, "settings": settings, "scores": edited.scores, "reason": edited.reason}


def read_record(folder: Path, name: str, key: str | None = None, job: str = "") -> PhotoRecord | None:
    """What a run's folder keeps of a photograph. Its pictures are not looked at: see `PhotoRecord.damage`.

    Args:
        folder: The run's folder.
        name: The photograph's name.
        key: Of the job that has to have made it; None takes any job's.
        job: The sweep's job whose folder it is.

    Returns:
        The record; None where there is none, it is damaged, or another job or photograph's.

    Raises:
        OSError: It is there, but cannot be read now.
    """
    try:
        facts, tensors = _read(folder, name)
        if key is not None and facts["key"] != key:
            return None
        rows = tuple(row_read(row) for row in facts["rows"])
        if any(row.image != name for row in rows):
            return None
        edits = {str(defect): _edit_record(edit) for defect, edit in facts["edits"].items()}
        for defect in edits:
            _maps(tensors, facts["words"], defect)
        _losses(facts)
        return PhotoRecord(
            folder=folder,
            name=name,
            job=job,
            key=_text(facts["key"]),
            rows=rows,
            prompts=_each(_text, facts["prompts"]),
            edits=edits,
            made=_each(_text, facts["made"]),
            source=_text(facts["source"]),
            sha256=_text(facts["sha256"]),
            pictures=_pictures(facts["pictures"], edits),
        )
    except _UNLIKE:
        return None


def _read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A record's plain values and tensors. Raises RLIError where there is none, or it is damaged."""
    found = read_sealed(record_path(folder, name))
    if found is None:
        raise RLIError("its record is missing or damaged")
    return found


def record_path(folder: Path, name: str) -> Path:
    """Where a run's folder keeps a photograph's record."""
    return inside(folder, f"records/{name}.safetensors")


def read_photo(folder: Path, name: str, job: str = "") -> PhotoResult:
    """A photograph's results as `write_photo` wrote them.

    Raises:
        RLIError: Files are missing or damaged.
    """
    record = read_record(folder, name, job=job)
    if record is None:
        raise _not_whole(folder, name, "no record")
    return record.read()


def _edit_record(facts: Mapping[str, Any]) -> EditRecord:
    return EditRecord(
        label=_text(facts["label"]),
        settings=EditSettings(**facts["settings"]),
        scores=_each(_number, facts["scores"]),
        reason=None if facts["reason"] is None else _text(facts["reason"]),
    )


def _pictures(facts: Mapping[str, Any], edits: Mapping[str, EditRecord]) -> dict[str, PictureFile]:
    """What is known of each picture. Raises KeyError where one is missing that every photograph or edit has."""
    pictures = {str(stem): PictureFile(int(of["size"]), _text(of["sha256"])) for stem, of in facts.items()}
    for stem in ("input", "reconstruction", *edits, *(f"{defect}_mask" for defect in edits)):
        pictures[stem]
    return pictures


def _maps(tensors: Mapping[str, torch.Tensor], words: Mapping[str, Any], defect: str) -> BothMaps:
    """An edit's token maps of the target and of the source prompt. Raises ValueError for one that is no map."""

    def of(branch: str) -> tuple[TokenMap, ...]:
        found = [(_text(word), tensors[f"{branch}/{k}"].float().numpy()) for k, word in enumerate(words[branch])]
        if not all(values.ndim == 2 and values.size and np.isfinite(values).all() for _, values in found):
            raise ValueError("a token map is no map")
        return tuple(TokenMap(word, values) for word, values in found)

    return of(f"{defect}/target"), of(f"{defect}/source")


def _losses(facts: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(_number, losses)) for losses in facts["losses"])


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError("expected a number")
    return value


def _each(check: Callable[[Any], Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: check(value) for name, value in values.items()}


def _not_whole(folder: Path, name: str, why: str) -> RLIError:
    return RLIError(
        f"the results in {folder / 'images' / name} are incomplete or damaged ({why}); "
        "the same command makes them again"
    )


def _picture(folder: Path, name: str, stem: str) -> Path:
    return inside(folder, f"images/{name}/{stem}.png")
