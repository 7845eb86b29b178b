"""A page's photographs, rendered one by one: those of a run, or of all runs of a sweep."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from rli.method.records import TokenMap
from rli.metrics.columns import (
    BACKGROUND,
    BY_NAME,
    COLUMNS,
    ORIGINAL,
    PHOTOGRAPH,
    RECONSTRUCTION,
    Column,
    of_kind,
)
from rli.reports.details import edit_worked_on, example_card, frames, map_place, shown, window_cards, worked_on
from rli.reports.format import as_text, counted, is_missing, mean, number
from rli.reports.pixels import (
    Inline,
    difference_map,
    edge_difference_map,
    heat,
    inlined,
    inlined_mask,
    loss_chart,
    outline,
    webp,
)
from rli.store.results import EditedPhoto, PhotoResult

PIXELS = 200e6  # of all pictures of a page; 500 edits of 512 pixels a side with their photographs have fewer
# What a picture is compared with, as its card says it, and the group of columns that measures it.
REFERENCES = {"reconstruction": RECONSTRUCTION, "photo": PHOTOGRAPH, "background": BACKGROUND}
# The columns of a card's table, by their headings.
HEADINGS = ("PSNR", "SSIM", "LPIPS")


@dataclass(frozen=True)
class Plan:
    """How much of a page each picture may take; sides are the longer ones, in pixels."""

    # Of a photograph.
    side: int = 4096
    # WebP's; None for lossless.
    quality: int | None = None
    # Of a difference map.
    map_side: int = 256
    # Of a word's attention map.
    word_side: int = 128
    # Whether all words' maps are shown, or the changed words' only.
    every_word: bool = True


def plan_of(frame: pd.DataFrame, largest: int = 0) -> Plan:
    """Lossless while the page stays small; then high, then good quality; beyond PIXELS reduced, so that it opens.

    A page shows a picture for each edit, a reconstruction for each job and photograph, and each photograph.

    Args:
        frame: rows with image, defect, resolution and job.
        largest: how many pixels of a picture are shown at most, where that is more than the resolution's.
    """
    edits = frame["defect"] != ORIGINAL
    pictures = pd.concat([frame[edits], frame.drop_duplicates(["job", "image"]), frame.drop_duplicates(["image"])])
    pixels = sum(max(_pixels(resolution), largest) for resolution in pictures["resolution"])
    plan = Plan(map_side=112, word_side=64, every_word=False) if edits.sum() > 48 else Plan()
    if pixels <= 8e6:
        return plan
    if pixels <= 80e6:
        return replace(plan, quality=90)
    if pixels <= PIXELS:
        return replace(plan, quality=82)
    return replace(plan, side=max(160, math.isqrt(int(PIXELS / len(pictures)))), quality=82)


def _pixels(resolution: str) -> int:
    """Of "64" 64×64, of "64x96" 64×96."""
    sides = [int(side) for side in resolution.split("x")]
    return sides[0] * sides[-1]


@dataclass(frozen=True)
class Rows:
    """The rows that a page shows."""

    # Their cells; the columns among `distinctions` are texts.
    frame: pd.DataFrame
    # For each job and photograph its defects' row numbers in the frame.
    numbers: dict[tuple[str, str], dict[str, int]]
    # The columns in which rows of one photograph and defect differ, with their labels.
    distinctions: dict[str, str]
    # Those of them that are a sweep's knobs.
    knobs: tuple[str, ...]
    # What the rows consist of.
    columns: tuple[Column, ...]

    def labels(self, numbers: Sequence[int]) -> list[tuple[str, str, str]]:
        """Column, label and value of the distinctions that these rows have in common."""
        values = {column: set(self.frame[column].iloc[list(numbers)]) for column in self.distinctions}
        return [(c, self.distinctions[c], *found) for c, found in values.items() if len(found) == 1]


def rows_of(frame: pd.DataFrame, knobs: Sequence[str], columns: Sequence[Column] = COLUMNS) -> Rows:
    """The frame's rows, prepared for looking up; where it has no column job, there are no jobs."""
    frame = frame.reset_index(drop=True)
    frame = frame if "job" in frame else frame.assign(job="")
    frame = frame.assign(**{knob: frame[knob].map(as_text) for knob in knobs})
    distinctions = [*knobs]
    settings = [c.name for c in of_kind("text", "setting", columns=columns) if c.name not in ("image", "defect")]
    for name in settings:
        keys = ["defect", *distinctions]
        if frame.groupby([*keys, name], dropna=False).ngroups > frame.groupby(keys, dropna=False).ngroups:
            distinctions.append(name)
            frame[name] = frame[name].map(as_text)
    numbers: dict[tuple[str, str], dict[str, int]] = {}
    for n, job, image, defect in frame[["job", "image", "defect"]].itertuples():
        numbers.setdefault((job, image), {})[defect] = n
    return Rows(frame, numbers, _short(distinctions), tuple(knobs), tuple(columns))


