"""MVTec AD's folders, as anomalib's MVTecAD reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rli.datasets.formats.writer import Names, PutImage, Sample, folder_name, write_grey


class MvtecAd:
    """<category>/train/good, <category>/test/{good,<defect>}, <category>/ground_truth/<defect>/000000_mask.png.

    Models learn from good images alone: train/good has the good ones of the split train, whatever their kind;
    test/good those of val and test. Every defective image, photograph, reconstruction or edit of any split, goes to
    test/<its class>, with one mask of all its regions; those without a known region are left out, for each needs a
    mask. Images are numbered with six digits, since readers pair images with masks by their sorted order; names.csv
    says which is which. An item without category goes to all/.
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None:
        self.folder, self.put_image, self.names = folder, put_image, Names(folder)
        self.numbers: Counter[str] = Counter()

    def add(self, sample: Sample) -> int | None:
        if not sample.located:
            return None
        label = folder_name(sample.item.label)
        half = "train" if not sample.defective and sample.item.split == "train" else "test"
        where = f"{sample.category}/{half}/{label}"
        stem = f"{self.numbers[where.casefold()]:06d}"
        self.numbers[where.casefold()] += 1
        file = f"{where}/{stem}{sample.suffix}"
        self.put_image(sample, self.folder / file)
        self.names.add(file, sample.item.name)
        if sample.defective:
            write_grey(self.folder / sample.category / "ground_truth" / label / f"{stem}_mask.png", sample.union)
        return int(sample.defective)

    def close(self) -> None:
        self.names.close()
