"""Where photographs come from: the project's own samples, a file, a folder, a data set's layout, or a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from rli.errors import RLIError, one_of, whole
from rli.images import fitted, image_size, read_image, read_mask, shown, to_tensor
from rli.photos import listing as lists
from rli.photos.folders import GOOD, SUFFIXES, Found, Twins, in_folder, in_kolektor_sdd, in_mvtec_ad, mask_of
from rli.photos.listing import in_list
from rli.photos.naming import as_text, safe

KINDS = ("sample", "image", "folder", "mvtec_ad", "kolektor_sdd", "list")
# Real photographs that scikit-image ships, and drawn surfaces with a crack.
SAMPLES = ("brick", "gravel", "surface", *(f"surface-{k}" for k in range(1, 100)))

Read = Callable[[int, int], Tensor]
ReadMask = Callable[[int, int], np.ndarray]


@dataclass(frozen=True)
class Photo:
    """A photograph to come. read(height, width) → (1,3,H,W) in [-1,1]; masks (height, width) → (H,W) bool; both raise
    RLIError in one line.

    name: unique in its source, safe as a path of one or more folders with / between. mask: the region that may change,
    None where attention is to find it. stamp changes when the files do, or what is done with them. file: None for
    samples. truth: where the photograph's own defect is, None where nothing says so; truth_file: its file. label: the
    defect's class, "good" where there is none, "" where it is not known. category: of MVTec AD. split: train, test or
    val; a list may say what it will. source: its path relative to data.path (or to a list's folder), with /.
    """

    name: str
    read: Read
    mask: ReadMask | None = None
    stamp: str = ""
    file: Path | None = None
    truth: ReadMask | None = None
    truth_file: Path | None = None
    label: str = ""
    category: str = ""
    split: str = ""
    source: str = ""


@dataclass(frozen=True)
class PhotoSource:
    """Photographs that can be gone through any number of times, in a fixed order, `limit` at most; each time they are
    found anew, one by one, and none is kept."""

    find: Callable[[], Iterator[Any]]
    make: Callable[[Any], Photo]
    limit: int | None = None

    def __iter__(self) -> Iterator[Photo]:
        return map(self.make, islice(self.find(), self.limit))

    def count(self) -> int:
        """How many there are, without opening a photograph (kolektor_sdd: masks are opened)."""
        return sum(1 for _ in islice(self.find(), self.limit))


def photos(
    kind: str,
    path: str | None = None,
    *,
    mask_path: str | None = None,
    limit: int | None = None,
    fit: str = "resize",
    samples: Sequence[str] = ("surface",),
    truth_path: str | None = None,
    region: str = "attention",
    recursive: bool = True,
    good: bool = False,
) -> PhotoSource:
    """The photographs of a source. Raises RLIError at once for a source that is not there or holds none; what is wrong
    with a single photograph comes when that is read.

    kind: sample (scikit-image's brick and gravel; drawn surfaces, surface and surface-1 to -99), image (one file),
    folder (any depth, or directly in it where not recursive), mvtec_ad (one category or several), kolektor_sdd, list
    (CSV or Parquet). mask_path, truth_path: masks of the region that may change, and of the photograph's own defect: a
    file for one image; for several a folder with a mask of the same stem in the same place. region: truth lets change
    what the truth marks, where nothing else is said and the photograph is not good. good: mvtec_ad and kolektor_sdd
    give their good photographs too.
    """
    one_of("data", kind, KINDS)
    one_of("data.fit", fit, ("resize", "letterbox"))
    one_of("data.region", region, ("attention", "truth"))
    for key, value in (("recursive", recursive), ("good", good)):
        if not isinstance(value, bool):
            raise RLIError(f"data.{key}={value} is not known: choose true or false")
    if limit is not None:
        whole("data.limit", limit, 1, 2**63 - 1)
    if kind in ("sample", "list") and (mask_path or truth_path):
        instead = "has none" if kind == "sample" else "names its own, in columns region and mask"
        raise RLIError(f"data.mask_path and data.truth_path do not go with data={kind}, which {instead}")
    if kind == "sample":
        names = _samples(samples)
        return PhotoSource(partial(iter, names), partial(_sample, fit=fit, region=region), limit)
    root = _root(kind, path)
    masks = Twins(_masks("truth_path", truth_path, kind, root), _masks("mask_path", mask_path, kind, root))
    find = {
        "image": partial(_image, root, masks),
        "folder": partial(in_folder, root, masks, recursive),
        "mvtec_ad": partial(in_mvtec_ad, root, masks, good),
        "kolektor_sdd": partial(in_kolektor_sdd, root, masks, good),
        "list": partial(in_list, root),
    }[kind]
    if next(find(), None) is None:
        wanted = {
            "mvtec_ad": "test/<class>/<photograph>, or folders of categories that hold that",
            "list": "it has no rows",
        }.get(kind, ", ".join(SUFFIXES))
        raise RLIError(f"data.path={shown(root)}: no photographs found there ({wanted})")
    return PhotoSource(find, partial(_photo, fit=fit, region=region), limit)


def _root(kind: str, path: str | None) -> Path:
    if path is None:
        what = {"image": "photograph", "list": "CSV or Parquet file"}.get(kind, "folder")
        raise RLIError(f"data={kind} needs data.path: the {what} to read")
    root = Path(path).expanduser()
    if kind not in ("image", "list"):
        if not root.is_dir():
            raise RLIError(f"data.path={shown(root)}: there is no such folder")
        return root
    if root.is_dir():
        raise RLIError(f"data.path={shown(root)} is a folder: use data=folder, or name a file")
    if not root.is_file():
        raise RLIError(f"data.path={shown(root)}: there is no such file")
    if kind == "list" and root.suffix.lower() not in lists.SUFFIXES:
        raise RLIError(f"data.path={shown(root)}: a list ends in {', '.join(lists.SUFFIXES)}")
    return root


def _masks(key: str, path: str | None, kind: str, root: Path) -> Path | None:
    if path is None:
        return None
    masks = Path(path).expanduser()
    if not masks.is_dir() and not (kind == "image" and masks.is_file()):
        what = "file or folder" if kind == "image" else "folder"
        raise RLIError(f"data.{key}={shown(masks)}: there is no such {what}")
    if kind != "image" and masks.samefile(root):
        raise RLIError(f"data.{key} is data.path itself: masks that lie beside their photographs are found without it")
    return masks


def _image(path: Path, masks: Twins) -> Iterator[Found]:
    def one(mask: Path | None) -> Path | None:
        return mask_of(path, mask) if mask and mask.is_dir() else mask

    truth = one(masks.truth) if masks.truth else mask_of(path)
    yield Found(safe(path.name), path, as_text(path.name), truth=truth, region=one(masks.region))


def _photo(found: Found, *, fit: str, region: str) -> Photo:
    is_region = region == "truth" and found.label != GOOD
    allowed = found.region or (found.truth if is_region else None)
    files = ("photo", found.file), ("region", allowed), ("truth", found.truth)
    return Photo(
        name=found.name,
        read=partial(_refuse, found.problem) if found.problem else partial(read_image, found.file, fit=fit),
        mask=partial(_region, allowed, found.file, fit=fit) if allowed else None,
        stamp=" ".join([fit, *(f"{what} {_stamp(file)}" for what, file in files if file)]),
        file=found.file,
        truth=partial(_mask, found.truth, found.file, fit=fit) if found.truth else None,
        truth_file=found.truth,
        label=found.label,
        category=found.category,
        split=found.split,
        source=found.source,
    )


def _stamp(file: Path) -> str:
    try:
        told = file.stat()
    except (OSError, ValueError):
        return file.name
    return f"{file.name} {told.st_size} {told.st_mtime_ns}"


def _refuse(problem: str, height: int, width: int) -> Tensor:
    raise RLIError(problem)


def _mask(mask: Path, photo: Path, height: int, width: int, *, fit: str) -> np.ndarray:
    return read_mask(mask, height, width, fit, photo_size=image_size(photo))


def _region(mask: Path, photo: Path, height: int, width: int, *, fit: str) -> np.ndarray:
    inside = _mask(mask, photo, height, width, fit=fit)
    if not inside.any():
        raise RLIError(f"{shown(mask)} marks nothing at {width}×{height} pixels: there is nothing that may change")
    return inside


def _samples(names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise RLIError(f"data.samples={names} must be a list: [{names}]")
    for name in names:
        if name not in SAMPLES:
            raise RLIError(f"data.samples: {name} is not known: choose brick, gravel, surface or surface-1 to -99")
        if names.count(name) > 1:
            raise RLIError(f"data.samples names {name} twice")
    if not names:
        raise RLIError("data.samples is empty: name brick, gravel, surface or surface-1 to -99")
    return tuple(names)


def _sample(name: str, *, fit: str, region: str) -> Photo:
    stamp = f"{fit} {region}"
    if not name.startswith("surface"):
        return Photo(name, partial(_shipped, name, fit=fit), stamp=stamp, source=name)
    truth = partial(_drawn_mask, name)
    mask = truth if region == "truth" else None
    return Photo(name, partial(_drawn_image, name), mask, stamp, truth=truth, label="crack", source=name)


def _drawn(name: str, height: int, width: int) -> Any:
    from rli.models.mini.surfaces import UNSEEN, surface

    seed = UNSEEN + 1003 + 1000 * int(name.removeprefix("surface").removeprefix("-") or 0)
    return surface(seed, ("crack",), height, width)


def _drawn_image(name: str, height: int, width: int) -> Tensor:
    return to_tensor(_drawn(name, height, width).image)


def _drawn_mask(name: str, height: int, width: int) -> np.ndarray:
    return _drawn(name, height, width).mask


def _shipped(name: str, height: int, width: int, *, fit: str) -> Tensor:
    import skimage.data

    return to_tensor(fitted(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"), height, width, fit))
