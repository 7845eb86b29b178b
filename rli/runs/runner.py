"""A job with its model loaded: makes each photograph's files, or notes why it failed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from rli.errors import NonFiniteError, PassingError, RLIError, shown
from rli.method.records import Inversion
from rli.metrics import lpips as lpips_metric
from rli.metrics.clip import Clip
from rli.metrics.columns import Judge
from rli.metrics.lpips import Lpips
from rli.models.device import deterministic
from rli.models.diffusion import Model
from rli.models.loading import tokenizer_at_hand
from rli.photos.sources import Photo
from rli.progress import Progress, quiet
from rli.runs.class_prompts import Prompts
from rli.runs.job import Job
from rli.runs.measure import measure
from rli.runs.memory_plan import EDITING, INVERTING, MemoryManager, OutOfMemoryError, Plan, memory_manager
from rli.runs.model_spec import ModelSpec
from rli.runs.peak_memory import reset_peak_memory
from rli.runs.recognising import Candidates, candidates, load_judge, opinions
from rli.runs.stages import EditsMade, ReadPhoto, edit_together, invert_together, read_photo
from rli.store.failures import Failure, write_failure
from rli.store.records import PhotoResult, write_photo

# Photographs wait for others of the same prompts until there are so many times batch_size of them.
BATCHES = 8
# Sets of prompts of which the encodings are kept for further photographs.
KEPT = 16
Encode = Callable[[Prompts], Candidates | None]


@dataclass(frozen=True)
class Runner:
    """A job, its loaded model, and the models that measure its pictures."""

    job: Job
    model: Model
    # None where its weights cannot be had: the columns stay empty.
    lpips: Lpips | None = None
    # Says whether a defect is seen; None where there is no classifier.
    judge: Judge | None = None
    # Asked what edits show, beside the model; None where it is not.
    clip: Clip | None = None

    @classmethod
    def open(cls, job: Job, spec: ModelSpec) -> Runner:
        """Loads the model, LPIPS, the classifier and CLIP.

        Raises:
            RLIError: The weights of the model, or of CLIP, cannot be had, or a prompt is longer than the model's text
                encoder reads; where its tokenizer lies on this machine, this is found before the model is loaded.
        """
        if (tokenizer := tokenizer_at_hand(spec.name, spec.weights)) is not None:
            job.check_length(tokenizer)
        clip = load_judge(job)
        model, lpips, judge = spec.load(), lpips_metric.load_lpips(), None
        job.check_length(model.tokenizers[0])
        if lpips is None:
            warn(
                "warning: LPIPS is not computed: its VGG-16 weights are not on this machine and could not be downloaded"
            )
        if spec.name == "mini":
            from rli.models.mini.classifier import judge_of, load_classifier

            judge = judge_of(load_classifier())
        return cls(job, model, lpips, judge, clip)

    def make(self, photos: Iterable[Photo], folder: Path, progress: Progress = quiet) -> None:
        """Writes each photograph's files into a folder, or the reason why it failed.

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

        with deterministic(self.model.device):
            for result in self.results(noted(), progress):
                key = keys.pop(result.name)
                if isinstance(result, Failure):
                    warn(skipped(result))
                    write_failure(folder, result, key)
                else:
                    write_photo(folder, result)

    def results(self, photos: Iterable[Photo], progress: Progress = quiet) -> Iterator[PhotoResult | Failure]:
        """Every photograph's result, as soon as it is there.

        Where memory runs out, the stage is done again with one more memory saving on, which stays on.

        Args:
            photos: Read as they are needed, the job's batch_size at a time, those with the same prompts together.
            progress: Shows how far each photograph's steps are.

        Yields:
            The results, in order where all have the same prompts. A photograph that failed gives a Failure, and the
            others go on.
        """
        memory, encode, together = None, None, self.job.batch_size
        for group in alike(photos, self.job.prompts, self.job.batch_size):
            while group:
                batch, group = group[:together], group[together:]
                reset_peak_memory(self.model.device)
                reads, failures = self._read(batch)
                yield from failures
                if reads:
                    memory = memory or self._memory(reads)
                    encode = encode or self._encode(memory)
                    yield from self._batch(memory, reads, progress, encode)
                    together = min(self.job.batch_size, memory.plan.photos)

    def _memory(self, reads: Sequence[ReadPhoto]) -> MemoryManager:
        """The manager for a job that begins with these photographs."""
        job, windows = self.job, sum(len(read.windows) for read in reads)
        together = min(windows, max(job.batch_size, job.window.most))  # of tiles there may be hundreds
        targets = min(job.target_batch, windows * max(len(prompts.targets) for prompts in job.every_prompts))
        size, by_example = (job.height, job.width), job.examples is not None
        return memory_manager(
            self.model, job.memory, *size, job.inversion, photos=together, targets=targets, by_example=by_example
        )

    def _encode(self, memory: MemoryManager) -> Encode:
        """Gives what competes for the edits of photographs with these prompts, encoded once for all of them."""
        return lru_cache(KEPT)(lambda prompts: candidates(self.job, self.clip, memory.model, prompts))

    def _batch(
        self, memory: MemoryManager, reads: Sequence[ReadPhoto], progress: Progress, encode: Encode
    ) -> Iterator[PhotoResult | Failure]:
        """The results of photographs that are inverted together."""
        try:
            inversions = memory.run_with_oom_retry(
                INVERTING, lambda model, plan: invert_together(model, plan, self.job, reads, progress)
            )
        except (NonFiniteError, OutOfMemoryError) as error:
            yield from (failure_of(read.photo, error) for read in reads)
            return
        edited = self._edit(memory, reads, inversions, progress)
        for read, own, done in zip(reads, inversions, edited, strict=True):
            yield done if isinstance(done, Failure) else self._measure(memory, read, own, done, encode)

    def _read(self, photos: Sequence[Photo]) -> tuple[list[ReadPhoto], list[Failure]]:
        reads, failures = [], []
        for photo in photos:
            try:
                read = read_photo(self.job, photo)
                read.prompts.check_length(self.model.tokenizers[0])
                reads.append(read)
            except (RLIError, OSError, MemoryError) as error:
                failures.append(failure_of(photo, error))
                continue
            for remark in reads[-1].remarks:
                warn(f"{photo.name}: {remark}")
        return reads, failures

    def _edit(
        self,
        memory: MemoryManager,
        reads: Sequence[ReadPhoto],
        inversions: Sequence[Sequence[Inversion]],
        progress: Progress,
    ) -> Sequence[EditsMade | Failure]:
        """All photographs together; each by itself where that fails, or where each has settings of its own."""

        def singly() -> list[EditsMade | Failure]:
            pairs = zip(reads, inversions, strict=True)
            return [done for read, own in pairs for done in self._edit(memory, [read], [own], progress)]

        if len(reads) > 1 and self.job.variants.ranges:
            return singly()
        try:
            return memory.run_with_oom_retry(
                EDITING, lambda model, plan: edit_together(model, plan, self.job, reads, inversions, progress)
            )
        except (NonFiniteError, OutOfMemoryError) as error:
            return [failure_of(reads[0].photo, error)] if len(reads) == 1 else singly()

    def _measure(
        self,
        memory: MemoryManager,
        read: ReadPhoto,
        inversions: Sequence[Inversion],
        done: EditsMade,
        encode: Encode,
    ) -> PhotoResult | Failure:
        def work(model: Model, plan: Plan) -> PhotoResult:
            ask = partial(opinions, self.job, self.clip, model, encode(read.prompts), plan.targets)
            return measure(model, self.job, read, inversions, done, self.lpips, self.judge, ask)

        try:
            return memory.run_with_oom_retry(EDITING, work)
        except (RLIError, OSError, MemoryError) as error:  # the photograph is read again, too
            return failure_of(read.photo, error)