def _short(names: Sequence[str]) -> dict[str, str]:
    """Of dotted names the last parts, where no other name ends alike."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: end if last.count(end) == 1 else name for name, end in zip(names, last, strict=True)}


@dataclass
class _Section:
    """What has been rendered of one photograph so far; the arrays themselves are let go."""

    index: int
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    reconstructions: dict[str, dict[str, Any]] = field(default_factory=dict)
    edits: list[dict[str, Any]] = field(default_factory=list)
    strips: dict[Any, dict[str, Any]] = field(default_factory=dict)


def sections(photos: Iterable[PhotoResult], rows: Rows, plan: Plan) -> Iterator[dict[str, Any]]:
    """Everything the template shows, one photograph after the other.

    Args:
        photos: those of one name, from several jobs, stand together; they are taken as they are needed.
        rows: what was measured of them.
        plan: how much of the page each picture may take.

    Yields:
        For each name its inputs and reconstructions, each picture once, and every edit of every job.
    """
    for index, (name, results) in enumerate(groupby(photos, key=lambda photo: photo.name)):
        section, jobs = _Section(index), 0
        numbers: list[int] = []
        for photo in results:
            own = rows.numbers.get((photo.job, name), {})
            _add(section, photo, own, rows, plan)
            numbers += own.values()
            jobs += 1
        yield {
            **vars(section),
            "name": name,
            "jobs": jobs,
            "inputs": list(section.inputs.values()),
            "strips": [strip for strip in section.strips.values() if strip["words"]],
            "reconstructions": _labelled(list(section.reconstructions.values()), rows),
            "key_figures": _key_figures(rows.frame.iloc[numbers], jobs),
        }


def _add(section: _Section, photo: PhotoResult, numbers: Mapping[str, int], rows: Rows, plan: Plan) -> None:
    """One job's result of the section's photograph."""
    shape, original = photo.input.shape[:2], _row(rows, numbers.get(ORIGINAL))
    taken = digest(repr(shape).encode(), photo.input.tobytes())
    if taken not in section.inputs:
        section.inputs[taken] = {
            "id": f"input-{section.index}-{len(section.inputs)}",
            **shown(photo, photo.input, plan.side, plan.quality),
            "frames": frames(photo),
            "size": f"{shape[1]}×{shape[0]}",
            "prompt": _source(photo),
        }
    made = digest(taken.encode(), photo.reconstruction.tobytes())
    if made not in section.reconstructions:
        section.reconstructions[made] = {
            "id": f"reconstruction-{section.index}-{len(section.reconstructions)}",
            "input": section.inputs[taken]["id"],
            **shown(photo, photo.reconstruction, plan.side, plan.quality),
            "references": _references(original, rows.columns),
            "ceiling": _shown("psnr_vae", original.get("psnr_vae")),
            "maps": _differences(worked_on(photo).input, worked_on(photo).reconstruction, plan),
            "map_place": map_place(photo),
            "chart": loss_chart(photo.losses),
            "rows": [],
            "originals": [],
        }
    reconstruction = section.reconstructions[made]
    reconstruction["rows"] += numbers.values()
    reconstruction["originals"] += [numbers[ORIGINAL]] if ORIGINAL in numbers else []
    for defect, edit in photo.edits.items():
        card = _edit(photo, defect, edit, numbers[defect], rows, plan)
        section.edits.append({**card, "input": reconstruction["input"], "reconstruction": reconstruction["id"]})
    _add_strips(section.strips, photo, numbers, plan)


def _labelled(reconstructions: list[dict[str, Any]], rows: Rows) -> list[dict[str, Any]]:
    """Each reconstruction with the settings that are its own alone, where there are several."""
    several = len(reconstructions) > 1
    labels = [rows.labels(made["rows"]) if several else [] for made in reconstructions]
    shared = set(labels[0]).intersection(*labels) if labels else set()
    return [
        {**made, "labels": [label for label in own if label not in shared]}
        for made, own in zip(reconstructions, labels, strict=True)
    ]


def _row(rows: Rows, number: int | None) -> dict[str, Any]:
    return {} if number is None else rows.frame.iloc[number].to_dict()


def _key_figures(frame: pd.DataFrame, jobs: int) -> list[tuple[str, str, str]]:
    """What a section's heading says of its photograph: label, number, unit."""
    edits, original = frame[frame["defect"] != ORIGINAL], frame[frame["defect"] == ORIGINAL]
    numbers = [
        ("reconstruction", _shown("psnr", mean(original, "psnr")), "dB"),
        ("background", _shown("psnr_background", mean(edits, "psnr_background")), "dB"),
        ("", counted(jobs, "job") if jobs > 1 else "–", ""),
        ("", counted(len(edits), "edit") if len(edits) else "–", ""),
        ("inversion", _shown("seconds_inversion", mean(frame, "seconds_inversion")), "s"),
    ]
    return [line for line in numbers if line[1] != "–"]


