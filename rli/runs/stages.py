"""The stages through which a run takes a photograph: read, invert (or take from the cache), edit; then measure.py.

Each is a function of what the stage before it gave. The runner (runner.py) calls them, and sees to memory and failures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rli.errors import RLIError
from rli.images import inner_box
from rli.method.editing import edit_batch, reconstruct
from rli.method.fresh_noise import seed_of
from rli.method.inversion import invert_batch
from rli.method.records import Edit, EditSettings, Inversion, Target
from rli.models.diffusion import Model
from rli.photos.sources import Photo
from rli.photos.windows import Size
from rli.progress import Progress
from rli.runs.bounds import as_grey_as, place_in, within_photo
from rli.runs.class_prompts import Prompts
from rli.runs.example_stage import ReadyExample, ready_example
from rli.runs.job import Job
from rli.runs.memory_plan import Plan
from rli.runs.variants import variant_name
from rli.runs.worked_windows import WorkedWindow, worked_windows
from rli.store import inversions as cache

Value = TypeVar("Value")


@dataclass(frozen=True)
class ReadPhoto:
    """A photograph whose files are read."""

    photo: Photo
    # What is worked on. The photograph itself is let go, for it may be large, and read again when it is needed.
    windows: tuple[WorkedWindow, ...]
    # Height and width of what is made.
    size: Size
    # Of the photograph's file, for a data set; "" otherwise.
    sha256: str
    # What describes it, and what is wanted of it.
    prompts: Prompts
    # How the place of its new defect came about; "" where nothing was placed.
    placed: str = ""
    # What was done with the file that its owner may want to know, a line each.
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class EditMade:
    """One edit, and how it was made."""

    # One for each window, to the same target.
    edits: tuple[Edit, ...]
    # The class that it belongs to: the target's name, which several variants share.
    label: str
    settings: EditSettings
    seconds: float
    # What it was to look like; None where words alone said it.
    example: ReadyExample | None = None

    @property
    def target(self) -> Target:
        """What was wanted."""
        return self.edits[0].target


@dataclass(frozen=True)
class EditsMade:
    """One photograph's reconstructions, (1,3,H,W) in [-1,1] for each window, and its edits in the order of variants and
    targets."""

    reconstructions: tuple[Tensor, ...]
    edits: tuple[EditMade, ...]


def read_photo(job: Job, photo: Photo) -> ReadPhoto:
    """Reads a photograph and its masks, and cuts out its windows.

    Raises:
        RLIError: A file is missing or damaged, or its class gives prompts that allow no edit.
    """
    prompts = job.prompts(photo)
    job.check(prompts)
    picture = photo.picture() if job.window.paste != "none" else None
    sha256 = photo.sha256() if job.selection is not None else ""
    size = (job.height, job.width) if picture is None else picture.size
    region, placed = _region(photo, size)
    if region is None and job.examples is not None and prompts.targets:
        raise RLIError(
            f"{photo.name}: nothing says where the example's defect is to go; give a mask (data.mask_path, or "
            "data.region=auto with the photograph's own), or a place (placement=shapes)"
        )
    if picture is not None:
        windows = _windows(job, photo, picture.rgb, region)
        return ReadPhoto(photo, windows, size, sha256, prompts, placed, picture.remarks)
    own = photo.size()
    inside = place_in(size, inner_box(own, *size, photo.fit)) if own else None
    window = WorkedWindow(None, photo.read(*size), region, inside=inside)
    return ReadPhoto(photo, (window,), size, sha256, prompts, placed)


def _region(photo: Photo, size: Size) -> tuple[np.ndarray | None, str]:
    """Where an edit may change a photograph, and how that came about where it was placed."""
    if photo.place is None:
        return photo.region(*size), ""
    placed = photo.placed(*size)
    return placed.mask, placed.told


def _windows(job: Job, photo: Photo, rgb: np.ndarray, region: np.ndarray | None) -> tuple[WorkedWindow, ...]:
    """What is worked on of a photograph that is (H,W,3) uint8, and may be changed in the region."""
    own = (rgb.shape[0], rgb.shape[1])
    known = region if region is not None else photo.truth(*own) if job.window.kind in ("auto", "defect") else None
    return worked_windows(rgb, (job.height, job.width), job.window, known, region is not None, photo.fit)


def invert_together(
    model: Model, plan: Plan, job: Job, photos: Sequence[ReadPhoto], progress: Progress
) -> list[tuple[Inversion, ...]]:
    """The inversions of all windows of the photographs.

    Args:
        model: Arranged as the plan has it.
        plan: Says how many windows are inverted together.
        job: The job.
        photos: The photographs, of one source prompt.
        progress: Shows how far the steps are.

    Returns:
        For each photograph the inversions of its windows: from the cache where they are kept, and kept there where they
        are made.
    """
    images = [window.image for read in photos for window in read.windows]
    source = photos[0].prompts.source
    keys = [cache.key(model, image, source, job.inversion) for image in images]
    if len(images) == 1:
        (image,), (key,) = images, keys

        def make() -> Inversion:
            return invert_batch(model, image, source, job.inversion, progress)[0]

        return [(cache.get(job.cache, key, source, job.inversion, make),)]
    found = ((key, cache.read(cache.path_of(job.cache, key), source, job.inversion)) for key in keys)
    kept = {key: inversion for key, inversion in found if inversion is not None}
    missing = [k for k, key in enumerate(keys) if key not in kept]
    for start in range(0, len(missing), plan.photos):
        some = missing[start : start + plan.photos]
        made = invert_batch(model, torch.cat([images[k] for k in some]), source, job.inversion, progress)
        for k, inversion in zip(some, made, strict=True):
            cache.write(cache.path_of(job.cache, keys[k]), inversion)
            kept[keys[k]] = inversion
    return _by_photo([kept[key] for key in keys], photos)


def edit_together(
    model: Model,
    plan: Plan,
    job: Job,
    photos: Sequence[ReadPhoto],
    inversions: Sequence[Sequence[Inversion]],
    progress: Progress,
) -> list[EditsMade]:
    """Reconstructions and edits of photographs to every variant of every target.

    Args:
        model: Arranged as the plan has it.
        plan: Says how many targets are edited together.
        job: The job. Where its variants draw settings, these are the first photograph's.
        photos: The photographs, of the same prompts.
        inversions: For each photograph those of its windows.
        progress: Shows how far the steps are.

    Returns:
        One record for each photograph.
    """
    every = [inversion for own in inversions for inversion in own]
    windows = [window for read in photos for window in read.windows]
    reconstructions = [
        as_grey_as(window.image, reconstruct(model, inversion))
        for window, inversion in zip(windows, every, strict=True)
    ]
    wanted = photos[0].prompts.targets
    seeds = [seed for read in photos for seed in noise_seeds(job, read)]
    made: list[list[EditMade]] = [[] for _ in photos]
    for k in range(job.variants.count):
        settings = job.variants.draw(job.edit, job.inversion.seed, photos[0].photo.name, k)
        targets = [replace(target, name=variant_name(target.name, k)) for target in wanted]
        began = time.perf_counter()
        ready = _ready_examples(model, job, photos, k, progress)
        examples = [of_one for of_one, read in zip(ready, photos, strict=True) for _ in read.windows]
        options: dict[str, Any] = {"seeds": seeds, "batch": plan.targets, "progress": progress, "examples": examples}
        edited = edit_windows(model, windows, every, targets, settings, reconstructions, **options)
        seconds = (time.perf_counter() - began) / max(1, len(photos) * len(targets))
        for own, of_windows, looks in zip(made, _by_photo(edited, photos), ready, strict=True):
            pairs = zip(zip(*of_windows, strict=True), wanted, looks, strict=True)
            own += [EditMade(edits, target.name, settings, seconds, look) for edits, target, look in pairs]
    return [EditsMade(images, tuple(own)) for images, own in zip(_by_photo(reconstructions, photos), made, strict=True)]


def edit_windows(
    model: Model,
    windows: Sequence[WorkedWindow],
    inversions: Sequence[Inversion],
    targets: Sequence[Target],
    settings: EditSettings,
    reconstructions: Sequence[Tensor],
    *,
    examples: Sequence[Sequence[ReadyExample | None]],
    **options: Any,
) -> list[list[Edit]]:
    """Edits of windows, which change the photograph alone and stay as grey as it is.

    Args:
        model: The model.
        windows: The windows.
        inversions: One for each window.
        targets: What is wanted of every window.
        settings: How they are edited.
        reconstructions: (1,3,H,W), one for each window.
        examples: For each window an example for each target, or None for all of them.
        **options: Further ones of `edit_batch`.

    Returns:
        For each window its edits, in the order of the targets.
    """
    looks = [[ready.example for ready in own if ready is not None] for own in examples]
    given = {"masks": [window.mask for window in windows], "reconstructions": reconstructions, **options}
    made = edit_batch(model, inversions, targets, settings, examples=looks if any(looks) else None, **given)
    return [
        [within_photo(edit, window.image, back, window.inside) for edit in edits]
        for window, back, edits in zip(windows, reconstructions, made, strict=True)
    ]


def _ready_examples(
    model: Model, job: Job, photos: Sequence[ReadPhoto], k: int, progress: Progress
) -> list[list[ReadyExample | None]]:
    """For each photograph the example of its variant k to each target, None where there are none."""
    targets = photos[0].prompts.targets
    if job.examples is None:
        return [[None] * len(targets) for _ in photos]
    chosen = [[job.examples.of(read.photo, target.name, k) for target in targets] for read in photos]
    distinct = {one.name: one for own in chosen for one in own}
    ready = {name: ready_example(model, job, one, progress) for name, one in distinct.items()}
    return [[ready[one.name] for one in own] for own in chosen]


def noise_seeds(job: Job, read: ReadPhoto) -> list[int]:
    """For each of a photograph's windows the seed of its edits' fresh noise."""
    return [seed_of(job.inversion.seed, read.photo.name, k) for k in range(len(read.windows))]


def _by_photo(values: Sequence[Value], photos: Sequence[ReadPhoto]) -> list[tuple[Value, ...]]:
    """Values of all windows, one after the other, as those of each photograph."""
    queue = iter(values)
    return [tuple(islice(queue, len(read.windows))) for read in photos]
