"""What a picture's file held when it was written, so that a lost, damaged or foreign one is noticed."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rli.errors import RLIError
from rli.images import read_picture


@dataclass(frozen=True)
class PictureFile:
    """The digest of a PNG."""

    # In bytes.
    size: int
    # In hexadecimal.
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> PictureFile:
        """From the file's bytes."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    def damage(self, path: Path) -> str | None:
        """What is wrong with the file, in a few words; None where it is as it was written.

        Raises:
            OSError: It is there, but cannot be read now.
        """
        if not path.is_file():
            return f"{path.name} is missing"
        if path.stat().st_size != self.size or PictureFile.of(path.read_bytes()) != self:
            return f"{path.name} is damaged, or another's"
        return None

    def rgb(self, path: Path, size: tuple[int, ...] | None = None) -> np.ndarray:
        """The pixels of a file of any mode as (H,W,3) uint8, as a viewer shows them.

        Args:
            path: Of the file.
            size: Height and width that it has to have; None allows any.

        Raises:
            RLIError: It is missing, or not what was written.
            OSError: It is there, but cannot be read now.
        """
        if damage := self.damage(path):
            raise RLIError(damage)
        pixels = read_picture(path).rgb
        if size not in (None, pixels.shape[:2]):
            raise RLIError(f"{path.name} is not of the photograph's size")
        return pixels

    def pixels(self, path: Path, mode: str, size: tuple[int, ...] | None = None) -> np.ndarray:
        """The file's pixels.

        Args:
            path: Of the file.
            mode: RGB for (H,W,3) uint8, L for (H,W) uint8.
            size: Height and width that it has to have; None allows any.

        Raises:
            RLIError: It is missing, or not what was written.
            OSError: It is there, but cannot be read now.
        """
        data = path.read_bytes() if path.is_file() else b""
        if PictureFile.of(data) != self:
            raise RLIError(self.damage(path) or f"{path.name} was changed just now")
        try:
            with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
                pixels, own = np.asarray(image), image.mode
        except Exception as error:  # decoders meet what is made up with errors of every type
            raise RLIError(f"{path.name} is no picture ({type(error).__name__})") from None
        if own != mode or size not in (None, pixels.shape[:2]):
            raise RLIError(f"{path.name} is not of the photograph's size")
        return pixels
