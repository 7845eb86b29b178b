"""Does the model recognise defects, and its own edits? `python -m experiments.proof.recognised`.

Drawn surfaces with a defect each show how often the words that explain them best are the right ones. Of edits, which
a run with recognition=on has made (as experiments.segmentation does), the independent classifier says whether they show
what was wanted; the model never asks it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.datasets.gate import auc, share
from experiments.harness import markdown, options, record
from experiments.proof.makers import source_prompt
from rli.images import to_tensor
from rli.method.recognition import Recognition, recognise
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini.surfaces import DEFECTS, UNSEEN, surface
from rli.photos.photo import GOOD
from rli.progress import shown

HERE = Path(__file__).parent
FIRST = UNSEEN + 3_000_000
# Ways of asking: noise levels as shares, and draws.
WAYS = {
    "3 levels": Recognition(),
    "1 level": Recognition((0.4,)),
    "6 levels": Recognition((0.1, 0.2, 0.3, 0.4, 0.5, 0.6)),
    "3 levels, 2 draws": Recognition(noises=2),
}


def drawn_rows(model: Model, count: int, words: Sequence[str], ways: Sequence[str]) -> pd.DataFrame:
    """A row for each way, word and drawn surface: rank, margin and seconds."""
    side, rows = int(model.unet.config.sample_size * model.pixels_per_latent), []
    prompts = [source_prompt(word) for word in (*words, GOOD)]
    for k in shown(range(count * len(words)), "surfaces"):
        word = words[k % len(words)]
        picture = surface(FIRST + k, (word,), side, side)
        for way in ways:
            began = time.process_time()
            found = recognise(model, to_tensor(picture.image), source_prompt(word), prompts, picture.mask, WAYS[way])
            seconds = time.process_time() - began
            if found is not None:
                told = {"way": way, "defect": word, "image": k, "rank": found.rank, "margin": found.margin}
                rows.append({**told, "passes": WAYS[way].passes(len(prompts)), "seconds": seconds})
    return pd.DataFrame(rows)


def drawn_table(rows: pd.DataFrame) -> str:
    """A line for each way: how often the right words come first, and what asking costs."""
    lines = []
    for way, own in rows.groupby("way", sort=False):
        shares = (f"{(own['rank'] <= most).mean():.0%}" for most in (1, 2))
        cost = f"{own['passes'].mean():.0f}", f"{own['seconds'].mean():.1f}"
        lines.append([way, str(len(own)), *shares, f"{own['margin'].median():.1%}", *cost])
    head = ["Asked at", "surfaces", "right", "among the first two", "margin, median", "passes", "CPU seconds"]
    return markdown(head, lines)


def edit_rows(run: Path) -> pd.DataFrame:
    """The edits of a run that the classifier has looked at, with what the model says of them."""
    rows = pd.read_csv(run / "manifest.csv")
    edits = rows[(rows["kind"] == "edit") & rows["named"].notna() & rows["recognised_margin"].notna()]
    return edits.assign(placed=edits["placement"].notna())[
        ["name", "label", "placed", "kept", "named", "recognised_rank", "recognised_margin"]
    ]


def edit_table(rows: pd.DataFrame) -> str:
    """Of edits, and of placed ones: the share that the classifier names, of all, of those that the gate's limits keep,
    of those that the model recognises, of both, and of those not recognised."""
    lines = []
    for is_placed, own in rows.groupby("placed"):
        named, seen, kept = own["named"] > 0.5, own["recognised_rank"] == 1, own["kept"].astype(bool)
        shares = map(share, (named, named[kept], named[seen], named[kept & seen], named[~seen]))
        same, area = f"{(named == seen).mean():.0%}", f"{auc(own['recognised_margin'], named):.2f}"
        lines.append(["placed" if is_placed else "edits", *shares, same, area])
    head = ["", "named, of all", "of those kept", "of those recognised", "of both", "of those not recognised"]
    return markdown([*head, "named and recognised agree", "AUC of the margin"], lines)


def main() -> None:
    parser = options(__doc__, surfaces=20, out=HERE)
    parser.add_argument("--words", nargs="+", choices=DEFECTS, default=list(DEFECTS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--run", type=Path, help="a run's folder with recognition=on, whose edits are looked at")
    asked = parser.parse_args()
    if asked.surfaces:
        rows = drawn_rows(load("mini"), asked.surfaces, asked.words, asked.ways)
        record(asked.out, "recognised", rows, drawn_table(rows))
    if asked.run:
        rows = edit_rows(asked.run)
        record(asked.out, "recognised_edits", rows, edit_table(rows))


if __name__ == "__main__":
    sys.exit(main())
