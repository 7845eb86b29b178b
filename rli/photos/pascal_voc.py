"""Pascal VOC: an XML file with a box for each defect, as NEU-DET has it; beside the photograph or in Annotations/."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from rli.errors import RLIError, shown
from rli.photos.conventions import label_of
from rli.photos.markings import Marking, box


def markings(file: Path) -> tuple[Marking, ...] | None:
    """What a Pascal VOC file marks.

    Args:
        file: An XML file.

    Returns:
        A marking for each object's box; None where it is no such file.

    Raises:
        RLIError: It is one, but an object has no name or no box.
        OSError: It cannot be read.
    """
    text = file.read_bytes()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:  # entities could grow without end
        return None
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    if root.tag != "annotation":
        return None
    try:
        width, height = (round(_number(root, f"size/{side}")) for side in ("width", "height"))
        size = (width, height) if width > 0 and height > 0 else None  # some tools leave zeros
    except ValueError:
        size = None
    try:
        return tuple(_box(file, one, size) for one in root.iter("object"))
    except ValueError:
        raise RLIError(f"{shown(file)} cannot be read as Pascal VOC: an object has no name or no bndbox") from None


def _box(file: Path, one: ElementTree.Element, size: tuple[int, int] | None) -> Marking:
    name = (one.findtext("name") or "").strip()
    if not name:
        raise ValueError("no name")
    left, top, right, bottom = (_number(one, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
    # The first pixel has the number 1, and the last one belongs to the box.
    return box(file, label_of(name), (left - 1, top - 1, right, bottom), size)


def _number(element: ElementTree.Element, path: str) -> float:
    return float(element.findtext(path) or "")
