"""Does an edit by example look like its example? `python -m experiments.example.run`.

Forty pairs of drawn surfaces that no training saw. An example shows a defect whose colour and grain are those of
another material, so that no word says them; its target is a surface of a third material, every second one cracked and
the others clean. The region that is edited is compared with the example's defect by its colours and by the Gram matrix
of the VAE's features. A stopped run goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from experiments.harness import SOURCE, apart, markdown, options, record, save_figure
from rli.images import read_image, to_tensor, to_uint8, write_png
from rli.method.editing import edit, reconstruct
from rli.method.example import Example
from rli.method.inversion import invert
from rli.method.inversion.direct import Direct
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings, Target
from rli.models.diffusion import Model
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.models.mini.surfaces import MATERIALS, UNSEEN, surface
from rli.photos.region import distance_to
from rli.progress import shown
from rli.runs.peak_memory import peak_memory_gb

WORDS = ("rust", "corrosion", "peeling", "wear", "blistering", "degradation")
CLEAN = "photo of a clean image"
GROWN = 16  # pixels that the region of a cracked target lies around its crack
# Each seed draws another surface.
EXAMPLES, COATINGS, TARGETS, PLACES = (UNSEEN + start for start in (700_000, 600_000, 800_000, 850_000))
# A data set's own settings, with which all ways edit.
SETTINGS = EditSettings(cross=0.4, replace=0.0, fresh=0.5)
# Pairs of which pictures are shown.
SHOWN = 6


@dataclass(frozen=True)
class Way:
    """One way of saying what is wanted."""

    by_example: bool
    by_words: bool = True
    steps: float = 1.0


WAYS = {
    "words": Way(by_example=False),
    "example and words": Way(by_example=True),
    "example alone": Way(by_example=True, by_words=False),
    "example's noise and words": Way(by_example=True, steps=0.0),
}
COSTS = {"by words": False, "by example": True}


@dataclass(frozen=True)
class Pair:
    """An example and its target."""

    number: int
    word: str
    # (H,W,3) uint8 and (H,W) bool.
    example: np.ndarray
    mask: np.ndarray
    photo: np.ndarray
    region: np.ndarray

    @property
    def is_cracked(self) -> bool:
        return self.number % 2 == 0

    @property
    def source(self) -> str:
        """What describes the target."""
        return SOURCE if self.is_cracked else CLEAN

    @property
    def wanted(self) -> str:
        """The target prompt."""
        return f"photo of a crack {self.word} image" if self.is_cracked else self.shows

    @property
    def shows(self) -> str:
        """What describes the example."""
        return f"photo of a {self.word} defect image"


def pair(k: int) -> Pair:
    """The k-th pair."""
    rng, word = np.random.default_rng([k, 77]), WORDS[k % len(WORDS)]
    ground, other, coating = (MATERIALS[n] for n in rng.choice(len(MATERIALS), 3, replace=False))
    shown = surface(EXAMPLES + k, (word,), SIDE, SIDE, ground)
    example = coated(shown.image, shown.mask, surface(COATINGS + k, (), SIDE, SIDE, coating).image)
    target = surface(TARGETS + k, ("crack",) if k % 2 == 0 else (), SIDE, SIDE, other)
    place = surface(PLACES + k, (WORDS[(k + 1) % len(WORDS)],), SIDE, SIDE).mask
    region = place if k % 2 else distance_to(target.mask) <= GROWN
    return Pair(k, word, example, shown.mask, target.image, region)


def coated(picture: np.ndarray, mask: np.ndarray, coating: np.ndarray) -> np.ndarray:
    """A defect (H,W,3) uint8 in another material's colour and grain, with half of its own light and shadow."""
    light = picture.astype(float).mean(-1, keepdims=True)
    soft = ndimage.gaussian_filter(mask.astype(float), 0.7)[..., None] * mask[..., None]
    inside = coating + (light - light[mask].mean()) / 2
    return (picture * (1 - soft) + inside * soft).clip(0, 255).astype(np.uint8)


