"""One folder for each class, as torchvision's ImageFolder and timm read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rli.datasets.formats.writer import PutImage, Sample, folder_name, write_text
from rli.photos.photo import GOOD


class ImageFolder:
    """<split>/<class>/<image>, the class good among them; classes.txt has all classes in the readers' sorted order.

    Kinds are not told apart: a reconstruction lies in its photograph's class, an edit in its own. A split that lacks a
    class has no folder for it: readers that number the folders they find (ImageFolder) need the same classes in every
    split they compare, or classes.txt (timm's class_map).
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None:
        self.folder, self.put_image = folder, put_image
        names = sorted(folder_name(label) for label in (GOOD, *classes))
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in names))

    def add(self, sample: Sample) -> int:
        where = self.folder / sample.item.split / folder_name(sample.item.label)
        self.put_image(sample, where / f"{sample.stem}{sample.suffix}")
        return int(sample.defective)

    def close(self) -> None:
        """Every file is closed already."""
