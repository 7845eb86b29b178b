"""Photographs at their own size: as a viewer shows them, and written back as they are where nothing was changed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from rli.errors import RLIError, shown
from rli.images.arrays import png, to_tensor
from rli.images.colours import Colours, colours_of
from rli.images.decoding import Decoded, decode, said_in_one_line, size_of
from rli.images.depth import guess_of, scale_of, to_eight_bits
from rli.images.sizes import fitted

# Below this a photograph has nothing to work on.
SMALLEST = 16
# How bright red, green and blue are (ITU-R BT.601, as Pillow has it).
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Picture:
    """A photograph at its own size, upright."""

    # (H,W,3) uint8: as any viewer shows it, in sRGB and over white where it is transparent.
    rgb: np.ndarray
    # (H,W,C) uint8 or uint16, grey or RGB, with alpha or without: the file's own samples. Where PNG has no such samples
    # (CMYK, LAB, floating-point or negative numbers), what is shown instead.
    samples: np.ndarray
    # The sample that is shown as white: 255, or 4095 where 12 bits lie in a file of 16.
    white: int
    # How the samples are shown.
    colours: Colours
    # What was done with the file that its owner may want to know, a line each.
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    @property
    def has_alpha(self) -> bool:
        return self.samples.shape[2] in (2, 4)

    @property
    def is_grey(self) -> bool:
        """Whether it shows no colour, whatever its file could hold."""
        return self.colours.space == "L" or is_grey(self.rgb)

    def pasted(self, edited: np.ndarray, weights: np.ndarray) -> Picture:
        """The picture with an edit in it.

        The edit's difference to what is shown is added to the file's own samples, so that 16 bits keep their finer
        steps wherever little changes. Alpha stays as it is, and a grey picture takes the difference's luminance alone.

        Args:
            edited: (H,W,3) uint8 in sRGB.
            weights: (H,W) in [0,1], how much of the difference is taken. Where it is 0, samples stay the file's own.

        Returns:
            The picture, with samples of the same kind.
        """
        touched = weights > 0
        if not touched.any():
            return self
        box = _bounds(touched)
        own = self.samples[box]
        count = own.shape[2] - self.has_alpha
        change = self._change(edited[box], box) * weights[box][..., None]
        if self.has_alpha:
            alpha = own[..., -1:] / np.iinfo(own.dtype).max
            change = change / np.maximum(alpha, 1e-6) * (alpha > 0)
        new = own.copy()
        changed = (own[..., :count] + change * (self.white / 255)).round().clip(0, self.white).astype(own.dtype)
        new[..., :count] = np.where(touched[box][..., None], changed, own[..., :count])
        samples, rgb = self.samples.copy(), self.rgb.copy()
        samples[box] = new
        rgb[box] = _shown(new, self.white, self.colours, self.has_alpha)
        return replace(self, samples=samples, rgb=rgb)

    def png(self) -> bytes:
        """The samples as a PNG, with the file's colour profile, and with their depth where it is not all of 16 bits."""
        bits = self.white.bit_length()
        return png(self.samples, self.colours.profile, bits if 8 < bits < 16 else None)

    def _change(self, edited: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
        """The difference of an edit to what is shown, in the file's colours at 8 bits: float32."""
        shown_now = self.rgb[box]
        if self.is_grey:
            edited, shown_now = to_grey(edited), to_grey(shown_now)
        before, after = self.colours.from_srgb(shown_now), self.colours.from_srgb(edited)
        return after.astype(np.float32) - before


def read_picture(path: str | Path) -> Picture:
    """Reads a photograph of any mode at its own size: turned as EXIF says, in sRGB, of several frames the first.

    Args:
        path: The file.

    Returns:
        The picture.

    Raises:
        RLIError: There is no readable, complete image, or it is smaller than 16 pixels a side.
    """
    with said_in_one_line(path):
        picture = _picture(decode(path))
    height, width = picture.size
    if min(height, width) < SMALLEST:
        raise RLIError(f"{shown(path)}: {width}×{height} pixels are too few to work on (at least {SMALLEST} a side)")
    return picture


def read_image(path: str | Path, height: int, width: int, fit: str = "resize") -> Tensor:
    """Reads a photograph of any mode: 8 or 16 bit, grey, palette, CMYK. Alpha is laid over white, EXIF rotation is
    applied, and of several frames the first is read.

    Args:
        path: The file.
        height: In pixels.
        width: In pixels.
        fit: How it is brought to that size: resize stretches; letterbox keeps the aspect ratio and repeats the border.

    Returns:
        (1,3,height,width) float32 in [-1,1].

    Raises:
        RLIError: There is no readable, complete image, or it is smaller than 16 pixels a side.
    """
    return to_tensor(fitted(read_picture(path).rgb, height, width, fit))


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels, as seen after EXIF rotation; the file's head alone is read.

    Raises:
        RLIError: There is no image.
    """
    return size_of(path)


def is_grey(rgb: np.ndarray) -> bool:
    """Whether no pixel of (H,W,3) has a colour."""
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def to_grey(rgb: np.ndarray) -> np.ndarray:
    """(H,W,3) uint8 without its colours: its luminance in all three channels."""
    level = (rgb @ LUMINANCE).round().astype(np.uint8)
    return np.repeat(level[..., None], 3, axis=2)


def _picture(decoded: Decoded) -> Picture:
    black, white = scale_of(decoded.colours, decoded.bits)
    colours = colours_of(decoded.space, decoded.profile)
    remarks = tuple(filter(None, (guess_of(decoded.colours, white), colours.ignored)))
    keeps = decoded.samples.dtype in (np.uint8, np.uint16) and decoded.space in ("L", "RGB") and black == 0
    if keeps:
        rgb = _shown(decoded.samples, int(white), colours, decoded.has_alpha)
        return Picture(rgb, decoded.samples, int(white), colours, remarks)
    values = to_eight_bits(decoded.samples, black, white)
    rgb = _shown(values, 255, colours, decoded.has_alpha)
    if decoded.space == "L":
        return Picture(rgb, rgb[..., :1], 255, Colours("L"), remarks)
    return Picture(rgb, rgb, 255, Colours("RGB"), remarks)


def _shown(samples: np.ndarray, white: int, colours: Colours, has_alpha: bool) -> np.ndarray:
    """(H,W,3) uint8 in sRGB, over white."""
    if not has_alpha:
        return colours.to_srgb(to_eight_bits(samples, 0, white))
    rgb = colours.to_srgb(to_eight_bits(samples[..., :-1], 0, white))
    alpha = to_eight_bits(samples[..., -1:], 0, np.iinfo(samples.dtype).max)
    layered = Image.fromarray(np.dstack([rgb, alpha]))
    return np.asarray(Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB"))


def _bounds(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of the least box that holds every true pixel of (H,W) bool."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
