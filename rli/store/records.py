"""The files that a run writes for each photograph, and how they are read back.

images/<name>/ holds the pictures, images/<name>/window/ and window-2/ … those of its windows as they were worked on;
records/<name>.safetensors the rest: rows, prompts, losses, token maps, the key of the job that made them, and a digest
of each picture. The record is written last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rli.errors import RLIError
from rli.files import write_whole
from rli.images import png
from rli.method.records import TokenMap
from rli.metrics.columns import Row, row_read
from rli.photos.windows import Size, View
from rli.store.facts import each, edit_record, facts_of, number, size_of, text, view_of
from rli.store.failures import failure_path
from rli.store.paths import inside
from rli.store.pictures import PictureFile
from rli.store.results import (
    EditedPhoto,
    EditedWindow,
    EditRecord,
    ExamplePicture,
    PhotoResult,
    WindowResult,
)
from rli.store.sealed import read_sealed, write_sealed

# An edit's token maps of the target and of the source prompt.
BothMaps = tuple[tuple[TokenMap, ...], tuple[TokenMap, ...]]
# What a record of another version, or one that was made up, raises.
_UNLIKE = (KeyError, TypeError, ValueError, AttributeError)


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
    # Height and width of its pictures, those of windows left out.
    size: Size
    # Where its windows lie; none where it was not worked on in windows.
    windows: tuple[View, ...]
    # By their stems, such as `input`, `truth`, `rust`, `rust_change` or `window/rust`.
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
            photo = self._rgb("input")
            size = photo.shape[:2]
            return PhotoResult(
                name=self.name,
                input=photo,
                reconstruction=self._rgb("reconstruction", size),
                edits={defect: self._edit(defect, size, maps[defect]) for defect in self.edits},
                rows=self.rows,
                losses=_losses(facts),
                prompts=self.prompts,
                job=self.job,
                key=self.key,
                made=self.made,
                source=self.source,
                sha256=self.sha256,
                truth=self._mask("truth", size) if self.has_truth else None,
                windows=tuple(self._window(k, view) for k, view in enumerate(self.windows)),
            )
        except _UNLIKE as error:
            raise _not_whole(self.folder, self.name, str(error)) from None

    def _edit(self, defect: str, size: tuple[int, ...], maps: BothMaps) -> EditedPhoto:
        change, (of_target, of_source) = f"{defect}_change", maps
        return EditedPhoto(
            image=self._rgb(defect, size),
            mask=self._mask(f"{defect}_mask", size),
            maps=of_target,
            source_maps=of_source,
            change=self._mask(change, size) if change in self.pictures else None,
            example_picture=self._example(f"{defect}_example") if self.edits[defect].example else None,
            **vars(self.edits[defect]),
        )

    def _example(self, stem: str) -> ExamplePicture:
        image = self.pictures[stem].pixels(self.picture(stem), "RGB")
        return ExamplePicture(image, self._mask(f"{stem}_mask", image.shape[:2]))

    def _window(self, k: int, view: View) -> WindowResult:
        place, size = window_folder(k), view.size

        def worked_on(stem: str) -> np.ndarray:
            return self.pictures[f"{place}/{stem}"].pixels(self.picture(f"{place}/{stem}"), "RGB", size)

        edits = {d: EditedWindow(worked_on(d), self._mask(f"{place}/{d}_mask", size)) for d in self.edits}
        return WindowResult(view, worked_on("input"), worked_on("reconstruction"), edits)

    def _rgb(self, stem: str, size: tuple[int, ...] | None = None) -> np.ndarray:
        """A picture of the photograph's size; with windows it is in the photograph's own mode."""
        file, path = self.pictures[stem], self.picture(stem)
        return file.rgb(path, size) if self.windows else file.pixels(path, "RGB", size)

    def _mask(self, stem: str, size: tuple[int, ...]) -> np.ndarray:
        return self.pictures[stem].pixels(self.picture(stem), "L", size) > 0


def write_photo(folder: Path, result: PhotoResult) -> None:
    """Writes a photograph's pictures, images/<name>/: input.png, reconstruction.png, <defect>.png, <defect>_mask.png,
    for a data set truth.png and <defect>_change.png, of an example <defect>_example.png and <defect>_example_mask.png,
    and of windows the same below window/; then its record."""
    pictures = {}
    for stem, data in _encoded(result):
        write_whole(_picture(folder, result.name, stem), data)
        pictures[stem] = PictureFile.of(data)
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
        "edits": {defect: facts_of(edited) for defect, edited in result.edits.items()},
        "words": words,
        "made": result.made,
        "source": result.source,
        "sha256": result.sha256,
        "size": result.input.shape[:2],
        "windows": [asdict(window.view) for window in result.windows if window.view],
        "pictures": {stem: asdict(file) for stem, file in pictures.items()},
    }
    write_sealed(record_path(folder, result.name), maps, facts)
    failure_path(folder, result.name).unlink(missing_ok=True)


def window_folder(k: int) -> str:
    """Below a photograph's folder, where the pictures of its window k lie, from 0."""
    return f"window-{k + 1}" if k else "window"


