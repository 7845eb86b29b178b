"""Do segmentation networks get better with generated images? `python -m experiments.segmentation --size small`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from experiments.proof.networks import SEGMENTERS, segmenter
from experiments.proof.rows import Row, rows
from experiments.proof.run import Asked, Task
from experiments.proof.scores import best_threshold, curves, miou, pro
from experiments.proof.training import (
    Epoch,
    Measured,
    SegmentationFolder,
    judged,
    kept,
    predicted,
    trained,
    transforms,
)
from rli.datasets.annotations import IGNORE

# Of the map that an image's score is the maximum of, at 256 pixels (Zavrtanik et al. 2021).
POOLED = 21 / 256


def loss(network: nn.Module, batch: list[Tensor]) -> Tensor:
    """Focal loss (Lin et al. 2017) and one minus the Dice coefficient, where pixels are known to be something."""
    images, index = batch
    known = (index != IGNORE).float()
    truth, logits = ((index > 0) & (index != IGNORE)).float(), network(images).squeeze(1)
    focal = sigmoid_focal_loss(logits, truth, alpha=0.75) * known
    share = logits.sigmoid() * known
    dice = (2 * (share * truth).sum() + 1) / (share.sum() + truth.sum() + 1)
    return focal.sum() / known.sum().clamp_min(1) * 10 + 1 - dice


def scores_of(network: nn.Module, images: Tensor) -> Tensor:
    """(B,H,W): how likely each pixel is defective, half precision."""
    return network(images).squeeze(1).sigmoid().half()


def image_scores(maps: np.ndarray) -> np.ndarray:
    """(N,): the maximum of each map (N,H,W) after a mean over a square of POOLED of its side."""
    square = max(1, round(maps.shape[-1] * POOLED) | 1)
    return F.avg_pool2d(torch.from_numpy(maps)[:, None], square, 1, square // 2).amax((1, 2, 3)).numpy()


def epochs(network: nn.Module, asked: Asked, folder: Path, row: Row, seed: int) -> Iterator[Epoch]:
    """Each epoch of a training."""
    side = asked.size.budget.side
    learned = SegmentationFolder(folder, "train", transforms(side, augmented=row.augmented))
    held, test = (kept(SegmentationFolder(folder, name, transforms(side, augmented=False))) for name in ("val", "test"))
    say = partial(scores_of, network)
    for _ in trained(network, learned, asked.size.budget, seed, loss, asked.device):
        (true, found), (truth, maps) = (predicted(say, batches, asked.device) for batches in (held, test))
        threshold = best_threshold(true > 0, found)
        quality = miou(true > 0, found >= threshold), miou(truth > 0, maps >= threshold)
        yield Epoch(*quality, truth > 0, maps, threshold)


def metrics(epoch: Epoch) -> dict[str, float]:
    """The metrics of what a network said."""
    truth, maps = epoch.truth, epoch.found.astype(np.float32)
    return {
        "miou": miou(truth, maps >= epoch.threshold),
        **curves("pixel", truth, maps),
        "pro": pro(truth, maps),
        **curves("image", truth.any((1, 2)), image_scores(maps)),
    }


def measure(asked: Asked, folder: Path, row: Row, seed: int) -> Measured:
    """Trains a network on a row's data set, and measures it."""
    torch.manual_seed(seed)
    network = segmenter(asked.network, asked.weights).to(asked.device)
    return judged(epochs(network, asked, folder, row, seed), metrics)


TASK = Task(
    name="segmentation",
    format="segmentation",
    networks=SEGMENTERS,
    network=segmenter,
    rows=partial(rows, classes=False),
    measure=measure,
    shown=("miou", "pixel_ap", "image_auroc"),
    by_place=True,
)
