"""What files are that are no images Pillow reads, by how they begin, and what to do with them."""

from __future__ import annotations

from pathlib import Path

# How far files are looked into.
_HEAD = 512
_UNPACK = "unpack it, and name the folder"
_CONVERT = "convert it to PNG, JPEG or TIFF"
# At which byte a file has which bytes, what it is then, and what to do.
_BEGINNINGS: tuple[tuple[int, bytes, str, str], ...] = (
    *((4, b"ftyp" + brand, "a HEIC photograph", _CONVERT) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc")),
    *((4, b"ftyp" + brand, "a HEIF photograph", _CONVERT) for brand in (b"mif1", b"msf1", b"heif")),
    (4, b"ftypavif", "an AVIF photograph", _CONVERT),
    (4, b"ftypcrx ", "a camera's raw file", _CONVERT),
    (4, b"ftyp", "a video", "save its frames as PNG"),
    (8, b"AVI ", "a video", "save its frames as PNG"),
    (0, b"\x1aE\xdf\xa3", "a video", "save its frames as PNG"),
    (0, b"PK\x03\x04", "a ZIP archive", _UNPACK),
    (0, b"PK\x05\x06", "an empty ZIP archive", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"\x1f\x8b", "an archive compressed by gzip", _UNPACK),
    (0, b"BZh", "an archive compressed by bzip2", _UNPACK),
    (0, b"\xfd7zXZ\x00", "an archive compressed by xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "an archive compressed by zstd", _UNPACK),
    (0, b"%PDF", "a PDF document", "save its pictures as PNG"),
    (0, b"%!PS", "a PostScript document", "save its picture as PNG"),
    (0, b"8BPS", "a Photoshop document", _CONVERT),
    (0, b"v/1\x01", "an OpenEXR picture", _CONVERT),
    (0, b"#?RADIANCE", "a Radiance HDR picture", _CONVERT),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL photograph", _CONVERT),
    (0, b"\xff\x0a", "a JPEG XL photograph", _CONVERT),
    (128, b"DICM", "a DICOM picture", _CONVERT),
    (0, b"SIMPLE  =", "a FITS picture", _CONVERT),
    *((0, begin, "a camera's raw file", _CONVERT) for begin in (b"FUJIFILMCCD-RAW", b"IIRO", b"IIU\0", b"FOVb")),
    (8, b"CR\x02", "a camera's raw file", _CONVERT),
    (0, b"\x93NUMPY", "a NumPy array", "save it as PNG or TIFF"),
    (0, b"\x89HDF", "an HDF5 file", "save its pictures as PNG or TIFF"),
    (0, b"version https://git-lfs", "a pointer of Git LFS to a file that was not fetched", "give: git lfs pull"),
)
# Raw files that begin as every TIFF does.
_RAW_SUFFIXES = (".dng", ".nef", ".nrw", ".arw", ".sr2", ".pef", ".3fr", ".iiq", ".cr2", ".rw2", ".orf")
_MARKUP = {b"<svg": "an SVG drawing", b"<!doctype html": "a web page", b"<html": "a web page", b"<?xml": "an XML file"}


def kind_of(path: str | Path) -> str:
    """What a file is that is no image, and what to do with it: "a ZIP archive: unpack it, and name the folder".

    Args:
        path: The file.

    Returns:
        "" where nobody knows.

    Raises:
        OSError: It cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    for place, begin, kind, advice in _BEGINNINGS:
        if head.startswith(begin, place):
            return f"{kind}: {advice}"
    if is_raw(path):
        return f"a camera's raw file: {_CONVERT}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for begin, kind in _MARKUP.items():
        if text.startswith(begin):
            return f"{kind}: download or save the picture itself"
    return ""


def is_raw(path: str | Path) -> bool:
    """Whether a file's name says that a camera wrote it raw: what a TIFF reader finds in it is a small preview."""
    return str(path).lower().endswith(_RAW_SUFFIXES)
