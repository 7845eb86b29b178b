"""Do edits show the wanted defect, and leave the rest alone? `python -m experiments.edit_quality.run`.

Cracked surfaces that no training saw, edited to seven defects on the embedded miniature. A classifier trained on
procedural surfaces only, never on an edit, names the defects; the background is what lies more than 14 pixels from
the true mask of the crack.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from experiments.harness import SOURCE, markdown, options, record, save_figure, targets, write_csv
from rli.images import to_tensor, to_uint8
from rli.method.editing import edit, reconstruct
from rli.method.inversion import invert
from rli.method.inversion.base import Inverter
from rli.method.inversion.direct import Direct
from rli.method.inversion.negative_prompt import NegativePrompt
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.inversion.virtual import Virtual
from rli.method.records import EditSettings, Inversion, Target
from rli.method.solvers.adam import Adam
from rli.method.solvers.gauss_newton import GaussNewton
from rli.metrics.image import psnr
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.models.mini.classifier import defect_probabilities, load_classifier
from rli.models.mini.surfaces import DEFECTS, UNSEEN, Surface, surface
from rli.progress import shown

WANTED = ("rust", "corrosion", "dent", "blistering", "peeling", "wear", "degradation")
MARGIN = 14  # pixels
STRONG = EditSettings(cross=0.4, replace=0.0)
# The table's injection; the crack's place is looked for in the photograph, and begins with noise alone. The miniature's
# attention lies close to a defect, so that little of its maximum is enough.
ANEW = EditSettings(mask_from="photograph", threshold=0.1, fresh=1.0)
LOOSER = replace(ANEW, cross=0.4, replace=0.0)
ADAM = NullText(Adam())
RESIDUAL = NullText(Adam(), residual=True)


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    edit: EditSettings = field(default_factory=EditSettings)
    method: Inverter = field(default_factory=NullText)
    # Whether the target prompt has the new word in the crack's place, instead of both.
    replaces_crack: bool = False


SETTINGS = {
    "table's settings": Setting(),
    "table's settings, crack replaced": Setting(replaces_crack=True),
    "cross 0.4, replace 0": Setting(STRONG),
    "cross 0.4, replace 0, crack replaced": Setting(STRONG, replaces_crack=True),
    "gauss_newton": Setting(method=NullText(GaussNewton())),
    "adam": Setting(method=ADAM),
    "adam with residual": Setting(method=RESIDUAL),
    "negative_prompt": Setting(method=NegativePrompt()),
    "direct": Setting(method=Direct()),
    "virtual": Setting(ANEW, Virtual()),
    "virtual, crack replaced": Setting(ANEW, Virtual(), replaces_crack=True),
    "virtual, cross 0.4, replace 0, crack replaced": Setting(LOOSER, Virtual(), replaces_crack=True),
    "adam with residual, no local blend": Setting(EditSettings(local_blend=False), RESIDUAL),
}


def drawn(k: int) -> Surface:
    """The k-th cracked surface."""
    return surface(UNSEEN + 1000 + k, ("crack",), SIDE, SIDE)


def wanted(setting: Setting) -> tuple[Target, ...]:
    """An edit to each defect of WANTED: beside the crack, or in its place."""
    if setting.replaces_crack:
        return tuple(Target(word, f"photo of a {word} defect image") for word in WANTED)
    return targets(WANTED)


def measure(
    model: Model, classifier: nn.Module, cracked: Surface, name: str, label: str, inversion: Inversion
) -> tuple[list[dict], list[np.ndarray]]:
    """Rows and pictures (photograph, reconstruction, edits) of one surface under one setting."""
    setting = SETTINGS[label]
    edits = edit(model, inversion, wanted(setting), setting.edit)
    back = reconstruct(model, inversion)
    named = defect_probabilities(classifier, torch.cat([back, *(e.image for e in edits)])).numpy()
    far = distance_transform_edt(~cracked.mask) > MARGIN
    shown_back = to_uint8(back)
    rows = []
    for k, done in enumerate(edits, start=1):
        image, index = to_uint8(done.image), DEFECTS.index(done.target.name)
        change = np.abs(image.astype(int) - shown_back).sum(2)
        rows.append(
            {
                "settings": label,
                "image": name,
                "material": cracked.material,
                "defect": done.target.name,
                "before": named[0, index],
                "after": named[k, index],
                "top": top(named[k]),
                "crack": named[k, DEFECTS.index("crack")],
                "near": change[~far].sum() / max(change.sum(), 1),
                "background": min(psnr(image, shown_back, far), 99.0),
                "mask_share": done.mask.mean(),
            }
        )
    return rows, [cracked.image, shown_back, *(to_uint8(e.image) for e in edits)]


def top(probabilities: np.ndarray) -> str:
    """The likeliest word beside the crack."""
    others = [k for k, word in enumerate(DEFECTS) if word != "crack"]
    return DEFECTS[max(others, key=lambda k: probabilities[k])]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """For each setting, over all defects and for each one: shares that are named before and after, in which a crack is
    still named, shares of the change near the crack, and the background in dB."""
    rows = rows.assign(
        named_before=rows["before"] > 0.5,
        named_after=rows["after"] > 0.5,
        likeliest=rows["top"] == rows["defect"],
        crack_named=rows["crack"] > 0.5,
    )
    shares = ["named_before", "named_after", "likeliest", "crack_named", "near", "mask_share"]
    tables = []
    for labels in (["settings"], ["settings", "defect"]):
        own = rows.groupby(labels, sort=False)
        means, medians = own[shares].mean(), own[["background"]].median()
        tables.append(means.join(medians).join(own.size().rename("edits")).reset_index())
    return pd.concat([tables[0].assign(defect="all"), tables[1]])[
        ["settings", "defect", "edits", *shares, "background"]
    ]


def text(table: pd.DataFrame) -> str:
    """The summary as Markdown."""
    head = (
        "Settings", "Defect", "Edits", "Named before", "Named after", "Likeliest word", "Crack still named",
        "Change near the crack", "Background dB", "Mask",
    )  # fmt: skip
    shares = ("named_before", "named_after", "likeliest", "crack_named", "near")
    lines = [
        [
            *(r["settings"], r["defect"], str(r["edits"])),
            *(f"{r[share]:.0%}" for share in shares),
            *(f"{r['background']:.1f}", f"{r['mask_share']:.0%}"),
        ]
        for r in table.to_dict("records")
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
    parser = options(__doc__, surfaces=40, steps=50, out=Path(__file__).parent)
    parser.add_argument(
        "--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS), help="none: tables of what is there"
    )
    asked = parser.parse_args()
    model, classifier = load("mini"), load_classifier()
    surfaces = [drawn(k) for k in range(asked.surfaces)]
    rows, pictures = [], {label: [] for label in asked.settings}
    for k, cracked in enumerate(shown(surfaces, "surfaces")):
        inversions: dict[Inverter, Inversion] = {}  # settings that differ in the edit only share one
        for label in asked.settings:
            method = SETTINGS[label].method
            if method not in inversions:
                how = InversionSettings(method, steps=asked.steps)
                inversions[method] = invert(model, to_tensor(cracked.image), SOURCE, how)
            measured, images = measure(model, classifier, cracked, str(k), label, inversions[method])
            rows += measured
            pictures[label].append(images)
    edits = kept(asked.out / "edits.csv", pd.DataFrame(rows).round(4))
    write_csv(asked.out / "edits.csv", edits)
    table = summary(edits).round(4)
    record(asked.out, "results", table, text(table))
    for label, images in pictures.items():
        picture(asked.out / f"{''.join(c if c.isalnum() else '_' for c in label)}.png", images[:8])


if __name__ == "__main__":
    main()
