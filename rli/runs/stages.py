"""The stages through which a run takes a photograph: read, invert (or take from the cache), edit, measure.

Each is a function of what the stage before it gave. The runner (runner.py) calls them, and sees to memory and failures.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rli.datasets.annotations import change_mask
from rli.images import to_uint8
from rli.method.editing import edit, edit_batch, reconstruct, vae_round_trip
from rli.method.inversion import invert_batch
from rli.method.records import Edit, EditSettings, Inversion
from rli.metrics.columns import ORIGINAL, Judge, Measurement, row_of
from rli.metrics.lpips import Lpips
from rli.models.diffusion import Model
from rli.photos.sources import Photo
from rli.progress import Progress
from rli.runs.job import Job, Selection
from rli.runs.memory_plan import Plan
from rli.runs.peak_memory import peak_memory_gb
from rli.runs.quality_gate import Scores, adjusted, reject_reason, score
from rli.runs.variants import variant_name
from rli.store import inversions as cache
from rli.store.records import EditedPhoto, PhotoResult
from rli.version import __version__


@dataclass(frozen=True)
class ReadPhoto:
    """A photograph whose files are read."""

    photo: Photo
    # (1,3,H,W) in [-1,1].
    image: Tensor
    # The region that may change, and for a data set the mask of the photograph's own defect: (H,W) bool, or None.
    mask: np.ndarray | None
    truth: np.ndarray | None
    # Of the photograph's file, for a data set; "" otherwise.
    sha256: str


@dataclass(frozen=True)
class EditMade:
    """One edit, and how it was made."""

    edit: Edit
    # The class that it belongs to: the target's name, which several variants share.
    label: str
    settings: EditSettings
    seconds: float


@dataclass(frozen=True)
class EditsMade:
    """One photograph's reconstruction, (1,3,H,W) in [-1,1], and its edits in the order of variants and targets."""

    reconstruction: Tensor
    edits: tuple[EditMade, ...]


def read_photo(job: Job, photo: Photo) -> ReadPhoto:
    """Reads a photograph and its masks at the job's size. Raises RLIError where a file is missing or damaged."""
    size, for_data_set = (job.height, job.width), job.selection is not None
    return ReadPhoto(
        photo,
        image=photo.read(*size),
        mask=photo.region(*size),
        truth=photo.truth(*size) if for_data_set else None,
        sha256=photo.sha256() if for_data_set else "",
    )


def invert_together(
    model: Model, plan: Plan, job: Job, images: Sequence[Tensor], progress: Progress
) -> list[Inversion]:
    """The photographs' inversions.

    Args:
        model: Arranged as the plan has it.
        plan: Says how many photographs are inverted together.
        job: The job.
        images: Each (1,3,H,W) in [-1,1].
        progress: Shows how far the steps are.

    Returns:
        One inversion for each image: from the cache where it is kept, and kept there where it is made.
    """
    keys = [cache.key(model, image, job.source, job.inversion) for image in images]
    if len(images) == 1:
        (image,), (key,) = images, keys

        def make() -> Inversion:
            return invert_batch(model, image, job.source, job.inversion, progress)[0]

        return [cache.get(job.cache, key, job.source, job.inversion, make)]
    found = ((key, cache.read(cache.path_of(job.cache, key), job.source, job.inversion)) for key in keys)
    kept = {key: inversion for key, inversion in found if inversion is not None}
    missing = [k for k, key in enumerate(keys) if key not in kept]
    for start in range(0, len(missing), plan.photos):
        some = missing[start : start + plan.photos]
        made = invert_batch(model, torch.cat([images[k] for k in some]), job.source, job.inversion, progress)
        for k, inversion in zip(some, made, strict=True):
            cache.write(cache.path_of(job.cache, keys[k]), inversion)
            kept[keys[k]] = inversion
    return [kept[key] for key in keys]


def edit_together(
    model: Model,
    plan: Plan,
    job: Job,
    photos: Sequence[ReadPhoto],
    inversions: Sequence[Inversion],
    progress: Progress,
) -> list[EditsMade]:
    """Reconstructions and edits of photographs to every variant of every target.

    Args:
        model: Arranged as the plan has it.
        plan: Says how many targets are edited together.
        job: The job. Where its variants draw settings, these are the first photograph's.
        photos: The photographs.
        inversions: One for each photograph.
        progress: Shows how far the steps are.

    Returns:
        One record for each photograph.
    """
    reconstructions = [reconstruct(model, inversion) for inversion in inversions]
    masks = [read.mask for read in photos]
    made: list[list[EditMade]] = [[] for _ in photos]
    for k in range(job.variants.count):
        settings = job.variants.draw(job.edit, job.inversion.seed, photos[0].photo.name, k)
        targets = [replace(target, name=variant_name(target.name, k)) for target in job.targets]
        began = time.perf_counter()
        edited = edit_batch(
            model,
            inversions,
            targets,
            settings,
            masks=masks,
            reconstructions=reconstructions,
            batch=plan.targets,
            progress=progress,
        )
        seconds = (time.perf_counter() - began) / max(1, len(edited) * len(targets))
        for own, edits in zip(made, edited, strict=True):
            pairs = zip(edits, job.targets, strict=True)
            own += [EditMade(edit, target.name, settings, seconds) for edit, target in pairs]
    return [EditsMade(image, tuple(own)) for image, own in zip(reconstructions, made, strict=True)]


