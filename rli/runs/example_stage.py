"""The stage that makes examples ready: read through the same door as every photograph, and inverted once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from rli.errors import RLIError
from rli.images import to_uint8
from rli.method.editing import reconstruct
from rli.method.example import Example
from rli.method.inversion import invert_batch
from rli.method.records import Inversion
from rli.models.diffusion import Model
from rli.photos.photo import Photo
from rli.photos.windows import Size
from rli.progress import Progress
from rli.runs.bounds import as_grey_as
from rli.runs.job import Job
from rli.runs.worked_windows import WorkedWindow, worked_windows
from rli.store import inversions as cache
from rli.store.results import ExamplePicture, ExampleUsed


@dataclass(frozen=True)
class ReadyExample:
    """An example, and what is kept of it with an edit."""

    example: Example
    used: ExampleUsed
    picture: ExamplePicture


def ready_example(model: Model, job: Job, photo: Photo, progress: Progress) -> ReadyExample:
    """Reads an example's photograph and inverts it, or takes its inversion from the cache.

    Args:
        model: The model.
        job: The job, which says how photographs are read and inverted.
        photo: The photograph.
        progress: Shows how far the steps are.

    Raises:
        RLIError: A file is missing or damaged, or its mask is empty.
    """
    window = _window(job, photo)
    source = job.prompts(photo).source
    assert window.mask is not None

    def make() -> Inversion:
        return invert_batch(model, window.image, source, job.inversion, progress)[0]

    key = cache.key(model, window.image, source, job.inversion)
    inversion = cache.get(job.cache, key, source, job.inversion, make)
    example = Example(inversion, window.mask, as_grey_as(window.image, reconstruct(model, inversion)))
    sha256 = photo.sha256() or hashlib.sha256(to_uint8(window.image).tobytes()).hexdigest()
    return ReadyExample(example, ExampleUsed(photo.name, sha256), ExamplePicture(to_uint8(window.image), window.mask))


def _window(job: Job, photo: Photo) -> WorkedWindow:
    """The window that shows the most of its defects, with these as its mask."""
    picture = photo.picture() if job.window.paste != "none" else None
    size: Size = (job.height, job.width) if picture is None else picture.size
    mask = photo.truth(*size)
    if mask is None or not mask.any():
        raise RLIError(f"{photo.name} cannot be an example: its mask is empty")
    if picture is None:
        return WorkedWindow(None, photo.read(*size), mask)
    settings = replace(job.window, kind="defect") if job.window.kind == "tiles" else job.window
    windows = worked_windows(picture.rgb, (job.height, job.width), settings, mask, True, photo.fit)
    return max(windows, key=lambda window: 0 if window.mask is None else window.mask.sum())
