"""Do edits show the wanted defect, and leave the rest alone? `python -m experiments.edit_quality.run`.

Cracked surfaces that no training saw, edited to five defects on the embedded miniature. A classifier trained on
procedural surfaces only, never on an edit, names the defects; the background is what lies more than 14 pixels from
the true mask of the crack.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from experiments.harness import SOURCE, markdown, options, save_figure, targets, write_csv
from rli.images import to_tensor, to_uint8
from rli.method.editing import edit, reconstruct
from rli.method.inversion import invert
from rli.method.inversion.direct import Direct
from rli.method.inversion.negative_prompt import NegativePrompt
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings, Inversion
from rli.method.solvers.adam import Adam
from rli.method.solvers.gauss_newton import GaussNewton
from rli.metrics.image import psnr
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini.classifier import defect_probabilities, load_classifier
from rli.models.mini.surfaces import DEFECTS, UNSEEN, Surface, surface
from rli.progress import shown

WANTED = ("rust", "corrosion", "dent", "blistering", "peeling")
MARGIN = 14  # pixels
STRONG = EditSettings(cross=0.4, replace=0.0)
TIGHT = replace(STRONG, threshold=0.45)
ADAM = InversionSettings(NullText(Adam()))
GAUSS_NEWTON = InversionSettings(NullText(GaussNewton()))
RESIDUAL = InversionSettings(NullText(Adam(), residual=True))
SETTINGS = {
    "lbfgs": (InversionSettings(), EditSettings()),
    "lbfgs, cross 0.4, replace 0": (InversionSettings(), STRONG),
    "gauss_newton": (GAUSS_NEWTON, EditSettings()),
    "gauss_newton, cross 0.4, replace 0": (GAUSS_NEWTON, STRONG),
    "gauss_newton, cross 0.4, replace 0, threshold 0.45": (GAUSS_NEWTON, TIGHT),
    "adam": (ADAM, EditSettings()),
    "adam, cross 0.4, replace 0": (ADAM, STRONG),
    "adam, cross 0.4, replace 0, threshold 0.45": (ADAM, TIGHT),
    "adam with residual": (RESIDUAL, EditSettings()),
    "adam with residual, cross 0.4, replace 0": (RESIDUAL, STRONG),
    "direct": (InversionSettings(Direct()), EditSettings()),
    "direct, cross 0.4, replace 0": (InversionSettings(Direct()), STRONG),
    "negative_prompt": (InversionSettings(NegativePrompt()), EditSettings()),
    "adam with residual, no local blend": (RESIDUAL, EditSettings(local_blend=False)),
}
# What the picture of both solvers shows.
SIDE_BY_SIDE = ("adam, cross 0.4, replace 0", "gauss_newton, cross 0.4, replace 0")


def measure(
    model: Model, classifier: nn.Module, drawn: Surface, name: str, label: str, inversion: Inversion
) -> tuple[list[dict], list[np.ndarray]]:
    """Rows and pictures (photograph, reconstruction, edits) of one surface under one setting."""
    edits = edit(model, inversion, targets(WANTED), SETTINGS[label][1])
    back = reconstruct(model, inversion)
    named = defect_probabilities(classifier, torch.cat([back, *(e.image for e in edits)])).numpy()
    far = distance_transform_edt(~drawn.mask) > MARGIN
    shown_back = to_uint8(back)
    rows = []
    for k, done in enumerate(edits, start=1):
        image, index = to_uint8(done.image), DEFECTS.index(done.target.name)
        changed = np.abs(image.astype(int) - shown_back).max(2) > 16
        rows.append(
            {
                "settings": label,
                "image": name,
                "material": drawn.material,
                "defect": done.target.name,
                "before": named[0, index],
                "after": named[k, index],
                "top": top(named[k]),
                "background": min(psnr(image, shown_back, far), 99.0),
                "mask_share": done.mask.mean(),
                "changed_share": changed.mean(),
            }
        )
    return rows, [drawn.image, shown_back, *(to_uint8(e.image) for e in edits)]


def top(probabilities: np.ndarray) -> str:
    """The likeliest word beside the crack, which every edit keeps."""
    others = [k for k, word in enumerate(DEFECTS) if word != "crack"]
    return DEFECTS[max(others, key=lambda k: probabilities[k])]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """For each setting and defect, and over all defects: shares named before and after, and the background in dB."""
    rows = rows.assign(
        named_before=rows["before"] > 0.5,
        named_after=rows["after"] > 0.5,
        first=rows["top"] == rows["defect"],
        background_30=rows["background"] >= 30,
    )
    columns = ["named_before", "named_after", "first", "background", "background_30", "mask_share", "changed_share"]
    each = rows.groupby(["settings", "defect"], sort=False)[columns].mean().reset_index()
    total = rows.groupby("settings", sort=False)[columns].mean().reset_index().assign(defect="all")
    medians = [rows.groupby("settings", sort=False), rows.groupby(["settings", "defect"], sort=False)]
    table = pd.concat([total, each])
    return table.assign(background_median=[m for g in medians for m in g["background"].median()]).round(4)


def text(table: pd.DataFrame) -> str:
    """The summary as Markdown."""
    head = (
        "Settings", "Defect", "Named before", "Named after", "Likeliest word",
        "Background dB, mean", "median", "30 dB or more", "Mask",
    )  # fmt: skip
    lines = [
        [
            r.settings,
            r.defect,
            *(f"{share:.0%}" for share in (r.named_before, r.named_after, r.first)),
            *(f"{decibels:.1f}" for decibels in (r.background, r.background_median)),
            *(f"{share:.0%}" for share in (r.background_30, r.mask_share)),
        ]
        for r in table.itertuples()
    ]
    return markdown(head, lines, words=2)


def picture(path: Path, pictures: list[list[np.ndarray]]) -> None:
    """A row for each surface: photograph, reconstruction, edits."""
    heads = ("photograph", "reconstruction", *WANTED)
    figure, axes = plt.subplots(
        len(pictures), len(heads), figsize=(1.6 * len(heads), 1.65 * len(pictures)), squeeze=False
    )
    for line, images in zip(axes, pictures, strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.axis("off")
    for axis, head in zip(axes[0], heads, strict=True):
        axis.set_title(head, fontsize=10)
    figure.tight_layout(pad=0.3)
    save_figure(figure, path, dpi=110)


def kept(path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and those of other settings that are in the file already, in the settings' order."""
    if path.is_file():
        older = pd.read_csv(path, dtype={"image": str})
        rows = pd.concat([older[~older["settings"].isin(rows.get("settings", []))], rows])
    return rows.sort_values("settings", key=lambda labels: labels.map(list(SETTINGS).index), kind="stable")


