"""How much is done: what `--size` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from experiments.proof.rows import AUGMENTED, BOTH, REAL
from experiments.proof.training import Budget

# The protocol's networks: a U-Net for each category, and ResNet-34 for the class.
NETWORKS = {"segmentation": "UNet", "classification": "ResNet34"}


@dataclass(frozen=True)
class Size:
    """How much is done."""

    # How long every network is trained.
    budget: Budget
    # Defective drawn photographs to learn from, drawn ones to test on, and photographs of a class of a real data set.
    learned: int
    tested: int
    most: int | None
    # Trainings of each row.
    seeds: int
    # Of the diffusion model, and edits of each photograph to each defect.
    steps: int
    variants: int
    # Names of rows; None is all.
    rows: tuple[str, ...] | None
    # Pixels a side of drawn photographs; None is the model's own.
    side: int | None = None
    # The network of each task, where none is named.
    networks: Mapping[str, str] = field(default_factory=lambda: NETWORKS)
    # Further settings of the command.
    more: tuple[str, ...] = ()

    def settings(self, asked: Sequence[str]) -> tuple[str, ...]:
        """The command's: what the miniature shows defects with (experiments/edit_quality), and what was asked for.

        The places of all defects are known, so that no photograph is inverted.
        """
        side = () if self.side is None else (f"resolution.height={self.side}", f"resolution.width={self.side}")
        own = ("inversion=virtual", f"inversion.steps={self.steps}", "recognition=on")
        own += ("edit.cross=0.4", "edit.replace=0.0", "edit.fresh=1.0")
        own += (f"dataset.variants.count={self.variants}", *side, *self.more)
        return (*own, *(() if any(one.startswith("model=") for one in asked) else ("model=mini",)), *asked)


# Rows of the small size.
FEW = (REAL, AUGMENTED, "copy and paste", "edits", "placed", BOTH)
SIZES = {
    "tiny": Size(
        budget=Budget(32, 1, 8),
        learned=8,
        tested=10,
        most=6,
        seeds=1,
        steps=2,
        variants=1,
        side=64,
        rows=(REAL, BOTH),
        networks={"segmentation": "LRASPP", "classification": "MobileNetV3"},
        more=("recognition.levels=[0.4]",),
    ),
    "small": Size(Budget(64, 5, 160), 12, 60, 12, 1, 10, 1, FEW),
    "medium": Size(
        budget=Budget(96, 8, 480),
        learned=20,
        tested=200,
        most=30,
        seeds=3,
        steps=20,
        variants=2,
        rows=None,
        networks={"segmentation": "small UNet", "classification": "ResNet18"},
    ),
    "full": Size(Budget(256, 40, 500), 20, 200, None, 3, 50, 5, None),
}
