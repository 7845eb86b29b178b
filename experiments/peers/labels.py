"""Do labels name what can be seen? `python -m experiments.peers.labels`, after `python -m experiments.peers.run`.

Of the edits that `run` made, an independent classifier says which of a label's two words it sees: the new defect's, and
the old crack's. Before, every edit carried both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.datasets.evidence import SIDE
from experiments.harness import markdown, options, record
from experiments.peers.run import METHODS, case, picture_file
from rli.datasets.annotations import PAINTED_OVER, change_mask, is_painted_over
from rli.images import read_image, to_uint8
from rli.method.editing import reconstruct
from rli.models.loading import load

# Shares from which on an old defect could count as painted over.
LIMITS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def covered(edit: np.ndarray, back: np.ndarray, region: np.ndarray, truth: np.ndarray) -> float:
    """The share of the old crack's pixels that an edit (H,W,3) uint8 visibly changed."""
    return float(change_mask(edit, back, region)[truth].mean())


def wrong(rows: pd.DataFrame, has_old: pd.Series, *, old_alone: bool = False) -> float:
    """The share of edits whose label names something that is not seen."""
    is_wrong = has_old & (rows["crack"] <= 0.5)
    return float((is_wrong if old_alone else is_wrong | (rows["named"] <= 0.5)).mean())


def summary(rows: pd.DataFrame) -> str:
    """A line for each method: before and after, and what an old crack's label says."""
    head = (
        "Method", "edits", "old crack seen", "old crack labelled", "seen, but not labelled",
        "wrong before", "wrong now", "old class wrong before", "now",
    )  # fmt: skip
    lines = []
    for method, group in sorted(rows.groupby("method"), key=lambda pair: list(METHODS).index(pair[0])):
        labelled, always = ~group["covered"].map(is_painted_over), pd.Series(data=True, index=group.index)
        seen = group["crack"] > 0.5
        shares = (
            *(seen.mean(), labelled.mean(), (seen & ~labelled).mean(), wrong(group, always), wrong(group, labelled)),
            *(wrong(group, each, old_alone=True) for each in (always, labelled)),
        )
        lines.append([method, str(len(group)), *(f"{share:.0%}" for share in shares)])
    return markdown(head, lines)


def limits(rows: pd.DataFrame, shares: Sequence[float] = LIMITS) -> str:
    """How often each limit agrees with the classifier about the old crack."""
    seen = rows["crack"] > 0.5
    lines = [
        [
            f"{share:.0%}",
            f"{((rows['covered'] < share) == seen).mean():.0%}",
            f"{((rows['covered'] < share) & ~seen).mean():.0%}",
            f"{((rows['covered'] >= share) & seen).mean():.0%}",
        ]
        for share in shares
    ]
    head = ("painted over from", "agrees with the classifier", "labelled, not seen", "seen, not labelled")
    return markdown(head, lines)


def main() -> None:
    parser = options(__doc__, steps=50, out=Path(__file__).parent)
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"), help="of inversions")
    parser.add_argument("--work", type=Path, default=Path("outputs/peers"), help="pictures")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), help="all of ours, unless named")
    asked = parser.parse_args()
    rows = pd.read_csv(asked.out / "edits.csv")
    wanted = asked.methods or [name for name in METHODS if "fresh" in name]
    rows, model = rows[rows["method"].isin(wanted)], load("mini")
    shares = []
    cases = {k: case(model, k, asked.cache, asked.steps) for k in rows["image"].unique()}
    backs = {k: to_uint8(reconstruct(model, one.inversion)) for k, one in cases.items()}
    for row in rows.itertuples():
        file, one = picture_file(asked.work, row.method, row.image, row.defect), cases[row.image]
        edit = to_uint8(read_image(file, SIDE, SIDE))
        shares.append(covered(edit, backs[row.image], one.region, one.surface.mask))
    rows = rows.assign(covered=shares)
    record(asked.out, "labels", rows[["method", "image", "defect", "named", "crack", "covered"]], summary(rows))
    print(limits(rows), f"chosen: {PAINTED_OVER:.0%}", sep="\n\n")


if __name__ == "__main__":
    main()
