"""One run over photographs: invert (or take from the cache), reconstruct, edit, measure."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rli.datasets.annotations import change_mask
from rli.errors import NonFiniteError, RLIError, whole, within
from rli.images import to_uint8
from rli.method.editing import edit, edit_batch, reconstruct, vae_round_trip
from rli.method.inversion import invert_batch
from rli.method.prompts import check_target
from rli.method.records import Edit, EditSettings, Inversion, InversionSettings, Target
from rli.metrics.columns import ORIGINAL, Judge, Measurement, row_of
from rli.metrics.lpips import Lpips
from rli.models.diffusion import Model
from rli.models.loading import check_size
from rli.photos.sources import Photo
from rli.progress import Progress, quiet
from rli.runs.memory import EDITING, INVERTING, Keeper, Memory, NoRoomError, Plan, keep
from rli.runs.quality_gate import Gate, Scores, adjusted, score, verdict
from rli.runs.variants import Variants, name_of
from rli.store import inversions as cache
from rli.store.records import EditedPhoto, Failure, Origin, PhotoResult
from rli.version import __version__

# Names of other files beside the edits', and of the reconstruction's row.
RESERVED = (ORIGINAL, "input", "reconstruction", "truth")
# Part of every result's key: raise it when the same job comes to mean another result.
VERSION = 1


@dataclass(frozen=True)
class Selection:
    """What edits of a data set must reach, how often one that does not is tried again with other settings, and what
    counts as changed (threshold in grey levels, smallest piece in pixels)."""

    gate: Gate = field(default_factory=Gate)
    tries: int = 1
    threshold: float = 8.0
    smallest: int = 16

    def __post_init__(self) -> None:
        whole("dataset.tries", self.tries, 0, 100)
        within("dataset.threshold", self.threshold, 0, 255)
        whole("dataset.smallest", self.smallest, 0, 2**31 - 1)


@dataclass(frozen=True)
class Job:
    """What is to be done to every photograph.

    source: the prompt that describes it; original: whether the reconstruction gets a row of its own; targets: the
    wanted defects; at most batch_size photographs are inverted together, and target_batch targets of theirs edited
    together, as memory allows. cache: the folder of kept inversions. memory: what may be spared. weights: which ones,
    and in what precision, as text: what else the results depend on. variants: how many edits of each photograph to each
    target. selection: of a data set, which edits are good enough; None where all are.
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
    variants: Variants = field(default_factory=Variants)
    selection: Selection | None = None

    def __post_init__(self) -> None:
        """Everything that can be refused without a model."""
        check_size(self.model, self.height, self.width)
        for target in self.targets:
            check_target(self.source, target, self.edit.method)
        names = [name_of(target.name, k) for target in self.targets for k in range(self.variants.count)]
        files = Counter(f"{name}{kind}".casefold() for name in names for kind in ("", "_mask", "_change"))
        for name in names:
            if files[name.casefold()] > 1 or name.casefold() in RESERVED or not _is_file_name(name):
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
    ready: list[_Read] = []
    failures: list[Failure] = []
    for photo in photos:
        try:
            ready.append(_read(job, photo))
        except RLIError as error:
            failures.append(Failure(photo.name, str(error)))
    images = [read.image for read in ready]
    try:
        inversions = keeper.persist(INVERTING, lambda model, plan: _inversions(model, job, plan, images, progress))
    except (NonFiniteError, NoRoomError) as error:
        failures += [Failure(read.photo.name, str(error)) for read in ready]
        inversions, ready = [], []
    yield from failures
    edited = _edits(keeper, job, ready, inversions, progress)
    for read, inversion, edits in zip(ready, inversions, edited, strict=True):
        if isinstance(edits, str):
            yield Failure(read.photo.name, edits)
            continue
        finish = partial(_finish, job, read, inversion, edits, lpips, judge)
        try:
            yield keeper.persist(EDITING, finish)
        except (NonFiniteError, NoRoomError) as error:
            yield Failure(read.photo.name, str(error))


@dataclass(frozen=True)
class _Read:
    """A photograph's files: image (1,3,H,W) in [-1,1]; the region that may change and, for a data set, its own defect's
    mask, (H,W) bool, where there are any."""

    photo: Photo
    image: Tensor
    mask: np.ndarray | None
    truth: np.ndarray | None
    origin: Origin


def _read(job: Job, photo: Photo) -> _Read:
    size, is_wanted = (job.height, job.width), job.selection is not None
    image = photo.read(*size)
    mask = photo.mask(*size) if photo.mask else None
    truth = photo.truth(*size) if photo.truth and is_wanted else None
    return _Read(photo, image, mask, truth, _origin(photo) if is_wanted else Origin())


def _origin(photo: Photo) -> Origin:
    """Raises RLIError where the file is gone by now."""
    try:
        digest = hashlib.sha256(photo.file.read_bytes()).hexdigest() if photo.file else ""
    except OSError as error:
        raise RLIError(f"{photo.file} cannot be read: {error.strerror}") from None
    paths = (str(path) if path else "" for path in (photo.file, photo.truth_file))
    return Origin(*paths, digest, photo.source or photo.name, photo.label, photo.category, photo.split)


@dataclass(frozen=True)
class _Made:
    """An edit, the class it belongs to, its settings, and the seconds that it took."""

    edit: Edit
    label: str
    settings: EditSettings
    seconds: float


