"""Four folders for each category, as anomalib's Folder reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rli.datasets.formats.writer import PutImage, Sample, write_grey


class AnomalibFolder:
    """<category>/normal, normal_test, abnormal, mask (masks 0/255 with their image's stem).

    normal has the good images of the split train, whatever their kind, normal_test those of val and test; abnormal has
    every defective photograph, reconstruction and edit of any split and class, but those without a known region.
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None:
        self.folder, self.put_image = folder, put_image

    def add(self, sample: Sample) -> int | None:
        if not sample.located:
            return None
        good = "normal" if sample.item.split == "train" else "normal_test"
        where = self.folder / sample.category
        self.put_image(sample, where / ("abnormal" if sample.defective else good) / f"{sample.stem}{sample.suffix}")
        if sample.defective:
            write_grey(where / "mask" / f"{sample.stem}.png", sample.union)
        return int(sample.defective)

    def close(self) -> None:
        """Every file is closed already."""
