"""How do edits in a known region stand beside masked inpainting and LEDITS++? `python -m experiments.peers.run`.

Cracked surfaces that no training saw, edited to seven defects on the embedded miniature within the crack's true mask,
grown by sixteen pixels: by RLI's edits with several shares of fresh noise, by the same without an inversion, and by two
of diffusers' pipelines, built from the same parts; with prompts that keep the crack's word, and in its place. A stopped
run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from experiments.datasets.evidence import drawn
from experiments.edit_quality.run import WANTED
from experiments.harness import SOURCE, markdown, options, record, save_figure, targets, write_csv
from experiments.peers.pipelines import inpainting, leditspp
from rli.images import read_image, to_tensor, to_uint8, write_png
from rli.method.editing import edit, vae_round_trip
from rli.method.inversion import invert
from rli.method.inversion.settings import InversionSettings
from rli.method.inversion.virtual import Virtual
from rli.method.records import EditSettings, Inversion, Target
from rli.metrics.image import psnr
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.models.mini.classifier import defect_probabilities, load_classifier
from rli.models.mini.surfaces import DEFECTS, Surface
from rli.photos.region import distance_to
from rli.progress import shown
from rli.store import inversions as cache

GROWN = 16  # pixels that the region lies around the true mask
FAR = 28  # pixels from the true mask at which the background begins
VARIANTS = 8
# Every setting of ours that is measured, by its name in the table.
FRESH = (0.0, 0.25, 0.5, 0.75, 1.0)
OURS = {
    **{f"table's settings, fresh {f:g}": EditSettings(fresh=f) for f in (0.0, 0.5, 1.0)},
    **{f"cross 0.4, replace 0, fresh {f:g}": EditSettings(cross=0.4, replace=0.0, fresh=f) for f in FRESH},
    **{f"cross 0, replace 0, fresh {f:g}": EditSettings(cross=0.0, replace=0.0, fresh=f) for f in (0.5, 1.0)},
}


@dataclass(frozen=True)
class Case:
    """One surface to edit."""

    number: int
    surface: Surface
    inversion: Inversion
    # (H,W) bool.
    region: np.ndarray


# Edits a case to each target: pictures (N,3,H,W) in [-1,1].
Method = Callable[[Model, Case, Sequence[Target]], Tensor]


def ours(settings: EditSettings) -> Method:
    """RLI's edits with these settings."""

    def edited(model: Model, case: Case, wanted: Sequence[Target]) -> Tensor:
        edits = edit(model, case.inversion, wanted, settings, mask=case.region, seed=case.number)
        return torch.cat([one.image for one in edits])

    return edited


def inpainted(model: Model, case: Case, wanted: Sequence[Target]) -> Tensor:
    """Masked inpainting; each target has a seed of its own."""
    photo, first, steps = to_tensor(case.surface.image), case.number * 1000, case.inversion.settings.steps
    pictures = [inpainting(model, photo, case.region, t.prompt, first + k, steps) for k, t in enumerate(wanted)]
    return torch.cat(pictures)


def ledits(model: Model, case: Case, wanted: Sequence[Target]) -> Tensor:
    """LEDITS++, its guidance held to the region."""
    prompts, steps = [target.prompt for target in wanted], case.inversion.settings.steps
    return leditspp(model, to_tensor(case.surface.image), case.region, SOURCE, prompts, case.number, steps)


def virtual(model: Model, case: Case, wanted: Sequence[Target]) -> Tensor:
    """RLI's edits with a data set's settings and no inversion: in the photograph's place the photograph in noise."""
    settings = InversionSettings(Virtual(), steps=case.inversion.settings.steps)
    inversion = invert(model, to_tensor(case.surface.image), SOURCE, settings)
    return ours(EditSettings(cross=0.4, replace=0.0, fresh=1.0))(model, replace(case, inversion=inversion), wanted)