def _encoded(result: PhotoResult) -> Iterator[tuple[str, bytes]]:
    """Every picture's stem and file, one after the other."""
    arrays = {"input": result.input, "reconstruction": result.reconstruction, "truth": result.truth}
    for defect, edited in result.edits.items():
        arrays |= {defect: edited.image, f"{defect}_mask": edited.mask, f"{defect}_change": edited.change}
        if (example := edited.example_picture) is not None:
            arrays |= {f"{defect}_example": example.image, f"{defect}_example_mask": example.mask}
    for k, window in enumerate(result.windows):
        of_window = {"input": window.input, "reconstruction": window.reconstruction}
        for defect, made in window.edits.items():
            of_window |= {defect: made.image, f"{defect}_mask": made.mask}
        arrays |= {f"{window_folder(k)}/{stem}": array for stem, array in of_window.items()}
    for stem, array in arrays.items():
        if array is not None:
            yield stem, result.own[stem].png() if stem in result.own else png(array)


def _half(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).half()


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
        edits = {str(defect): edit_record(edit) for defect, edit in facts["edits"].items()}
        for defect in edits:
            _maps(tensors, facts["words"], defect)
        _losses(facts)
        return PhotoRecord(
            folder=folder,
            name=name,
            job=job,
            key=text(facts["key"]),
            rows=rows,
            prompts=each(text, facts["prompts"]),
            edits=edits,
            made=each(text, facts["made"]),
            source=text(facts["source"]),
            sha256=text(facts["sha256"]),
            size=size_of(facts["size"]),
            windows=(windows := tuple(map(view_of, facts["windows"]))),
            pictures=_pictures(facts["pictures"], edits, len(windows)),
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


def _pictures(facts: Mapping[str, Any], edits: Mapping[str, EditRecord], windows: int) -> dict[str, PictureFile]:
    """What is known of each picture. Raises KeyError where one is missing that every photograph, edit or window has."""
    pictures = {str(stem): PictureFile(int(of["size"]), text(of["sha256"])) for stem, of in facts.items()}
    for defect in (defect for defect, edit in edits.items() if edit.example):
        pictures[f"{defect}_example"], pictures[f"{defect}_example_mask"]
    for stem in ("input", "reconstruction", *edits, *(f"{defect}_mask" for defect in edits)):
        pictures[stem]
        for k in range(windows):
            pictures[f"{window_folder(k)}/{stem}"]
    return pictures


def _maps(tensors: Mapping[str, torch.Tensor], words: Mapping[str, Any], defect: str) -> BothMaps:
    """An edit's token maps of the target and of the source prompt. Raises ValueError for one that is no map."""

    def of(branch: str) -> tuple[TokenMap, ...]:
        found = [(text(word), tensors[f"{branch}/{k}"].float().numpy()) for k, word in enumerate(words[branch])]
        if not all(values.ndim == 2 and values.size and np.isfinite(values).all() for _, values in found):
            raise ValueError("a token map is no map")
        return tuple(TokenMap(word, values) for word, values in found)

    return of(f"{defect}/target"), of(f"{defect}/source")


def _losses(facts: Mapping[str, Any]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(map(number, losses)) for losses in facts["losses"])


def _not_whole(folder: Path, name: str, why: str) -> RLIError:
    return RLIError(
        f"the results in {folder / 'images' / name} are incomplete or damaged ({why}); "
        "the same command makes them again"
    )


def _picture(folder: Path, name: str, stem: str) -> Path:
    return inside(folder, f"images/{name}/{stem}.png")
