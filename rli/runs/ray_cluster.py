"""Making on Ray's workers: each holds a model; one that dies is replaced, and its photographs are done again."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from rli.errors import RLIError, whole
from rli.photos.sources import Photo
from rli.progress import quiet
from rli.runs.runner import Maker, outcome, pending, say
from rli.store.records import Failure, write_failure

# A photograph whose worker dies this often after the first time is given up.
TRIES = 3
# Seconds for a cluster's address to answer.
PATIENCE = 5


class _Worker:
    """Lives in a process of its own, in the driver's folder, so that relative paths mean the same."""

    def __init__(self, maker: Maker, here: str) -> None:
        os.chdir(here)
        self.studio = maker.open()

    def ready(self) -> None:
        """Returns once the model is loaded."""

    def make(self, photos: Sequence[Photo], folder: Path) -> None:
        """What an earlier worker has done of them is not done again."""
        self.studio.make(pending(self.studio.job, photos, folder, retry_failed=True), folder, quiet)


def make_on_ray(
    maker: Maker,
    photos: Iterable[Photo],
    folder: Path,
    *,
    address: str | None = None,
    workers: int | None = None,
) -> None:
    """Every photograph's files in `folder`, which all machines must see under the same path, as must the photographs.

    address: of a running cluster ("auto", "ray://host:10001", "host:6379"), None starts one here. workers: how many;
    None is one for each GPU, or for each pair of CPUs. Raises RLIError where Ray is missing or does not answer, or the
    model cannot be loaded.
    """
    if workers is not None:
        whole("runtime.workers", workers, 1, 100_000)
    ray = _started(address, workers)
    try:
        has = ray.cluster_resources()
        on_gpu = maker.device != "cpu" and has.get("GPU", 0) >= 1
        count = workers or max(1, int(has["GPU"] if on_gpu else has.get("CPU", 1) // 2))
        share = {"num_gpus": 1} if on_gpu else {"num_cpus": 2 if has.get("CPU", 1) >= 2 * count else 1}
        kind = ray.remote(**share, max_restarts=-1, max_task_retries=TRIES)(_Worker)
        crew = [kind.remote(maker, os.getcwd()) for _ in range(count)]
        _share_out(ray, crew, _chunks(photos, maker.job.batch_size), maker, folder.absolute())
    finally:
        ray.shutdown()


def _started(address: str | None, workers: int | None) -> ModuleType:
    """Ray, connected. Raises RLIError."""
    # Read when Ray is imported: it would tell its makers about the machine.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise RLIError('runtime=ray needs Ray: pip install "rli[ray]"') from None
    here = {"num_cpus": max(workers or 1, os.cpu_count() or 1), "include_dashboard": False} if address is None else {}
    try:
        if address not in (None, "auto", "local"):
            # Ray itself would wait for minutes.
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **here)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RLIError(f"runtime.address={address}: no Ray cluster answers there: {reason}") from None
    return ray


def _chunks(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    queue = iter(photos)
    while chunk := [*islice(queue, size)]:
        yield chunk


def _share_out(ray: ModuleType, crew: Sequence[Any], chunks: Iterator[list[Photo]], maker: Maker, folder: Path) -> None:
    """A chunk at a time for each worker that has its model and nothing to do, until there are no more. A worker that
    the cluster has no room for gets none."""
    under_way: dict[Any, tuple[Any, list[Photo]]] = {worker.ready.remote(): (worker, []) for worker in crew}
    is_over = False
    while not is_over or any(chunk for _, chunk in under_way.values()):
        (ended,), _ = ray.wait([*under_way], num_returns=1)
        worker, chunk = under_way.pop(ended)
        try:
            ray.get(ended)
        except ray.exceptions.RayActorError as error:
            if not chunk:
                raise RLIError(f"a Ray worker could not load the model: {_cause(error)}") from None
            for photo in pending(maker.job, chunk, folder):
                reason = f"{photo.name}: its worker died {TRIES + 1} times"
                write_failure(folder, photo.name, maker.job.key(photo), reason)
        for photo in chunk:
            if isinstance(failure := outcome(maker.job, photo, folder), Failure):
                say(f"skipped: {failure.reason}")
        if (more := next(chunks, None)) is None:
            is_over = True
        else:
            under_way[worker.make.remote(more, folder)] = worker, more


def _cause(error: Exception) -> str:
    """The last line of what Ray tells of a worker's end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
