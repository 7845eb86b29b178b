"""What an image file holds, whoever decoded it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

# The most that is decoded; beside it, Pillow has a limit of pixels.
MOST_BYTES = 2**30
# EXIF's and TIFF's tag of how a picture is turned, and what turns it upright.
ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda array: np.rot90(array, 2),
    4: np.flipud,
    5: lambda array: np.swapaxes(array, 0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.swapaxes(np.rot90(array, 2), 0, 1),
    8: np.rot90,
}


@dataclass(frozen=True, eq=False)
class Decoded:
    """The first frame of an image file."""

    # (H,W,C) of integers or floating-point numbers.
    samples: np.ndarray
    # What the channels are, before alpha: L, RGB, CMYK or LAB.
    space: str
    has_alpha: bool = False
    # The file's ICC profile; None where there is none.
    profile: bytes | None = None
    # Of a palette picture, the (H,W) numbers of its colours; None of any other.
    indices: np.ndarray | None = None
    # How many bits of each sample are used, where the file says that it is not all of them.
    bits: int | None = None
    # Whether the file's format may have blurred what was written.
    is_lossy: bool = False

    @property
    def colours(self) -> np.ndarray:
        """The samples without alpha."""
        return self.samples[..., : self.samples.shape[2] - self.has_alpha]

    def turned(self, orientation: int | None) -> Decoded:
        """Upright, where it is turned as EXIF's orientation says."""
        turn = _UPRIGHT.get(orientation or 1)
        if turn is None:
            return self
        indices = None if self.indices is None else turn(self.indices)
        return replace(self, samples=np.ascontiguousarray(turn(self.samples)), indices=indices)


def check_size(width: int, height: int, bytes_per_pixel: int) -> None:
    """Refuses what would fill the memory, before it is decoded.

    Raises:
        DecompressionBombError: It has more than twice the pixels at which Pillow warns.
        ValueError: It takes more than MOST_BYTES.
    """
    if Image.MAX_IMAGE_PIXELS and width * height > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    if width * height * bytes_per_pixel > MOST_BYTES:
        gib = width * height * bytes_per_pixel / 2**30
        raise ValueError(f"it takes {gib:.1f} GiB when decoded, more than {MOST_BYTES / 2**30:.0f}: cut it into parts")
