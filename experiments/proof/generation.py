"""What are the generated images like themselves? `python -m experiments.proof.generation --size small`.

For each maker: whether a label says what changed (always); and, where their weights can be had, Inception score, KID
and FID by torch-fidelity, FD-DINOv2 and IC-LPIPS.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from experiments import harness
from experiments.proof.makers import PASTED
from experiments.proof.run import (
    DATA,
    DRAWN,
    Asked,
    add_options,
    asked_of,
    images,
    name_of,
    place_of,
    sides_of,
    words_of,
)
from experiments.proof.scores import intersection_over_union
from experiments.proof.training import MEAN, STD
from experiments.proof.weights import DINOV2, is_at_hand
from experiments.segmentation.task import TASK
from rli.datasets.annotations import Item, change_mask
from rli.errors import RLIError
from rli.images import image_size, read_image, to_uint8
from rli.metrics.lpips import Lpips, load_lpips
from rli.photos.photo import GOOD, Photo

HERE = Path(__file__).parent
# Pixels a side at which images are compared, and images of a real shot that are compared with each other at most.
SIDE, MOST = 256, 20
# Rows of the other experiments whose images are looked at, unless others are named.
ROWS = ("edits", "placed", "syn", PASTED)
COLUMNS = ("mask_fidelity", "is", "kid", "fid", "fd_dinov2", "ic_lpips")
# Pixels a side at which DINOv2 looks at pictures, and how many together.
SEEN, BATCH = 224, 16


@dataclass(frozen=True)
class Judges:
    """The networks that can be had; None for those that cannot."""

    lpips: Lpips | None = None
    # transformers' Dinov2Model.
    dinov2: nn.Module | None = None


class Pictures(Dataset):
    """Image files as torch-fidelity takes them: (3,SIDE,SIDE) uint8."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, k: int) -> Tensor:
        return torch.from_numpy(_read(self.files[k])).permute(2, 0, 1)


def mask_fidelity(item: Item, photo: Photo) -> float:
    """How well an image's label says what is different from the photograph: IoU of the pixels of another colour to the
    eye (see `change_mask`), anywhere in the picture, with the regions of the image's class."""
    width, height = image_size(item.image)
    made, before = (to_uint8(read_image(file, height, width)) for file in (item.image, photo.file))
    labelled = np.zeros((height, width), bool)
    for region in item.regions:
        labelled |= region.pixels(height, width) & (region.label == item.label)
    return intersection_over_union(change_mask(made, before, None), labelled)


def distances(made: Sequence[Path], real: Sequence[Path]) -> dict[str, float]:
    """Inception score, KID and FID of images beside real ones; none where the network's weights cannot be had, or
    without torch-fidelity."""
    try:
        from torch_fidelity import calculate_metrics
    except ImportError:
        return {}
    given = {"input1": Pictures(made), "input2": Pictures(real), "verbose": False, "cuda": torch.cuda.is_available()}
    subset = {"kid_subset_size": min(len(made), len(real), 1000)}
    try:
        told = calculate_metrics(**given, **subset, isc=True, kid=True, fid=True)
    except OSError as error:
        print(f"no Inception score, KID and FID: their weights cannot be had ({error})", file=sys.stderr)
        return {}
    return {
        "is": told["inception_score_mean"],
        "kid": told["kernel_inception_distance_mean"],
        "fid": told["frechet_inception_distance"],
    }


@torch.no_grad()
def dinov2_features(network: nn.Module, files: Sequence[Path]) -> Tensor:
    """(N,D) float64: what DINOv2's class token says of each picture, at SEEN pixels (Stein et al. 2023)."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    found = []
    for batch in torch.utils.data.DataLoader(Pictures(files), BATCH):
        small = F.interpolate(batch / 255, size=(SEEN, SEEN), mode="bicubic", antialias=True).clamp(0, 1)
        found.append(network((small - mean) / std).pooler_output)
    return torch.cat(found).double()


def frechet_distance(made: Tensor, real: Tensor) -> float:
    """Fréchet distance of two normal distributions that have the features' means and covariances (Dowson and Landau
    1982), by torch-fidelity; (N,D) and (M,D) float64, of two pictures each at least."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    return fid_statistics_to_metric(*map(fid_features_to_statistics, (made, real)), verbose=False)[KEY_METRIC_FID]


