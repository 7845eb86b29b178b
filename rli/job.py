"""One run over photographs: invert (or take from the cache), reconstruct, edit, measure, write."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rli import cache
from rli.alignment import check_target
from rli.dataset import Photo
from rli.editing import edit, reconstruct, vae_round_trip
from rli.images import to_uint8, write_png
from rli.inversion import Progress, invert_batch, quiet
from rli.metrics import Lpips, psnr, ssim
from rli.model import Model
from rli.parts import check_size
from rli.types import (
    ORIGINAL,
    EditedPhoto,
    EditSettings,
    Inversion,
    InversionSettings,
    NonFiniteError,
    PhotoResult,
    RLIError,
    Row,
    Target,
    whole,
)


@dataclass(frozen=True)
class Job:
    """What is to be done to every photograph.

    source: the prompt that describes it; original: whether the reconstruction gets a row of its own; targets: the
    wanted defects; batch_size photographs are inverted together, target_batch targets edited together. cache: the
    folder of kept inversions.
    """

    model: str
    height: int
    width: int
    source: str
    targets: tuple[Target, ...]
    original: bool
    inversion: InversionSettings
    edit: EditSettings
    cache: Path
    batch_size: int = 1
    target_batch: int = 8

    def __post_init__(self) -> None:
        """Everything that can be refused without a model."""
        check_size(self.model, self.height, self.width)
        for target in self.targets:
            check_target(self.source, target, self.edit.method)
        names = [target.name for target in self.targets]
        for name in names:
            if names.count(name) > 1 or name in (ORIGINAL, "input", "reconstruction") or not _is_file_name(name):
                raise RLIError(f"the defect name “{name}” cannot be used: it must be unique and a plain file name")
        whole("inversion.batch_size", self.batch_size, 1, 10_000)
        whole("runtime.target_batch", self.target_batch, 1, 10_000)

    @property
    def resolution(self) -> str:
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"


@dataclass(frozen=True)
class Failure:
    """A photograph that could not be done, and why, in one line."""

    name: str
    reason: str


def run(
    model: Model, job: Job, photos: Sequence[Photo], lpips: Lpips | None = None, progress: Progress = quiet
) -> Iterator[PhotoResult | Failure]:
    """Every photograph's result in order, as soon as it is there; one that cannot be read or done is a Failure and the
    rest go on."""
    for k in range(0, len(photos), job.batch_size):
        ready: list[tuple[Photo, Tensor, np.ndarray | None]] = []
        failures: list[Failure] = []
        for photo in photos[k : k + job.batch_size]:
            try:
                mask = photo.mask(job.height, job.width) if photo.mask else None
                ready.append((photo, photo.read(job.height, job.width), mask))
            except RLIError as error:
                failures.append(Failure(photo.name, str(error)))
        try:
            inversions = _inversions(model, job, [image for _, image, _ in ready], progress)
        except NonFiniteError as error:
            failures += [Failure(photo.name, str(error)) for photo, _, _ in ready]
            inversions, ready = [], []
        yield from failures
        for (photo, image, mask), inversion in zip(ready, inversions, strict=True):
            try:
                yield _finish(model, job, photo.name, image, mask, inversion, lpips, progress)
            except NonFiniteError as error:
                yield Failure(photo.name, str(error))


def _inversions(model: Model, job: Job, images: Sequence[Tensor], progress: Progress) -> list[Inversion]:
    """From the cache where they are kept; the missing ones are inverted together."""
    keys = [cache.key(model, image, job.source, job.inversion) for image in images]
    if len(images) == 1:
        return [
            cache.get(
                job.cache, keys[0], lambda: invert_batch(model, images[0], job.source, job.inversion, progress)[0]
            )
        ]
    kept = {key: cache.read(cache.path_of(job.cache, key)) for key in keys}
    missing = [k for k, key in enumerate(keys) if kept[key] is None]
    if missing:
        made = invert_batch(model, torch.cat([images[k] for k in missing]), job.source, job.inversion, progress)
        for k, inversion in zip(missing, made, strict=True):
            cache.write(cache.path_of(job.cache, keys[k]), inversion)
            kept[keys[k]] = inversion
    return [kept[key] for key in keys]


def _finish(
    model: Model,
    job: Job,
    name: str,
    image: Tensor,
    mask: np.ndarray | None,
    inversion: Inversion,
    lpips: Lpips | None,
    progress: Progress,
) -> PhotoResult:
    """Reconstruction, edits and rows of one inverted photograph."""
    began = time.perf_counter()
    edits = edit(model, inversion, job.targets, job.edit, mask=mask, batch=job.target_batch, progress=progress)
    seconds = (time.perf_counter() - began) / max(1, len(edits))
    photo, back = to_uint8(image), to_uint8(reconstruct(model, inversion))
    ceiling, memory = psnr(to_uint8(vae_round_trip(model, inversion)), photo), peak_memory_gb(model.device)

    def row(defect: str, edited: np.ndarray, region: np.ndarray | None) -> Row:
        is_edit = region is not None
        return Row(
            image=name,
            defect=defect,
            resolution=job.resolution,
            model=job.model,
            inversion=job.inversion.method,
            alpha=job.inversion.alpha if job.inversion.location != "off" else 0.0,
            eq=job.edit.eq,
            cross=job.edit.cross,
            replace=job.edit.replace,
            psnr=psnr(edited, photo),
            ssim=ssim(edited, photo),
            lpips=lpips and lpips.published(edited, photo),
            psnr_recon=psnr(edited, back) if is_edit else None,
            ssim_recon=ssim(edited, back) if is_edit else None,
            lpips_recon=lpips.published(edited, back) if is_edit and lpips else None,
            psnr_vae=ceiling,
            psnr_background=psnr(edited, photo, ~region) if is_edit else None,
            ssim_background=ssim(edited, photo, ~region) if is_edit else None,
            seconds_inversion=inversion.seconds,
            seconds_edit=seconds if is_edit else 0.0,
            peak_memory_gb=memory,
            lpips_standard=lpips and lpips.standard(edited, photo),
            lpips_standard_recon=lpips.standard(edited, back) if is_edit and lpips else None,
        )

    shown = {e.target.name: EditedPhoto(to_uint8(e.image), e.mask, e.maps, e.source_maps) for e in edits}
    rows = [row(ORIGINAL, back, None)] if job.original else []
    return PhotoResult(
        name=name,
        input=photo,
        reconstruction=back,
        edits=shown,
        rows=(*rows, *(row(defect, e.image, e.mask) for defect, e in shown.items())),
        losses=inversion.losses,
        prompts={ORIGINAL: job.source, **{t.name: t.prompt for t in job.targets}},
    )


def write_photo(folder: Path, result: PhotoResult) -> None:
    """images/<name>/: input.png, reconstruction.png, <defect>.png, <defect>_mask.png."""
    place = folder / "images" / result.name
    write_png(place / "input.png", result.input)
    write_png(place / "reconstruction.png", result.reconstruction)
    for defect, edited in result.edits.items():
        write_png(place / f"{defect}.png", edited.image)
        write_png(place / f"{defect}_mask.png", edited.mask)


def peak_memory_gb(device: torch.device) -> float:
    """Peak of the device's allocator on CUDA, of the process on a CPU, in GB (2^30 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _is_file_name(name: str) -> bool:
    return bool(name) and name.isprintable() and not any(c in '/\\:*?"<>|' for c in name) and name.strip(" .") == name
