"""Image files as their own samples: upright, of the file's own depth, and of nothing that Pillow made of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageMode, UnidentifiedImageError

from rli.errors import PassingError, RLIError, shown
from rli.files import look_at
from rli.images.arrays import significant_bits
from rli.images.decoded import ORIENTATION, Decoded, check_size
from rli.images.deep_tiff import deep_tiff, is_tiff, tiff_size
from rli.images.kinds import is_raw, kind_of

# Pillow knows more: some start other programs, or read files that these name.
Image.init()
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "MPO", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)
# How Pillow unpacks two bytes of each colour into one, and what gives the other byte instead.
_OTHER_BYTE = {f"{mode};16{end}": f"{mode};16{other}" for mode in ("RGB", "RGBA") for end, other in ("BL", "LB", "NB")}


def decode(path: str | Path) -> Decoded:
    """Reads the first frame of an image file, turned upright as EXIF says.

    Args:
        path: The file.

    Returns:
        The file's own samples.

    Raises:
        RLIError: There is no readable, complete image, or it is too large.
        PassingError: The system could not give the file.
    """
    with said_in_one_line(path):
        _check_file(path)
        try:
            with Image.open(path, formats=FORMATS) as image:
                check_size(image.width, image.height, _bytes_per_pixel(image))
                deep = deep_tiff(path) if _is_deep_tiff(image) else None
                return deep or _by_pillow(image).turned(image.getexif().get(ORIENTATION))
        except UnidentifiedImageError:
            deep = deep_tiff(path) if is_tiff(path) else None
            if deep is None:
                raise
            return deep


def size_of(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels, as seen after EXIF rotation, from the head of the file alone.

    Raises:
        RLIError: It is no image.
    """
    with said_in_one_line(path):
        _check_file(path)
        try:
            with Image.open(path, formats=FORMATS) as image:
                size, turned = image.size, image.getexif().get(ORIENTATION)
        except UnidentifiedImageError:
            if not is_tiff(path):
                raise
            size, turned = tiff_size(path)
    return (size[1], size[0]) if turned in (5, 6, 7, 8) else size


@contextmanager
def said_in_one_line(path: str | Path, what: str = "an image") -> Iterator[None]:
    """Whatever a decoder raises becomes one line about the file; what it warns of is nothing that a user can mend."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except RLIError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise PassingError(f"{shown(path)}: there is no such file") from None
    except Exception as error:  # decoders meet broken files with errors of every type
        kind = PassingError if _may_pass(error) else RLIError
        raise kind(f"{shown(path)} cannot be read as {what}: {_reason(error, path)}") from None


def _check_file(path: str | Path) -> None:
    """Raises ValueError for an empty file, and UnidentifiedImageError for one that Pillow finds but a preview in."""
    if not look_at(path).st_size:
        raise ValueError("it is empty")
    if is_raw(path):
        raise UnidentifiedImageError


def _bytes_per_pixel(image: ImageFile.ImageFile) -> int:
    mode = ImageMode.getmode(image.mode)
    return len(mode.bands) * np.dtype(mode.typestr).itemsize * (2 if _packing(image)[0] in _OTHER_BYTE else 1)


def _is_deep_tiff(image: Image.Image) -> bool:
    bits = getattr(image, "tag_v2", {}).get(258, (8,))
    return image.format == "TIFF" and any(bit > 8 for bit in (bits if isinstance(bits, tuple) else (bits,)))


def _may_pass(error: Exception) -> bool:
    """Whether the system failed and not the file: decoders' own errors have no number."""
    is_systems = isinstance(error, OSError) and error.errno is not None
    return is_systems or isinstance(error, MemoryError) or "out of memory" in str(error)


def _reason(error: Exception, path: str | Path) -> str:
    if isinstance(error, UnidentifiedImageError):
        known = kind_of(path)
        return f"it is {known}" if known else "it is not an image"
    if isinstance(error, Image.DecompressionBombError) and (limit := Image.MAX_IMAGE_PIXELS):
        return f"it has more than {2 * limit} pixels: cut it into parts"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return shown(" ".join(reason.split()))[:120]


def _by_pillow(image: ImageFile.ImageFile) -> Decoded:
    image.seek(0)
    profile = image.info.get("icc_profile") or None
    is_lossy = image.format in ("JPEG", "MPO", "WEBP", "JPEG2000", "AVIF")
    if (deep := _sixteen_bit_colours(image)) is not None:
        return Decoded(deep, "RGB", deep.shape[2] == 4, profile, bits=_bits(image))
    indices = np.asarray(image) if image.mode == "P" else None
    mode = _plain_mode(image)
    plain = image if image.mode == mode else image.convert(mode)
    samples = np.asarray(plain)
    if samples.dtype == bool:
        samples = samples.astype(np.uint8) * 255
    elif plain.mode.startswith("I") and samples.min() >= 0 and samples.max() <= 65535:
        samples = samples.astype(np.uint16, copy=False)
    channels = samples.reshape(*samples.shape[:2], -1)
    space = plain.mode.removesuffix("A") if plain.mode in ("LA", "RGB", "RGBA", "CMYK", "LAB") else "L"
    bits = _bits(image) if samples.dtype == np.uint16 else None
    return Decoded(channels, space, plain.mode in ("LA", "RGBA"), profile, indices, bits, is_lossy)


def _plain_mode(image: Image.Image) -> str:
    """The mode with the same values that has no palette and no colour that stands for transparency."""
    if image.mode in ("P", "PA"):
        sees_through = image.mode == "PA" or "transparency" in image.info
        return "RGBA" if sees_through or (image.palette and image.palette.mode == "RGBA") else "RGB"
    if "transparency" in image.info and image.mode in ("L", "RGB"):
        return {"L": "LA", "RGB": "RGBA"}[image.mode]
    return {"RGBa": "RGBA", "La": "LA", "YCbCr": "RGB", "HSV": "RGB", "RGBX": "RGB"}.get(image.mode, image.mode)


def _sixteen_bit_colours(image: ImageFile.ImageFile) -> np.ndarray | None:
    """(H,W,3) or (H,W,4) uint16 of a file whose colours have 16 bits, of which Pillow keeps 8; None for any other.

    It is decoded twice: once for the high bytes, and once as if the bytes came in the other order.
    """
    mode, *options = _packing(image)
    if mode not in _OTHER_BYTE or "transparency" in image.info:
        return None
    tile, other = image.tile[0], _OTHER_BYTE[mode]
    path = image.filename
    high = np.asarray(image).astype(np.uint16) << 8
    with Image.open(path, formats=FORMATS) as again:
        again.tile = [tile._replace(args=(other, *options) if options else other)]
        return high | np.asarray(again)


def _bits(image: ImageFile.ImageFile) -> int | None:
    """How many bits of a sample are used, where a TIFF or a PNG says so."""
    if image.format == "TIFF":
        bits = max(getattr(image, "tag_v2", {}).get(258, (16,)))
        return bits if bits % 8 else None
    return significant_bits(os.fsdecode(image.filename)) if image.format == "PNG" else None


def _packing(image: ImageFile.ImageFile) -> tuple[Any, ...]:
    """How the file's bytes are unpacked: the mode, by Pillow's name, and options of the decoder."""
    if len(image.tile) != 1 or not image.tile[0].args:
        return ("",)
    packed = image.tile[0].args
    return (packed,) if isinstance(packed, str) else packed