def _edit(photo: PhotoResult, defect: str, edit: EditedPhoto, number: int, rows: Rows, plan: Plan) -> dict[str, Any]:
    row = _row(rows, number)
    file = "/".join(filter(None, ("images", photo.job, photo.name, f"{defect}.png")))
    return {
        "number": number,
        "name": defect,
        "job": photo.job,
        "record": {"image": photo.name, "defect": defect, "job": photo.job, "file": file},
        "labels": rows.labels([number]),
        **shown(photo, edit.image, plan.side, plan.quality),
        "frames": frames(photo),
        "outline": outline(edit.mask),
        "shape": edit.mask.shape,
        "prompt": _marked(_source(photo), photo.prompts.get(defect, "")),
        "references": _references(row, rows.columns),
        "notes": [
            f"mask: {100 * edit.mask.mean():.1f} % of the image",
            *_known("change in it:", _shown("strength", row["strength"]), "of 255"),
            *_known(f"recognised as {defect}:", _shown("named", row["named"])),
        ],
        "mask": inlined_mask(edit.mask, plan.side),
        "maps": _differences(worked_on(photo).input, edit_worked_on(photo, defect), plan),
        "map_place": map_place(photo),
        "windows": window_cards(photo, edit.image, edit.mask, 2 * plan.map_side),
        "example": example_card(edit, 2 * plan.map_side),
    }


def _known(label: str, value: str, unit: str = "") -> list[str]:
    return [] if value == "–" else [f"{label} {value} {unit}".rstrip()]


def _source(photo: PhotoResult) -> str:
    return photo.prompts.get("source", photo.prompts.get(ORIGINAL, ""))


def _references(row: Mapping[str, Any], columns: Sequence[Column]) -> list[tuple[str, list[str]]]:
    """The table under a picture: for each reference its name and a cell for each of HEADINGS; a reference for which
    nothing was measured is left out."""
    lines = []
    for name, group in REFERENCES.items():
        measured = {c.heading: (row.get(c.name), c.digits) for c in columns if c.group == group}
        cells = [measured.get(heading, (None, 0)) for heading in HEADINGS]
        if not all(is_missing(value) for value, _ in cells):
            lines.append((name, [number(value, digits) for value, digits in cells]))
    return lines


def _shown(column: str, value: float | None) -> str:
    return number(value, BY_NAME[column].digits)


def _differences(photo: np.ndarray, other: np.ndarray, plan: Plan) -> dict[str, Inline]:
    maps = {"pixel": difference_map(photo, other), "edge": edge_difference_map(photo, other)}
    return {name: inlined(pixels, plan.map_side, plan.quality and 80) for name, pixels in maps.items()}


def _add_strips(strips: dict[Any, dict[str, Any]], photo: PhotoResult, numbers: Mapping[str, int], plan: Plan) -> None:
    """The words' maps of each prompt. Edits that share their source branch share its maps, too: they are shown once."""
    source, targets = _source(photo), photo.prompts
    sought = set().union(*(_changed(targets.get(defect, ""), source) for defect in photo.edits))
    for defect, edit in photo.edits.items():
        of_edit = {"label": defect, "job": photo.job}
        for kind, maps, changed, label in (
            ("source", edit.source_maps, sought, {"label": "source", "job": ""}),
            ("target", edit.maps, _changed(source, targets.get(defect, "")), of_edit),
        ):
            key = kind, *((word.word, word.map.tobytes()) for word in maps)
            if key not in strips:
                kept = [(k, word) for k, word in enumerate(maps) if plan.every_word or word.word in changed]
                words = [
                    _word(worked_on(photo).input, word, f"{kind}-{k}", word.word in changed, plan) for k, word in kept
                ]
                strips[key] = {"kind": kind, "words": words, "rows": [], "map_place": map_place(photo), **label}
            strips[key]["rows"].append(numbers[defect])


def _word(photo: np.ndarray, word: TokenMap, key: str, changed: bool, plan: Plan) -> dict[str, Any]:
    picture = webp(heat(photo, word.map, plan.word_side), 80)
    return {"word": word.word, "key": key, "changed": changed, "picture": picture}


def _marked(source: str, target: str) -> list[tuple[str, bool]]:
    """The target prompt's words, each with whether it differs from the source prompt."""
    old, new = source.split(), target.split()
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    kept = {block.b + i for block in blocks for i in range(block.size)}
    return [(word, bool(old) and i not in kept) for i, word in enumerate(new)]


def _changed(source: str, target: str) -> set[str]:
    return {word for word, changed in _marked(source, target) if changed}


def digest(*parts: bytes) -> str:
    """SHA-256 of the parts, in hexadecimal."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
