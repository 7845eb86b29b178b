"""Defects of magnetic tiles onto good tiles: `python -m experiments.example.tiles --folder MAGNETIC_TILE`.

Three cracks and two breaks, evenly spaced in the data set, each onto two good tiles, in drawn places and without
words. What comes out is a picture, to be looked at.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from experiments.harness import SOURCE, options, save_figure
from rli.errors import RLIError
from rli.method.inversion.direct import Direct
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings, Target
from rli.models.loading import load
from rli.models.mini import SIDE
from rli.photos.photo import Photo
from rli.photos.placement_settings import Shapes
from rli.photos.sources import photos
from rli.progress import shown
from rli.runs.examples import Examples
from rli.runs.job import Job
from rli.runs.runner import Runner
from rli.store.results import PhotoResult

EXAMPLES = {"crack": 3, "break": 2}
TILES = 2
# The miniature's.
DEFECT = "defect"


def evenly(folder: Path, label: str, count: int) -> list[Photo]:
    """So many photographs of a class, evenly spaced."""
    every = [*photos("magnetic_tile", folder, classes=[label])]
    return every[:: max(1, len(every) // count)][:count]


def edits(folder: Path, cache: Path, steps: int) -> list[list[PhotoResult]]:
    """For each example its edits of good tiles."""
    looks = [one for label, count in EXAMPLES.items() for one in evenly(folder, label, count)]
    good = photos("magnetic_tile", folder, good=True, classes=["good"]).placing(Shapes(shapes=["blob"]), 0)
    spread = islice(good, 0, None, max(1, good.count() // (TILES * len(looks))))
    model, lines = load("mini"), []
    for look in shown(looks, "examples"):
        job = Job(
            model="mini",
            height=SIDE,
            width=SIDE,
            source=SOURCE,
            targets=(Target(DEFECT, SOURCE),),
            original=False,
            inversion=InversionSettings(Direct(), steps=steps),
            edit=EditSettings(cross=0.4, replace=0.0),
            cache=cache,
            examples=Examples((look,), 0),
        )
        results = Runner(job, model).results(islice(spread, TILES))
        lines.append([one for one in results if isinstance(one, PhotoResult)])
    return lines


def sheet(path: Path, lines: list[list[PhotoResult]]) -> None:
    """A row for each example: itself, and its tiles before and after, as their windows show them."""
    figure, axes = plt.subplots(len(lines), 1 + 2 * TILES, figsize=(8.5, 1.75 * len(lines)), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for line, results in zip(axes, lines, strict=True):
        picture = results[0].edits[DEFECT].example_picture
        assert picture is not None
        line[0].imshow(picture.image)
        line[0].contour(picture.mask, levels=[0.5], colors="orange", linewidths=0.8)
        for k, result in enumerate(results):
            view = result.windows[0].view
            assert view is not None
            for axis, image in zip(line[1 + 2 * k :], (result.input, result.edits[DEFECT].image), strict=False):
                axis.imshow(np.ascontiguousarray(image[view.window.slices]))
    heads = ("example", *("good tile", "with the defect") * TILES)
    for axis, head in zip(axes[0], heads, strict=True):
        axis.set_title(head, fontsize=9)
    figure.tight_layout(pad=0.3)
    save_figure(figure, path, dpi=70)


def main() -> None:
    parser = options(__doc__, folder=None, steps=20, out=Path(__file__).parent)
    parser.add_argument("--cache", type=Path, default=Path("outputs/cache"), help="of inversions")
    asked = parser.parse_args()
    if asked.folder is None:
        raise RLIError("--folder is needed: the data set's, with MT_Crack and the others")
    sheet(asked.out / "tiles.png", edits(asked.folder, asked.cache, asked.steps))


if __name__ == "__main__":
    main()
