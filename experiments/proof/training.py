"""How a network is trained: data sets as they were written, torchvision's transforms, and an epoch chosen honestly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import tv_tensors
from torchvision.transforms import v2

# ImageNet's, as pretrained networks expect them.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 8
# Which epoch a figure is of, by the end of its column's name: that which was best on the held-out photographs, the
# last, and that which was best on the test, as published code keeps it.
READINGS = {"": "", "_last": ", last epoch", "_best": ", best on test"}


@dataclass(frozen=True)
class Budget:
    """How long every network is trained, whatever it learns from."""

    # Pixels a side of what it sees.
    side: int
    epochs: int
    # Pictures of an epoch, drawn with replacement.
    samples: int
    learning_rate: float = 1e-3


class SegmentationFolder(Dataset):
    """A data set of the format `segmentation`: a picture and its mask of class indices, for each image of a split."""

    def __init__(self, folder: Path, split: str, transform: Callable[..., Any]) -> None:
        self.images = sorted((folder / "images" / split).iterdir())
        self.masks, self.transform = folder / "masks" / split, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        file = self.images[k]
        with Image.open(file) as image, Image.open(self.masks / f"{file.stem}.png") as mask:
            picture, index = self.transform(tv_tensors.Image(image.convert("RGB")), tv_tensors.Mask(mask))
        return picture.as_subclass(Tensor), index[0].as_subclass(Tensor)


def transforms(side: int, *, augmented: bool) -> v2.Transform:
    """From a picture, and its mask where there is one, to what a network takes; augmented: flipped, cropped, and its
    colours changed."""
    classical = [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomResizedCrop((side, side), scale=(0.6, 1.0), ratio=(0.8, 1.25), antialias=True),
        v2.ColorJitter(0.2, 0.2, 0.1, 0.02),
    ]
    first = classical if augmented else [v2.Resize((side, side), antialias=True)]
    return v2.Compose([v2.ToImage(), *first, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


def trained(
    network: nn.Module,
    data: Dataset,
    budget: Budget,
    seed: int,
    loss: Callable[[nn.Module, Any], Tensor],
    device: torch.device,
) -> Iterator[int]:
    """Trains a network, and yields after each epoch, when it is in evaluation mode.

    Args:
        network: On the device; it is changed.
        data: What it learns from.
        budget: For how long.
        seed: Of the order, and of what transforms draw.
        loss: Of the network on a batch of the data.
        device: Where.
    """
    torch.manual_seed(seed)
    sampler = RandomSampler(data, replacement=True, num_samples=budget.samples)
    loader = DataLoader(data, BATCH, sampler=sampler, drop_last=True)
    optimizer = torch.optim.AdamW(network.parameters(), budget.learning_rate, fused=True)
    steps = budget.epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, budget.learning_rate, total_steps=steps)
    for epoch in range(budget.epochs):
        network.train()
        for batch in loader:
            optimizer.zero_grad()
            loss(network, [part.to(device) for part in batch]).backward()
            optimizer.step()
            schedule.step()
        network.eval()
        yield epoch


def kept(data: Dataset) -> list[tuple[Tensor, Tensor]]:
    """Batches of what is looked at after every epoch, read once: at 256 pixels 0.8 MB a picture."""
    return [*DataLoader(data, BATCH)]


@torch.no_grad()
def predicted(
    network: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """What is true of every picture, and what the network says."""
    truths, found = [], []
    for images, truth in batches:
        found.append(network(images.to(device)).float().cpu().numpy())
        truths.append(np.asarray(truth))
    return np.concatenate(truths), np.concatenate(found)


@dataclass(frozen=True)
class Epoch:
    """What a network said after an epoch."""

    # How good it was on the held-out photographs, and on those for testing.
    held_out: float
    test: float
    # What is true of those for testing, and what it said.
    truth: np.ndarray
    found: np.ndarray
    # From which on a pixel counts, chosen on the held-out photographs; classes need none.
    threshold: float = 0.5


@dataclass(frozen=True)
class Measured:
    """What a training was worth."""

    # By metric and reading (<metric><reading>, see READINGS), from 0 to 1.
    metrics: dict[str, float]
    # The epoch that was chosen on the held-out photographs.
    honest: Epoch


def judged(epochs: Iterable[Epoch], metrics: Callable[[Epoch], Mapping[str, float]]) -> Measured:
    """What a training was worth, by each reading of READINGS.

    Args:
        epochs: Of the training, one at least.
        metrics: Of an epoch, from 0 to 1.
    """
    chosen = chosen_epochs(epochs)
    found = {}
    for reading, epoch in chosen.items():
        found |= {f"{name}{reading}": value for name, value in metrics(epoch).items()}
    return Measured(found, chosen[""])


def chosen_epochs(epochs: Iterable[Epoch]) -> dict[str, Epoch]:
    """The epoch of each of READINGS; of equal ones the later, which has learned for longer."""
    every = iter(epochs)
    honest = best = last = next(every)
    for last in every:
        honest = last if last.held_out >= honest.held_out else honest
        best = last if last.test >= best.test else best
    return dict(zip(READINGS, (honest, last, best), strict=True))
