"""Does the model recognise defects, and its own edits? `python -m experiments.proof.recognised`.

Drawn surfaces with a defect each show how often the words that explain them best are the right ones. Of edits, which
a run with recognition=on has made (as experiments.segmentation does), the independent classifier says whether they show
what was wanted; neither the model nor CLIP, which is asked where its weights are named, knows what it says.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.datasets.gate import auc, share
from experiments.harness import embed, markdown, options, record, without_folder
from experiments.proof.makers import source_prompt
from rli.images import to_tensor
from rli.method.recognition import Recognised, Recognition, competing, recognise
from rli.metrics.clip import Clip, load_clip
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
# Least margins that the gate could ask for.
MARGINS = (0, 0.03, 0.05, 0.08)
# Whose columns are looked at in a run's manifest.
JUDGES = {"by the model": "recognised", "by CLIP": "clip"}


# Says of a picture, of the index of what is wanted, and of where it is, what is recognised.
Ask = Callable[[np.ndarray, int, np.ndarray], Recognised | None]


@dataclass(frozen=True)
class Asked:
    """One way of asking."""

    name: str
    ask: Ask
    # Evaluations of the UNet for a picture.
    passes: int


def asked_model(model: Model, prompts: Sequence[str], side: int, way: str) -> Asked:
    """The model, asked in one of WAYS about these prompts, in pictures of so many pixels a side."""
    among, settings = competing(model, prompts, (side, side)), WAYS[way]

    def ask(image: np.ndarray, wanted: int, mask: np.ndarray) -> Recognised | None:
        return recognise(model, to_tensor(image), among.prompts[wanted], among, mask, settings)

    return Asked(way, ask, settings.passes(len(prompts)))


def asked_clip(clip: Clip, prompts: Sequence[str]) -> Asked:
    """CLIP, asked about these prompts."""
    texts = clip.encode(prompts)
    return Asked("CLIP", lambda image, wanted, mask: clip.recognise(image, texts, wanted, mask), 0)


def drawn_rows(every: Sequence[Asked], words: Sequence[str], count: int, side: int) -> pd.DataFrame:
    """A row for each way, word and drawn surface: rank, margin and seconds."""
    rows = []
    for k in shown(range(count * len(words)), "surfaces"):
        word = k % len(words)
        picture = surface(FIRST + k, (words[word],), side, side)
        for way in every:
            began = time.process_time()
            found = way.ask(picture.image, word, picture.mask)
            seconds = time.process_time() - began
            if found is not None:
                told = {"way": way.name, "defect": words[word], "image": k, "rank": found.rank, "margin": found.margin}
                rows.append({**told, "passes": way.passes, "seconds": seconds})
    return pd.DataFrame(rows)


def drawn_table(rows: pd.DataFrame) -> str:
    """A line for each way: how often the right words come first, and what asking costs."""
    lines = []
    for way, own in rows.groupby("way", sort=False):
        shares = (f"{(own['rank'] <= most).mean():.0%}" for most in (1, 2))
        cost = f"{own['passes'].mean():.0f}", f"{own['seconds'].mean():.1f}"
        middle = own["margin"].median()
        margin = f"{middle:.2f}" if way == "CLIP" else f"{middle:.1%}"
        lines.append([way, str(len(own)), *shares, margin, *cost])
    head = ["Asked at", "surfaces", "right", "among the first two", "margin, median", "passes", "CPU seconds"]
    return markdown(head, lines)


def edit_rows(run: Path) -> pd.DataFrame:
    """The edits of a run that the classifier has looked at, with what the model, and CLIP, say of them."""
    rows = pd.read_csv(run / "manifest.csv")
    edits = rows[(rows["kind"] == "edit") & rows["named"].notna() & rows["recognised_margin"].notna()]
    told = ["name", "label", "placed", "kept", "named"]
    told += [f"{judge}_{what}" for judge in JUDGES.values() for what in ("rank", "margin")]
    return edits.assign(placed=edits["placement"].notna(), name=without_folder([*edits["name"]])).reindex(columns=told)


def edit_table(rows: pd.DataFrame) -> str:
    """Of edits, and of placed ones, for each judge that was asked: the share that the classifier names, of all, of
    those that the gate's limits keep, of those that the judge recognises, of both, and of those not recognised."""
    lines = []
    for is_placed, of_kind in rows.groupby("placed"):
        for name, judge in JUDGES.items():
            own = of_kind[of_kind[f"{judge}_rank"].notna()]
            if own.empty:
                continue
            named, seen, kept = own["named"] > 0.5, own[f"{judge}_rank"] == 1, own["kept"].astype(bool)
            shares = map(share, (named, named[kept], named[seen], named[kept & seen], named[~seen]))
            same, area = f"{(named == seen).mean():.0%}", f"{auc(own[f'{judge}_margin'], named):.2f}"
            lines.append([f"{'placed' if is_placed else 'edits'}, {name}", *shares, same, area])
    head = ["", "named, of all", "of those kept", "of those recognised", "of both", "of those not recognised"]
    return markdown([*head, "named and recognised agree", "AUC of the margin"], lines)


def margin_table(rows: pd.DataFrame) -> str:
    """Of edits, and of placed ones, for each of MARGINS that the model's would have to reach: the share that is kept,
    and the shares that the classifier names, of those kept and of those set aside."""
    lines = []
    for is_placed, own in rows.groupby("placed"):
        for least in MARGINS:
            named, kept = own["named"] > 0.5, own["recognised_margin"] >= least
            kind = "placed" if is_placed else "edits"
            lines.append([kind, f"{least:g}", *map(share, (kept, named[kept], named[~kept]))])
    return markdown(["", "least margin", "kept", "named, of those kept", "of those set aside"], lines)


def main() -> None:
    parser = options(__doc__, surfaces=20, out=HERE)
    parser.add_argument("--words", nargs="+", choices=DEFECTS, default=list(DEFECTS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--clip", help="a folder or a hub id of CLIP, which is asked beside the model")
    parser.add_argument("--run", type=Path, help="a run's folder with recognition=on, whose edits are looked at")
    asked = parser.parse_args()
    if asked.surfaces:
        model, prompts = load("mini"), [source_prompt(word) for word in (*asked.words, GOOD)]
        side = int(model.unet.config.sample_size * model.pixels_per_latent)
        every = [asked_model(model, prompts, side, way) for way in asked.ways]
        every += [asked_clip(load_clip(asked.clip), prompts)] if asked.clip else []
        rows = drawn_rows(every, asked.words, asked.surfaces, side)
        record(asked.out, "recognised", rows, drawn_table(rows))
    if asked.run:
        rows = edit_rows(asked.run).round(4)  # as they are kept, so that a limit divides both alike
        record(asked.out, "recognised_edits", rows, edit_table(rows))
        embed(asked.out, "margins", margin_table(rows))


if __name__ == "__main__":
    sys.exit(main())
