"""Work on a Ray cluster. Each worker holds a model; when one dies, another takes over its photographs."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from rli.errors import RLIError, SettingError
from rli.photos.sources import Photo
from rli.runs.config import RayCluster
from rli.runs.job import Job
from rli.runs.model_spec import ModelSpec
from rli.runs.runner import Runner, skipped, warn
from rli.runs.shards import outcome, pending
from rli.store.failures import Failure, write_failure

# A photograph whose worker dies this often after the first time is given up.
MAX_RETRIES = 3
# Where a cluster that is started here listens: no other machine reaches it.
LOOPBACK = "127.0.0.1"
# Seconds for a cluster's address to answer.
PATIENCE = 5


class Worker:
    """A Ray actor that holds a model. It works in the driver's folder, so that relative paths mean the same."""

    def __init__(self, job: Job, spec: ModelSpec, here: str) -> None:
        os.chdir(here)
        self.runner = Runner.open(job, spec)

    def ready(self) -> None:
        """Returns once the model is loaded."""

    def make(self, photos: Sequence[Photo], folder: Path) -> None:
        """Makes the photographs' files, but for those that an earlier worker has finished."""
        self.runner.make(pending(self.runner.job, photos, folder, retry_failed=True), folder)


def make_on_ray(cluster: RayCluster, job: Job, spec: ModelSpec, photos: Iterable[Photo], folder: Path) -> None:
    """Writes every photograph's files, or the reason why it failed.

    Args:
        cluster: Where Ray runs.
        job: What is done to each photograph.
        spec: The model that every worker loads.
        photos: Read as they are needed. All machines must see them under the same path.
        folder: The run's, likewise.

    Raises:
        RLIError: Ray is missing or does not answer, or the model cannot be loaded.
    """
    ray = _started(cluster)
    try:
        has = ray.cluster_resources()
        on_gpu = spec.device != "cpu" and has.get("GPU", 0) >= 1
        count = cluster.workers or max(1, int(has["GPU"] if on_gpu else has.get("CPU", 1) // 2))
        share = {"num_gpus": 1} if on_gpu else {"num_cpus": 2 if has.get("CPU", 1) >= 2 * count else 1}
        kind = ray.remote(**share, max_restarts=-1, max_task_retries=MAX_RETRIES)(Worker)
        workers = [kind.remote(job, spec, os.getcwd()) for _ in range(count)]
        share_out(ray, workers, photos, job, folder.absolute())
    finally:
        ray.shutdown()


def _started(cluster: RayCluster) -> ModuleType:
    """Ray, connected. Raises RLIError."""
    # Ray reads it when it is imported; otherwise it would report about the machine to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if cluster.address is None:
        _lock_out_strangers()
    try:
        import ray
    except ImportError:
        raise RLIError('runtime=ray needs Ray: pip install "rli[ray]"') from None
    address, cpus = cluster.address, max(cluster.workers or 1, os.cpu_count() or 1)
    own = {"num_cpus": cpus, "include_dashboard": False, "_node_ip_address": LOOPBACK}
    try:
        if address not in (None, "auto", "local"):
            # Ray itself would wait for minutes.
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
        ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **(own if address is None else {}))
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingError("address", address, f"no Ray cluster answers at this address ({reason})") from None
    return ray


def _lock_out_strangers() -> None:
    """Whoever reaches a cluster's ports runs code on it: one that is started here listens on this machine alone, and
    answers only who has its token.

    Ray reads this from the environment, its workers' too. What the user has set there holds.
    """
    # Ray takes a loopback address for a mistake unless it is told that this is no cluster of several machines; the
    # variable's name is of the systems where that is the default.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def share_out(ray: ModuleType, workers: Sequence[Any], photos: Iterable[Photo], job: Job, folder: Path) -> None:
    """Gives the workers the photographs until there are no more, a batch at a time.

    Args:
        ray: Ray, connected.
        workers: Actors of `Worker`. One that the cluster has no room for never becomes ready, and gets none.
        photos: Read as they are needed.
        job: What is done to each photograph.
        folder: The run's.

    Raises:
        RLIError: A worker could not load the model.
    """
    batches = _batches(photos, job.batch_size)
    under_way: dict[Any, tuple[Any, list[Photo]]] = {worker.ready.remote(): (worker, []) for worker in workers}
    is_over = False
    while not is_over or any(batch for _, batch in under_way.values()):
        (ended,), _ = ray.wait([*under_way], num_returns=1)
        worker, batch = under_way.pop(ended)
        try:
            ray.get(ended)
        except ray.exceptions.RayActorError as error:
            if not batch:
                raise RLIError(f"a Ray worker could not load the model: {_cause(error)}") from None
            for photo in pending(job, batch, folder):
                reason = f"{photo.name}: its Ray worker died {MAX_RETRIES + 1} times, and the photograph was given up"
                write_failure(folder, Failure(photo.name, reason, is_lasting=False), job.key(photo))
        for photo in batch:
            if isinstance(failure := outcome(job, photo, folder), Failure):
                warn(skipped(failure))
        if (more := next(batches, None)) is None:
            is_over = True
        else:
            under_way[worker.make.remote(more, folder)] = worker, more


def _batches(photos: Iterable[Photo], size: int) -> Iterator[list[Photo]]:
    queue = iter(photos)
    while batch := [*islice(queue, size)]:
        yield batch


def _cause(error: Exception) -> str:
    """The last line of what Ray says of a worker's end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
