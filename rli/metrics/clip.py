"""CLIP (Radford et al. 2021): how well a picture and a text fit, and which of several texts fits an edit best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from rli.errors import RLIError, shortened
from rli.method.recognition import Recognised
from rli.models.checkpoint import Origin
from rli.models.loading import quietly
from rli.models.soundness import check_finite, check_report
from rli.photos.paste import bounds

# What of a region's longer side a close-up shows around it, and pixels a side that it has at least.
AROUND, SMALLEST = 0.25, 64


@dataclass(frozen=True)
class Clip:
    """Both encoders, on the CPU. Load them once, use them for every picture."""

    # transformers' CLIPModel and CLIPProcessor.
    model: Any
    processor: Any

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Tensor:
        """N prompts as (N,D) unit vectors; what is longer than the encoder reads is cut."""
        tokens = self.processor.tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt")
        return F.normalize(self.model.text_projection(self.model.text_model(**tokens)[1]), dim=-1)

    @torch.no_grad()
    def similarities(self, image: np.ndarray, texts: Tensor) -> tuple[float, ...]:
        """How well a picture fits each text.

        Args:
            image: (H,W,3) uint8; of one that is no square the middle counts.
            texts: (N,D), of `encode`.

        Returns:
            A hundred times the cosine, for each text.
        """
        pixels = self.processor.image_processor(Image.fromarray(image), return_tensors="pt")["pixel_values"]
        own = F.normalize(self.model.visual_projection(self.model.vision_model(pixels)[1]), dim=-1)
        return tuple((100 * own @ texts.T)[0].tolist())

    def recognise(self, image: np.ndarray, texts: Tensor, wanted: int, region: np.ndarray) -> Recognised | None:
        """Whether the wanted text fits what lies in a region better than the others do.

        Args:
            image: (H,W,3) uint8.
            texts: (N,D), of `encode`.
            wanted: The index of the one that was wanted.
            region: (H,W) bool.

        Returns:
            Its rank, and by how many hundredths of cosine it leads the best other; None where the region is empty, or
            there is no other.
        """
        if len(texts) == 1 or not region.any():
            return None
        found = self.similarities(close_up(image, region), texts)
        others = [value for k, value in enumerate(found) if k != wanted]
        return Recognised(1 + sum(value >= found[wanted] for value in others), found[wanted] - max(others))


def close_up(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The part of a picture that shows a region.

    Args:
        image: (H,W,3) uint8.
        region: (H,W) bool, with one pixel at least.

    Returns:
        (S,S,3) uint8: a square around the region with AROUND of its longer side on each side and SMALLEST pixels at
        least, moved to lie inside the picture. Where the picture is narrower, its whole width squeezed into a square.
    """
    box = bounds(region, 0)
    assert box is not None
    longest = max(along.stop - along.start for along in box)
    side = max(SMALLEST, round(longest * (1 + 2 * AROUND)))
    rows, columns = (_along(one, side, whole) for one, whole in zip(box, region.shape, strict=True))
    part = image[rows, columns]
    size = max(part.shape[:2])
    if part.shape[:2] == (size, size):
        return part
    return np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.BICUBIC))


def _along(inner: slice, side: int, whole: int) -> slice:
    """So many pixels around the middle of others, inside of a whole."""
    first = min(max(0, (inner.start + inner.stop - side) // 2), max(0, whole - side))
    return slice(first, min(whole, first + side))


def load_clip(weights: str, *, download: bool = True) -> Clip:
    """Loads CLIP with its processor.

    Args:
        weights: A hub id, such as openai/clip-vit-large-patch14, or a folder in transformers' layout.
        download: Whether what is not on this machine is fetched from the hub.

    Raises:
        SettingError: It cannot be had, or is something else.
    """
    from transformers import CLIPModel, CLIPProcessor

    origin, folder = Origin("clip", weights), Path(weights).expanduser()
    source: str | Path = folder if folder.exists() else weights
    options: dict[str, Any] = {"local_files_only": not download or folder.exists()}
    try:
        with quietly():
            model, report = CLIPModel.from_pretrained(
                source, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **options
            )
            processor = CLIPProcessor.from_pretrained(source, **options)
    except (MemoryError, RLIError):
        raise
    except Exception as error:  # libraries meet missing and damaged files with errors of every type
        reason = shortened(" ".join(str(error).split()) or type(error).__name__, 120)
        expected = "a folder of transformers' with CLIP in safetensors, or a hub id that this machine can reach"
        raise origin.error(f"CLIP cannot be loaded; expected {expected} ({reason})") from None
    check_report(report, origin)
    check_finite(model, origin)
    return Clip(model.eval().requires_grad_(False), processor)
