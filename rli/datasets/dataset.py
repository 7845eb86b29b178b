"""Writes the results in a run's folder as labelled data sets."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rli.datasets.annotations import RELABELS, UNKNOWN, Item, Region, regions_of_edit
from rli.datasets.card import dataset_card
from rli.datasets.classes import in_order
from rli.datasets.formats import FORMATS, ORIGINALS, Count, check_classes, write
from rli.datasets.groups import grouped_by, joined, ties_of
from rli.datasets.manifest import ManifestWriter
from rli.datasets.own_defects import is_lost, own_label, own_regions, regions_of_photo
from rli.datasets.selection import Selection, image_stem
from rli.datasets.splits import Member, assign, ratios_of, torn
from rli.errors import RLIError, SettingError, one_of, shortened, shown, true_or_false
from rli.metrics.columns import COLUMNS, ORIGINAL, Column
from rli.photos.photo import SPLITS, Photo
from rli.store.records import PhotoRecord


@dataclass(frozen=True)
class Dataset:
    """Settings of a data set.

    Raises:
        SettingError: A bad value.
    """

    # Names of FORMATS.
    formats: tuple[str, ...]
    # Whether reconstructions, and edits, are images of it.
    reconstructions: bool = False
    edits: bool = True
    # How an edit is labelled where it lies over the photograph's own defect: one of RELABELS.
    relabel: str | bool = "auto"
    # The photographs: copy, link (hard links) or none.
    originals: str = "copy"
    # Shares of train, val and test, such as 0.7/0.15/0.15; None keeps the photographs' own splits.
    split: str | None = None
    # Whether photographs that have a split of their own keep it.
    keep_split: bool = False
    # Which photographs belong together in one split: see `groups.grouped_by`. Equal files always do.
    group: str | None = None
    # Classes whose numbers are these, from 0; the others follow by name. See `classes.fixed_classes`.
    classes: tuple[str, ...] = ()
    # By job (""), photograph and edit, whether an edit is kept, or what was selected in another tool; overrides the
    # quality gate.
    review: Mapping[tuple[str, str, str], bool] | Selection = field(default_factory=dict)
    # For the card.
    title: str = "Synthetic defects"
    about: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        for name in self.formats:
            one_of("formats", name, tuple(FORMATS))
        if self.relabel not in RELABELS:
            raise SettingError("relabel", self.relabel, "unknown value; expected auto, true or false")
        one_of("originals", self.originals, ORIGINALS)
        if self.split is not None:
            ratios_of(self.split)
        true_or_false("keep_split", self.keep_split)
        grouped_by(self.group)


def fact_types(columns: Sequence[Column] = COLUMNS) -> dict[str, type]:
    """The manifest's columns beside those that every item has, name to type; of a row's columns those that say so."""
    of_row = [column for column in columns if column.manifest]
    return {
        **dict.fromkeys(("source", "sha256", "prompt", "target", "placement", "example", "example_sha256"), str),
        **dict.fromkeys(("model", "model_hash", "lora", "quantized", "version", "windows"), str),
        **{column.name: column.type for column in of_row if column.kind != "number"},
        "threshold": float,
        **{column.name: column.type for column in of_row if column.kind == "number"},
        **dict.fromkeys(("background_psnr", "background_ssim", "reconstruction_psnr", "share", "difference"), float),
    }


FACTS = fact_types()


def write_dataset(
    made: Collection[tuple[Photo, PhotoRecord]],
    folder: Path,
    dataset: Dataset,
    settings: Mapping[str, Any],
    seed: int = 0,
) -> dict[str, Count]:
    """Writes folder/dataset/<format>/ for each format, and manifest.csv, manifest.parquet and README.md in the folder.

    Args:
        made: The photographs whose pictures lie in the folder, with their records.
        folder: The run's folder.
        dataset: What is wanted.
        settings: What the card says of how it was made; nested, any values.
        seed: Of the splits.

    Returns:
        What each format holds, by its name.

    Raises:
        RLIError: There is nothing to write.
    """
    labels: set[str] = set()
    for item, _ in items(made, dataset, seed):
        labels |= {item.label, *(region.label for region in item.regions)}
    if not labels:
        raise RLIError(f"{folder}: no images to export")
    for line in (torn_by_source(made, dataset), unnumbered(labels, dataset.classes)):
        if line:
            print(line, file=sys.stderr, flush=True)
    with ManifestWriter(folder, FACTS) as manifest:

        def kept() -> Iterator[Item]:
            for item, reason in items(made, dataset, seed):
                manifest.add(item, reason)
                if reason is None:
                    yield item

        counts = write(
            dataset.formats,
            kept(),
            folder / "dataset",
            originals=dataset.originals,
            classes=in_order(labels, dataset.classes),
            # The manifest of an earlier one lies beside it.
            is_own=(folder / "manifest.parquet").is_file() and (folder / "records").is_dir(),
        )
    dataset_card(folder, title=dataset.title, about=dataset.about, licence=dataset.licence, settings=settings)
    return counts


def unnumbered(labels: Collection[str], fixed: Sequence[str]) -> str | None:
    """A line about classes whose numbers are not fixed though others are; None where there is none."""
    classes = in_order(labels, fixed)
    others = [f"{shown(name)} ({number})" for number, name in enumerate(classes) if number >= len(fixed)]
    if not fixed or not others:
        return None
    return f"classes after those of dataset.classes: {', '.join(others)}; add them there, and they keep their numbers"


def check_names(
    photos: Iterable[Photo], edits: Callable[[Photo], Collection[str]], classes: Collection[str], dataset: Dataset
) -> None:
    """Whether a data set can be written of photographs that are still to be made, by their names: one pass, in which no
    photograph is opened.

    Args:
        photos: All of them.
        edits: Gives the names of the edits that a photograph gets.
        classes: The classes of these edits.
        dataset: What is wanted.

    Raises:
        RLIError: A class or a split cannot be, or the review names an edit that there will not be.
    """
    labels = {*classes} if dataset.edits else set()
    reviewed = {*(dataset.review.files if isinstance(dataset.review, Selection) else dataset.review)}
    for photo in photos:
        if photo.split:
            one_of(f"{photo.name}: split", photo.split, SPLITS)
        if dataset.originals != "none" or dataset.reconstructions or photo.truth_file:
            labels |= {label or UNKNOWN for label in (photo.label, *photo.truth_labels)}
        if dataset.edits and reviewed:
            reviewed -= _reviewable(photo.name, edits(photo), dataset)
    check_classes(in_order(labels, dataset.classes))
    for other in reviewed:
        named = "“{1}” of “{0}” is no edit".format(*map(shortened, other[1:])) if isinstance(other, tuple) else ""
        raise RLIError(f"review: {named or f'“{shortened(other)}” is no image'} of this run")


def _reviewable(photo: str, edits: Collection[str], dataset: Dataset) -> set[Any]:
    """What a review may name of a photograph: its edits, and in another tool's selection their files and its own."""
    if isinstance(dataset.review, Selection):
        return {image_stem(photo, name) for name in ("", "reconstruction", *edits)}
    return {("", photo, edit) for edit in edits}


