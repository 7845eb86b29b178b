"""A job with its model loaded: photographs go in, and each one's files, or the reason why there are none, come out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rli.errors import NonFiniteError, RLIError
from rli.method.records import Inversion
from rli.metrics import lpips as lpips_metric
from rli.metrics.columns import Judge
from rli.metrics.lpips import Lpips
from rli.models.diffusion import Model
from rli.photos.sources import Photo
from rli.progress import Progress, quiet
from rli.runs.job import Job
from rli.runs.memory_plan import EDITING, INVERTING, MemoryManager, OutOfMemoryError, memory_manager
from rli.runs.model_spec import ModelSpec
from rli.runs.stages import EditsMade, ReadPhoto, edit_together, invert_together, measure, read_photo
from rli.store.records import Failure, PhotoResult, write_failure, write_photo


@dataclass(frozen=True)
class Runner:
    """A job, its loaded model, and what judges its pictures."""

    job: Job
    model: Model
    # None where its weights cannot be had: the columns stay empty.
    lpips: Lpips | None = None
    # Says whether a defect is seen; None where there is no classifier.
    judge: Judge | None = None

    @classmethod
    def open(cls, job: Job, spec: ModelSpec) -> Runner:
        """Loads the model and whatever judges its pictures. Raises RLIError where the weights cannot be had."""
        model, lpips, judge = spec.load(), lpips_metric.load_lpips(), None
        if lpips is None:
            warn("warning: LPIPS stays empty: its VGG-16 weights are neither kept on this machine nor within reach")
        if spec.name == "mini":
            from rli.models.mini.classifier import judge_of, load_classifier

            judge = judge_of(load_classifier())
        return cls(job, model, lpips, judge)

    def make(self, photos: Iterable[Photo], folder: Path, progress: Progress = quiet) -> None:
        """Writes each photograph's files into a folder, or why there are none.

        Args:
            photos: Read as they are needed.
            folder: The run's.
            progress: Shows how far each photograph's steps are.
        """
        keys: dict[str, str] = {}

        def noted() -> Iterator[Photo]:
            for photo in photos:
                keys[photo.name] = self.job.key(photo)
                yield photo

        for result in self.results(noted(), progress):
            key = keys.pop(result.name)
            if isinstance(result, Failure):
                warn(f"skipped: {result.reason}")
                write_failure(folder, result.name, key, result.reason)
            else:
                write_photo(folder, result)

    def results(self, photos: Iterable[Photo], progress: Progress = quiet) -> Iterator[PhotoResult | Failure]:
        """Every photograph's result, as soon as it is there.

        Where memory runs out, the stage is done again with one more memory saving on, which stays on.

        Args:
            photos: Read as they are needed, the job's batch_size at a time.
            progress: Shows how far each photograph's steps are.

        Yields:
            The results in order. A photograph that cannot be read or done is a Failure, and the rest go on.
        """
        queue = iter(photos)
        waiting = [*islice(queue, self.job.batch_size)]
        if not waiting:
            return
        job, targets = self.job, min(self.job.target_batch, len(waiting) * len(self.job.targets))
        memory = memory_manager(
            self.model, job.memory, job.height, job.width, job.inversion, photos=len(waiting), targets=targets
        )
        while waiting:
            batch, waiting = waiting[: memory.plan.photos], waiting[memory.plan.photos :]
            yield from self._batch(memory, batch, progress)
            waiting += islice(queue, max(0, memory.plan.photos - len(waiting)))

    def _batch(
        self, memory: MemoryManager, photos: Sequence[Photo], progress: Progress
    ) -> Iterator[PhotoResult | Failure]:
        """The results of photographs that are inverted together; first the failures to read or invert them."""
        reads, failures = self._read(photos)
        images = [read.image for read in reads]
        try:
            inversions = memory.run_with_oom_retry(
                INVERTING, lambda model, plan: invert_together(model, plan, self.job, images, progress)
            )
        except (NonFiniteError, OutOfMemoryError) as error:
            failures += [Failure(read.photo.name, str(error)) for read in reads]
            inversions, reads = [], []
        yield from failures
        edited = self._edit(memory, reads, inversions, progress)
        for read, inversion, done in zip(reads, inversions, edited, strict=True):
            yield done if isinstance(done, Failure) else self._measure(memory, read, inversion, done)

    def _read(self, photos: Sequence[Photo]) -> tuple[list[ReadPhoto], list[Failure]]:
        reads, failures = [], []
        for photo in photos:
            try:
                reads.append(read_photo(self.job, photo))
            except RLIError as error:
                failures.append(Failure(photo.name, str(error)))
        return reads, failures

    def _edit(
        self,
        memory: MemoryManager,
        reads: Sequence[ReadPhoto],
        inversions: Sequence[Inversion],
        progress: Progress,
    ) -> Sequence[EditsMade | Failure]:
        """All photographs together; each by itself where that fails, or where each has settings of its own."""

        def singly() -> list[EditsMade | Failure]:
            pairs = zip(reads, inversions, strict=True)
            return [done for read, inversion in pairs for done in self._edit(memory, [read], [inversion], progress)]

        if not reads or (len(reads) > 1 and self.job.variants.ranges):
            return singly()
        try:
            return memory.run_with_oom_retry(
                EDITING, lambda model, plan: edit_together(model, plan, self.job, reads, inversions, progress)
            )
        except (NonFiniteError, OutOfMemoryError) as error:
            return [Failure(reads[0].photo.name, str(error))] if len(reads) == 1 else singly()

    def _measure(
        self, memory: MemoryManager, read: ReadPhoto, inversion: Inversion, done: EditsMade
    ) -> PhotoResult | Failure:
        try:
            return memory.run_with_oom_retry(
                EDITING,
                lambda model, plan: measure(model, self.job, read, inversion, done, self.lpips, self.judge),
            )
        except (NonFiniteError, OutOfMemoryError) as error:
            return Failure(read.photo.name, str(error))


def warn(line: str) -> None:
    """One line on stderr, at once."""
    print(line, file=sys.stderr, flush=True)
