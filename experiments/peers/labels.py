"""Do labels name what can be seen? `python -m experiments.peers.labels`, after `python -m experiments.peers.run`.

Of the edits that `run` made, an independent classifier says which of a label's two words it sees: the new defect's, and
the old crack's. Before, every edit carried both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.datasets.evidence import drawn
from experiments.harness import embed, markdown, options, record
from experiments.peers.run import METHODS, picture_file
from rli.datasets.annotations import STILL_THERE, remains
from rli.images import read_image, to_uint8
from rli.models.mini import SIDE

# Those that are not ours begin with these names.
PIPELINES = ("masked inpainting", "LEDITS++")
# Correlations from which on an old defect could count as still there.
LIMITS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


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
        labelled, always = group["remains"] >= STILL_THERE, pd.Series(data=True, index=group.index)
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
            f"{share:.1f}",
            f"{((rows['remains'] >= share) == seen).mean():.0%}",
            f"{((rows['remains'] >= share) & ~seen).mean():.0%}",
            f"{((rows['remains'] < share) & seen).mean():.0%}",
        ]
        for share in shares
    ]
    head = ("still there from", "agrees with the classifier", "labelled, not seen", "seen, not labelled")
    return markdown(head, lines)


def main() -> None:
    parser = options(__doc__, out=Path(__file__).parent)
    parser.add_argument("--work", type=Path, default=Path("outputs/peers"), help="pictures")
    parser.add_argument("--methods", nargs="*", choices=list(METHODS), help="all of ours that were run, unless named")
    asked = parser.parse_args()
    rows = pd.read_csv(asked.out / "edits.csv")
    wanted = asked.methods or [name for name in METHODS if not name.startswith(PIPELINES)]
    rows, remaining = rows[rows["method"].isin(wanted)], []
    for row in rows.itertuples():
        surface, file = drawn(row.image), picture_file(asked.work, row.method, row.image, row.defect)
        remaining.append(remains(to_uint8(read_image(file, SIDE, SIDE)), surface.image, surface.mask))
    rows = rows.assign(remains=remaining)
    record(asked.out, "labels", rows[["method", "image", "defect", "named", "crack", "remains"]], summary(rows))
    embed(asked.out, "limits", limits(rows))


if __name__ == "__main__":
    main()