def measure(
    model: Model,
    job: Job,
    read: ReadPhoto,
    inversion: Inversion,
    done: EditsMade,
    lpips: Lpips | None,
    judge: Judge | None,
) -> PhotoResult:
    """The rows of an edited photograph, and everything else that is kept of it.

    Args:
        model: The model, which tries rejected edits again.
        job: The job.
        read: The photograph.
        inversion: Its inversion.
        done: Its reconstruction and edits.
        lpips: None where its weights cannot be had; the columns stay empty.
        judge: Names defects; None where there is no classifier.

    Returns:
        What is written to the run's folder.
    """
    edited = {made.edit.target.name: _with_retries(job, model, read, inversion, done, made) for made in done.edits}
    of_reconstruction = _measurement(model, job, read, inversion, done, lpips, judge)
    of_edits = [
        replace(
            of_reconstruction,
            defect=name,
            settings=edit.settings,
            image=edit.image,
            mask=edit.mask,
            label=edit.label,
            seconds_edit=made.seconds,
        )
        for (name, edit), made in zip(edited.items(), done.edits, strict=True)
    ]
    measured = [of_reconstruction, *of_edits] if job.original else of_edits
    return PhotoResult(
        name=read.photo.name,
        input=of_reconstruction.photo,
        reconstruction=of_reconstruction.reconstruction,
        edits=edited,
        rows=tuple(map(row_of, measured)),
        losses=inversion.losses,
        prompts={ORIGINAL: job.source, **{made.edit.target.name: made.edit.target.prompt for made in done.edits}},
        key=job.key(read.photo),
        made={"model": job.model, "model_hash": model.fingerprint, "version": __version__},
        source=read.photo.source or read.photo.name,
        sha256=read.sha256,
        truth=read.truth,
    )


def _measurement(
    model: Model,
    job: Job,
    read: ReadPhoto,
    inversion: Inversion,
    done: EditsMade,
    lpips: Lpips | None,
    judge: Judge | None,
) -> Measurement:
    """What the reconstruction's row is measured from."""
    back = to_uint8(done.reconstruction)
    return Measurement(
        photo_name=read.photo.name,
        defect=ORIGINAL,
        resolution=job.resolution,
        model=job.model,
        inversion=job.inversion.method.name,
        alpha=job.inversion.alpha,
        settings=job.edit,
        photo=to_uint8(read.image),
        vae_round_trip=to_uint8(vae_round_trip(model, inversion)),
        reconstruction=back,
        image=back,
        lpips=lpips,
        judge=judge,
        seconds_inversion=inversion.seconds,
        peak_memory_gb=peak_memory_gb(model.device),
    )


def _with_retries(
    job: Job,
    model: Model,
    read: ReadPhoto,
    inversion: Inversion,
    done: EditsMade,
    made: EditMade,
) -> EditedPhoto:
    """One of the edits; where the quality gate rejects it, the first retry that it keeps, and the edit as it was if
    none."""
    back, selection = to_uint8(done.reconstruction), job.selection
    first = last = _edited_photo(selection, made, read, back)
    if selection is None or first.reason is None:
        return first
    for _ in range(selection.max_retries):
        settings = adjusted(last.settings, Scores(**last.scores), selection.gate)
        if settings is None:
            break
        target, reconstruction = made.edit.target, done.reconstruction
        (other,) = edit(model, inversion, [target], settings, mask=read.mask, reconstruction=reconstruction)
        last = _edited_photo(selection, replace(made, edit=other, settings=settings), read, back)
        if last.reason is None:
            return last
    return first


def _edited_photo(selection: Selection | None, made: EditMade, read: ReadPhoto, back: np.ndarray) -> EditedPhoto:
    """An edit as the outputs need it, judged by the quality gate where there is a selection."""
    edit, image = made.edit, to_uint8(made.edit.image)
    plain = EditedPhoto(image, edit.mask, edit.maps, edit.source_maps, label=made.label, settings=made.settings)
    if selection is None:
        return plain
    # Without local blend and region the blend mask says where attention looked, and the edit changes what it will.
    is_held = made.settings.local_blend or read.mask is not None
    held_by = edit.mask if is_held else None
    change = change_mask(image, back, held_by, threshold=selection.threshold, smallest=selection.smallest)
    scores = score(image, back, to_uint8(read.image), edit.mask, change)
    return replace(plain, change=change, scores=asdict(scores), reason=reject_reason(scores, selection.gate))
