"""Images with their metadata, as Hugging Face's `datasets.load_dataset` reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

import yaml

from rli.datasets.annotations import class_index
from rli.datasets.formats.writer import PutImage, Sample, write_indexed, write_text
from rli.markdown import escaped
from rli.method.records import EditSettings
from rli.photos.photo import SPLITS

# The facts of an item that say what an edit was made with; other numbers are scores.
SETTINGS = (*(field.name for field in fields(EditSettings)), "alpha")
# What the hub calls our splits.
HUB_NAMES = {"val": "validation"}


class HuggingFace:
    """<split>/<image>, <split>/masks/<the image's stem>.png, <split>/metadata.jsonl and README.md with a YAML head.

    A line for each image. `file_name`, `mask_file_name` and `source_file_name` become the columns image, mask and
    source, the photograph that an image was made from; without photographs there is no source. A mask's values are
    class indices, 0 the background, and its palette shows them. `settings` and `scores` are JSON texts, because all
    splits must have the same columns of the same types, and one without edits has no numbers. A defective image
    without a known region is left out, for its mask would be taken as that of a good one.
    """

    def __init__(self, folder: Path, classes: Sequence[str], put_image: PutImage) -> None:
        self.folder, self.put_image, self.classes = folder, put_image, classes
        self.tables: dict[str, TextIO] = {}
        self.files = ExitStack()
        # The file of the photograph whose images are being written; they come one photograph after the other.
        self.photo: tuple[str, str, str] | None = None

    def add(self, sample: Sample) -> int | None:
        item, file = sample.item, f"{sample.stem}{sample.suffix}"
        if item.kind == "original":
            self.photo = (item.photo, item.split, file) if sample.located else None
        if not sample.located:
            return None
        folder, mask = self.folder / item.split, f"masks/{sample.stem}.png"
        self.put_image(sample, folder / file)
        write_indexed(folder / mask, class_index(sample.masks, self.classes, sample.size))
        source = (
            {"source_file_name": self.photo[2]} if self.photo and self.photo[:2] == (item.photo, item.split) else {}
        )
        row = {"file_name": file, "mask_file_name": mask, **source, **_told(sample)}
        self._table(item.split).write(json.dumps(row) + "\n")
        return len(sample.masks)

    def _table(self, split: str) -> TextIO:
        if split not in self.tables:
            path = self.folder / split / "metadata.jsonl"
            self.tables[split] = self.files.enter_context(path.open("w", newline="", encoding="utf-8"))
        return self.tables[split]

    def close(self) -> None:
        self.files.close()
        write_text(self.folder / "README.md", card(self.tables, self.classes))


def _told(sample: Sample) -> dict[str, str]:
    """The texts of an image's line."""
    item, facts = sample.item, sample.item.facts
    numbers = {name: value for name, value in facts.items() if isinstance(value, (int, float)) and math.isfinite(value)}
    settings = {name: facts[name] for name in SETTINGS if facts.get(name) is not None}
    return {
        "name": item.name,
        "kind": item.kind,
        "photo": item.photo,
        "category": item.category,
        "label": item.label,
        "source_prompt": facts.get("prompt") or "",
        "target_prompt": facts.get("target") or "",
        "settings": json.dumps(settings),
        "scores": json.dumps({name: value for name, value in numbers.items() if name not in SETTINGS}),
    }


def card(splits: Iterable[str], classes: Sequence[str]) -> str:
    """The data set's card: a YAML head that names the files of each split, and what the columns are.

    Args:
        splits: Those that there are.
        classes: The defects' names in the order of their indices.
    """
    found = [split for split in SPLITS if split in set(splits)]
    files = [{"split": HUB_NAMES.get(split, split), "path": f"{split}/**"} for split in found]
    head: Mapping[str, Any] = {
        "pretty_name": "Synthetic defects",
        "task_categories": ["image-segmentation", "image-classification"],
        "tags": ["defect-detection", "synthetic", "industrial"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    names = "".join(f"| {k} | {escaped(name)} |\n" for k, name in enumerate(("background", *classes)))
    return f"""---
{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)}---

# Synthetic defects

Photographs, and defect images that were made from them by editing with a diffusion model (RLI).

    from datasets import load_dataset
    images = load_dataset("…")  # this folder's path, or its name on the hub

| column | what |
|---|---|
| image, mask | the image, and the class of each of its pixels |
| source | the photograph that it was made from, where photographs are part of the set |
| name, kind | its name, and original, reconstruction or edit |
| photo, category, label | the photograph's name, the kind of part, and the image's class |
| source_prompt, target_prompt | what describes the photograph, and what was wanted |
| settings, scores | how the edit was made, and what was measured of it; JSON |

| value in a mask | class |
|---:|---|
{names}
An edit is in the split of its photograph. The terms of the photographs and of the diffusion model apply to what was
made of them: state a licence before you publish it.
"""
