"""Who is asked what an edit shows: the loaded model itself and, where it is named, CLIP."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rli.images import to_uint8
from rli.method.recognition import Competing, Recognised, competing, recognise
from rli.method.records import Edit
from rli.metrics.clip import Clip, load_clip
from rli.models.diffusion import Model
from rli.runs.class_prompts import Prompts
from rli.runs.groups import keyed
from rli.runs.job import Job


@dataclass(frozen=True)
class Opinions:
    """What is recognised in an edit; None of whom nobody asked, and where there is nothing to say."""

    model: Recognised | None = None
    clip: Recognised | None = None


@dataclass(frozen=True)
class Candidates:
    """The prompts that compete for a photograph's edits, as each judge has encoded them."""

    by_model: Competing
    # (N,D) of CLIP, in the same order; None where it is not asked.
    by_clip: Tensor | None


def load_judge(job: Job) -> Clip | None:
    """CLIP, where the job asks it. Raises SettingError, with the setting's key, where it cannot be had."""
    if job.recognition is None or job.recognition.clip is None:
        return None
    with keyed("recognition"):
        return load_clip(job.recognition.clip)


def candidates(job: Job, clip: Clip | None, model: Model, prompts: Prompts) -> Candidates | None:
    """Encodes what competes for the edits of photographs with these prompts; None where nobody is asked."""
    if job.recognition is None:
        return None
    every = (prompts.source, *(target.prompt for target in prompts.targets), *job.recognition.prompts)
    among = competing(model, every, (job.height, job.width))
    return Candidates(among, clip.encode(among.prompts) if clip else None)


def opinions(job: Job, clip: Clip | None, model: Model, among: Candidates | None, batch: int, edit: Edit) -> Opinions:
    """What is recognised in a window's edit; for the model every edit has the same noise.

    Args:
        job: The job.
        clip: None where it is not asked.
        model: The model.
        among: What competes; None where nobody is asked.
        batch: Prompts at most that the model is asked about together.
        edit: The edit.
    """
    if job.recognition is None or among is None:
        return Opinions()
    wanted, options = edit.target.prompt, {"seed": job.inversion.seed, "batch": batch}
    own = recognise(model, edit.image, wanted, among.by_model, edit.mask, job.recognition, **options)
    if clip is None or among.by_clip is None:
        return Opinions(own)
    index = among.by_model.prompts.index(wanted)
    return Opinions(own, clip.recognise(to_uint8(edit.image), among.by_clip, index, edit.mask))
