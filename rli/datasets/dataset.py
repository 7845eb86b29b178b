"""From what lies in a run's folder to labelled data sets."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rli.datasets import formats as export
from rli.datasets.annotations import GOOD, UNKNOWN, Item, Region, regions_of_edit
from rli.datasets.manifest import ManifestWriter, dataset_card
from rli.datasets.splits import assign, ratios_of
from rli.errors import RLIError, one_of
from rli.metrics.columns import COLUMNS, ORIGINAL, Column
from rli.photos.sources import Photo
from rli.store.records import Told


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


def fact_types(columns: Sequence[Column] = COLUMNS) -> dict[str, type]:
    """The manifest's columns beside those that every item has, name to type; of a row's columns those that say so."""
    of_row = [column for column in columns if column.manifest]
    return {
        **dict.fromkeys(("source", "sha256", "prompt", "target", "model", "model_hash", "version"), str),
        **{column.name: column.type for column in of_row if column.kind != "number"},
        "threshold": float,
        **{column.name: column.type for column in of_row if column.kind == "number"},
        **dict.fromkeys(("background_psnr", "background_ssim", "reconstruction_psnr", "share", "difference"), float),
    }


FACTS = fact_types()


def write_dataset(
    made: Collection[tuple[Photo, Told]], folder: Path, dataset: Dataset, settings: Mapping[str, Any], seed: int = 0
) -> dict[str, export.Count]:
    """folder/dataset/<format>/ for each format; manifest.csv, manifest.parquet and README.md in the folder.

    made: the photographs whose pictures lie in the folder, with their records. settings: what the card tells of them.
    seed: of the splits. Raises RLIError where there is nothing to write, or a review is not of these
    edits.
    """
    classes, unknown, count = set(), dict(dataset.review), 0
    for count, (item, _) in enumerate(items(made, folder, dataset, seed), 1):  # noqa: B007
        classes |= {item.label, *(region.label for region in item.regions)} - {GOOD}
        unknown.pop(_review_key(item), None)
    if not count:
        raise RLIError(f"{folder}: there is nothing to make a data set of")
    for _, photo, defect in unknown:
        raise RLIError(f"dataset.review: “{defect}” of “{photo}” is no edit of {folder}")
    with ManifestWriter(folder, FACTS) as manifest:

        def kept() -> Iterator[Item]:
            for item, reason in items(made, folder, dataset, seed):
                manifest.add(item, kept=reason is None, reason=reason or "")
                if reason is None:
                    yield item

        out = folder / "dataset"
        counts = export.write(dataset.formats, kept(), out, originals=dataset.originals, classes=sorted(classes))
    dataset_card(folder, title=dataset.title, about=dataset.about, licence=dataset.licence, settings=settings)
    return counts


def items(
    made: Collection[tuple[Photo, Told]], folder: Path, dataset: Dataset, seed: int = 0
) -> Iterator[tuple[Item, str | None]]:
    """Every image of a data set and why it is set aside (None: it is kept), photograph by photograph.

    A photograph of a known class carries that class; its mask, where there is one, holds for the reconstruction and the
    edits too, for their geometry is the photograph's. One without label is taken for a defect.
    """
    strata = ((photo.name, f"{photo.category}/{photo.label}", photo.split or None) for photo, _ in made)
    splits = assign(strata, dataset.split, seed=seed, keep=dataset.keep_split)
    for (photo, told), split in zip(made, splits, strict=True):
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
