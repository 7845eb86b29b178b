"""A page's photographs: what its template shows of each, in a run or over a sweep's jobs, rendered one by one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from rli.method.records import TokenMap
from rli.metrics.columns import ORIGINAL
from rli.reports.format import as_text, counted, figure, mean, missing
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
from rli.store.records import EditedPhoto, PhotoResult

METRICS = ("psnr", "ssim", "lpips")
PIXELS = 200e6  # of all pictures of a page; 500 edits of 512 pixels a side with their photographs have fewer
# What besides the defect may tell two rows of a photograph apart.
SETTINGS = ("resolution", "model", "inversion", "alpha", "eq", "cross", "replace")


@dataclass(frozen=True)
class Plan:
    """How much of a page each picture may take.

    side: longest side of a photograph, map_side of a difference map, word_side of a word's map, in pixels. quality:
    WebP's, None for lossless. every_word: show all words' maps, or the changed words' only.
    """

    side: int = 4096
    quality: int | None = None
    map_side: int = 256
    word_side: int = 128
    every_word: bool = True


def plan_of(frame: pd.DataFrame) -> Plan:
    """Lossless while the page stays small; then high, then good quality; beyond PIXELS reduced, so that it opens.

    frame: rows with image, defect, resolution and job; a page shows a picture for each edit, a reconstruction for each
    job and photograph, and each photograph.
    """
    edits = frame["defect"] != ORIGINAL
    shown = pd.concat([frame[edits], frame.drop_duplicates(["job", "image"]), frame.drop_duplicates(["image"])])
    pixels = sum(map(_pixels, shown["resolution"]))
    few = {"map_side": 112, "word_side": 64, "every_word": False} if edits.sum() > 48 else {}
    if pixels <= 8e6:
        return Plan(**few)
    if pixels <= 80e6:
        return Plan(quality=90, **few)
    if pixels <= PIXELS:
        return Plan(quality=82, **few)
    return Plan(side=max(160, math.isqrt(int(PIXELS / len(shown)))), quality=82, **few)


def _pixels(resolution: str) -> int:
    """Of "64" 64×64, of "64x96" 64×96."""
    sides = [int(side) for side in resolution.split("x")]
    return sides[0] * sides[-1]


@dataclass(frozen=True)
class Rows:
    """The rows that a page tells of.

    frame: their cells; what `told` names are texts. numbers: for each (job, photograph) its defects' places in the
    frame. told: the columns that tell rows of a photograph and defect apart, with their labels. knobs: those that are
    a sweep's.
    """

    frame: pd.DataFrame
    numbers: dict[tuple[str, str], dict[str, int]]
    told: dict[str, str]
    knobs: tuple[str, ...] = ()

    def labels(self, numbers: Sequence[int]) -> list[tuple[str, str, str]]:
        """Column, label and value of what these rows have in common among `told`."""
        values = {column: set(self.frame[column].iloc[list(numbers)]) for column in self.told}
        return [(c, self.told[c], *found) for c, found in values.items() if len(found) == 1]


def rows_of(frame: pd.DataFrame, knobs: Sequence[str]) -> Rows:
    """The frame's rows, prepared for looking up; where it has no column job, there are no jobs."""
    frame = frame.reset_index(drop=True)
    frame = frame if "job" in frame else frame.assign(job="")
    frame = frame.assign(**{knob: frame[knob].map(as_text) for knob in knobs})
    told = [*knobs]
    for name in SETTINGS:
        keys = ["defect", *told]
        if frame.groupby([*keys, name], dropna=False).ngroups > frame.groupby(keys, dropna=False).ngroups:
            told.append(name)
            frame[name] = frame[name].map(as_text)
    numbers: dict[tuple[str, str], dict[str, int]] = {}
    for n, job, image, defect in frame[["job", "image", "defect"]].itertuples():
        numbers.setdefault((job, image), {})[defect] = n
    return Rows(frame, numbers, _short(told), tuple(knobs))


def _short(names: Sequence[str]) -> dict[str, str]:
    """Of dotted names the last parts, where these are no one else's."""
    last = [name.rpartition(".")[2] for name in names]
    return {name: one if last.count(one) == 1 else name for name, one in zip(names, last, strict=True)}


@dataclass
class _Section:
    """What has been rendered of one photograph so far; the arrays themselves are let go."""

    index: int
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    reconstructions: dict[str, dict[str, Any]] = field(default_factory=dict)
    edits: list[dict[str, Any]] = field(default_factory=list)
    strips: dict[Any, dict[str, Any]] = field(default_factory=dict)


