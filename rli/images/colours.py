"""Colours of any colour space and ICC profile ↔ sRGB."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

# What an ICC profile calls the colour space of its numbers, and how many there are, by Pillow's mode.
_PROFILE_SPACES = {"L": ("GRAY", 1), "RGB": ("RGB ", 3), "CMYK": ("CMYK", 4), "LAB": ("Lab ", 3)}


@dataclass(frozen=True)
class Colours:
    """How a file's 8-bit colours are shown, and which colours of the file are shown so."""

    # L, RGB, CMYK or LAB.
    space: str
    # The ICC profile of its numbers; None where they are those of sRGB.
    profile: bytes | None = None
    # Why the file's own profile is not used; "" where it is, or there is none.
    ignored: str = ""

    def to_srgb(self, values: np.ndarray) -> np.ndarray:
        """(H,W,C) uint8 of the file → (H,W,3) uint8 in sRGB. Grey stays grey."""
        if self.space == "RGB" and not self.profile:
            return values
        if self.space == "L" and not self.profile:
            return _in_three(values)
        shown = _converted(_image(values, self.space), self._opened(), "RGB")
        return _in_three(shown[..., 1:2]) if self.space == "L" else shown

    def from_srgb(self, rgb: np.ndarray) -> np.ndarray:
        """(H,W,3) uint8 in sRGB → (H,W,C) uint8 of a file in grey or RGB."""
        if self.space == "RGB" and not self.profile:
            return rgb
        image, own = _image(rgb, "RGB"), self._opened()
        if own is None:
            return np.asarray(image.convert(self.space)).reshape(*rgb.shape[:2], -1)
        made = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), own, outputMode=self.space)
        return np.asarray(made).reshape(*rgb.shape[:2], -1)

    def _opened(self) -> ImageCms.ImageCmsProfile | None:
        if self.profile:
            return ImageCms.ImageCmsProfile(io.BytesIO(self.profile))
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")) if self.space == "LAB" else None


def colours_of(space: str, profile: bytes | None) -> Colours:
    """The colours of a file.

    Args:
        space: L, RGB, CMYK or LAB.
        profile: Its ICC profile. One that is damaged or of another colour space is not used, nor is sRGB's own.
    """
    if not profile:
        return Colours(space)
    expected, channels = _PROFILE_SPACES[space]
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if (found := opened.profile.xcolor_space) != expected:
            why = f"its colour profile is for {found.strip()} colours, which it does not have: shown without it"
            return Colours(space, ignored=why)
        if "srgb" in (opened.profile.profile_description or "").lower():
            return Colours(space)
        _converted(_image(np.zeros((1, 1, channels), np.uint8), space), opened, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return Colours(space, ignored="its colour profile is damaged: shown without it")
    return Colours(space, profile)


def _in_three(level: np.ndarray) -> np.ndarray:
    """(H,W,1) as (H,W,3), channel by channel: for large pictures ten times as fast as to repeat each pixel."""
    rgb = np.empty((*level.shape[:2], 3), np.uint8)
    for channel in range(3):
        rgb[..., channel] = level[..., 0]
    return rgb


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile | None, mode: str) -> np.ndarray:
    if profile is None:
        return np.asarray(image.convert(mode))
    return np.asarray(ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode=mode))


def _image(values: np.ndarray, space: str) -> Image.Image:
    flat = np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values)
    return Image.frombytes(space, (flat.shape[1], flat.shape[0]), flat.tobytes())
