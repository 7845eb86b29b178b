"""The table's rows: what is learned from, beside the same real photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.proof.makers import EXAMPLE, INPAINTED, LEDITS, OURS, PASTED
from experiments.proof.photographs import original
from experiments.proof.protocol import Divided, refuse_leaks
from rli.datasets.annotations import Item
from rli.datasets.classes import in_order
from rli.datasets.formats import write
from rli.photos.photo import GOOD

# Synthetic images for each real defective photograph, where a row says no other ratio.
RATIO = 2.0
RATIOS = (0.5, 1.0, 2.0, 5.0)
REAL, AUGMENTED = "real alone", "augmented"
BOTH = "edits and placed"


@dataclass(frozen=True)
class Row:
    """What a network learns from."""

    # In the table.
    name: str
    # Which synthetic images it may have; None is none.
    wants: Callable[[Item], bool] | None = None
    # So many of these for each real defective photograph, at most.
    ratio: float = RATIO
    # Whether the quality gate's rejected edits are left out.
    gate: bool = True
    # Whether pictures are flipped, cropped and coloured while they are learned from.
    augmented: bool = True
    # "", MixUp or CutMix.
    mixed: str = ""


def by(maker: str) -> Callable[[Item], bool]:
    """Edits of one maker."""
    return lambda item: item.facts["maker"] == maker and item.kind == "edit"


def edits(word: str = "") -> Callable[[Item], bool]:
    """Our edits of defective photographs, to one defect where it is named."""
    return lambda item: by(OURS)(item) and item.facts["from"] != GOOD and word in ("", item.label)


def recognised(item: Item) -> bool:
    """Our edits, placed or not, in which the model recognises what was wanted."""
    return by(OURS)(item) and item.facts["recognised"] > 0


def placed(item: Item) -> bool:
    """Good photographs that we gave a defect."""
    return by(OURS)(item) and item.facts["from"] == GOOD


def rows(words: Sequence[str], *, classes: bool) -> dict[str, Row]:
    """The table's rows by their names.

    Args:
        words: The defects that edits are made to.
        classes: Whether classes are learned, for which images can be mixed.
    """
    mixed = [Row("MixUp", mixed="MixUp"), Row("CutMix", mixed="CutMix")] if classes else []
    found = [
        *(Row(REAL, augmented=False), Row(AUGMENTED), *mixed, Row("copy and paste", by(PASTED))),
        Row("syn", lambda item: item.kind == "reconstruction"),
        *(Row(f"edits to {word}", edits(word)) for word in words),
        *(Row("edits", edits()), Row("edits, no gate", edits(), gate=False)),
        *(Row("placed", placed), Row("placed, no gate", placed, gate=False)),
        *(Row(BOTH if ratio == RATIO else f"{BOTH}, ratio {ratio:g}", by(OURS), ratio) for ratio in RATIOS),
        *(Row(f"{BOTH}, no gate", by(OURS), gate=False), Row(f"{BOTH}, recognised", recognised)),
        *(Row(EXAMPLE, by(EXAMPLE)), Row(INPAINTED, by(INPAINTED)), Row(LEDITS, by(LEDITS))),
    ]
    return {row.name: row for row in found}


def chosen(row: Row, made: Sequence[Item], real: int, seed: int) -> list[Item]:
    """The synthetic images of a row.

    Args:
        row: The row.
        made: All that there are.
        real: Real defective photographs that are learned from.
        seed: Of which are drawn, where there are more.
    """
    if row.wants is None:
        return []
    known = [item for item in made if row.wants(item) and (item.facts.get("kept", True) or not row.gate)]
    order = np.random.default_rng(seed).permutation(len(known))
    return [known[k] for k in sorted(order[: round(row.ratio * real)])]


def write_training_set(
    folder: Path, format: str, row: Row, sides: Divided, made: Sequence[Item], seed: int
) -> tuple[int, int]:
    """Writes the data set that a row's network learns from, and is tested on.

    Args:
        folder: Where the format's folder goes; what lies there is replaced.
        format: One of `rli.datasets.formats.FORMATS`.
        row: The row.
        sides: The photographs.
        made: All synthetic images.
        seed: Of which are drawn.

    Returns:
        How many real and how many synthetic images are learned from.

    Raises:
        RLIError: Something was made from a photograph that is not for training.
    """
    learned = [original(photo, "train") for photo in sides.train]
    synthetic = chosen(row, made, sum(item.label != GOOD for item in learned), seed)
    refuse_leaks([*learned, *synthetic], sides)
    others = [original(photo, name) for name, photos in sides.sides()[1:] for photo in photos]
    every = [*learned, *synthetic, *others]
    labels = {label for item in every for label in (item.label, *(region.label for region in item.regions))}
    write([format], every, folder, originals="link", classes=in_order(labels, ()))
    return len(learned), len(synthetic)
