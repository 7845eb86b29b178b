"""Does a label hold the whole defect? `python -m experiments.datasets.gaps`.

Surfaces are drawn with a defect, whose mask is then known exactly, and without it; the change mask between the two
pictures is held against the true one, with gaps of different widths closed.
"""

from __future__ import annotations

import pandas as pd

from experiments.datasets.evidence import options, publish
from experiments.harness import markdown
from experiments.proof.scores import intersection_over_union
from rli.datasets.annotations import change_mask
from rli.models.mini import SIDE
from rli.models.mini.surfaces import DEFECTS, UNSEEN, surface
from rli.progress import shown
from rli.runs.job import Selection

# Surfaces that no other experiment draws, and no training.
FIRST = UNSEEN + 5_000_000
# Widths in pixels, of pictures of SIDE.
GAPS = (0, 4, 8, 12, 16, 24)
DEFAULT = Selection().gap


def rows_of(number: int, defect: str) -> list[dict]:
    """For each gap how well the label of a surface's defect agrees with its true mask."""
    drawn, bare = (surface(FIRST + number, defects, SIDE, SIDE) for defects in ((defect,), ()))
    rows = []
    for gap in GAPS:
        found = change_mask(drawn.image, bare.image, None, gap=gap)
        right = (found & drawn.mask).sum() / max(1, found.sum())
        agreement = intersection_over_union(drawn.mask, found)
        rows.append({"image": f"surface-{number:03d}", "defect": defect, "gap": gap, "iou": agreement, "right": right})
    return rows


def table(rows: pd.DataFrame) -> str:
    """Mean IoU of each defect and gap, and how much of what is labelled at the default is defect."""
    means = rows.pivot_table("iou", "defect", "gap", sort=False)
    right = rows[rows["gap"] == DEFAULT].groupby("defect")["right"].mean()
    head = ["Defect", *(f"{gap} px" if gap else "none" for gap in means.columns), f"right, of what {DEFAULT} px label"]
    return markdown(head, [[name, *(f"{v:.2f}" for v in own), f"{right[name]:.0%}"] for name, own in means.iterrows()])


def main() -> None:
    asked = options(__doc__, 20).parse_args()
    every = [(number, defect) for defect in DEFECTS for number in range(asked.surfaces)]
    rows = pd.DataFrame([row for one in shown(every, "surfaces") for row in rows_of(*one)])
    publish(asked.out, "gaps", rows, table(rows))


if __name__ == "__main__":
    main()