def alike(photos: Iterable[Photo], prompts: Callable[[Photo], Prompts], size: int) -> Iterator[list[Photo]]:
    """Photographs in groups of the same prompts.

    Args:
        photos: Read as they are needed: no more than BATCHES groups' worth wait for others.
        prompts: Gives a photograph's.
        size: Of a group, at most.

    Yields:
        The groups, whole ones as soon as they are.
    """
    waiting: dict[Prompts, list[Photo]] = {}
    for photo in photos:
        own = prompts(photo)
        waiting.setdefault(own, []).append(photo)
        if len(waiting[own]) == size:
            yield waiting.pop(own)
        elif sum(map(len, waiting.values())) >= BATCHES * size:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


def failure_of(photo: Photo, error: Exception) -> Failure:
    """Why a photograph could not be done. What its files decide lasts; what the machine decides may pass."""
    may_pass = isinstance(error, (PassingError, OutOfMemoryError, OSError, MemoryError))
    reason = str(error) or f"{photo.name}: there was too little memory to read it"
    return Failure(photo.name, reason, is_lasting=not may_pass)


def skipped(failure: Failure) -> str:
    """What is said of a photograph that could not be done, and when it is tried again."""
    again = "with retry_failed=true the same command tries it" if failure.is_lasting else "the same command tries it"
    return f"skipped: {failure.reason} ({again} again)"


def warn(line: str) -> None:
    """One line on stderr, at once."""
    print(shown(line), file=sys.stderr, flush=True)
