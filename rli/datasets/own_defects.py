"""A photograph's own defects in a data set: its class, and where they are in it and in what was made from it."""

from __future__ import annotations

from functools import partial

from rli.datasets.annotations import UNKNOWN, Region
from rli.images import is_marked
from rli.photos.photo import GOOD, Photo
from rli.store.records import PhotoRecord


def own_label(photo: Photo, record: PhotoRecord) -> str:
    """The photograph's class. Where nobody named it, a mask without a pixel says that it is good; without a mask it is
    taken for a defective one."""
    if not photo.label and record.has_truth and not is_marked(record.picture("truth")):
        return GOOD
    return photo.label or UNKNOWN


def own_regions(photo: Photo, record: PhotoRecord) -> tuple[Region, ...]:
    """Where the photograph's own defects are in the pictures that were made from it: a region for each class. The
    geometry is the photograph's."""
    if not record.has_truth or own_label(photo, record) == GOOD:
        return ()
    if len(photo.truth_labels) > 1:
        return _drawn(photo)
    return (Region(own_label(photo, record), record.picture("truth")),)


def regions_of_photo(photo: Photo, record: PhotoRecord) -> tuple[Region, ...]:
    """Where its own defects are in the photograph itself, at its own size."""
    if not photo.truth_file or not own_regions(photo, record):
        return ()
    return _drawn(photo) if photo.truths else (Region(own_label(photo, record), photo.truth_file),)


def is_lost(photo: Photo, record: PhotoRecord) -> bool:
    """Whether the photograph shows a defect that its mask does not: what is made from it would show one too, and
    nothing would say where."""
    label = own_label(photo, record)
    return label != GOOD and record.has_truth and not is_marked(record.picture("truth"))


def _drawn(photo: Photo) -> tuple[Region, ...]:
    file = photo.truth_file or photo.markings[0].file
    return tuple(
        Region(label or UNKNOWN, file, drawn=partial(photo.truth, label=label)) for label in photo.truth_labels
    )