def items(
    made: Collection[tuple[Photo, PhotoRecord]], dataset: Dataset, seed: int = 0
) -> Iterator[tuple[Item, str | None]]:
    """Every image of a data set and why it is rejected (None: it is kept), photograph by photograph.

    A photograph of a known class carries that class; its mask, where there is one, holds for the reconstruction and the
    edits too, for their geometry is the photograph's. A photograph without label is taken for a defective one.
    """
    members = members_of(made, dataset.group)
    splits = assign(members, dataset.split, seed=seed, keep=dataset.keep_split)
    review = _decisions(made, splits, dataset.review)
    for (photo, record), split in zip(made, splits, strict=True):
        yield from _items_of(photo, record, split, dataset, review)


def _decisions(
    made: Collection[tuple[Photo, PhotoRecord]],
    splits: Sequence[str],
    review: Mapping[tuple[str, str, str], bool] | Selection,
) -> Mapping[tuple[str, str, str], bool]:
    """What a review decides about the edits that there are."""
    if not isinstance(review, Selection):
        return review
    pairs = zip(made, splits, strict=True)
    return review.decisions(
        (photo.name, edit, split) for (photo, record), split in pairs for edit in ("", *record.edits)
    )


def members_of(made: Collection[tuple[Photo, PhotoRecord]], rule: str | None) -> list[Member]:
    """The photographs as they are shared out to splits: grouped by a rule (see `groups.grouped_by`), and those whose
    files are equal."""
    group_of = grouped_by(rule)
    groups = joined([ties_of(photo.name, group_of(photo), record.sha256) for photo, record in made])
    return [
        Member(photo.name, group, f"{photo.category}/{photo.label}", photo.split)
        for (photo, _), group in zip(made, groups, strict=True)
    ]


