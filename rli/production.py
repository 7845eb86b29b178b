"""From photographs to a folder of results, and from that to labelled data sets.

Making and writing are apart: what is made lies in the folder photograph by photograph, so that any number of processes
may share the work and any of them may stop; a data set is a function of what lies there, and of nothing else.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice, tee
from pathlib import Path
from typing import Any

from filelock import FileLock

from rli import export
from rli.dataset import Photo, PhotoSource
from rli.inversion import Progress, quiet
from rli.job import Job, Judge, run
from rli.labels import GOOD, UNKNOWN, Item, Region, regions_of_edit
from rli.manifest import ManifestWriter, dataset_card
from rli.metrics import Lpips, load_lpips
from rli.model import Model, compiled, load
from rli.run_folder import Told, read_failure, read_record, write_failure, write_photo
from rli.splits import assign, ratios_of
from rli.types import ORIGINAL, Failure, RLIError, Row, one_of

# Seconds after which nobody is writing a file that still has its temporary name.
STALE = 600


@dataclass(frozen=True)
class Maker:
    """A job and where its model comes from: plain values, so that another process can make the same."""

    job: Job
    weights: str | None = None
    vae: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False

    def open(self) -> Studio:
        """Loads the model and whatever judges its pictures."""
        model = load(
            self.job.model,
            self.weights,
            vae=self.vae,
            device=self.device,
            dtype=self.dtype,
            offload=True,  # nothing is placed before the job's plan says what has room
        )
        lpips, judge = load_lpips(), None
        if lpips is None:
            say("warning: LPIPS stays empty: its VGG-16 weights are neither kept on this machine nor within reach")
        if self.job.model == "mini":
            from rli.mini.classifier import judge_of, load_classifier

            judge = judge_of(load_classifier())
        return Studio(self.job, compiled(model) if self.compile else model, lpips, judge)


@dataclass(frozen=True)
class Studio:
    """A job with its model loaded."""

    job: Job
    model: Model
    lpips: Lpips | None
    judge: Judge | None

    def make(self, photos: Iterable[Photo], folder: Path, progress: Progress) -> None:
        """Each photograph's files in `folder`, or why there are none."""
        keys: dict[str, str] = {}

        def noted() -> Iterator[Photo]:
            for photo in photos:
                keys[photo.name] = self.job.key(photo)
                yield photo

        for result in run(self.model, self.job, noted(), self.lpips, progress, self.judge):
            key = keys.pop(result.name)
            if isinstance(result, Failure):
                say(f"skipped: {result.reason}")
                write_failure(folder, result.name, key, result.reason)
            else:
                write_photo(folder, result)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Part:
    """One of `of` equal parts of the photographs: every of-th, from `index` (0 … of-1)."""

    index: int = 0
    of: int = 1

    @classmethod
    def read(cls, text: str | None) -> Part:
        """From "0/4"; None is all. Raises RLIError."""
        if text is None:
            return cls()
        index, _, of = str(text).partition("/")
        if not (index.isdecimal() and of.isdecimal() and int(index) < int(of)):
            raise RLIError(f"shard={text}: write which part of how many, from 0/4 to 3/4 for four")
        return cls(int(index), int(of))

    def of_photos(self, photos: Iterable[Photo]) -> Iterator[Photo]:
        return islice(photos, self.index, None, self.of)


def foreseen(maker: Maker, source: PhotoSource, folder: Path, dataset: Dataset | None) -> str:
    """What a run would come to, in words: how many images, how long by one photograph that is made for it and thrown
    away, and how much disk. Raises RLIError where not one photograph can be made."""
    job, photos = maker.job, source.count()
    left = sum(1 for _ in pending(job, source, folder))
    each = len(job.targets) * job.variants.count
    studio = maker.open()
    for photo in source:
        with tempfile.TemporaryDirectory() as place:
            trial, began = replace(studio, job=replace(job, cache=Path(place, "cache"))), time.perf_counter()
            trial.make([photo], Path(place, "run"), quiet)
            seconds = time.perf_counter() - began
            sizes = {name: _bytes(Path(place, name)) for name in ("run", "cache")}
            if read_record(Path(place, "run"), photo.name, trial.job.key(photo)) is not None:
                break
    else:
        raise RLIError(f"none of {photos} photographs could be done")
    lines = [
        f"photographs: {photos}, of which {left} are to be done",
        f"images: {photos * each} edits" + (f" and {photos} reconstructions" if job.original else ""),
        f"time: {left * seconds / 3600:.3g} h, {seconds:.3g} s a photograph ({photo.name}, on this machine)",
        f"disk: {photos * sizes['run'] / 2**30:.3g} GB in {folder}",
        f"      {photos * sizes['cache'] / 2**30:.3g} GB in {job.cache}",
    ]
    if dataset is not None:
        lines.append(f"data sets: {', '.join(dataset.formats)}, by links where the file system has them")
    return "\n".join(lines)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def outcome(job: Job, photo: Photo, folder: Path) -> Told | Failure | None:
    """What lies in the folder of a photograph; None where it is still to be done."""
    key = job.key(photo)
    told = read_record(folder, photo.name, key)
    if told is None and (reason := read_failure(folder, photo.name, key)) is not None:
        return Failure(photo.name, reason)
    return told


