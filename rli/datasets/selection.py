"""A choice of images that was made in another tool: COCO's JSON, or FiftyOne's samples.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from rli.datasets.formats import stem_of
from rli.errors import RLIError
from rli.files import look_at

# Bytes of the longest file: it is read at once.
MOST_BYTES = 2**30
# Before the path of a file that Label Studio serves from its own machine.
LOCAL_FILES = "/local-files/?d="
# What a sample's tags say.
TAGS = {"keep": True, "reject": False}


@dataclass(frozen=True)
class Selection:
    """Which files of an exported data set were chosen."""

    # By a file's stem whether it is kept.
    files: Mapping[str, bool]
    # Whether edits that are not among the files are rejected, in splits of which any file is.
    rejects_others: bool

    def decisions(self, edits: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], bool]:
        """What was decided of a run's edits, as of `review.read_review`.

        Args:
            edits: Photograph, edit and split of each. The edit "" is the photograph itself, which belongs to its split
                and is not decided about.
        """
        every = [(photo, edit, split, self.files.get(image_stem(photo, edit))) for photo, edit, split in edits]
        seen = {split for *_, split, kept in every if kept is not None}
        found = {}
        for photo, edit, split, kept in every:
            decided = False if kept is None and self.rejects_others and split in seen else kept
            if edit and decided is not None:
                found["", photo, edit] = decided
        return found


def image_stem(photo: str, edit: str) -> str:
    """The stem of the file of a photograph's edit in a data set; "" is the photograph itself."""
    return stem_of(f"{photo}/{edit}" if edit else photo)


def read_selection(path: Path) -> Selection:
    """Reads a selection.

    Of COCO's images, and of samples without tags, those that are listed are kept, and the other edits of the same
    splits are rejected. Where any sample has the tag keep or reject, the tags decide, and nothing is decided about the
    others.

    Raises:
        RLIError: It is no such file, it lists nothing, or an image is both kept and rejected.
        OSError: It cannot be read.
    """
    look_at(path, MOST_BYTES)
    try:
        listed = _listed(json.loads(path.read_text(encoding="utf-8-sig")))
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise RLIError(
            f"{path}: expected COCO's JSON with its images, or FiftyOne's samples.json with filepath and tags"
        ) from None
    if not listed:
        raise RLIError(f"{path}: it lists no image, and would reject all edits")
    by_tags = any(tags for _, tags in listed)
    files: dict[str, bool] = {}
    for stem, tags in listed:
        decisions = {TAGS[tag] for tag in tags} if by_tags else {True}
        for kept in decisions:
            if files.setdefault(stem, kept) != kept:
                raise RLIError(f"{path}: {stem} is both kept and rejected; take one of the two away")
    return Selection(files, rejects_others=not by_tags)


def _listed(told: Any) -> list[tuple[str, frozenset[str]]]:
    """Each image's stem and those of its tags that decide."""
    if "samples" in told:
        return [
            (_stem(one["filepath"]), frozenset(TAGS.keys() & {*(one.get("tags") or ())})) for one in told["samples"]
        ]
    return [(_stem(one["file_name"]), frozenset()) for one in told["images"]]


def _stem(file: str) -> str:
    """Of a path, or of the address that Label Studio gives a file on its own machine."""
    _, is_address, served = file.partition(LOCAL_FILES)
    return PurePosixPath(unquote(served) if is_address else file.replace("\\", "/")).stem