def crack_replaced(method: Method) -> Method:
    """The same method with prompts that have the new word in the crack's place."""

    def edited(model: Model, case: Case, wanted: Sequence[Target]) -> Tensor:
        return method(model, case, [replace(one, prompt=f"photo of a {one.name} defect image") for one in wanted])

    return edited


KEPT: dict[str, Method] = {
    "masked inpainting": inpainted,
    "LEDITS++": ledits,
    "virtual inversion": virtual,
    **{name: ours(settings) for name, settings in OURS.items()},
}
METHODS = KEPT | {f"{name}, crack replaced": crack_replaced(method) for name, method in KEPT.items()}


def case(model: Model, k: int, folder: Path, steps: int) -> Case:
    """The k-th surface, its inversion from the cache or made now."""
    surface, settings = drawn(k), InversionSettings(steps=steps)
    image = to_tensor(surface.image)
    key = cache.key(model, image, SOURCE, settings)
    inversion = cache.get(folder, key, SOURCE, settings, lambda: invert(model, image, SOURCE, settings))
    return Case(k, surface, inversion, distance_to(surface.mask) <= GROWN)


def structure(image: np.ndarray, photo: np.ndarray, region: np.ndarray) -> float:
    """Correlation of two pictures' (H,W,3) edges in a region: how much of the photograph's geometry is kept there."""
    edges = [np.hypot(*np.gradient(picture.astype(float).mean(-1)))[region] for picture in (image, photo)]
    return float(np.corrcoef(*edges)[0, 1])


def measured(model: Model, classifier: nn.Module, one: Case, pictures: Tensor, wanted: Sequence[Target]) -> list[dict]:
    """A row for each of a case's edits. The background is held against the VAE round trip."""
    odds = defect_probabilities(classifier, pictures).numpy()
    back, far = to_uint8(vae_round_trip(model, one.inversion)), distance_to(one.surface.mask) > FAR
    images = [to_uint8(picture) for picture in pictures.split(1)]
    return [
        {
            "image": one.number,
            "defect": target.name,
            "named": chances[DEFECTS.index(target.name)],
            "crack": chances[DEFECTS.index("crack")],
            "background": min(psnr(image, back, far), 99.0),
            "structure": structure(image, one.surface.image, one.region),
        }
        for target, chances, image in zip(wanted, odds, images, strict=True)
    ]


def pairwise(pictures: Tensor, region: np.ndarray) -> float:
    """Mean difference of two of the pictures in a region, in grey levels."""
    images = [to_uint8(picture).astype(float)[region] for picture in pictures.split(1)]
    return float(np.mean([np.abs(a - b).mean() for a, b in combinations(images, 2)]))


def eight(word: str) -> tuple[Target, ...]:
    """Variants of one defect."""
    return tuple(Target(f"{word}-{k}", f"photo of a crack {word} image") for k in range(VARIANTS))


def summary(rows: pd.DataFrame, variants: pd.DataFrame) -> str:
    """A line for each method."""
    head = (
        "Method", "surfaces", "named", "old crack seen", "background, dB", "structure kept", "seconds an edit",
        "difference of two of eight variants",
    )  # fmt: skip
    differences = variants.groupby("method")["difference"].mean()
    lines = [
        [
            method,
            f"{group['image'].nunique()}",
            f"{(group['named'] > 0.5).mean():.0%}",
            f"{(group['crack'] > 0.5).mean():.0%}",
            f"{group['background'].median():.1f}",
            f"{group['structure'].mean():.2f}",
            f"{group['seconds'].mean():.1f}",
            f"{differences[method]:.1f}" if method in differences else "",
        ]
        for method, group in sorted(rows.groupby("method"), key=lambda pair: list(METHODS).index(pair[0]))
    ]
    return markdown(head, lines)


