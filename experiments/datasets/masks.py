"""Do the masks lie where the defects are? `python -m experiments.datasets.masks`.

Cracked surfaces whose mask is known exactly, reconstructed and edited on the miniature. The carried mask is the
photograph's own, so the question is whether the crack still lies under it: one rule finds the crack in the photograph,
the reconstruction and the edit, as what is darker than the same surface drawn without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.filters import threshold_otsu
from skimage.morphology import disk
from skimage.registration import phase_cross_correlation

from experiments.datasets.evidence import EDITS, OPEN, clean, drawn, job, options, photo, publish, results
from experiments.harness import markdown
from rli.metrics.columns import Judge
from rli.models.loading import load
from rli.models.mini.classifier import judge_of, load_classifier
from rli.store.records import PhotoResult

NEAR = 20  # pixels from the true mask within which the rule looks for the crack
RIM = 4  # pixels that the true mask takes beyond the dark core: what softens it, and the lip that catches the light
REACH = 8  # pixels by which the crack is moved each way to see where it lies
BROAD = 6.0  # pixels: standard deviation of the Gaussian that takes away what is broader than a crack


def darkness(image: np.ndarray, bare: np.ndarray) -> np.ndarray:
    """How much darker each pixel of (H,W,3) uint8 is than the bare surface: (H,W), of luminance in [0,1]."""
    return rgb2gray(bare) - rgb2gray(image)


def core(dark: np.ndarray, near: np.ndarray, limit: float) -> np.ndarray:
    """Where the rule sees the crack: (H,W) bool."""
    return near & (dark > limit)


def found(dark: np.ndarray, near: np.ndarray, limit: float) -> np.ndarray:
    """The same as a mask: the core and RIM pixels around."""
    return ndimage.binary_dilation(core(dark, near, limit), disk(RIM))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two (H,W) bool; one where both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def crack_moved(dark: np.ndarray, own: np.ndarray, near: np.ndarray) -> float:
    """By how many pixels the photograph's crack, (H,W) `own`, must be moved, REACH at most each way, to be most like
    what is dark, (H,W): by correlation, broad differences taken away."""
    fine, crack = (x - ndimage.gaussian_filter(x, BROAD) for x in (dark, own))
    steps = range(-REACH, REACH + 1)
    return float(
        np.hypot(
            *max(
                product(steps, steps),
                key=lambda move: np.corrcoef(fine[near], np.roll(crack, move, (0, 1))[near])[0, 1],
            )
        )
    )


def moved(image: np.ndarray, photograph: np.ndarray) -> float:
    """By how many pixels the whole picture lies beside the photograph, to a twentieth of one."""
    shift, _, _ = phase_cross_correlation(rgb2gray(photograph), rgb2gray(image), upsample_factor=20, normalization=None)
    return float(np.hypot(*shift))


def carried(result: PhotoResult, bare: np.ndarray, judge: Judge) -> list[dict]:
    """A row for the photograph, the reconstruction and each edit: does the crack lie under the carried mask?

    bare: the surface without its crack. The rule's limit comes from the photograph (Otsu, near the mask) and is the
    same for all.
    """
    near = ndimage.distance_transform_edt(~result.truth) <= NEAR
    own = darkness(result.input, bare)
    limit = threshold_otsu(own[near])
    images = {"photograph": result.input, "reconstruction": result.reconstruction}
    images |= {name: edited.image for name, edited in result.edits.items()}
    rows = []
    for what, image in images.items():
        dark = darkness(image, bare)
        rows.append(
            {
                "image": result.name,
                "what": what,
                "mask": iou(found(dark, near, limit), result.truth),
                "photograph": iou(found(dark, near, limit), found(own, near, limit)),
                "still_dark": float(core(dark, near, limit)[core(own, near, limit)].mean()),
                "crack_moved": crack_moved(dark, own, near),
                "named": judge(image, "crack"),
            }
        )
    return rows


def one_pixel(masks: Iterable[np.ndarray]) -> float:
    """What a move by one pixel would cost: mean IoU of the masks with themselves moved to the right."""
    return float(np.mean([iou(mask, np.roll(mask, 1, 1)) for mask in masks]))


def carried_table(rows: pd.DataFrame, scale: float, moves: Sequence[float]) -> str:
    """Means over the surfaces."""
    head = (
        "Settings",
        "Image",
        "crack found against the true mask, IoU",
        "against the one found in the photograph",
        "crack's pixels still dark",
        "crack where it was",
        "within a pixel",
        "classifier names a crack",
    )
    lines = [
        [
            settings,
            what,
            f"{group['mask'].mean():.3f}",
            f"{group['photograph'].mean():.3f}",
            f"{group['still_dark'].mean():.0%}",
            f"{(group['crack_moved'] == 0).mean():.0%}",
            f"{(group['crack_moved'] < 1.5).mean():.0%}",
            f"{(group['named'] > 0.5).mean():.0%}",
        ]
        for (settings, what), group in rows.groupby(["settings", "what"], sort=False)
    ]
    scaled = (
        f"A true mask moved by one pixel has an IoU of {scale:.3f} with itself. By phase correlation the "
        f"reconstruction lies {np.median(moves):.2f} pixels beside the photograph (median; {max(moves):.2f} at most)."
    )
    return f"{markdown(head, lines, words=2)}\n\n{scaled}"


def main() -> None:
    asked = options(__doc__, 20).parse_args()
    model, judge, under = load("mini"), judge_of(load_classifier()), []
    for label, edit in EDITS.items():
        work = job(asked.cache, edit, OPEN, asked.steps)
        done = [*results(model, work, [photo(k) for k in range(asked.surfaces)], asked.work / label)]
        for k, result in enumerate(done):
            # The photograph and its reconstruction are the same with every setting.
            rows = carried(result, clean(k), judge)
            first = [{"settings": "", **row} for row in rows[:2]] if label == next(iter(EDITS)) else []
            under += [*first, *({"settings": label, **row} for row in rows[2:])]
    moves = [moved(result.reconstruction, result.input) for result in done]
    scale = one_pixel(drawn(k).mask for k in range(asked.surfaces))
    publish(asked.out, "masks", pd.DataFrame(under), carried_table(pd.DataFrame(under), scale, moves))


if __name__ == "__main__":
    main()