def main() -> None:
    parser = options(__doc__, surfaces=20, steps=50, out=Path(__file__).parent)
    parser.add_argument(
        "--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS), help="none: tables of what is there"
    )
    asked = parser.parse_args()
    model, classifier = load("mini"), load_classifier()
    surfaces = [surface(UNSEEN + 1000 + k, ("crack",), 256, 256) for k in range(asked.surfaces)]
    rows, pictures = [], {label: [] for label in asked.settings}
    for k, drawn in enumerate(shown(surfaces, "surfaces")):
        inversions = {}  # settings that differ in the edit only share one
        for label in asked.settings:
            settings = replace(SETTINGS[label][0], steps=asked.steps)
            if settings not in inversions:
                inversions[settings] = invert(model, to_tensor(drawn.image), SOURCE, settings)
            measured, images = measure(model, classifier, drawn, str(k), label, inversions[settings])
            rows += measured
            pictures[label].append(images)
    edits = kept(asked.out / "edits.csv", pd.DataFrame(rows).round(4))
    table = summary(edits)
    write_csv(asked.out / "edits.csv", edits)
    write_csv(asked.out / "results.csv", table)
    for label, images in pictures.items():
        picture(asked.out / f"{''.join(c if c.isalnum() else '_' for c in label)}.png", images[:8])
    if set(SIDE_BY_SIDE) <= set(pictures):
        pairs = zip(*(pictures[label] for label in SIDE_BY_SIDE), strict=True)
        picture(asked.out / "solvers.png", [line for pair in pairs for line in pair][:8])
    print(text(table))


if __name__ == "__main__":
    main()
