"""One run over photographs: invert (or take from the cache), reconstruct, edit, measure."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rli import cache
from rli.alignment import check_target
from rli.dataset import Photo
from rli.editing import edit_batch, reconstruct, vae_round_trip
from rli.images import to_uint8
from rli.inversion import Progress, invert_batch, quiet
from rli.memory import EDITING, INVERTING, Keeper, Memory, NoRoomError, Plan, keep
from rli.metrics import Lpips, mean_change, psnr, ssim
from rli.model import Model
from rli.parts import check_size
from rli.types import (
    ORIGINAL,
    Edit,
    EditedPhoto,
    EditSettings,
    Failure,
    Inversion,
    InversionSettings,
    NonFiniteError,
    PhotoResult,
    RLIError,
    Row,
    Target,
    whole,
)

# Part of every result's key: raise it when the same job comes to mean another result.
VERSION = 1
# (H,W,3) uint8 and the wanted defect's name → the probability that it is seen, None for a word it does not know.
Judge = Callable[[np.ndarray, str], float | None]


@dataclass(frozen=True)
class Job:
    """What is to be done to every photograph.

    source: the prompt that describes it; original: whether the reconstruction gets a row of its own; targets: the
    wanted defects; at most batch_size photographs are inverted together, and target_batch targets of theirs edited
    together, as memory allows. cache: the folder of kept inversions. memory: what may be spared. weights: which ones,
    and in what precision, as text: what else the results depend on.
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
    memory: Memory = field(default_factory=Memory)
    weights: str = ""

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

    def key(self, photo: Photo) -> str:
        """Hash of everything that a photograph's result depends on; where it is unchanged, nothing is done again."""
        free = ("cache", "batch_size", "target_batch", "memory")  # these change seconds and memory only
        facts = {name: value for name, value in asdict(self).items() if name not in free}
        return hashlib.sha256(json.dumps([VERSION, facts, photo.stamp], sort_keys=True).encode()).hexdigest()[:32]


def run(
    model: Model,
    job: Job,
    photos: Iterable[Photo],
    lpips: Lpips | None = None,
    progress: Progress = quiet,
    judge: Judge | None = None,
) -> Iterator[PhotoResult | Failure]:
    """Every photograph's result in order, as soon as it is there; one that cannot be read or done is a Failure and the
    rest go on. Where memory runs out, the stage is done again with more spared, and so are those that follow.

    photos are read as they are needed, job.batch_size at a time.
    """
    queue = iter(photos)
    chunk = [*islice(queue, job.batch_size)]
    if not chunk:
        return
    together = len(chunk), min(job.target_batch, len(chunk) * len(job.targets))
    keeper = keep(model, job.memory, job.height, job.width, job.inversion, *together)
    while chunk:
        now, chunk = chunk[: keeper.plan.photos], chunk[keeper.plan.photos :]
        yield from _together(keeper, job, now, lpips, progress, judge)
        chunk += islice(queue, max(0, keeper.plan.photos - len(chunk)))


def _together(
    keeper: Keeper,
    job: Job,
    photos: Sequence[Photo],
    lpips: Lpips | None,
    progress: Progress,
    judge: Judge | None,
) -> Iterator[PhotoResult | Failure]:
    """The results of photographs that are inverted together; first the failures to read or invert them."""
    ready: list[tuple[Photo, Tensor, np.ndarray | None]] = []
    failures: list[Failure] = []
    for photo in photos:
        try:
            mask = photo.mask(job.height, job.width) if photo.mask else None
            ready.append((photo, photo.read(job.height, job.width), mask))
        except RLIError as error:
            failures.append(Failure(photo.name, str(error)))
    images = [image for _, image, _ in ready]
    try:
        inversions = keeper.persist(INVERTING, lambda model, plan: _inversions(model, job, plan, images, progress))
    except (NonFiniteError, NoRoomError) as error:
        failures += [Failure(photo.name, str(error)) for photo, _, _ in ready]
        inversions, ready = [], []
    yield from failures
    edited = _edits(keeper, job, inversions, [mask for _, _, mask in ready], progress)
    for (photo, image, _), inversion, edits in zip(ready, inversions, edited, strict=True):
        if isinstance(edits, str):
            yield Failure(photo.name, edits)
            continue
        finish = partial(_finish, job, photo, image, inversion, edits, lpips, judge)
        try:
            yield keeper.persist(EDITING, finish)
        except (NonFiniteError, NoRoomError) as error:
            yield Failure(photo.name, str(error))


