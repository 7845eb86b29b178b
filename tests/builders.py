"""What tests are made of: pictures, masks, rows, results and jobs. Each builder gives the least that is valid; what a
test is about, it says itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rli.images import write_png
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings, Target, TokenMap
from rli.method.solvers.gauss_newton import GaussNewton
from rli.metrics.columns import ORIGINAL, Row
from rli.models.mini import WEIGHTS
from rli.models.mini.surfaces import UNSEEN, surface
from rli.photos.photo import Photo
from rli.runs.job import Job
from rli.store.records import EditedPhoto, PhotoResult

SOURCE = "photo of a crack defect image"
# Strings that show whether what comes from outside is escaped.
EVIL = "<script>alert(1)</script>"

# --- pictures ---------------------------------------------------------------------------------------------------------


def grey(height: int = 40, width: int = 60, level: int = 128) -> np.ndarray:
    """(H,W,3) uint8 of one grey level."""
    return np.full((height, width, 3), level, np.uint8)


def noise(height: int = 32, width: int = 48, seed: int = 0) -> np.ndarray:
    """(H,W,3) uint8 in which no pixel is like its neighbour, so that a shifted or turned picture is noticed."""
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def box(height: int = 40, width: int = 60, rows: slice | None = None, columns: slice | None = None) -> np.ndarray:
    """(H,W) bool: true in a rectangle, the upper left quarter where none is named."""
    mask = np.zeros((height, width), bool)
    mask[rows or slice(height // 2), columns or slice(width // 2)] = True
    return mask


def words(*names: str, shape: tuple[int, int] = (4, 6)) -> tuple[TokenMap, ...]:
    """One attention map for each word, growing from left to right."""
    values = np.tile(np.linspace(0, 1, shape[1], dtype=np.float32), (shape[0], 1))
    return tuple(TokenMap(name, values) for name in names)


# --- files ------------------------------------------------------------------------------------------------------------


def write_images(folder: Path, *names: str, image: np.ndarray | None = None) -> None:
    """The same picture (or mask, where bool) under each name."""
    for name in names:
        write_png(folder / name, grey() if image is None else image)


def write_surface(
    path: Path, number: int = 0, defects: Sequence[str] = ("crack",), size: tuple[int, int] = (64, 64)
) -> Path:
    """A drawn surface that the miniature has never seen, as a PNG; returns its path."""
    write_png(path, surface(UNSEEN + number, tuple(defects), *size).image)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """What every file below the folder holds, by its path relative to it."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- results ----------------------------------------------------------------------------------------------------------


def row(image: str = "plate", defect: str = "rust", resolution: str = "64", **values: Any) -> Row:
    """A line of results.csv of the miniature, with the published table's settings."""
    own = {"model": "mini", "inversion": "null_text", "alpha": 0.1, "eq": 2.0, "cross": 1.0, "replace": 0.8}
    return Row(image, defect, resolution, **{**own, "psnr": 30.0, "ssim": 0.9, **values})


def photo_result(
    name: str = "plate",
    defects: Sequence[str] = ("rust",),
    picture: np.ndarray | None = None,
    *,
    edits: Mapping[str, EditedPhoto] | None = None,
    figures: Callable[[str], Mapping[str, Any]] = lambda defect: {},
    **values: Any,
) -> PhotoResult:
    """A photograph with one edit for each defect and the rows and prompts that belong to it.

    Args:
        name: The photograph's.
        defects: The edits' names, in row order.
        picture: (H,W,3) uint8; noise where there is none.
        edits: What the edits are; where left out, the picture with its upper left quarter lighter.
        figures: From a defect's name (`original` too) to the columns of its row that matter.
        **values: Further fields of the result.
    """
    picture = noise() if picture is None else picture
    height, width = picture.shape[:2]
    mask = box(height, width)
    if edits is None:
        changed = {d: np.where(mask[..., None], 200 + k, picture).astype(np.uint8) for k, d in enumerate(defects)}
        edits = {d: EditedPhoto(changed[d], mask, words("photo", d), words("photo", "crack")) for d in defects}
    size = str(height) if height == width else f"{height}x{width}"
    rows = tuple(row(name, d, **{"resolution": size, **figures(d)}) for d in (ORIGINAL, *edits))
    prompts = {ORIGINAL: "photo of a crack", **{d: f"photo of a {d}" for d in edits}}
    given = {"rows": rows, "prompts": prompts, "losses": ((1e-3, 1e-4), (5e-4,), ()), **values}
    return PhotoResult(name, picture, picture // 2 * 2, dict(edits), **given)


# --- jobs -------------------------------------------------------------------------------------------------------------


def targets(*names: str) -> tuple[Target, ...]:
    """Defects with the prompt that names them in the source prompt's place."""
    return tuple(Target(name, SOURCE.replace("defect", name)) for name in names)


def job(cache: Path, **changes: Any) -> Job:
    """A job of few steps at 64×64 pixels: the reconstruction alone, where no targets are named."""
    common = {"model": "mini", "height": 64, "width": 64, "source": SOURCE, "targets": (), "original": True}
    inversion = InversionSettings(NullText(GaussNewton(inner_steps=1)), steps=2)
    settings = {"inversion": inversion, "edit": EditSettings(), "cache": cache}
    return Job(**{**common, **settings, **changes})


@dataclass(frozen=True)
class InMemory(Photo):
    """A photograph that is no file."""

    image: Tensor | None = None

    def read(self, height: int, width: int) -> Tensor:
        assert self.image is not None and self.image.shape[2:] == (height, width)
        return self.image


def photographs(image: Tensor, count: int) -> list[Photo]:
    """Photographs p0, p1, … of one (1,3,H,W) image, each moved eight pixels further to the right."""
    return [InMemory(f"p{k}", image=image.roll(8 * k, 3)) for k in range(count)]


def write_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP with random weights as transformers writes it, of 32 pixels, with the miniature's vocabulary."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer", local_files_only=True)
    torch.manual_seed(seed)
    widths = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length, **ends, **widths}
    vision = {"image_size": 32, "patch_size": 8, **widths}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder
