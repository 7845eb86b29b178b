"""Pascal VOC's boxes and masks of class indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from rli.datasets.annotations import class_index
from rli.datasets.formats.writer import PALETTE, PutImage, Sample, write_indexed, write_text


class Voc:
    """JPEGImages/<image>, Annotations/<stem>.xml, SegmentationClass/<stem>.png, ImageSets/Main/<split>.txt (and
    Segmentation/), labelmap.txt.

    A box for each connected piece of a class, from 1 and with its last pixel, as Pascal VOC counts; a mask's values are
    the lines of labelmap.txt, counted from 0, the background. A good image has no box; a defective one without a known
    region is left out, for it would be taken as good.
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None:
        self.folder, self.put_image, self.classes = folder, put_image, classes
        write_text(folder / "labelmap.txt", "".join(_label(k, name) for k, name in enumerate(("background", *classes))))

    def add(self, sample: Sample) -> int | None:
        if not sample.located:
            return None
        file = f"{sample.stem}{sample.suffix}"
        self.put_image(sample, self.folder / "JPEGImages" / file)
        write_text(self.folder / "Annotations" / f"{sample.stem}.xml", _annotation(sample, file))
        mask = class_index(sample.masks, self.classes, sample.size)
        write_indexed(self.folder / "SegmentationClass" / f"{sample.stem}.png", mask)
        for kind in ("Main", "Segmentation"):
            listed = self.folder / "ImageSets" / kind / f"{sample.item.split}.txt"
            listed.parent.mkdir(parents=True, exist_ok=True)
            with listed.open("a", newline="", encoding="utf-8") as file_list:
                file_list.write(f"{sample.stem}\n")
        return len(sample.pieces)

    def close(self) -> None:
        """Every file is closed already."""


def _label(index: int, name: str) -> str:
    """A class's line as CVAT has it: name, colour in the masks, parts and actions; a colon has no escape there."""
    colour = ",".join(map(str, PALETTE[3 * index : 3 * index + 3]))
    return f"{name.replace(':', '_')}:{colour}::\n"


def _annotation(sample: Sample, file: str) -> str:
    """The image's XML."""
    root, (height, width) = ElementTree.Element("annotation"), sample.size
    _put(root, folder="JPEGImages", filename=file)
    _put(_put(root, size=None), width=width, height=height, depth=3)
    _put(root, segmented=int(bool(sample.pieces)))
    for piece in sample.pieces:
        one = _put(root, object=None)
        _put(one, name=piece.label, pose="Unspecified", truncated=0, difficult=0)
        rows, columns = piece.mask.shape
        ends = {"xmax": piece.left + columns, "ymax": piece.top + rows}
        _put(_put(one, bndbox=None), xmin=piece.left + 1, ymin=piece.top + 1, **ends)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _put(parent: ElementTree.Element, **texts: object) -> ElementTree.Element:
    """Adds an element for each text, an empty one for None; returns the last."""
    child = parent
    for name, text in texts.items():
        child = ElementTree.SubElement(parent, name)
        child.text = None if text is None else str(text)
    return child