def sheet(path: Path, work: Path, methods: Sequence[str], count: int, words: Sequence[str] = WANTED) -> None:
    """A row of pictures for each surface and method: the photograph and its edits."""
    lines = [(k, method) for k in range(count) for method in methods]
    size = (1.5 * len(words) + 3, 1.5 * len(lines))
    figure, axes = plt.subplots(len(lines), 1 + len(words), figsize=size, squeeze=False)
    for line, (k, method) in zip(axes, lines, strict=True):
        pictures = [
            drawn(k).image,
            *(to_uint8(read_image(picture_file(work, method, k, w), SIDE, SIDE)) for w in words),
        ]
        for axis, picture, head in zip(line, pictures, ("photograph", *words), strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if (k, method) == lines[0]:
                axis.set_title(head, fontsize=9)
        line[0].set_ylabel(method.replace(", ", "\n"), fontsize=8, rotation=0, ha="right", va="center")
    figure.tight_layout(pad=0.3)
    save_figure(figure, path, dpi=90)


def picture_file(work: Path, method: str, k: int, word: str) -> Path:
    """Where an edit is kept."""
    plain = "".join(c if c.isalnum() else "_" for c in method)
    return work / plain / f"{k:03d}-{word}.png"


def _table(path: Path, *columns: str) -> pd.DataFrame:
    """What was measured before."""
    return (
        pd.read_csv(path)
        if path.is_file()
        else pd.DataFrame({name: [] for name in ("method", *columns)}).astype({"image": int})
    )


def measure_variants(model: Model, methods: Mapping[str, Method], cases: Sequence[Case], file: Path) -> pd.DataFrame:
    """How different eight edits of a photograph to one defect are, for each method."""
    done = _table(file, "image", "difference")
    for name, method in methods.items():
        for one in cases:
            if not ((done["method"] == name) & (done["image"] == one.number)).any():
                difference = pairwise(method(model, one, eight("corrosion")), one.region)
                row = pd.DataFrame([{"method": name, "image": one.number, "difference": difference}])
                done = pd.concat([done, row])
                write_csv(file, done)
    return done


def measure_methods(
    model: Model, classifier: nn.Module, methods: Mapping[str, Method], cases: Iterable[Case], out: Path, work: Path
) -> pd.DataFrame:
    """Every method's edits of every case, surface by surface, so that a run that is stopped has compared some."""
    done = _table(out / "edits.csv", "image")
    wanted = targets(WANTED)
    for one in cases:
        for name, method in methods.items():
            if ((done["method"] == name) & (done["image"] == one.number)).any():
                continue
            began = time.process_time()
            pictures = method(model, one, wanted)
            seconds = (time.process_time() - began) / len(wanted)
            rows = pd.DataFrame(measured(model, classifier, one, pictures, wanted)).assign(seconds=seconds)
            done = pd.concat([done, rows.assign(method=name)])
            for target, picture in zip(wanted, pictures.split(1), strict=True):
                write_png(picture_file(work, name, one.number, target.name), to_uint8(picture))
            write_csv(out / "edits.csv", done)
    return done


def main() -> None:
    parser = options(__doc__, surfaces=40, steps=50, out=Path(__file__).parent)
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"), help="of inversions")
    parser.add_argument("--work", type=Path, default=Path("outputs/peers"), help="pictures")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--variants", type=int, default=5, help="surfaces edited eight times")
    asked = parser.parse_args()
    model, classifier = load("mini"), load_classifier()
    methods = {name: METHODS[name] for name in asked.methods}
    cases = (case(model, k, asked.cache, asked.steps) for k in shown(range(asked.surfaces), "surfaces"))
    rows = measure_methods(model, classifier, methods, cases, asked.out, asked.work)
    first = [case(model, k, asked.cache, asked.steps) for k in range(asked.variants)]
    alike = "LEDITS++"  # one inversion, one guidance: it has no seed but the inversion's
    seeded = {name: method for name, method in methods.items() if not name.startswith(alike)}
    variants = measure_variants(model, seeded, first, asked.out / "variants.csv")
    record(asked.out, "edits", rows, summary(rows, variants))
    sheet(asked.out / "peers.png", asked.work, asked.methods, 1)


if __name__ == "__main__":
    main()
