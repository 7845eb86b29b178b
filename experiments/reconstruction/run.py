"""How well each inversion gives a photograph back: `python -m experiments.reconstruction.run`.

Ten unseen surfaces and real photographs (scikit-image's brick and gravel, and a folder's) on the embedded miniature:
PSNR against the photograph and against the VAE round trip, and seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from torch import Tensor

from rli.files import write_whole
from rli.images import to_tensor, to_uint8
from rli.method.editing import reconstruct, vae_round_trip
from rli.method.inversion import invert
from rli.method.records import InversionSettings
from rli.metrics.image import psnr, ssim
from rli.models.diffusion import Model, load
from rli.models.mini.surfaces import UNSEEN, surface
from rli.photos.sources import photos
from rli.progress import shown

SOURCE = "photo of a crack defect image"
SETTINGS = {
    "guidance 1, aligned": InversionSettings(method="ddim", guidance=1.0),
    "guidance 1, reference alignment": InversionSettings(method="ddim", guidance=1.0, alignment="reference"),
    "ddim": InversionSettings(method="ddim"),
    "negative_prompt": InversionSettings(method="negative_prompt"),
    "null_text": InversionSettings(),
    "null_text, adam": InversionSettings(solver="adam"),
    "null_text, adam, no early stop": InversionSettings(solver="adam", early_stop=0.0),
    "null_text with residual": InversionSettings(residual=True),
    "direct": InversionSettings(method="direct"),
}


def sources(count: int, side: int, folder: Path | None) -> list[tuple[str, str, Tensor]]:
    """(kind, name, image): drawn surfaces that no training saw, and real photographs."""
    drawn = [("surface", str(k), to_tensor(surface(UNSEEN + k, ("crack",), side, side).image)) for k in range(count)]
    real = [*photos("sample", samples=["brick", "gravel"])]
    if folder is not None and folder.is_dir():
        real += photos("folder", str(folder))
    return drawn + [("real", photo.name, photo.read(side, side)) for photo in real]


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


def markdown(table: pd.DataFrame) -> str:
    head = "| Kind | Method | PSNR to photo | VAE ceiling | Below it (worst) | PSNR to round trip | Seconds | Photos |"
    rows = (
        f"| {r.kind} | {r.method} | {r.psnr:.2f} | {r.psnr_vae:.2f} | {r.below_vae:.2f} ({r.worst_below_vae:.2f}) | "
        f"{r.psnr_to_vae:.1f} | {r.seconds:.1f} | {r.photos} |"
        for r in table.itertuples()
    )
    return "\n".join([head, "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--surfaces", type=int, default=10)
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--folder", type=Path, help="further real photographs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    asked = parser.parse_args()
    model = load("mini")
    work = [(source, item) for source in sources(asked.surfaces, asked.side, asked.folder) for item in SETTINGS.items()]
    rows = pd.DataFrame(
        measure(model, *source, label, InversionSettings(**{**vars(settings), "steps": asked.steps}))
        for source, (label, settings) in shown(work, "reconstruction")
    )
    table = summary(rows)
    write_whole(asked.out / "photos.csv", rows.round(4).to_csv(index=False))
    write_whole(asked.out / "results.csv", table.to_csv(index=False))
    print(markdown(table))


if __name__ == "__main__":
    main()
