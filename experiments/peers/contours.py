"""Do masks with contours lie closer to the defect than masks of squares? `python -m experiments.peers.contours`.

Cracked surfaces that no training saw, edited on the embedded miniature with the mask that attention finds, from maps
brought to the picture's size both ways, and within the crack's true mask and its margin. A stopped run goes on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from experiments.datasets.evidence import drawn
from experiments.datasets.masks import iou
from experiments.harness import SOURCE, markdown, options, record, targets, write_csv
from experiments.peers.run import GROWN
from rli.datasets.annotations import change_mask
from rli.images import to_tensor, to_uint8
from rli.method.editing import edit, reconstruct
from rli.method.inversion import invert
from rli.method.inversion.direct import Direct
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini.surfaces import Surface
from rli.photos.region import distance_to, grown
from rli.progress import shown

WORD = "corrosion"
# The way of attention's maps, and whether the true mask and its margin are the region.
WAYS = {
    "attention, nearest": ("nearest", False),
    "attention, bicubic": ("bicubic", False),
    "truth and margin": ("bicubic", True),
}


def boundary_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of two masks' (H,W) borders from each other, in pixels; NaN where one is empty."""
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
    if not all(edge.any() for edge in edges):
        return float("nan")
    to_a, to_b = (distance_to(edge) for edge in edges)
    return float(np.concatenate([to_b[edges[0]], to_a[edges[1]]]).mean())


def measured(model: Model, number: int, surface: Surface, steps: int) -> list[dict]:
    """A row for each way."""
    inversion = invert(model, to_tensor(surface.image), SOURCE, InversionSettings(Direct(), steps=steps))
    back, rows = reconstruct(model, inversion), []
    around = grown(surface.mask, GROWN)
    for way, (interpolation, is_given) in WAYS.items():
        mask = around if is_given else None
        settings = EditSettings(interpolation=interpolation)
        (done,) = edit(model, inversion, targets([WORD]), settings, mask=mask, reconstruction=back)
        change = change_mask(to_uint8(done.image), to_uint8(back), done.mask)
        rows.append(
            {
                "way": way,
                "image": number,
                "iou": iou(change, surface.mask),
                "distance": boundary_distance(change, surface.mask),
                "blend_iou": iou(done.mask, surface.mask),
                "blend_distance": boundary_distance(done.mask, surface.mask),
                "inside": (change & around).sum() / max(1, change.sum()),
            }
        )
    return rows


def summary(rows: pd.DataFrame) -> str:
    """Means over the surfaces."""
    head = (
        "Mask", "surfaces", "change mask against the truth, IoU", "boundaries apart, pixels",
        "blend mask against the truth, IoU", "boundaries apart, pixels", "change within truth and margin",
    )  # fmt: skip
    lines = [
        [
            way,
            f"{len(group)}",
            *(f"{group[name].mean():.{digits}f}" for name, digits in (("iou", 3), ("distance", 1))),
            *(f"{group[name].mean():.{digits}f}" for name, digits in (("blend_iou", 3), ("blend_distance", 1))),
            f"{group['inside'].mean():.0%}",
        ]
        for way, group in rows.groupby("way", sort=False)
    ]
    return markdown(head, lines)


def main() -> None:
    asked = options(__doc__, surfaces=40, steps=50, out=Path(__file__).parent).parse_args()
    file, model = asked.out / "contours.csv", load("mini")
    rows = pd.read_csv(file) if file.is_file() else pd.DataFrame({"image": []})
    for k in shown(range(asked.surfaces), "surfaces"):
        if not (rows["image"] == k).any():
            rows = pd.concat([rows, pd.DataFrame(measured(model, k, drawn(k), asked.steps))])
            write_csv(file, rows)
    record(asked.out, "contours", rows, summary(rows))


if __name__ == "__main__":
    main()
