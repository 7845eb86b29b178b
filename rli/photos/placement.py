"""Where photographs without a defect get one: in drawn shapes, or in masks of the data set's own defects."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rli.errors import RLIError, SettingError, shown
from rli.images import read_mask_full
from rli.photos.pairing import truths_in
from rli.photos.photo import GOOD, Photo, Placed
from rli.photos.placement_part import found_part
from rli.photos.placement_settings import PARTS, Placement, Pool, Shapes
from rli.photos.placement_shapes import SHAPES, SHORTEST, moved
from rli.photos.placement_spots import Spot, across_edge, inside_part

# A region that finds no room is made smaller by this factor, so often at most.
SMALLER, TIMES = 0.75, 8
# Masks of a category that a pool holds, and those that one photograph may choose from.
MOST_MASKS, CHOICE = 200, 12


@dataclass(frozen=True)
class PhotoPlace:
    """Where one photograph's new defect goes: as its name and the seed say, and nothing else."""

    settings: Placement
    seed: int
    # Of a pool: photographs whose masks it may take, in this order.
    donors: tuple[Photo, ...] = ()
    # The mask of the part; None where none is given.
    part_file: Path | None = None

    @property
    def stamp(self) -> str:
        """Changes when the settings or one of the files do."""
        own = {"seed": self.seed, "kind": type(self.settings).__name__, **asdict(self.settings)}
        files = [donor.truth_file for donor in self.donors] + [self.part_file]
        times = [(file.name, file.stat().st_mtime_ns) for file in files if file is not None and file.is_file()]
        return json.dumps([own, times], sort_keys=True)

    def at(self, photo: Photo, rgb: np.ndarray) -> Placed:
        """The regions of a photograph.

        Args:
            photo: The photograph.
            rgb: The same, (H,W,3) uint8.

        Returns:
            The regions' union and what the manifest says of them.

        Raises:
            RLIError: The part's mask cannot be read or is empty, no mask of the pool can be used, or there is no room.
        """
        rng = np.random.default_rng(_number(self.seed, photo.name))
        part = self._part(photo, rgb)
        taken = np.zeros_like(part)
        spots: list[Spot] = []
        low, high = self.settings.count
        for _ in range(rng.integers(low, high + 1)):
            spot = self._spot(rng, photo, part, taken)
            spots.append(spot)
            taken[spot.slices] |= spot.mask
        return Placed(taken, json.dumps([spot.told() for spot in spots], ensure_ascii=False))

    def _part(self, photo: Photo, rgb: np.ndarray) -> np.ndarray:
        if self.settings.part == "everywhere":
            return np.ones(rgb.shape[:2], bool)
        if self.settings.part == "found":
            return found_part(rgb)
        if self.part_file is None:
            raise RLIError(f"{photo.name}: {shown(self.settings.part)} holds no mask of its part")
        part = read_mask_full(self.part_file)
        if part.shape != rgb.shape[:2]:
            raise RLIError(f"{shown(self.part_file)}: the mask of the part and its photograph must have the same size")
        if not part.any():
            raise RLIError(f"{shown(self.part_file)}: the mask of the part is empty, so nothing could be placed in it")
        return part

    def _spot(self, rng: np.random.Generator, photo: Photo, part: np.ndarray, taken: np.ndarray) -> Spot:
        """A region that finds room, made smaller where it must be."""

        from scipy import ndimage  # here, because SciPy takes a while to load

        free = part if self.settings.overlap else part & ~ndimage.binary_dilation(taken, iterations=2)
        seed = rng.integers(2**63)
        for k in range(TIMES):
            # The same draw each time, so that it is the same region, smaller.
            origin, mask, how = self._drawn(np.random.default_rng(seed), photo, part.shape, SMALLER**k)
            if not mask.any():
                break
            place = across_edge if origin == "edge" else inside_part
            found = place(rng, mask, part, free)
            if found is not None:
                return Spot(origin, *found, how)
        raise RLIError(f"{photo.name}: there is no room for a further region in its part; lower placement.count")

    def _drawn(
        self, rng: np.random.Generator, photo: Photo, shape: tuple[int, ...], smaller: float
    ) -> tuple[str, np.ndarray, dict[str, Any]]:
        if isinstance(self.settings, Shapes):
            kind = str(rng.choice(np.array(self.settings.shapes)))
            length = max(SHORTEST, _between(rng, self.settings.size) * min(shape) * smaller)
            return kind, SHAPES[kind](rng, length), {"length": round(length, 1)}
        assert isinstance(self.settings, Pool)
        scale = _between(rng, self.settings.scale) * smaller
        turn = float(rng.uniform(0, 360)) if self.settings.turn else 0.0
        is_flipped = self.settings.flip and bool(rng.integers(2))
        how = {"flipped": is_flipped, "turn": round(turn, 1), "scale": round(scale, 3)}
        for donor in _shuffled(rng, self.donors):
            mask = _mask_of(donor)
            if mask is not None:
                region = moved(mask, is_flipped=is_flipped, turn=turn, scale=scale, margin=self.settings.margin)
                return donor.name, region, how
        raise RLIError(f"{photo.name}: none of the masks chosen for it can be read and marks a defect")