def torn_by_source(made: Collection[tuple[Photo, PhotoRecord]], dataset: Dataset) -> str | None:
    """A line about groups that are in several splits because their photographs keep splits of their own; None where
    there is none."""
    members = members_of(made, dataset.group)
    found = torn(members, assign(members, dataset.split, keep=dataset.keep_split))
    if not found:
        return None
    example = " and ".join(f"{shown(name)} in {split}" for split, name in next(iter(found.values())).items())
    return (
        f"the source's own splits tear equal or related photographs apart ({len(found)} of the groups), such as "
        f"{example}; dataset.split=0.7/0.15/0.15 without keep_split shares them out anew, each group whole"
    )


def _items_of(
    photo: Photo, record: PhotoRecord, split: str, dataset: Dataset, review: Mapping[tuple[str, str, str], bool]
) -> Iterator[tuple[Item, str | None]]:
    """One photograph's images. What its reader says of it now holds, also where it said something else when the record
    was made."""
    truths = own_regions(photo, record)
    shared = {"photo": photo.name, "category": photo.category, "split": split}
    own: dict[str, Any] = {**shared, "label": own_label(photo, record), "regions": truths}
    if dataset.originals != "none":
        yield _original(photo, record, own), None
    if dataset.reconstructions:
        image, name = record.picture("reconstruction"), f"{photo.name}/reconstruction"
        yield Item(image, "reconstruction", name=name, facts=_facts(record, ORIGINAL), **own), None
    for defect, edit in record.edits.items() if dataset.edits else ():
        change = Region(edit.label, record.picture(f"{defect}_change"))
        item = Item(
            record.picture(defect),
            "edit",
            name=f"{photo.name}/{defect}",
            label=edit.label,
            regions=regions_of_edit(truths, change, dataset.relabel, edit.remains),
            shows_more=is_lost(photo, record),
            facts=_facts(record, defect),
            **shared,
        )
        is_wanted = review.get(("", photo.name, defect))
        yield item, edit.reason if is_wanted is None else None if is_wanted else "rejected in review"


def _original(photo: Photo, record: PhotoRecord, own: Mapping[str, Any]) -> Item:
    """The photograph's own file with its own mask; of a sample, which has none, what was worked on."""
    facts = {"source": photo.source, "sha256": record.sha256, "version": record.made["version"]}
    if not photo.file:
        return Item(record.picture("input"), "original", name=photo.name, facts=facts, **own)
    regions = regions_of_photo(photo, record)
    return Item(photo.file, "original", name=photo.name, facts=facts, **{**own, "regions": regions})


def _facts(record: PhotoRecord, defect: str) -> dict[str, Any]:
    """The manifest's columns of an image that was made."""
    row = next((asdict(row) for row in record.rows if row.defect == defect), {})
    edit = record.edits.get(defect)
    own = {
        "source": record.source,
        "sha256": record.sha256,
        "prompt": record.prompts[ORIGINAL],
        "target": record.prompts[defect] if edit else "",
        **record.made,
        # Each as top, left, height and width in the photograph's pixels.
        "windows": [[*view.window.corner, *view.window.size] for view in record.windows],
        **({"example": used.name, "example_sha256": used.sha256} if edit and (used := edit.example) else {}),
        **(edit.scores | asdict(edit.settings) if edit else dict.fromkeys(("eq", "cross", "replace"))),
    }
    return {name: value for name, value in (row | own).items() if name in FACTS}
