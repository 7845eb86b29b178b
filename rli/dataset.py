"""Where photographs come from: the project's own samples, a file, a folder, or a data set's layout."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from rli.images import fitted, image_size, read_image, read_mask, to_tensor
from rli.types import RLIError, one_of

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif")
# Real photographs that scikit-image ships, and a drawn surface with a crack.
SAMPLES = ("brick", "gravel", "surface")


@dataclass(frozen=True)
class Photo:
    """A photograph to come: name is unique in its run and safe as a folder's name. read(height, width) → (1,3,H,W) in
    [-1,1]; mask(height, width) → (H,W) bool, None where attention is to find the region. Both raise RLIError."""

    name: str
    read: Callable[[int, int], Tensor]
    mask: Callable[[int, int], np.ndarray] | None = None


def photos(
    kind: str,
    path: str | None = None,
    *,
    mask_path: str | None = None,
    limit: int | None = None,
    fit: str = "resize",
    samples: Sequence[str] = ("surface",),
) -> list[Photo]:
    """The photographs of a source, in a fixed order, `limit` at most.

    kind: sample (scikit-image's brick and gravel, a drawn surface), image (one file), folder (images directly in it),
    mvtec_ad (defective test images of one category or of several), kolektor_sdd. mask_path: a mask file for one
    image, a folder with a mask of the same stem for several. Raises RLIError where nothing is found.
    """
    one_of("data", kind, ("sample", "image", "folder", "mvtec_ad", "kolektor_sdd"))
    one_of("data.fit", fit, ("resize", "letterbox"))
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise RLIError(f"data.limit={limit} must be a whole number of at least 1, or null")
    if kind == "sample":
        for name in samples:
            one_of("data.samples", name, SAMPLES)
        if mask_path is not None:
            raise RLIError("data.mask_path goes with data=image or data=folder, not with data=sample")
        return [Photo(name, partial(_sample, name, fit=fit)) for name in samples][:limit]
    if path is None:
        raise RLIError(f"data={kind} needs data.path: the {'photograph' if kind == 'image' else 'folder'} to read")
    files = _files(kind, Path(path).expanduser())[:limit]
    masks = _masks(files, mask_path)
    return [
        Photo(
            name,
            partial(read_image, file, fit=fit),
            None if mask is None else partial(_mask, mask, file, fit=fit),
        )
        for name, file, mask in zip(unique_names(files), files, masks, strict=True)
    ]


def unique_names(files: Iterable[Path]) -> list[str]:
    """File stems; a stem that came before, or that is no folder's name, gets a number."""
    names: list[str] = []
    for file in files:
        stem = (
            "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in file.stem).strip(" .") or "photo"
        )
        name, count = stem, 1
        while name.lower() in {n.lower() for n in names}:
            count += 1
            name = f"{stem}-{count}"
        names.append(name)
    return names


def _files(kind: str, path: Path) -> list[Path]:
    if kind == "image":
        if path.is_dir():
            raise RLIError(f"data.path={path} is a folder: use data=folder, or name a photograph")
        if not path.is_file():
            raise RLIError(f"data.path={path}: there is no such file")
        return [path]
    if not path.is_dir():
        raise RLIError(f"data.path={path}: there is no such folder")
    pattern = {"folder": "*", "mvtec_ad": "**/test/*/*", "kolektor_sdd": "**/kos*/*"}[kind]
    found = sorted(
        file
        for file in path.glob(pattern)
        if file.is_file()
        and file.suffix.lower() in SUFFIXES
        and not (kind == "mvtec_ad" and file.parent.name == "good")
        and not (kind == "kolektor_sdd" and file.stem.endswith("_label"))
    )
    if not found:
        raise RLIError(f"data.path={path}: no photographs found there ({', '.join(SUFFIXES)})")
    return found


def _masks(files: Sequence[Path], mask_path: str | None) -> list[Path | None]:
    if mask_path is None:
        return [None] * len(files)
    path = Path(mask_path).expanduser()
    if path.is_file() and len(files) == 1:
        return [path]
    if not path.is_dir():
        raise RLIError(f"data.mask_path={path}: there is no such {'file' if len(files) == 1 else 'folder'}")
    names = {file.stem: file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES}
    return [names.get(file.stem) or names.get(f"{file.stem}_mask") for file in files]


def _mask(mask: Path, photo: Path, height: int, width: int, *, fit: str) -> np.ndarray:
    return read_mask(mask, height, width, fit, photo_size=image_size(photo))


def _sample(name: str, height: int, width: int, *, fit: str) -> Tensor:
    if name == "surface":
        from rli.mini.surfaces import UNSEEN, surface

        return to_tensor(surface(UNSEEN + 1003, ("crack",), height, width).image)
    import skimage.data

    return to_tensor(fitted(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"), height, width, fit))