@dataclass(frozen=True)
class Placer:
    """Gives photographs their places."""

    settings: Placement
    seed: int
    # By category: photographs whose masks may be taken; all of them under None.
    pool: Mapping[str | None, tuple[Photo, ...]] = field(default_factory=dict)

    def placed(self, photo: Photo) -> Photo:
        """The photograph with a place, where it has no defect and nothing says where an edit may change it.

        One of unknown class and without a mask counts as good: whoever asks for placement has good photographs.
        """
        is_good = photo.label == GOOD or (not photo.label and not photo.markings)
        if not is_good or photo.region_file is not None:
            return photo
        donors = self.pool.get(photo.category) or self.pool.get(None, ())
        chosen = heapq.nsmallest(CHOICE, donors, key=lambda donor: _number(self.seed, photo.name, donor.name))
        return replace(photo, label=GOOD, place=PhotoPlace(self.settings, self.seed, tuple(chosen), self._file(photo)))

    def _file(self, photo: Photo) -> Path | None:
        """The mask of the photograph's part."""
        if self.settings.part in PARTS:
            return None
        *above, last = [part for part in PurePosixPath(photo.source or photo.name).parts if part not in ("/", "//")]
        if ".." in above:
            return None
        return next(iter(truths_in(Path(self.settings.part).expanduser().joinpath(*above)).masks_of(last)), None)


def placer(settings: Placement, seed: int, photos: Iterable[Photo]) -> Placer:
    """A placer, and for a pool the masks that it takes from; no file is opened.

    Args:
        settings: What is wanted.
        seed: The run's.
        photos: The data set, gone through once where a pool is wanted.

    Raises:
        SettingError: A pool is wanted, and no photograph has the mask of a defect.
    """
    if not isinstance(settings, Pool):
        return Placer(settings, seed)
    pool: dict[str | None, list[tuple[int, str, Photo]]] = {}
    for photo in _donors(photos, settings.classes):
        rank = -_number(seed, "pool", photo.name)
        for category in {photo.category, None}:
            kept = pool.setdefault(category, [])
            entry = (rank, photo.name, photo)
            if len(kept) < MOST_MASKS:
                heapq.heappush(kept, entry)
            elif rank > kept[0][0]:
                heapq.heapreplace(kept, entry)
    if not pool:
        problem = "no photograph has the mask of a defect to take; placement=shapes draws regions"
        raise SettingError("placement", "pool", problem)
    return Placer(settings, seed, {category: tuple(photo for _, _, photo in kept) for category, kept in pool.items()})


def _donors(photos: Iterable[Photo], classes: Sequence[str] | None) -> Iterator[Photo]:
    """The photographs with masks of their own defects, of the wanted classes."""
    for photo in photos:
        is_wanted = classes is None or photo.label in classes
        if photo.markings and photo.label != GOOD and not photo.problem and is_wanted:
            yield photo


def _mask_of(donor: Photo) -> np.ndarray | None:
    """A photograph's defects at its own size; None where nothing is marked, or it cannot be read."""
    try:
        size = donor.size()
        mask = donor.truth(*size) if size else None
    except RLIError:
        return None
    return mask if mask is not None and mask.any() else None


def _between(rng: np.random.Generator, ends: Sequence[float]) -> float:
    low, high = ends
    return float(rng.uniform(low, high))


def _shuffled(rng: np.random.Generator, donors: Sequence[Photo]) -> list[Photo]:
    return [donors[k] for k in rng.permutation(len(donors))]


def _number(*words: object) -> int:
    """A number that follows from the words."""
    text = "\0".join(map(str, words))
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:8])