def pending(job: Job, photos: Iterable[Photo], folder: Path, retry_failed: bool = False) -> Iterator[Photo]:
    """The photographs that are neither done nor known to fail."""
    for photo in photos:
        found = outcome(job, photo, folder)
        if found is None or (retry_failed and isinstance(found, Failure)):
            yield photo


def is_complete(job: Job, source: PhotoSource, folder: Path) -> bool:
    return next(pending(job, source, folder), None) is None


def done(job: Job, source: PhotoSource, folder: Path) -> Iterator[tuple[Photo, Told]]:
    """What lies in the folder, in the photographs' order."""
    for photo in source:
        if isinstance(told := outcome(job, photo, folder), Told):
            yield photo, told


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time: the others wait. What a killed one left half written is removed, once nobody can be at it
    any more."""
    place = folder / "records"
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / ".lock"):
        for part in folder.rglob(".part-*"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > STALE:
                    part.unlink()
        yield


@dataclass(frozen=True)
class Dataset:
    """How results become a data set.

    formats: of rli.export. reconstructions, edits: whether those are images of it. relabel: the changed pixels take the
    new defect's class where the carried mask overlaps them. originals: link, copy or none. split: shares of train, val
    and test, or None for the source's own; keep_split: photographs that have one of their own keep it. review: whether
    an edit is kept whatever the gate says, by job (""), photograph and edit. title, about, licence: for the card.
    Raises RLIError.
    """

    formats: tuple[str, ...]
    reconstructions: bool = False
    edits: bool = True
    relabel: bool = False
    originals: str = "link"
    split: str | None = None
    keep_split: bool = False
    review: Mapping[tuple[str, str, str], bool] = field(default_factory=dict)
    title: str = "Synthetic defects"
    about: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name in self.formats:
            one_of("export", name, tuple(export.FORMATS))
        one_of("dataset.originals", self.originals, ("link", "copy", "none"))
        if self.split is not None:
            ratios_of(self.split)
        if not isinstance(self.keep_split, bool):
            raise RLIError(f"dataset.keep_split={self.keep_split} is not known: choose true or false")


# Columns of the manifest beside those that every item has.
FACTS = {
    "source": str,
    "sha256": str,
    "prompt": str,
    "target": str,
    "model": str,
    "model_hash": str,
    "version": str,
    "resolution": str,
    "inversion": str,
    "alpha": float,
    **dict.fromkeys(("eq", "cross", "replace", "threshold"), float),
    **{
        name: float
        for name in Row.__dataclass_fields__
        if name.startswith(("psnr", "ssim", "lpips", "strength", "mask_share", "named", "seconds"))
    },
    **dict.fromkeys(("background_psnr", "background_ssim", "reconstruction_psnr", "share", "difference"), float),
}


def write_dataset(
    job: Job, source: PhotoSource, folder: Path, dataset: Dataset, settings: Mapping[str, Any]
) -> dict[str, export.Count]:
    """folder/dataset/<format>/ for each format; manifest.csv, manifest.parquet and README.md in the folder.

    settings: what the card tells of them. Raises RLIError where there is nothing to write, or a review is not of these
    edits.
    """
    classes, unknown, count = set(), dict(dataset.review), 0
    for count, (item, _) in enumerate(items(job, source, folder, dataset), 1):  # noqa: B007
        classes |= {item.label, *(region.label for region in item.regions)} - {GOOD}
        unknown.pop(_review_key(item), None)
    if not count:
        raise RLIError(f"{folder}: there is nothing to make a data set of")
    for _, photo, defect in unknown:
        raise RLIError(f"dataset.review: “{defect}” of “{photo}” is no edit of {folder}")
    with ManifestWriter(folder, FACTS) as manifest:

        def kept() -> Iterator[Item]:
            for item, reason in items(job, source, folder, dataset):
                manifest.add(item, kept=reason is None, reason=reason or "")
                if reason is None:
                    yield item

        out = folder / "dataset"
        counts = export.write(dataset.formats, kept(), out, originals=dataset.originals, classes=sorted(classes))
    dataset_card(folder, title=dataset.title, about=dataset.about, licence=dataset.licence, settings=settings)
    return counts


def items(job: Job, source: PhotoSource, folder: Path, dataset: Dataset) -> Iterator[tuple[Item, str | None]]:
    """Every image of a data set and why it is set aside (None: it is kept), photograph by photograph.

    A photograph of a known class carries that class; its mask, where there is one, holds for the reconstruction and the
    edits too, for their geometry is the photograph's. One without label is taken for a defect.
    """
    first, second = tee(done(job, source, folder))
    strata = ((photo.name, f"{photo.category}/{photo.label}", photo.split or None) for photo, _ in first)
    splits = assign(strata, dataset.split, seed=job.inversion.seed, keep=dataset.keep_split)
    for (photo, told), split in zip(second, splits, strict=True):
        yield from _images(photo, told, split, folder / "images" / photo.name, dataset)


def _images(photo: Photo, told: Told, split: str, place: Path, dataset: Dataset) -> Iterator[tuple[Item, str | None]]:
    """One photograph's items. What its source says of it holds, also where it said something else when the pictures in
    `place` were made."""
    label = photo.label or UNKNOWN
    truth = Region(label, place / "truth.png") if told.has_truth and label != GOOD else None
    shared = {"photo": photo.name, "category": photo.category, "split": split}
    carried = {**shared, "label": label, "regions": (truth,) if truth else ()}
    if dataset.originals != "none":
        yield _original(photo, told, place, carried), None
    if dataset.reconstructions:
        name, image = f"{photo.name}/reconstruction", place / "reconstruction.png"
        yield Item(image, "reconstruction", name=name, facts=_facts(told, ORIGINAL), **carried), None
    for defect, edit in told.edits.items() if dataset.edits else ():
        regions = regions_of_edit(truth, Region(edit["label"], place / f"{defect}_change.png"), dataset.relabel)
        item = Item(
            place / f"{defect}.png",
            "edit",
            name=f"{photo.name}/{defect}",
            label=edit["label"],
            regions=regions,
            facts=_facts(told, defect),
            **shared,
        )
        is_wanted = dataset.review.get(_review_key(item))
        yield item, edit["reason"] if is_wanted is None else None if is_wanted else "rejected in review"


def _review_key(item: Item) -> tuple[str, str, str]:
    """How a review of a run's page names an edit: job, photograph, defect."""
    return "", item.photo, item.name.removeprefix(f"{item.photo}/")


def _original(photo: Photo, told: Told, place: Path, carried: Mapping[str, Any]) -> Item:
    """The photograph's own file with its own mask; of a sample, which has none, what was worked on."""
    facts = {"source": photo.source, "sha256": told.origin.sha256, "version": told.made["version"]}
    if not photo.file:
        return Item(place / "input.png", "original", name=photo.name, facts=facts, **carried)
    regions = (Region(carried["label"], photo.truth_file),) if carried["regions"] else ()
    return Item(photo.file, "original", name=photo.name, facts=facts, **{**carried, "regions": regions})


def _facts(told: Told, defect: str) -> dict[str, Any]:
    """What the manifest tells of an image that was made."""
    row = next((asdict(row) for row in told.rows if row.defect == defect), {})
    edit = told.edits.get(defect, {"settings": dict.fromkeys(("eq", "cross", "replace")), "scores": {}})
    own = {
        "source": told.origin.source,
        "sha256": told.origin.sha256,
        "prompt": told.prompts[ORIGINAL],
        "target": told.prompts[defect] if defect != ORIGINAL else "",
        **told.made,
        **edit["scores"],
        **edit["settings"],
    }
    return {name: value for name, value in {**row, **own}.items() if name in FACTS}
