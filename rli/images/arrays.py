"""Arrays ↔ tensors, and arrays as PNG files."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from rli.files import write_whole

# PNG's colour type of so many channels: grey, grey and alpha, RGB, RGBA.
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def to_tensor(array: np.ndarray) -> Tensor:
    """(H,W,3) uint8 → (1,3,H,W) in [-1,1]."""
    return torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_uint8(image: Tensor) -> np.ndarray:
    """(1,3,H,W) in [-1,1] → (H,W,3) uint8, rounded."""
    return ((image[0].permute(1, 2, 0).float().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def png(array: np.ndarray, profile: bytes | None = None, bits: int | None = None) -> bytes:
    """A picture as a PNG.

    Args:
        array: (H,W) bool, as 0/255, or (H,W) or (H,W,C) uint8 or uint16: grey, grey and alpha, RGB or RGBA.
        profile: The ICC profile of its colours; None for sRGB, of which nothing is said.
        bits: Of uint16, how many bits are used, written as sBIT; None for all.

    Returns:
        The file.
    """
    if array.dtype == np.uint16:
        return _deep_png(array.reshape(*array.shape[:2], -1), profile, bits)
    values = array.astype(np.uint8) * 255 if array.dtype == bool else array
    data = io.BytesIO()
    # None would have Pillow look for a profile itself.
    options = {"icc_profile": profile} if profile else {}
    Image.fromarray(values[..., 0] if values.shape[2:] == (1,) else values).save(data, format="PNG", **options)
    return data.getvalue()


def write_png(path: str | Path, array: np.ndarray) -> None:
    """Writes (H,W,3) uint8, or (H,W) bool as 0/255, whole or not at all."""
    write_whole(Path(path), png(array))


def significant_bits(path: str | Path) -> int | None:
    """How many bits of a sample a PNG says are used, in its sBIT chunk; None where it says nothing.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8 and head[4:] != b"IDAT":
            length = int.from_bytes(head[:4], "big")
            if head[4:] == b"sBIT" and 1 <= length <= 4:
                return max(file.read(length))
            file.seek(length + 4, 1)
    return None


def _deep_png(array: np.ndarray, profile: bytes | None, bits: int | None) -> bytes:
    """(H,W,C) uint16 as a PNG: Pillow writes 16 bits of grey alone."""
    height, width, channels = array.shape
    lines = array.astype(">u2").reshape(height, -1).view(np.uint8)
    step = 2 * channels
    filtered = np.empty((height, lines.shape[1] + 1), np.uint8)
    # PNG's filter 1: each byte is kept as its difference to the pixel on its left.
    filtered[:, 0], filtered[:, 1 : step + 1] = 1, lines[:, :step]
    np.subtract(lines[:, step:], lines[:, :-step], out=filtered[:, step + 1 :])
    head = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b"")]
    if bits:
        colours = channels if channels % 2 else channels - 1  # the last of an even number is alpha
        chunks.insert(1, (b"sBIT", bytes([bits] * colours + [16] * (channels - colours))))
    if profile:
        chunks.insert(1, (b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
