"""Files that are no photographs are named as what they are, with what to do; what systems lay beside is passed over."""

import io
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from builders import files_of, grey, write_images
from PIL import Image

from rli.errors import RLIError
from rli.images import image_size, read_picture
from rli.photos.sources import photos


def box(brand):
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1heic" + bytes(64)


def zipped():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("x.png", "x")
    return data.getvalue()


def tarred(mode):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("x.png"))
    return data.getvalue()


def tiff():
    data = io.BytesIO()
    Image.new("L", (32, 32)).save(data, format="TIFF")
    return data.getvalue()


OTHERS = {
    "a.heic": (box(b"heic"), "HEIC photograph: convert"),
    "named.jpg": (box(b"mif1"), "HEIF photograph: convert"),
    "film.mp4": (box(b"isom"), "a video: save its frames"),
    "a.zip": (zipped(), "ZIP archive: unpack it"),
    "a.tar": (tarred("w"), "tar archive: unpack it"),
    "a.tar.gz": (tarred("w:gz"), "compressed by gzip: unpack it"),
    "a.pdf": (b"%PDF-1.7\n", "PDF document: save its pictures"),
    "a.psd": (b"8BPS" + bytes(40), "Photoshop document: convert"),
    "a.cr3": (box(b"crx "), "camera's raw file: convert"),
    "a.dng": (tiff(), "camera's raw file: convert"),
    "a.npy": (b"\x93NUMPY" + bytes(40), "NumPy array: save it"),
    "a.dcm": (bytes(128) + b"DICM" + bytes(40), "DICOM picture: convert"),
    "large.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS .*: give: git lfs pull"),
    "page.jpg": (b"\n<!DOCTYPE html><html></html>", "a web page: download"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_is_named_as_what_it_is(tmp_path, name):
    data, said = OTHERS[name]
    (tmp_path / name).write_bytes(data)
    for read in (read_picture, image_size):
        with pytest.raises(RLIError, match=rf"{name} cannot be read as an image: it is .*{said}"):
            read(tmp_path / name)
    if not name.endswith((".png", ".jpg")):
        with pytest.raises(RLIError, match=rf"no photographs found; .*{name} is .*{said}"):
            photos("folder", tmp_path)
    with pytest.raises(RLIError, match=said):
        photos("folder", tmp_path / name)


@pytest.mark.parametrize("kind", ["folder", "mvtec_ad", "kolektor_sdd"])
def test_a_file_is_no_folder(tmp_path, kind):
    write_images(tmp_path, "a.png")
    with pytest.raises(RLIError, match="it is a file; expected a folder"):
        photos(kind, tmp_path / "a.png")


SYSTEM = ["@eaDir", "#recycle", "$RECYCLE.BIN", ".@__thumb", "System Volume Information", "__MACOSX", "lost+found"]


def test_folders_that_systems_keep_are_passed_over(tmp_path):
    write_images(tmp_path, "a.png", "test/crack/b.png", "train/good/c.png")
    names = {kind: [photo.name for photo in photos(kind, tmp_path)] for kind in ("folder", "mvtec_ad")}
    for system in SYSTEM:
        write_images(tmp_path, f"{system}/a.png", f"test/{system}/b.png", f"test/crack/{system.upper()}/b.png")
    write_images(tmp_path, "._a.png", "test/crack/._b.png")
    assert {kind: [photo.name for photo in photos(kind, tmp_path)] for kind in names} == names
    assert len(files_of(tmp_path)) > 20


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_what_would_fill_the_memory_is_refused_by_its_head(tmp_path):
    """A file of 200 bytes that says it has 4 GB of samples, and one of more pixels than the limit."""
    for name, size, said in (("deep.png", (13200, 13200, 16, 6), "GiB"), ("wide.png", (30000, 30000, 8, 0), "pixels")):
        head = struct.pack(">IIBBBBB", *size, 0, 0, 0)
        chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + bytes(64))
        with pytest.raises(RLIError, match=f"{said}.*cut it into parts"):
            read_picture(tmp_path / name)


def test_a_photograph_of_one_level_is_what_it_is(tmp_path):
    write_images(tmp_path, "a.png", image=grey(32, 32, 7))
    assert np.unique(read_picture(tmp_path / "a.png").rgb).tolist() == [7]
