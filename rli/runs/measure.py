"""The last stage: edits are judged, laid back on the photograph, and measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from rli.datasets.annotations import change_mask, remains
from rli.errors import PassingError
from rli.images import Picture, to_uint8
from rli.method.editing import vae_round_trip
from rli.method.records import Edit, EditSettings, Inversion
from rli.metrics.columns import ORIGINAL, Judge, Measurement, Row, pooled, row_of
from rli.metrics.lpips import Lpips
from rli.models.diffusion import Model
from rli.photos.paste import WAYS, Patch, Way, bounds, mask_laid_back, pasted, pixels
from rli.photos.windows import Size, View
from rli.runs.bounds import as_grey_as
from rli.runs.example_stage import ReadyExample
from rli.runs.job import Job, Selection
from rli.runs.peak_memory import peak_memory_gb
from rli.runs.quality_gate import Scores, adjusted, reject_reason, score
from rli.runs.recognising import Opinions
from rli.runs.stages import EditMade, EditsMade, ReadPhoto, WorkedWindow, edit_windows, noise_seeds
from rli.store.results import EditedPhoto, EditedWindow, PhotoResult, WindowResult
from rli.version import __version__

# Says what is recognised in a window's edit.
Ask = Callable[[Edit], Opinions]
# Pixels around a mask that its change is smoothed with.
BLUR = 4


@dataclass(frozen=True)
class Judged:
    """An edit that the quality gate has looked at, where there is one."""

    # One for each window, and the pixels of each that visibly changed, (H,W) bool; no changes without a data set.
    edits: tuple[Edit, ...]
    changes: tuple[np.ndarray, ...]
    label: str
    settings: EditSettings
    seconds: float
    scores: dict[str, float]
    # What is recognised in each window.
    recognised: tuple[Opinions, ...]
    # Why it is rejected; None where it is kept.
    reason: str | None
    # What it was to look like; None where words alone said it.
    example: ReadyExample | None

    @property
    def name(self) -> str:
        """Of its row and its files."""
        return self.edits[0].target.name


def measure(
    model: Model,
    job: Job,
    read: ReadPhoto,
    inversions: Sequence[Inversion],
    done: EditsMade,
    lpips: Lpips | None,
    judge: Judge | None,
    ask: Ask,
) -> PhotoResult:
    """The rows of an edited photograph, and everything else that is kept of it.

    Args:
        model: The model, which tries rejected edits again.
        job: The job.
        read: The photograph.
        inversions: Of its windows.
        done: Its reconstructions and edits.
        lpips: None where its weights cannot be had; the columns stay empty.
        judge: Names defects; None where there is no classifier.
        ask: Says what is recognised in a window's edit.

    Returns:
        What is written to the run's folder.
    """
    judged = [_with_retries(job, model, read, inversions, done, made, ask) for made in done.edits]
    windows = [_window_result(k, read, done, judged) for k in range(len(read.windows))]
    stays = read.windows[0].view is None
    result = _as_worked_on(windows[0], judged) if stays else _laid_back(job, read, windows, judged)
    truth = read.photo.truth(*read.size) if job.selection is not None else None
    edits = {
        name: replace(edit, remains=None if truth is None else remains(edit.image, result.input, truth))
        for name, edit in result.edits.items()
    }
    return replace(
        result,
        edits=edits,
        name=read.photo.name,
        rows=_rows(model, job, read, inversions, windows, judged, lpips, judge),
        losses=inversions[0].losses,
        prompts={ORIGINAL: read.prompts.source, **{edit.name: edit.edits[0].target.prompt for edit in judged}},
        key=job.key(read.photo),
        made={"model": job.model, "model_hash": model.fingerprint, "version": __version__}
        | ({"lora": " ".join(model.lora)} if model.lora else {})
        | ({"quantized": " ".join(model.quantized)} if model.quantized else {})
        | ({"placement": read.placed} if read.placed else {}),
        source=read.photo.source or read.photo.name,
        sha256=read.sha256,
        truth=truth,
    )


# --- the quality gate -------------------------------------------------------------------------------------------------


def _with_retries(
    job: Job,
    model: Model,
    read: ReadPhoto,
    inversions: Sequence[Inversion],
    done: EditsMade,
    made: EditMade,
    ask: Ask,
) -> Judged:
    """One of the edits; where the quality gate rejects it, the first retry that it keeps, and the edit as it was if
    none."""
    selection, backs = job.selection, [to_uint8(image) for image in done.reconstructions]
    first = last = _judged(job.selection, read, made, backs, ask)
    if selection is None or first.reason is None:
        return first
    seeds = noise_seeds(job, read)
    for _ in range(selection.max_retries):
        settings = adjusted(last.settings, Scores(**last.scores), selection.gate)
        if settings is None:
            break
        given = inversions, [made.target], settings, done.reconstructions
        again = edit_windows(model, read.windows, *given, examples=[[made.example]] * len(seeds), seeds=seeds)
        other = replace(made, edits=tuple(edit for (edit,) in again), settings=settings)
        last = _judged(job.selection, read, other, backs, ask)
        if last.reason is None:
            return last
    return first


def _judged(
    selection: Selection | None, read: ReadPhoto, made: EditMade, backs: Sequence[np.ndarray], ask: Ask
) -> Judged:
    """An edit with what is recognised in it, and with what the quality gate says of all its windows together, where
    there is a selection."""
    known = tuple(map(ask, made.edits))
    plain = Judged(made.edits, (), made.label, made.settings, made.seconds, {}, known, None, made.example)
    if selection is None:
        return plain
    changes, scores = [], []
    for edit, window, back, seen in zip(made.edits, read.windows, backs, known, strict=True):
        image = to_uint8(edit.image)
        held_by = edit.mask if _is_held(made.settings, window) else window.inside
        change = change_mask(image, back, held_by, **selection.changes)
        changes.append(change)
        found = score(image, back, to_uint8(window.image), edit.mask, change)
        margins = {"recognised_margin": seen.model, "clip_margin": seen.clip}
        scores.append(replace(found, **{name: one.margin for name, one in margins.items() if one is not None}))
    of_all = Scores.pooled(scores)
    return replace(plain, changes=tuple(changes), scores=asdict(of_all), reason=reject_reason(of_all, selection.gate))


def _is_held(settings: EditSettings, window: WorkedWindow) -> bool:
    """Whether the blend mask holds an edit. Without local blend and region it says where attention looked, and the edit
    changes what it will."""
    return settings.local_blend or window.mask is not None


# --- back to the photograph -------------------------------------------------------------------------------------------


def _window_result(k: int, read: ReadPhoto, done: EditsMade, judged: Sequence[Judged]) -> WindowResult:
    """The pictures of one window, as they were worked on."""
    edits = {edit.name: EditedWindow(to_uint8(edit.edits[k].image), edit.edits[k].mask) for edit in judged}
    window = read.windows[k]
    return WindowResult(window.view, to_uint8(window.image), to_uint8(done.reconstructions[k]), edits)


def _edited_photo(edit: Judged, image: np.ndarray, mask: np.ndarray, change: np.ndarray | None) -> EditedPhoto:
    first = edit.edits[0]
    return EditedPhoto(
        image,
        mask,
        first.maps,
        first.source_maps,
        change,
        label=edit.label,
        settings=edit.settings,
        scores=edit.scores,
        reason=edit.reason,
        example=edit.example.used if edit.example else None,
        example_picture=edit.example.picture if edit.example else None,
    )


def _as_worked_on(window: WindowResult, judged: Sequence[Judged]) -> PhotoResult:
    """The result of a photograph whose one window is all there is."""
    edits = {
        edit.name: _edited_photo(edit, of.image, of.mask, edit.changes[0] if edit.changes else None)
        for edit, of in zip(judged, window.edits.values(), strict=True)
    }
    return PhotoResult("", window.input, window.reconstruction, edits, ())


def _laid_back(job: Job, read: ReadPhoto, windows: Sequence[WindowResult], judged: Sequence[Judged]) -> PhotoResult:
    """The result at the photograph's own size and in its own mode: its windows laid back on it.

    Raises:
        PassingError: The photograph's file is another by now.
    """
    picture = read.photo.picture()
    if picture is None or picture.size != read.size:
        raise PassingError(f"{read.photo.name}: its file was changed while it was worked on")
    views = [window.view for window in read.windows if window.view is not None]
    everywhere = [np.ones(view.window.size, bool) for view in views]
    backs = [window.reconstruction for window in windows]
    pictures = {"input": picture, "reconstruction": _put(picture, map(Patch, views, backs, backs, everywhere), pixels)}
    edits = {}
    for edit in judged:
        found = [_own_mask(*pair) for pair in zip(read.windows, views, edit.edits, strict=True)]
        is_held = [_is_held(edit.settings, window) for window in read.windows]
        allowed = [one if held else every for one, held, every in zip(found, is_held, everywhere, strict=True)]
        images = [window.edits[edit.name].image for window in windows]
        pictures[edit.name] = shown = _put(picture, map(Patch, views, images, backs, allowed), WAYS[job.window.paste])
        change = _change(job.selection, shown.rgb, picture.rgb, _united(allowed, views, read.size))
        edits[edit.name] = _edited_photo(edit, shown.rgb, _united(found, views, read.size), change)
    back = pictures["reconstruction"].rgb
    return PhotoResult("", picture.rgb, back, edits, (), windows=tuple(windows), own=pictures)


def _put(picture: Picture, patches: Iterable[Patch], way: Way) -> Picture:
    return picture.pasted(*pasted(picture.rgb, [*patches], way))


def _own_mask(window: WorkedWindow, view: View, edit: Edit) -> np.ndarray:
    """An edit's blend mask as (h,w) bool of its window's size: the region as it was given, or what attention found."""
    return mask_laid_back(edit.mask, view) if window.own_mask is None else window.own_mask


def _united(masks: Sequence[np.ndarray], views: Sequence[View], size: Size) -> np.ndarray:
    """The windows' masks as one of the photograph's size."""
    mask = np.zeros(size, bool)
    for own, view in zip(masks, views, strict=True):
        mask[view.window.slices] |= own
    return mask


def _change(selection: Selection | None, edited: np.ndarray, photo: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """The pixels of the photograph that an edit visibly changed, for a data set."""
    if selection is None:
        return None
    change, box = np.zeros_like(mask), bounds(mask, BLUR)
    if box is not None:  # for a window's sake nobody need look at the whole photograph
        own = edited[box], photo[box], mask[box]
        change[box] = change_mask(*own, **selection.changes)
    return change


# --- rows -------------------------------------------------------------------------------------------------------------


def _rows(
    model: Model,
    job: Job,
    read: ReadPhoto,
    inversions: Sequence[Inversion],
    windows: Sequence[WindowResult],
    judged: Sequence[Judged],
    lpips: Lpips | None,
    judge: Judge | None,
) -> tuple[Row, ...]:
    """The photograph's rows, measured on its windows as they were worked on, those of several windows pooled."""
    of_windows = []
    for k, (window, inversion) in enumerate(zip(windows, inversions, strict=True)):
        original = Measurement(
            photo_name=read.photo.name,
            defect=ORIGINAL,
            resolution=job.resolution,
            model=job.model,
            inversion=job.inversion.method.name,
            alpha=job.inversion.alpha,
            settings=job.edit,
            photo=window.input,
            vae_round_trip=to_uint8(as_grey_as(read.windows[k].image, vae_round_trip(model, inversion))),
            reconstruction=window.reconstruction,
            image=window.reconstruction,
            lpips=lpips,
            judge=judge,
            seconds_inversion=inversion.seconds,
            peak_memory_gb=peak_memory_gb(model.device),
        )
        of_edits = [
            replace(
                original,
                defect=edit.name,
                settings=edit.settings,
                image=window.edits[edit.name].image,
                mask=edit.edits[k].mask,
                label=edit.label,
                recognised=edit.recognised[k].model,
                recognised_by_clip=edit.recognised[k].clip,
                seconds_edit=edit.seconds / len(windows),
            )
            for edit in judged
        ]
        of_windows.append([row_of(one) for one in ([original, *of_edits] if job.original else of_edits)])
    return tuple(map(pooled, zip(*of_windows, strict=True)))