@dataclass(frozen=True)
class _Edits:
    """One photograph's edits in the order of the targets, and the seconds that each took."""

    edits: Sequence[Edit]
    seconds: float


def _edits(
    keeper: Keeper,
    job: Job,
    inversions: Sequence[Inversion],
    masks: Sequence[np.ndarray | None],
    progress: Progress,
) -> list[_Edits | str]:
    """Each photograph's edits, or the reason why there are none: all together; where that fails, each by itself."""

    def together(model: Model, plan: Plan) -> list[list[Edit]]:
        return edit_batch(model, inversions, job.targets, job.edit, masks=masks, batch=plan.targets, progress=progress)

    began = time.perf_counter()
    try:
        edited = keeper.persist(EDITING, together)
    except (NonFiniteError, NoRoomError) as error:
        if len(inversions) == 1:
            return [str(error)]
        singly = zip(inversions, masks, strict=True)
        return [one for inversion, mask in singly for one in _edits(keeper, job, [inversion], [mask], progress)]
    seconds = (time.perf_counter() - began) / max(1, len(edited) * len(job.targets))
    return [_Edits(edits, seconds) for edits in edited]


def _inversions(model: Model, job: Job, plan: Plan, images: Sequence[Tensor], progress: Progress) -> list[Inversion]:
    """From the cache where they are kept; the missing ones are inverted together, plan.photos at a time."""
    keys = [cache.key(model, image, job.source, job.inversion) for image in images]
    if len(images) == 1:
        return [
            cache.get(
                job.cache, keys[0], lambda: invert_batch(model, images[0], job.source, job.inversion, progress)[0]
            )
        ]
    kept = {key: cache.read(cache.path_of(job.cache, key)) for key in keys}
    missing = [k for k, key in enumerate(keys) if kept[key] is None]
    for start in range(0, len(missing), plan.photos):
        some = missing[start : start + plan.photos]
        made = invert_batch(model, torch.cat([images[k] for k in some]), job.source, job.inversion, progress)
        for k, inversion in zip(some, made, strict=True):
            cache.write(cache.path_of(job.cache, keys[k]), inversion)
            kept[keys[k]] = inversion
    return [kept[key] for key in keys]


def _finish(
    job: Job,
    source: Photo,
    image: Tensor,
    inversion: Inversion,
    done: _Edits,
    lpips: Lpips | None,
    judge: Judge | None,
    model: Model,
    plan: Plan,
) -> PhotoResult:
    """Reconstruction and rows of one inverted and edited photograph."""
    photo, back = to_uint8(image), to_uint8(reconstruct(model, inversion))
    ceiling, memory = psnr(to_uint8(vae_round_trip(model, inversion)), photo), peak_memory_gb(model.device)

    def row(defect: str, edited: np.ndarray, region: np.ndarray | None) -> Row:
        is_edit = region is not None
        return Row(
            image=source.name,
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
            seconds_edit=done.seconds if is_edit else 0.0,
            peak_memory_gb=memory,
            lpips_standard=lpips and lpips.standard(edited, photo),
            lpips_standard_recon=lpips.standard(edited, back) if is_edit and lpips else None,
            strength=mean_change(edited, back, region) if is_edit else None,
            mask_share=float(region.mean()) if is_edit else None,
            named=judge(edited, defect) if is_edit and judge else None,
        )

    shown = {e.target.name: EditedPhoto(to_uint8(e.image), e.mask, e.maps, e.source_maps) for e in done.edits}
    rows = [row(ORIGINAL, back, None)] if job.original else []
    return PhotoResult(
        name=source.name,
        input=photo,
        reconstruction=back,
        edits=shown,
        rows=(*rows, *(row(defect, e.image, e.mask) for defect, e in shown.items())),
        losses=inversion.losses,
        prompts={ORIGINAL: job.source, **{t.name: t.prompt for t in job.targets}},
        key=job.key(source),
    )


def peak_memory_gb(device: torch.device) -> float:
    """Peak of the device's allocator on CUDA, of the process on a CPU, in GB (2^30 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _is_file_name(name: str) -> bool:
    return bool(name) and name.isprintable() and not any(c in '/\\:*?"<>|' for c in name) and name.strip(" .") == name