def colours_apart(one: np.ndarray, other: np.ndarray) -> float:
    """How far the colours (n,3) of two sets of pixels lie apart: the earth mover's distance of their histograms, in
    grey levels, averaged over the channels."""
    at = np.linspace(0, 100, 201)
    return float(np.abs(np.percentile(one, at, axis=0) - np.percentile(other, at, axis=0)).mean())


@torch.no_grad()
def features(model: Model, picture: np.ndarray, mask: np.ndarray) -> list[Tensor]:
    """What the VAE's encoder sees in a mask at its first two scales: (1,D,h,w) each. All else is grey, because its
    normalizations look at the whole picture."""
    encoder, seen = model.vae.encoder, []
    x = encoder.conv_in(to_tensor(np.where(mask[..., None], picture, 128).astype(np.uint8)))
    for block in encoder.down_blocks[:2]:
        for layer in block.resnets:
            x = layer(x, None)
        seen.append(x)
        for layer in block.downsamplers or ():
            x = layer(x)
    return seen


def gram_apart(model: Model, one: np.ndarray, mask: np.ndarray, other: np.ndarray, its_mask: np.ndarray) -> float:
    """How far the Gram matrices of two pictures' features in masks lie apart, as a share of their norms (0 to 1)."""
    apart = []
    for a, b in zip(features(model, one, mask), features(model, other, its_mask), strict=True):
        g, h = gram(a, mask), gram(b, its_mask)
        apart.append(float((g - h).norm() / (g.norm() + h.norm())))
    return float(np.mean(apart))


def gram(seen: Tensor, mask: np.ndarray) -> Tensor:
    """The Gram matrix (D,D) of features (1,D,h,w) in a mask of the picture's size."""
    size = (seen.shape[-2], seen.shape[-1])
    weights = F.adaptive_avg_pool2d(torch.from_numpy(mask)[None, None].float(), size).flatten()
    values = seen[0].flatten(1)
    return (values * weights / weights.sum()) @ values.T


def measured(model: Model, one: Pair, picture: np.ndarray, back: np.ndarray) -> dict[str, float]:
    """What is measured of an edit: against the example's defect, and against the target's reconstruction."""
    difference = np.abs(picture.astype(float) - back)
    return {
        "colours": colours_apart(picture[one.region], one.example[one.mask]),
        "gram": gram_apart(model, picture, one.region, one.example, one.mask),
        "change": float(difference[one.region].mean()),
        "background": float(difference[~one.region].max()),
    }


def edit_pair(model: Model, one: Pair, steps: int, ways: Sequence[str]) -> Iterator[np.ndarray]:
    """The target's reconstruction, and its edit in each way, (H,W,3) uint8."""
    settings = InversionSettings(Direct(), steps=steps)
    target = invert(model, to_tensor(one.photo), one.source, settings)
    theirs = invert(model, to_tensor(one.example), one.shows, settings)
    example = Example(theirs, one.mask, reconstruct(model, theirs))
    yield to_uint8(reconstruct(model, target))
    for way in map(WAYS.get, ways):
        wanted = Target(one.word, one.wanted if way.by_words else one.source)
        looks = example if way.by_example else None
        options = {"mask": one.region, "example": looks, "seed": one.number}
        yield to_uint8(edit(model, target, [wanted], replace(SETTINGS, example_steps=way.steps), **options)[0].image)


def pictures(model: Model, one: Pair, steps: int, work: Path) -> dict[str, np.ndarray]:
    """The reconstruction and the edits by the names of their ways; what is in the folder is not made again."""
    names = ("reconstruction", *WAYS)
    files = {name: work / f"{one.number:03d}-{name.replace(' ', '-').replace(chr(39), '')}.png" for name in names}
    if not all(file.exists() for file in files.values()):
        for file, picture in zip(files.values(), edit_pair(model, one, steps, [*WAYS]), strict=True):
            write_png(file, picture)
    return {name: to_uint8(read_image(file, SIDE, SIDE)) for name, file in files.items()}


