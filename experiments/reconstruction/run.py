"""How well each inversion gives a photograph back: `python -m experiments.reconstruction.run`.

Ten unseen surfaces and real photographs (scikit-image's brick and gravel, and a folder's) on the embedded miniature:
PSNR against the photograph and against the VAE round trip, and seconds.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
from torch import Tensor

from experiments.harness import SOURCE, markdown, options, photographs, write_csv
from rli.images import to_uint8
from rli.method.editing import reconstruct, vae_round_trip
from rli.method.inversion import invert
from rli.method.inversion.ddim import Ddim
from rli.method.inversion.direct import Direct
from rli.method.inversion.negative_prompt import NegativePrompt
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.solvers.adam import Adam
from rli.metrics.image import psnr, ssim
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.progress import shown

SETTINGS = {
    "guidance 1, aligned": InversionSettings(Ddim(), guidance=1.0),
    "guidance 1, reference alignment": InversionSettings(Ddim(), guidance=1.0, alignment="reference"),
    "ddim": InversionSettings(Ddim()),
    "negative_prompt": InversionSettings(NegativePrompt()),
    "null_text": InversionSettings(),
    "null_text, adam": InversionSettings(NullText(Adam())),
    "null_text, adam, no early stop": InversionSettings(NullText(Adam(early_stop=0.0))),
    "null_text with residual": InversionSettings(NullText(residual=True)),
    "direct": InversionSettings(Direct()),
}


def measure(model: Model, kind: str, name: str, image: Tensor, label: str, settings: InversionSettings) -> dict:
    """One row: what the reconstruction of one photograph is worth."""
    inversion = invert(model, image, SOURCE, settings)
    photo, back, ceiling = (
        to_uint8(x) for x in (image, reconstruct(model, inversion), vae_round_trip(model, inversion))
    )
    return {
        "kind": kind,
        "image": name,
        "method": label,
        "psnr": psnr(back, photo),
        "ssim": ssim(back, photo),
        "psnr_vae": psnr(ceiling, photo),
        "psnr_to_vae": min(psnr(back, ceiling), 99.0),  # equal images have no finite PSNR
        "seconds": inversion.seconds,
    }


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the photographs of a kind; below_vae: what is lost against the VAE's ceiling, in dB."""
    rows = rows.assign(below_vae=rows["psnr_vae"] - rows["psnr"])
    grouped = rows.groupby(["kind", "method"], sort=False)
    table = grouped[["psnr", "psnr_vae", "below_vae", "psnr_to_vae", "ssim", "seconds"]].mean()
    return table.assign(worst_below_vae=grouped["below_vae"].max(), photos=grouped.size()).round(3).reset_index()


def text(table: pd.DataFrame) -> str:
    """The summary as Markdown."""
    head = "Kind|Method|PSNR to photo|VAE ceiling|Below it (worst)|PSNR to round trip|Seconds|Photos".split("|")
    lines = [
        [
            r.kind,
            r.method,
            f"{r.psnr:.2f}",
            f"{r.psnr_vae:.2f}",
            f"{r.below_vae:.2f} ({r.worst_below_vae:.2f})",
            f"{r.psnr_to_vae:.1f}",
            f"{r.seconds:.1f}",
            f"{r.photos}",
        ]
        for r in table.itertuples()
    ]
    return markdown(head, lines, words=2)


def main() -> None:
    asked = options(__doc__, surfaces=10, side=SIDE, steps=50, folder=None, out=Path(__file__).parent).parse_args()
    model, images = load("mini"), photographs(asked.surfaces, asked.side, asked.folder)
    work = [(image, item) for image in images for item in SETTINGS.items()]
    rows = pd.DataFrame(
        measure(model, *image, label, replace(settings, steps=asked.steps))
        for image, (label, settings) in shown(work, "reconstruction")
    )
    table = summary(rows)
    write_csv(asked.out / "photos.csv", rows)
    write_csv(asked.out / "results.csv", table)
    print(text(table))


if __name__ == "__main__":
    main()
