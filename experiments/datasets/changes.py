"""Is what the change mask labels visibly changed? `python -m experiments.datasets.changes`.

Cracked surfaces, edited on the miniature with the demo's settings, which change most. The change mask, and the one that
compared grey levels before it, are held against what other rules say of the bare pixels: whether the colour is another
one (CIE 1976, unsmoothed), and for rust whether it is redder. Gaps are left open here (experiments.datasets.gaps).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.color import deltaE_cie76, rgb2lab

from experiments.datasets.evidence import EDITS, OPEN, job, options, photo, publish, results
from experiments.harness import markdown
from rli.datasets.annotations import change_mask
from rli.method.inversion.direct import Direct
from rli.method.inversion.settings import InversionSettings
from rli.models.loading import load

NOTICEABLE = 2.3  # CIE 1976: the least that is noticed between patches side by side
CLEAR = 10.0  # the same: another colour at a glance
REDDER = 10.0  # grey levels by which red grows over green
GREY_LEVELS = 8.0  # of the mask before


def by_grey_levels(edit: np.ndarray, back: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The change mask before: the strongest channel's difference, smoothed, in (H,W) bool; pieces from 16 pixels."""
    difference = np.abs(edit.astype(np.int16) - back).max(-1).astype(np.float32)
    changed = (ndimage.gaussian_filter(difference, 1.0) > GREY_LEVELS) & mask
    pieces, _ = ndimage.label(changed, np.ones((3, 3)))
    return changed & (np.bincount(pieces.ravel())[pieces] >= 16)


def redder(edit: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Where red has grown over green, (H,W) bool, of (H,W,3) uint8."""
    red = [image[..., 0].astype(float) - image[..., 1] for image in (edit, back)]
    return ndimage.gaussian_filter(red[0] - red[1], 1.0) > REDDER


def share(part: np.ndarray, of: np.ndarray) -> float:
    """The share of the pixels `of` that are in `part`, both (H,W) bool; NaN where there are none."""
    return float(part[of].mean()) if of.any() else np.nan


def rows_of(edit: np.ndarray, back: np.ndarray, mask: np.ndarray, defect: str) -> Iterator[dict]:
    """For each rule what it labels of an edit (H,W,3) uint8 within its blend mask (H,W) bool."""
    difference = deltaE_cie76(rgb2lab(edit), rgb2lab(back))
    rules = {"grey levels": by_grey_levels(edit, back, mask), "colours": change_mask(edit, back, mask, gap=0)}
    for rule, labelled in rules.items():
        yield {
            "rule": rule,
            "defect": defect,
            "noticeable": share(difference > NOTICEABLE, labelled),
            "clear": share(difference > CLEAR, labelled),
            "clear_labelled": share(labelled, mask & (difference > CLEAR)),
            "redder": share(redder(edit, back), labelled) if defect == "rust" else np.nan,
            "redder_labelled": share(labelled, mask & redder(edit, back)) if defect == "rust" else np.nan,
            "area": float(labelled.mean()),
            "outside": float(((edit != back).any(-1) & ~mask).mean()),
        }


def table(rows: pd.DataFrame) -> str:
    """Means over the surfaces."""
    head = (
        "Change mask by", "Defect", "of what is labelled: noticeably changed", "clearly changed", "redder",
        "labelled of what is clearly changed", "of what is redder", "share of the image",
    )  # fmt: skip
    lines = []
    for (defect, rule), group in rows.groupby(["defect", "rule"], sort=False):
        means = group[["noticeable", "clear", "redder", "clear_labelled", "redder_labelled"]].mean()
        shares = [f"{value:.0%}" if np.isfinite(value) else "" for value in means]
        lines.append([rule, defect, *shares, f"{group['area'].mean():.1%}"])
    return markdown(head, lines, words=2)


def main() -> None:
    parser = options(__doc__, 8)
    parser.set_defaults(steps=20)
    asked = parser.parse_args()
    work = replace(
        job(asked.cache, EDITS["demo"], OPEN, asked.steps), inversion=InversionSettings(Direct(), asked.steps)
    )
    rows = [
        {"image": result.name, **row}
        for result in results(load("mini"), work, [photo(k) for k in range(asked.surfaces)], asked.work / "changes")
        for name, edited in result.edits.items()
        for row in rows_of(edited.image, result.reconstruction, edited.mask, name)
    ]
    publish(asked.out, "changes", pd.DataFrame(rows), table(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