def _edits(
    keeper: Keeper, job: Job, ready: Sequence[_Read], inversions: Sequence[Inversion], progress: Progress
) -> list[list[_Made] | str]:
    """Each photograph's edits in the order of variants and targets, or the reason why there are none: all together;
    where that fails, or each photograph has settings of its own, each by itself."""

    def together(model: Model, plan: Plan) -> list[list[_Made]]:
        made: list[list[_Made]] = [[] for _ in ready]
        for k in range(job.variants.count):
            settings = job.variants.draw(job.edit, job.inversion.seed, ready[0].photo.name, k)
            targets = [replace(target, name=name_of(target.name, k)) for target in job.targets]
            began = time.perf_counter()
            masks = [read.mask for read in ready]
            edited = edit_batch(
                model, inversions, targets, settings, masks=masks, batch=plan.targets, progress=progress
            )
            seconds = (time.perf_counter() - began) / max(1, len(edited) * len(targets))
            for own, edits in zip(made, edited, strict=True):
                pairs = zip(edits, job.targets, strict=True)
                own += [_Made(edit, target.name, settings, seconds) for edit, target in pairs]
        return made

    def singly() -> list[list[_Made] | str]:
        pairs = zip(ready, inversions, strict=True)
        return [one for read, inversion in pairs for one in _edits(keeper, job, [read], [inversion], progress)]

    if not ready or (len(ready) > 1 and job.variants.ranges):
        return singly()
    try:
        return keeper.persist(EDITING, together)
    except (NonFiniteError, NoRoomError) as error:
        return [str(error)] if len(ready) == 1 else singly()


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
    read: _Read,
    inversion: Inversion,
    done: Sequence[_Made],
    lpips: Lpips | None,
    judge: Judge | None,
    model: Model,
    plan: Plan,
) -> PhotoResult:
    """Reconstruction and rows of one inverted and edited photograph."""
    photo, back = to_uint8(read.image), to_uint8(reconstruct(model, inversion))
    of_reconstruction = Measurement(
        photo_name=read.photo.name,
        defect=ORIGINAL,
        resolution=job.resolution,
        model=job.model,
        inversion=job.inversion.method,
        alpha=job.inversion.alpha if job.inversion.location != "off" else 0.0,
        settings=job.edit,
        photo=photo,
        vae_round_trip=to_uint8(vae_round_trip(model, inversion)),
        reconstruction=back,
        image=back,
        lpips=lpips,
        judge=judge,
        seconds_inversion=inversion.seconds,
        peak_memory_gb=peak_memory_gb(model.device),
    )
    rows = [row_of(of_reconstruction)] if job.original else []
    shown = {}
    for made in done:
        edited = _shown(job.selection, made, photo, back)
        if edited.reason is not None:
            edited = _again(job, model, inversion, read.mask, made, edited, photo, back)
        shown[made.edit.target.name] = edited
        of_edit = replace(
            of_reconstruction,
            defect=made.edit.target.name,
            settings=edited.settings,
            image=edited.image,
            mask=edited.mask,
            label=edited.label,
            seconds_edit=made.seconds,
        )
        rows.append(row_of(of_edit))
    return PhotoResult(
        name=read.photo.name,
        input=photo,
        reconstruction=back,
        edits=shown,
        rows=tuple(rows),
        losses=inversion.losses,
        prompts={ORIGINAL: job.source, **{made.edit.target.name: made.edit.target.prompt for made in done}},
        key=job.key(read.photo),
        made={"model": job.model, "model_hash": model.fingerprint, "version": __version__},
        origin=read.origin,
        truth=read.truth,
    )


def _shown(selection: Selection | None, made: _Made, photo: np.ndarray, back: np.ndarray) -> EditedPhoto:
    """An edit as the outputs need it, judged where there is a selection."""
    edit, image = made.edit, to_uint8(made.edit.image)
    plain = EditedPhoto(image, edit.mask, edit.maps, edit.source_maps, made.label, made.settings)
    if selection is None:
        return plain
    change = change_mask(image, back, edit.mask, threshold=selection.threshold, smallest=selection.smallest)
    scores = score(image, back, photo, edit.mask, change)
    return replace(plain, change=change, scores=asdict(scores), reason=verdict(scores, selection.gate))


def _again(
    job: Job,
    model: Model,
    inversion: Inversion,
    mask: np.ndarray | None,
    made: _Made,
    first: EditedPhoto,
    photo: np.ndarray,
    back: np.ndarray,
) -> EditedPhoto:
    """The first of the further tries that passes the gate; where none does, the edit as it was."""
    last = first
    for _ in range(job.selection.tries):
        settings = adjusted(last.settings, Scores(**last.scores), job.selection.gate)
        if settings is None:
            break
        (other,) = edit(model, inversion, [made.edit.target], settings, mask=mask)
        last = _shown(job.selection, replace(made, edit=other, settings=settings), photo, back)
        if last.reason is None:
            return last
    return first


def peak_memory_gb(device: torch.device) -> float:
    """Peak of the device's allocator on CUDA, of the process on a CPU, in GB (2^30 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def _is_file_name(name: str) -> bool:
    return bool(name) and name.isprintable() and not any(c in '/\\:*?"<>|' for c in name) and name.strip(" .") == name
