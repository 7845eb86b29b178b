"""Making on Ray's workers: each holds a model; one that dies is replaced, and its photographs are done again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rli.dataset import Photo
from rli.inversion import quiet
from rli.production import Maker, pending, say
from rli.run_folder import write_failure
from rli.types import RLIError, whole

# A photograph whose worker dies this often is given up.
TRIES = 3


class _Worker:
    """Lives in a process of its own, in the driver's folder, so that relative paths mean the same."""

    def __init__(self, maker: Maker, here: str) -> None:
        os.chdir(here)
        self.studio = maker.open()

    def make(self, photos: Sequence[Photo], folder: Path) -> int:
        """What an earlier worker has done of them is not done again."""
        self.studio.make(pending(self.studio.job, photos, folder), folder, quiet)
        return os.getpid()


def make_on_ray(
    maker: Maker,
    photos: Iterable[Photo],
    folder: Path,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> None:
    """Every photograph's files in `folder`, which all machines must see under the same path, as must the photographs.

    address: of a running cluster ("auto", "ray://host:10001"), None starts one here. workers: how many; None is one for
    each GPU, or for each pair of CPUs. Raises RLIError where Ray is missing or does not answer.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ImportError:
        raise RLIError('runtime=ray needs Ray: pip install "rli[ray]"') from None
    if workers is not None:
        whole("runtime.workers", workers, 1, 100_000)
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (RayError, ConnectionError, ValueError) as error:
        raise RLIError(f"runtime.address={address}: no Ray cluster answers ({' '.join(str(error).split())})") from None
    try:
        resources = ray.cluster_resources()
        on_gpu = maker.device != "cpu" and resources.get("GPU", 0) >= 1
        count = workers or max(1, int(resources["GPU"] if on_gpu else resources.get("CPU", 1) // 2))
        share = {"num_gpus": 1} if on_gpu else {"num_cpus": 1}
        kind = ray.remote(**share, max_restarts=-1, max_task_retries=TRIES)(_Worker)
        crew = [kind.remote(maker, os.getcwd()) for _ in range(count)]
        _share_out(ray, crew, _chunks(photos, maker.job.batch_size), maker, folder.absolute())
    finally:
        ray.shutdown()


def _chunks(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    queue = iter(photos)
    while chunk := [*islice(queue, size)]:
        yield chunk


def _share_out(ray: Any, crew: Sequence[Any], chunks: Iterator[list[Photo]], maker: Maker, folder: Path) -> None:
    """A chunk at a time for each worker that has none, until there are no more."""
    under_way: dict[Any, tuple[Any, list[Photo]]] = {}
    for worker, chunk in zip(crew, chunks, strict=False):
        under_way[worker.make.remote(chunk, folder)] = worker, chunk
    while under_way:
        (ended,), _ = ray.wait([*under_way], num_returns=1)
        worker, chunk = under_way.pop(ended)
        try:
            ray.get(ended)
        except ray.exceptions.RayActorError:
            for photo in pending(maker.job, chunk, folder):
                reason = f"{photo.name}: its worker died {TRIES + 1} times"
                say(f"skipped: {reason}")
                write_failure(folder, photo.name, maker.job.key(photo), reason)
        if (more := next(chunks, None)) is not None:
            under_way[worker.make.remote(more, folder)] = worker, more