def fd_dinov2(made: Sequence[Path], real: Sequence[Path], network: nn.Module) -> float:
    """FD-DINOv2 (Stein et al. 2023) of images beside real ones; NaN without torch-fidelity, or of fewer than two."""
    if find_spec("torch_fidelity") is None or min(len(made), len(real)) < 2:
        return float("nan")
    return frechet_distance(*(dinov2_features(network, files) for files in (made, real)))


def judges_at_hand() -> Judges:
    """Those whose weights can be had; of DINOv2 a line says where it cannot."""
    from transformers import Dinov2Model

    # torch-fidelity has DINOv2 too, and runs code for it that it downloads; these are the same weights without.
    dinov2 = Dinov2Model.from_pretrained(DINOV2, local_files_only=True).eval() if is_at_hand(DINOV2) else None
    return Judges(load_lpips(), dinov2)


def ic_lpips(made: Sequence[Path], real: Sequence[Path], lpips: Lpips) -> float:
    """Intra-cluster LPIPS (Ojha et al. 2021): each image belongs to the real one that it is nearest to, and those of a
    real one are compared with each other. More is more varied."""
    shots, clusters = [_read(file) for file in real], defaultdict(list)
    for image in map(_read, made):
        nearest = min(range(len(shots)), key=lambda k: lpips.standard(image, shots[k]))
        clusters[nearest].append(image)
    pairs = [combinations(own[:MOST], 2) for own in clusters.values() if len(own) > 1]
    means = [np.mean([lpips.standard(a, b) for a, b in own]) for own in pairs]
    return float(np.mean(means)) if means else float("nan")


def measured(made: Sequence[Item], photos: Mapping[str, Photo], judges: Judges) -> dict[str, float]:
    """The figures of one maker's images.

    Args:
        made: The images, each made from one of the photographs.
        photos: By their hashes.
        judges: The networks that can be had.
    """
    real = [photo.file for photo in photos.values() if photo.label != GOOD]
    files = [item.image for item in made]
    fidelity = [mask_fidelity(item, photos[item.facts["sha256"]]) for item in made if item.kind == "edit"]
    found = {"images": len(made), "mask_fidelity": float(np.mean(fidelity)) if fidelity else float("nan")}
    found |= distances(files, real)
    found |= {"fd_dinov2": fd_dinov2(files, real, judges.dinov2)} if judges.dinov2 else {}
    return found | ({"ic_lpips": ic_lpips(files, real, judges.lpips)} if judges.lpips else {})


def table_of(asked: Asked, data: str) -> pd.DataFrame:
    """A row for each maker's images of a data set."""
    place, sides = place_of(asked, data), sides_of(TASK, asked, data)
    words = words_of(asked, sides)
    known = TASK.rows(words)
    looked_at = [known[row] for row in asked.rows or ()]
    made = images(sides, words, place, asked, {row.maker for row in looked_at})
    photos = {photo.sha256(): photo for photo in sides.train}
    judges, rows = judges_at_hand(), []
    for row in looked_at:
        own = [item for item in made if row.has(item)]
        if own:
            rows.append({"data": name_of(data), "maker": row.name, **measured(own, photos, judges)})
    return pd.DataFrame(rows, columns=["data", "maker", "images", *COLUMNS])


def main(arguments: Sequence[str] | None = None) -> int:
    """From what is typed to generation.csv. Returns the exit status: 2 after one line for what can be corrected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=DRAWN, metavar="NAME", help=DATA)
    add_options(parser, TASK.networks, HERE)
    typed = parser.parse_intermixed_args(arguments)
    typed.rows = typed.rows or list(ROWS)
    try:
        asked = asked_of(TASK, typed)
        table = table_of(asked, typed.data)
    except RLIError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    lines = [["" if value != value else f"{value:.3g}" if isinstance(value, float) else str(value) for value in row]
             for row in table.itertuples(index=False, name=None)]  # fmt: skip
    harness.record(asked.out, "generation", table, harness.markdown([*table], lines, words=2))
    return 0


def _read(file: Path) -> np.ndarray:
    return to_uint8(read_image(file, SIDE, SIDE))


if __name__ == "__main__":
    sys.exit(main())
