"""The table's rows: what is learned from, beside the same real photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
# How much better the wanted prompt explains what is well recognised, see `rli.method.recognition`.
WELL = 0.03
REAL, AUGMENTED = "real alone", "augmented"
BOTH = "edits and placed"


def any_edit(item: Item) -> bool:
    """Every edit."""
    return item.kind == "edit"


@dataclass(frozen=True)
class Row:
    """What a network learns from."""

    # In the table.
    name: str
    # Whose synthetic images, a name of `makers`; "" is none.
    maker: str = ""
    # Which of them; a function that a process of its own can be sent.
    wants: Callable[[Item], bool] = any_edit
    # So many of these for each real defective photograph, at most.
    ratio: float = RATIO
    # Whether the quality gate's rejected edits are left out.
    gate: bool = True
    # Whether pictures are flipped, cropped and coloured while they are learned from.
    augmented: bool = True
    # "", MixUp or CutMix.
    mixed: str = ""

    def has(self, item: Item) -> bool:
        """Whether a synthetic image is one of those that may be learned from."""
        is_own = item.facts["maker"] == self.maker and self.wants(item)
        return is_own and (item.facts.get("kept", True) or not self.gate)


def edited(item: Item, word: str = "") -> bool:
    """Edits of defective photographs, to one defect where it is named."""
    return any_edit(item) and item.facts["from"] != GOOD and word in ("", item.label)


def placed(item: Item) -> bool:
    """Good photographs that were given a defect."""
    return any_edit(item) and item.facts["from"] == GOOD


def reconstructed(item: Item) -> bool:
    """Photographs as the model gives them back."""
    return item.kind == "reconstruction"


def recognised(item: Item, margin: float = 0.0) -> bool:
    """Edits, placed or not, in which the model recognises what was wanted, by more than a margin."""
    return any_edit(item) and item.facts["recognised"] > margin


def at_ratio(name: str, ratio: float) -> str:
    """The name of a row whose ratio is another than RATIO."""
    return name if ratio == RATIO else f"{name}, ratio {ratio:g}"


def rows(words: Sequence[str], *, classes: bool) -> dict[str, Row]:
    """The table's rows by their names.

    Args:
        words: The defects that edits are made to.
        classes: Whether classes are learned, for which images can be mixed.
    """
    mixed = [Row("MixUp", mixed="MixUp"), Row("CutMix", mixed="CutMix")] if classes else []
    found = [
        *(Row(REAL, augmented=False), Row(AUGMENTED), *mixed),
        *(Row(at_ratio(PASTED, ratio), PASTED, ratio=ratio) for ratio in (RATIO, RATIOS[-1])),
        Row("syn", OURS, reconstructed),
        *(Row(f"edits to {word}", OURS, partial(edited, word=word)) for word in words),
        *(Row("edits", OURS, edited), Row("edits, no gate", OURS, edited, gate=False)),
        *(Row("placed", OURS, placed), Row("placed, no gate", OURS, placed, gate=False)),
        *(Row(at_ratio(BOTH, ratio), OURS, ratio=ratio) for ratio in RATIOS),
        *(Row(f"{BOTH}, no gate", OURS, gate=False), Row(f"{BOTH}, recognised", OURS, recognised)),
        Row(f"{BOTH}, well recognised", OURS, partial(recognised, margin=WELL)),
        *(Row(maker, maker) for maker in (EXAMPLE, INPAINTED, LEDITS)),
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
    known = [item for item in made if row.has(item)]
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
