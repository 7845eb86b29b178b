"""TIFF files with samples that Pillow has no mode for."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from rli.images.decoded import ORIENTATION, Decoded, check_size

# It logs a line for every damaged tag; what a user can mend is said in one line by whoever reads the file.
_LOGGER = logging.getLogger("tifffile")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False
# How many channels a photograph has, by what TIFF calls its colours.
_SPACES = {
    int(tifffile.PHOTOMETRIC.MINISWHITE): "L",
    int(tifffile.PHOTOMETRIC.MINISBLACK): "L",
    int(tifffile.PHOTOMETRIC.RGB): "RGB",
}
_PROFILE, _LARGEST = 34675, 281


def is_tiff(path: str | Path) -> bool:
    """Whether the file begins as a TIFF does."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_size(path: str | Path) -> tuple[tuple[int, int], int | None]:
    """Width and height of the first page, and its orientation."""
    with tifffile.TiffFile(path) as file:
        page = _first(file)
        return (page.imagewidth, page.imagelength), _orientation(page)


def deep_tiff(path: str | Path) -> Decoded | None:
    """The first page of a TIFF.

    Args:
        path: A TIFF file.

    Returns:
        It, upright; None where its colours are none of grey and RGB, or where a further library would be needed.

    Raises:
        ValueError: Its channels are none of a photograph's, or it is too large.
    """
    with tifffile.TiffFile(path) as file:
        page = _first(file)
        if int(page.photometric) not in _SPACES or page.dtype is None:
            return None
        check_size(page.imagewidth, page.imagelength, page.samplesperpixel * page.dtype.itemsize)
        try:
            samples = page.asarray()
        except ValueError:  # of a compression that needs a further library
            return None
        tag = page.tags.get(_PROFILE)
        decoded = _decoded(page, samples, bytes(tag.value) if tag else None)
        return replace(decoded, bits=_bits(page)).turned(_orientation(page))


def _decoded(page: tifffile.TiffPage, samples: np.ndarray, profile: bytes | None) -> Decoded:
    channels = _channels_last(samples, page.axes)
    count = channels.shape[2]
    # RGB is often written without saying that it is.
    space = "RGB" if count == 3 else _SPACES[int(page.photometric)]
    if count - len(space) not in (0, 1):
        raise ValueError(f"it has {count} channels; expected grey or RGB, and alpha at most")
    has_alpha = count > len(space) and bool(page.extrasamples) and page.extrasamples[0] in (1, 2)
    channels = channels[..., : len(space) + has_alpha]
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        channels = _inverted(channels)
    return Decoded(np.ascontiguousarray(channels), space, has_alpha, profile)


def _bits(page: tifffile.TiffPage) -> int | None:
    """How many bits of a sample are used, by what the file says of its samples or of the largest."""
    tag = page.tags.get(_LARGEST)
    largest = int(np.max(tag.value)) if tag else 0
    return page.bitspersample if page.bitspersample % 8 else largest.bit_length() or None


def _first(file: tifffile.TiffFile) -> tifffile.TiffPage:
    page = file.pages.first
    if not isinstance(page, tifffile.TiffPage):
        raise ValueError("it has no first page")
    return page


def _orientation(page: tifffile.TiffPage) -> int | None:
    tag = page.tags.get(ORIENTATION)
    return int(tag.value) if tag else None


def _channels_last(samples: np.ndarray, axes: str) -> np.ndarray:
    """(H,W,C). Raises ValueError for a picture with further dimensions."""
    if axes == "SYX":
        return np.moveaxis(samples, 0, -1)
    if axes not in ("YX", "YXS"):
        raise ValueError("it has more than two dimensions; expected one picture")
    return samples.reshape(*samples.shape[:2], -1)


def _inverted(samples: np.ndarray) -> np.ndarray:
    """0 is white in it: turned round, within the range of its type."""
    return np.iinfo(samples.dtype).max - samples if samples.dtype.kind == "u" else -samples
