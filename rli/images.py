"""Image files ↔ tensors (1,3,H,W) float32 in [-1,1] and arrays (H,W,3) uint8."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from rli.errors import PassingError, RLIError, one_of, shown
from rli.files import look_at, write_whole

# How an image is brought to a size: stretched, or with its aspect ratio kept.
FITS = ("resize", "letterbox")
# Below this a photograph has nothing to work on.
SMALLEST = 16
# Pillow knows more: some start other programs, or read files that these name.
Image.init()
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "MPO", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
    if name in Image.OPEN
)


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
    image = _open(path)
    if min(image.size) < SMALLEST:
        raise RLIError(
            f"{shown(path)}: {image.width}×{image.height} pixels are too few to work on (at least {SMALLEST} a side)"
        )
    return to_tensor(fitted(image, height, width, fit))


def read_mask(
    path: str | Path, height: int, width: int, fit: str = "resize", photo_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Reads a mask file. Pixels brighter than half are inside, or of 1 where there are only 0 and 1; transparent
    pixels are outside.

    It is resized by nearest neighbour, so that it stays a mask. It lies on the photograph as seen after EXIF rotation.

    Args:
        path: The file.
        height: In pixels.
        width: In pixels.
        fit: As the photograph's; a letterbox's border is outside.
        photo_size: Width and height of the photograph as it is seen, which the mask must have too; None allows any.

    Returns:
        (height,width) bool.

    Raises:
        RLIError: There is no readable, complete image, or its size is not photo_size.
    """
    inside = _inside(path)
    size = inside.shape[::-1]
    if photo_size is not None and size != tuple(photo_size):
        raise RLIError(
            f"{shown(path)}: the mask has {size[0]}×{size[1]} pixels and its photograph "
            f"{photo_size[0]}×{photo_size[1]}; they must have the same size"
        )
    return mask_fitted(inside, height, width, fit)


def mask_fitted(inside: np.ndarray, height: int, width: int, fit: str = "resize") -> np.ndarray:
    """(H,W) bool brought to a size, as `fitted` brings the photograph that it lies on; a border is outside."""
    return fitted(Image.fromarray(inside.astype(np.uint8) * 255), height, width, fit, nearest=True) > 127


def read_mask_full(path: str | Path) -> np.ndarray:
    """A mask file as (H,W) bool, in its own size.

    Raises:
        RLIError: There is no readable, complete image.
    """
    return _inside(path)


def is_marked(mask: str | Path) -> bool:
    """Whether any pixel of a mask file is inside.

    Raises:
        RLIError: There is no readable, complete image.
    """
    return bool(_inside(mask).any())


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels, as seen after EXIF rotation.

    Raises:
        RLIError: There is no readable, complete image.
    """
    return _open(path).size


def fitted(image: Image.Image, height: int, width: int, fit: str = "resize", *, nearest: bool = False) -> np.ndarray:
    """An image brought to a size.

    Args:
        image: Of any mode.
        height: In pixels.
        width: In pixels.
        fit: One of FITS.
        nearest: Whether it is a mask: resized by nearest neighbour, and outside in a letterbox's border, where a
            photograph's border is repeated.

    Returns:
        (height,width,…) uint8.
    """
    one_of("fit", fit, FITS)
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    if fit == "resize":
        return np.asarray(image.resize((width, height), method))
    scale = min(width / image.width, height / image.height)
    inner = (min(width, max(1, round(image.width * scale))), min(height, max(1, round(image.height * scale))))
    array = np.asarray(image.resize(inner, method))
    top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
    edges = [(top, height - inner[1] - top), (left, width - inner[0] - left)] + [(0, 0)] * (array.ndim - 2)
    return np.pad(array, edges, mode="constant" if nearest else "edge")


def to_tensor(array: np.ndarray) -> Tensor:
    """(H,W,3) uint8 → (1,3,H,W) in [-1,1]."""
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_uint8(image: Tensor) -> np.ndarray:
    """(1,3,H,W) in [-1,1] → (H,W,3) uint8, rounded."""
    return ((image[0].permute(1, 2, 0).float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def png(array: np.ndarray) -> bytes:
    """(H,W,3) uint8, or (H,W) bool as 0/255, as a PNG."""
    data = io.BytesIO()
    Image.fromarray(array.astype(np.uint8) * 255 if array.dtype == bool else array).save(data, format="PNG")
    return data.getvalue()


def write_png(path: str | Path, array: np.ndarray) -> None:
    """Writes (H,W,3) uint8, or (H,W) bool as 0/255, whole or not at all."""
    write_whole(Path(path), png(array))


def _inside(path: str | Path) -> np.ndarray:
    """A mask file as (H,W) bool, in its own size."""
    grey = np.asarray(_open(path, behind="black").convert("L"))
    return grey > (0 if grey.max() == 1 else 127)


def _open(path: str | Path, behind: str = "white") -> Image.Image:
    """The first frame, fully decoded, upright, in 8-bit colours laid over `behind`."""
    try:
        if not look_at(path).st_size:
            raise ValueError("it is empty")
        with Image.open(path, formats=FORMATS) as image:
            image.seek(0)
            return _rgb(ImageOps.exif_transpose(image), behind)
    except RLIError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise PassingError(f"{shown(path)}: there is no such file") from None
    except Exception as error:  # decoders meet broken files with errors of every type
        kind = PassingError if _may_pass(error) else RLIError
        raise kind(f"{shown(path)} cannot be read as an image: {_reason(error)}") from None


def _may_pass(error: Exception) -> bool:
    """Whether the system failed and not the file: decoders' own errors have no number."""
    is_systems = isinstance(error, OSError) and error.errno is not None
    return is_systems or isinstance(error, MemoryError) or "out of memory" in str(error)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image"
    if isinstance(error, Image.DecompressionBombError) and (limit := Image.MAX_IMAGE_PIXELS):
        return f"it has more than {2 * limit} pixels: cut it into parts"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return shown(" ".join(reason.split()))[:120]


def _rgb(image: Image.Image, behind: str) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        if not np.isfinite(values).all():
            raise ValueError("some of its pixels are not numbers")
        # 16-bit files hold 0…65535; floating-point ones are taken as 0…1 unless they go beyond.
        top = 65535.0 if image.mode.startswith("I") else max(1.0, float(values.max()))
        return Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, behind), layered).convert("RGB")
    return image.convert("RGB")