def sections(photos: Iterable[PhotoResult], rows: Rows, plan: Plan) -> Iterator[dict[str, Any]]:
    """Everything the template shows of one photograph after the other: each input and each reconstruction once, and
    every edit of every job."""
    for index, (name, results) in enumerate(groupby(photos, key=lambda photo: photo.name)):
        section, numbers, jobs = _Section(index), [], 0
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
            "picture": inlined(photo.input, plan.side, plan.quality),
            "size": f"{shape[1]}×{shape[0]}",
            "prompt": _source(photo),
        }
    made = digest(taken.encode(), photo.reconstruction.tobytes())
    if made not in section.reconstructions:
        section.reconstructions[made] = {
            "id": f"reconstruction-{section.index}-{len(section.reconstructions)}",
            "input": section.inputs[taken]["id"],
            "picture": inlined(photo.reconstruction, plan.side, plan.quality),
            "references": _references(original),
            "ceiling": figure("psnr", original.get("psnr_vae")),
            "maps": _differences(photo.input, photo.reconstruction, plan),
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
    labels = [rows.labels(one["rows"]) if several else [] for one in reconstructions]
    shared = set(labels[0]).intersection(*labels) if labels else set()
    return [
        {**one, "labels": [label for label in own if label not in shared]}
        for one, own in zip(reconstructions, labels, strict=True)
    ]


def _row(rows: Rows, number: int | None) -> dict[str, Any]:
    return {} if number is None else rows.frame.iloc[number].to_dict()


def _key_figures(frame: pd.DataFrame, jobs: int) -> list[tuple[str, str, str]]:
    """What a section's heading says of its photograph: label, figure, unit."""
    edits, original = frame[frame["defect"] != ORIGINAL], frame[frame["defect"] == ORIGINAL]
    figures = [
        ("reconstruction", figure("psnr", mean(original, "psnr")), "dB"),
        ("background", figure("psnr", mean(edits, "psnr_background")), "dB"),
        ("", counted(jobs, "job") if jobs > 1 else "–", ""),
        ("", counted(len(edits), "edit") if len(edits) else "–", ""),
        ("inversion", figure("seconds", mean(frame, "seconds_inversion")), "s"),
    ]
    return [one for one in figures if one[1] != "–"]


def _edit(photo: PhotoResult, defect: str, edit: EditedPhoto, number: int, rows: Rows, plan: Plan) -> dict[str, Any]:
    row = _row(rows, number)
    file = "/".join(filter(None, ("images", photo.job, photo.name, f"{defect}.png")))
    return {
        "number": number,
        "name": defect,
        "job": photo.job,
        "record": {"image": photo.name, "defect": defect, "job": photo.job, "file": file},
        "labels": rows.labels([number]),
        "picture": inlined(edit.image, plan.side, plan.quality),
        "outline": outline(edit.mask),
        "shape": edit.mask.shape,
        "prompt": _marked(_source(photo), photo.prompts.get(defect, "")),
        "references": _references(row),
        "notes": [
            f"mask: {100 * edit.mask.mean():.1f} % of the image",
            *_known("change in it:", figure("strength", row["strength"]), "of 255"),
            *_known(f"recognised as {defect}:", figure("named", row["named"])),
        ],
        "mask": inlined_mask(edit.mask, plan.side),
        "maps": _differences(photo.input, edit.image, plan),
    }


def _known(label: str, value: str, unit: str = "") -> list[str]:
    return [] if value == "–" else [f"{label} {value} {unit}".rstrip()]


def _source(photo: PhotoResult) -> str:
    return photo.prompts.get("source", photo.prompts.get(ORIGINAL, ""))


def _references(row: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The metrics under a picture: for each reference its name and PSNR, SSIM, LPIPS; what was not measured is left
    out."""
    columns = {
        "reconstruction": [f"{metric}_recon" for metric in METRICS],
        "photo": METRICS,
        "background": [f"{metric}_background" for metric in METRICS],
    }
    values = {name: [row.get(column) for column in names] for name, names in columns.items()}
    return [
        (name, [figure(m, v) for m, v in zip(METRICS, figures, strict=True)])
        for name, figures in values.items()
        if not all(map(missing, figures))
    ]


def _differences(photo: np.ndarray, other: np.ndarray, plan: Plan) -> dict[str, Inline]:
    maps = {"pixel": difference_map(photo, other), "edge": edge_difference_map(photo, other)}
    return {name: inlined(pixels, plan.map_side, plan.quality and 80) for name, pixels in maps.items()}


def _add_strips(strips: dict[Any, dict[str, Any]], photo: PhotoResult, numbers: Mapping[str, int], plan: Plan) -> None:
    """The words' maps of each prompt. Edits that share their source branch share its maps, too: they are shown once."""
    source, targets = _source(photo), photo.prompts
    sought = set().union(*(_changed(targets.get(defect, ""), source) for defect in photo.edits))
    for defect, edit in photo.edits.items():
        told = {"label": defect, "job": photo.job}
        for kind, maps, changed, label in (
            ("source", edit.source_maps, sought, {"label": "source", "job": ""}),
            ("target", edit.maps, _changed(source, targets.get(defect, "")), told),
        ):
            key = kind, *((word.word, word.map.tobytes()) for word in maps)
            if key not in strips:
                shown = [(k, word) for k, word in enumerate(maps) if plan.every_word or word.word in changed]
                words = [_word(photo.input, word, f"{kind}-{k}", word.word in changed, plan) for k, word in shown]
                strips[key] = {"kind": kind, "words": words, "rows": [], **label}
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
