"""Do classifiers of defects get better with generated images? `python -m experiments.classification --size small`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from experiments.proof.networks import CLASSIFIERS, classifier
from experiments.proof.rows import Row, rows
from experiments.proof.run import Asked, Task
from experiments.proof.scores import classified
from experiments.proof.training import Epoch, Measured, judged, kept, predicted, trained, transforms


class Classes(ImageFolder):
    """A split of a data set of the format `imagefolder`; its classes are those of the whole data set."""

    def __init__(self, folder: Path, split: str, transform: Callable[..., Tensor]) -> None:
        self.names = (folder / "classes.txt").read_text().splitlines()
        super().__init__(folder / split, transform, allow_empty=True)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        return self.names, {name: number for number, name in enumerate(self.names)}


def loss_of(row: Row, classes: int) -> Callable[[nn.Module, list[Tensor]], Tensor]:
    """Cross-entropy, of mixed pictures where the row mixes them (Zhang et al. 2018, Yun et al. 2019)."""
    mix = {"MixUp": v2.MixUp, "CutMix": v2.CutMix}.get(row.mixed)
    mixed = mix(num_classes=classes) if mix else lambda images, labels: (images, labels)

    def loss(network: nn.Module, batch: list[Tensor]) -> Tensor:
        images, labels = mixed(*batch)
        return F.cross_entropy(network(images), labels)

    return loss


def epochs(network: nn.Module, asked: Asked, folder: Path, row: Row, seed: int) -> Iterator[Epoch]:
    """Each epoch of a training."""
    side = asked.size.budget.side
    learned = Classes(folder, "train", transforms(side, augmented=row.augmented))
    held, test = (kept(Classes(folder, name, transforms(side, augmented=False))) for name in ("val", "test"))
    loss = loss_of(row, len(learned.names))
    for _ in trained(network, learned, asked.size.budget, seed, loss, asked.device):
        (true, said), (truth, found) = (predicted(network, batches, asked.device) for batches in (held, test))
        right = [classified(*pair)["class_accuracy"] for pair in ((true, said.argmax(1)), (truth, found.argmax(1)))]
        yield Epoch(*right, truth, found.argmax(1))


def measure(asked: Asked, folder: Path, row: Row, seed: int) -> Measured:
    """Trains a network on a row's data set, and measures it."""
    torch.manual_seed(seed)
    classes = len((folder / "classes.txt").read_text().splitlines())
    network = classifier(asked.network, asked.weights, classes).to(asked.device)
    return judged(epochs(network, asked, folder, row, seed), lambda epoch: classified(epoch.truth, epoch.found))


TASK = Task(
    name="classification",
    format="imagefolder",
    networks=tuple(CLASSIFIERS),
    network=partial(classifier, classes=2),
    rows=partial(rows, classes=True),
    measure=measure,
    shown=("accuracy", "class_accuracy"),
)
