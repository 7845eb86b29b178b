"""What fewer passes cost in quality: `python -m experiments.speed.run`.

Cracked surfaces that no training saw, inverted and edited on the embedded miniature with fewer steps and by cheaper
methods. A pass is one batch row through the UNet, forward or backward: what a run costs on any machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from experiments.cost.meter import Meter
from experiments.edit_quality.run import MARGIN, STRONG, WANTED
from experiments.harness import SOURCE, markdown, options, record, targets, write_csv
from rli.images import to_tensor, to_uint8
from rli.method.editing import edit, reconstruct, vae_round_trip
from rli.method.inversion import invert
from rli.method.inversion.direct import Direct
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings
from rli.metrics.image import psnr
from rli.models.conditioning import Conditioning
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.models.mini.classifier import defect_probabilities, load_classifier
from rli.models.mini.surfaces import DEFECTS, UNSEEN, Surface, surface
from rli.models.noise_schedule import Step
from rli.progress import shown

# What is tried: the method of inversion and the steps. The first is the default.
WAYS = {
    **{f"null_text, {steps} steps": InversionSettings(NullText(), steps=steps) for steps in (50, 25, 20, 10)},
    **{f"direct, {steps} steps": InversionSettings(Direct(), steps=steps) for steps in (50, 20, 15, 10)},
}
# The same with DirectEdit's difference in every prediction of an edit.
CACHED = "direct, 15 steps, cached difference"
WAYS[CACHED] = WAYS["direct, 15 steps"]
EDITS = {"table's": EditSettings(), "loose": STRONG}
CEILING = 99.0  # dB of pictures that are equal


@dataclass(frozen=True)
class CachedDifference(Model):
    """Predicts an edit's noise where inversion predicted it.

    A move of inversion and the same move back predict the noise at their own starts, which differ by that move. Added
    to the latents of source and targets alike, the difference makes the source's prediction the inversion's
    (DirectEdit, arXiv:2605.02417, for DDIM).
    """

    # Of one photograph's moves (T,C,h,w), noisiest first.
    differences: Tensor | None = None

    def predict(
        self, latent: Tensor, step: Step, text: Conditioning, phase: str, hooks: tuple[object, ...] = ()
    ) -> Tensor:
        assert self.differences is not None
        return super().predict(latent + self.differences[step.index], step, text, phase, hooks)


def measure(
    model: Model, classifier: nn.Module, drawn: Surface, inverting: InversionSettings, is_cached: bool = False
) -> list[dict]:
    """One surface one way: a row for each setting of the edits, with means over the defects."""
    meter = Meter(model.device)
    with meter.watching(model.unet), meter.phase("inversion"):
        inversion = invert(model, to_tensor(drawn.image), SOURCE, inverting)
    ceiling, back = vae_round_trip(model, inversion), reconstruct(model, inversion)
    far = distance_transform_edt(~drawn.mask) > MARGIN
    spent, rows = meter.phases["inversion"], []
    if is_cached:
        model = CachedDifference(**vars(model), differences=inversion.source_latents.diff(dim=0))
    for label, settings in EDITS.items():
        edits_meter = Meter(model.device)
        with edits_meter.watching(model.unet), edits_meter.phase("edits"):
            edits = edit(model, inversion, targets(WANTED), settings, reconstruction=back)
        named = defect_probabilities(classifier, torch.cat([one.image for one in edits])).numpy()
        seen = [named[k, DEFECTS.index(word)] > 0.5 for k, word in enumerate(WANTED)]
        kept = [min(psnr(to_uint8(one.image), to_uint8(ceiling), far), CEILING) for one in edits]
        of_edits = edits_meter.phases["edits"]
        rows.append(
            {
                "edits": label,
                "inversion_passes": spent.forwards + spent.backwards,
                "edit_passes": of_edits.forwards,
                "inversion_seconds": spent.cpu_seconds,
                "edit_seconds": of_edits.cpu_seconds,
                "psnr_to_vae": min(psnr(to_uint8(back), to_uint8(ceiling)), CEILING),
                "background": float(np.median(kept)),
                "named": float(np.mean(seen)),
            }
        )
    return rows


def one_defect(row: pd.Series) -> float:
    """Passes of one photograph and one defect: of an edit's rows one is the source's, and two are each defect's."""
    return row["inversion_passes"] + row["edit_passes"] * 3 / (1 + 2 * len(WANTED))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """For each way and setting of the edits: means of passes and seconds, medians of qualities, the share named."""
    rows = rows.assign(passes=rows.apply(one_defect, axis=1))
    rows = rows.assign(seconds=rows["inversion_seconds"] + rows["edit_seconds"] * 3 / (1 + 2 * len(WANTED)))
    grouped = rows.groupby(["edits", "way"], sort=False)
    table = grouped[["passes", "seconds", "named"]].mean()
    table = table.assign(
        psnr_to_vae=grouped["psnr_to_vae"].median(),
        worst=grouped["psnr_to_vae"].min(),
        background=grouped["background"].median(),
        photographs=grouped.size(),
    ).reset_index()
    whole = table.groupby("edits")["passes"].transform("first")
    return table.assign(share=table["passes"] / whole)


def text(table: pd.DataFrame) -> str:
    """The summary as Markdown."""
    head = (
        "Edits", "Inversion", "Surfaces", "Passes", "Share of the default's", "CPU seconds",
        "PSNR to round trip, dB (worst)", "Background, dB", "Named",
    )  # fmt: skip
    lines = [
        [
            r.edits,
            r.way,
            f"{r.photographs}",
            f"{r.passes:.0f}",
            f"{r.share:.0%}",
            f"{r.seconds:.1f}",
            f"{r.psnr_to_vae:.1f} ({r.worst:.1f})",
            f"{r.background:.1f}",
            f"{r.named:.0%}",
        ]
        for r in table.itertuples()
    ]
    return markdown(head, lines, words=2)


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """By the edits' settings, then by way."""
    places = {**{name: k for k, name in enumerate(WAYS)}, **{name: k for k, name in enumerate(EDITS)}}
    return rows.sort_values(["edits", "way", "image"], key=lambda column: column.map(lambda v: places.get(v, v)))


def main() -> None:
    parser = options(__doc__, surfaces=8, side=SIDE, out=Path(__file__).parent)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS), metavar="WAY")
    parser.add_argument("--divide", type=int, default=1, help="take so many times fewer steps: for a trial")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model, classifier = load("mini", device="cpu"), load_classifier()
    ways = {way: replace(WAYS[way], steps=max(2, WAYS[way].steps // asked.divide)) for way in asked.ways}
    file = asked.out / "results.csv"
    rows = pd.read_csv(file).to_dict("records") if file.is_file() else []
    done = {(row["way"], row["image"]) for row in rows}
    work = [(k, way) for k in range(asked.surfaces) for way in ways if (way, k) not in done]
    for k, way in shown(work, "ways"):
        drawn = surface(UNSEEN + 1000 + k, ("crack",), asked.side, asked.side)
        found = measure(model, classifier, drawn, ways[way], way == CACHED)
        rows += [{"way": way, "image": k, **row} for row in found]
        write_csv(file, ordered(pd.DataFrame(rows)))  # at once: what was measured stays
    table = ordered(pd.DataFrame(rows))
    record(asked.out, "results", table, text(summary(table)))


if __name__ == "__main__":
    main()
