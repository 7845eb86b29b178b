"""Where does the crack's word look, and when on the way down from noise? `python -m experiments.edit_quality.where`.

Cracked surfaces that no training saw and, of a folder of real photographs, those whose defects have masks: for shares
of the way the region that attention finds in the photograph, beside the truth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from experiments.edit_quality.run import ANEW, MARGIN, SETTINGS, drawn, wanted
from experiments.harness import SOURCE, markdown, options, record
from rli.images import to_tensor
from rli.method.inversion import invert
from rli.method.inversion.settings import InversionSettings
from rli.method.photograph_region import LOOKS, photograph_region
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.photos.region import grown
from rli.photos.sources import photos
from rli.progress import shown

WAYS = {f"{share:g}": (share,) for share in (0.3, 0.5, 0.67, 0.75, 0.8, 0.85, 0.9, 0.95)} | {"as edited": LOOKS}
THRESHOLDS = (0.3, 0.1)


def cracked(count: int, kind: str, folder: Path | None) -> Iterator[tuple[str, str, Tensor, np.ndarray]]:
    """Kind, name, picture (1,3,H,W) and truth (H,W) bool of drawn surfaces, and of a folder's cracks with a mask."""
    for k in range(count):
        own = drawn(k)
        yield "drawn", str(k), to_tensor(own.image), own.mask
    for photo in photos(kind, str(folder)) if folder else ():
        truth = photo.truth(SIDE, SIDE)
        if photo.label in ("", "crack") and truth is not None and truth.any():
            yield kind, photo.name, photo.read(SIDE, SIDE), truth


def measured(model: Model, picture: Tensor, truth: np.ndarray, steps: int) -> list[dict]:
    """A row for each way and threshold."""
    setting = SETTINGS["virtual, crack replaced"]
    inversion = invert(model, picture, SOURCE, InversionSettings(setting.method, steps=steps))
    near, rows = grown(truth, MARGIN), []
    for way, looks in WAYS.items():
        for threshold in THRESHOLDS:
            settings = replace(ANEW, threshold=threshold)
            found = photograph_region(model, inversion, wanted(setting), settings, looks)
            told = {"near": (found & near).sum() / found.sum(), "covered": (found & truth).sum() / truth.sum()}
            rows.append({"look": way, "threshold": threshold, **told, "share": found.mean()})
    return rows


def text(table: pd.DataFrame) -> str:
    """The means as Markdown."""
    head = ("Photographs", "Number", "Look", "Threshold", "Region near the crack", "Crack covered", "Region's share")
    lines = [
        [r["data"], str(r["photographs"]), r["look"], f"{r['threshold']:g}"]
        + [f"{r[name]:.0%}" for name in ("near", "covered", "share")]
        for r in table.to_dict("records")
    ]
    return markdown(head, lines, words=1)


def main() -> None:
    parser = options(__doc__, surfaces=40, steps=20, folder=None, out=Path(__file__).parent)
    parser.add_argument("--reader", default="magnetic_tile", help="of the folder")
    asked = parser.parse_args()
    model, rows = load("mini"), []
    for data, name, picture, truth in shown([*cracked(asked.surfaces, asked.reader, asked.folder)], "photographs"):
        rows += [{"data": data, "image": name, **row} for row in measured(model, picture, truth, asked.steps)]
    means = pd.DataFrame(rows).groupby(["data", "look", "threshold"], sort=False)
    table = means[["near", "covered", "share"]].mean().join(means.size().rename("photographs")).reset_index()
    table = table[["data", "photographs", "look", "threshold", "near", "covered", "share"]].round(4)
    record(asked.out, "where", table, text(table))


if __name__ == "__main__":
    main()
