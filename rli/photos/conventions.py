"""What people call things in their folders: good photographs, splits, and folders and files of masks."""

from __future__ import annotations

import re

from rli.photos.naming import as_text, stem
from rli.photos.photo import GOOD

# All names here are compared in lower case, with - and spaces as _.
GOOD_NAMES = frozenset(
    ("good", "ok", "normal", "defect_free", "no_defect", "non_defective", "defectfree", "nodefect", "mt_free")
)
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
PHOTO_FOLDERS = frozenset(("images", "image", "imgs", "img", "jpegimages", "photos", "photo", "pictures"))
# Folders of masks, or of annotations, which lie in or beside the photographs' own.
MASK_FOLDERS = frozenset(
    (
        *("masks", "mask", "ground_truth", "groundtruth", "gt", "label", "labels", "annotations", "annotation"),
        *("segmentation", "segmentations", "seg", "segmentationclass", "segmentationobject"),
    )
)
_MARK = r"masks?|labels?|gt|ground_?truth|seg|segmentation|annotations?"
# A mask's stem is the photograph's and a mark, with a number where there are several; or a mark and the photograph's.
_MARK_BEHIND = re.compile(rf"(.+?)[_.-](?:{_MARK})(?:[_.-]?[0-9]+)?", re.IGNORECASE)
_MARK_BEFORE = re.compile(rf"(?:{_MARK})[_.-](.+)", re.IGNORECASE)


def folded(name: str) -> str:
    """A name as it is compared with those here."""
    return name.casefold().replace("-", "_").replace(" ", "_")


def label_of(name: str) -> str:
    """The class that a folder's name or a table's cell names: "good" for all of GOOD_NAMES."""
    return GOOD if folded(name) in GOOD_NAMES else as_text(name)


def split_of(name: str) -> str:
    """The split that a folder's name names; "" for none."""
    return SPLIT_NAMES.get(folded(name), "")


def is_photo_folder(name: str) -> bool:
    """Whether a folder is called after what it holds, as images/, and not after what the photographs show."""
    return folded(name) in PHOTO_FOLDERS


def marked_photo(mask: str) -> str:
    """The stem of the photograph that a mask's file name tells, as in part_mask.png, part-gt.2.png or mask_part.png;
    "" for a name that says nothing of masks."""
    own = stem(mask)
    found = _MARK_BEHIND.fullmatch(own) or _MARK_BEFORE.fullmatch(own)
    return found[1] if found else ""