def cost(by_example: bool, steps: int) -> dict[str, float]:
    """What one edit costs in a process of its own: rows of the UNet's calls, seconds and memory."""
    model, one, rows = load("mini"), pair(0), []
    settings = InversionSettings(Direct(), steps=steps)
    target, theirs = (invert(model, to_tensor(p), one.source, settings) for p in (one.photo, one.example))
    looks = Example(theirs, one.mask, reconstruct(model, theirs)) if by_example else None
    model.unet.register_forward_pre_hook(lambda unet, given: rows.append(len(given[0])))
    began = time.process_time()
    edit(model, target, [Target(one.word, one.wanted)], SETTINGS, mask=one.region, example=looks)
    seconds = time.process_time() - began
    return {"rows": sum(rows), "seconds": seconds, "peak_memory_gb": peak_memory_gb(model.device)}


def summary(rows: pd.DataFrame) -> str:
    """A line for each way."""
    head = (
        "Way", "pairs", "colours apart, grey levels", "nearer than words", "Gram apart", "nearer than words",
        "change in the region, grey levels", "change outside",
    )  # fmt: skip
    words, lines = rows[rows["way"] == "words"].set_index("pair"), []
    for name in WAYS:
        own = rows[rows["way"] == name].set_index("pair")
        nearer = {of: (own[of] < words[of].loc[own.index]).mean() for of in ("colours", "gram")}
        share = {of: "" if name == "words" else f"{value:.0%}" for of, value in nearer.items()}
        colours, gram, change = (own[of].mean() for of in ("colours", "gram", "change"))
        lines.append(
            [
                *(name, f"{len(own)}", f"{colours:.1f}", share["colours"], f"{gram:.2f}", share["gram"]),
                *(f"{change:.1f}", f"{own['background'].max():.0f}"),
            ]
        )
    return markdown(head, lines)


def sheet(path: Path, shown: Sequence[tuple[Pair, Sequence[np.ndarray]]]) -> None:
    """A row of pictures for each pair: the example, the photograph, and its edits."""
    heads = ("example", "photograph", *WAYS)
    figure, axes = plt.subplots(len(shown), len(heads), figsize=(1.6 * len(heads), 1.65 * len(shown)), squeeze=False)
    for line, (one, edits) in zip(axes, shown, strict=True):
        marks = (one.mask, one.region, *[None] * len(edits))
        for axis, picture, mark in zip(line, (one.example, one.photo, *edits), marks, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if mark is not None:
                axis.contour(mark, levels=[0.5], colors="white", linewidths=0.8)
        line[0].set_ylabel(one.word, fontsize=8)
    for axis, head in zip(axes[0], heads, strict=True):
        axis.set_title(head.replace(" and", "\nand"), fontsize=8)
    figure.tight_layout(pad=0.3)
    save_figure(figure, path, dpi=80)


def main() -> None:
    parser = options(__doc__, surfaces=40, steps=12, out=Path(__file__).parent)
    parser.add_argument("--work", type=Path, default=Path("outputs/example"), help="pictures")
    asked = parser.parse_args()
    model, rows, first = load("mini"), [], []
    for one in map(pair, shown(range(asked.surfaces), "pairs")):
        made = pictures(model, one, asked.steps, asked.work)
        back = made.pop("reconstruction")
        rows += [
            {"pair": one.number, "defect": one.word, "way": way, **measured(model, one, picture, back)}
            for way, picture in made.items()
        ]
        first += [(one, [*made.values()])] if len(first) < SHOWN else []
    table = pd.DataFrame(rows)
    record(asked.out, "pairs", table, summary(table))
    sheet(asked.out / "pairs.png", first)
    costs = [{"way": name, **apart(cost, by_example, asked.steps)} for name, by_example in COSTS.items()]
    head = ("Edit", "rows of the UNet", "seconds", "peak memory, GB")
    lines = [[one["way"], f"{one['rows']}", f"{one['seconds']:.1f}", f"{one['peak_memory_gb']:.2f}"] for one in costs]
    record(asked.out, "cost", pd.DataFrame(costs), markdown(head, lines))


if __name__ == "__main__":
    main()
