"""Samples of every depth are shown as a viewer shows them: by the depth of the camera, and not by the brightest one."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from rli.errors import RLIError
from rli.images import read_picture

SHADES = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))


def shown(path, samples, **options):
    tifffile.imwrite(path, samples, **options)
    return read_picture(path)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32, np.float32])
def test_what_is_white_is_the_cameras_depth(tmp_path, bits, dtype):
    top = 2**bits - 1
    samples = (SHADES / 255 * top).round().astype(dtype)
    picture = shown(tmp_path / "a.tif", samples, photometric="minisblack")
    assert np.abs(picture.rgb[..., 0].astype(int) - SHADES).max() <= 1
    assert picture.is_grey and (f"{top} is taken for white" in " ".join(picture.remarks)) == (
        dtype != np.uint16 or bits < 16
    )


@pytest.mark.parametrize("share", [0.9, 0.6])
def test_a_dark_photograph_stays_dark(tmp_path, share):
    """A camera's 12 bits, of which a photograph does not use all."""
    samples = (SHADES / 255 * share * 4095).astype(np.uint16)
    assert np.abs(shown(tmp_path / "a.tif", samples).rgb[..., 0] - SHADES * share).max() <= 1
    Image.fromarray((SHADES * share).astype(np.uint8)).save(tmp_path / "b.png")
    assert np.array_equal(read_picture(tmp_path / "b.png").rgb[..., 0], (SHADES * share).astype(np.uint8))


@pytest.mark.parametrize(
    "samples",
    [
        SHADES / 255,
        (SHADES / 255).astype(np.float16),
        SHADES / 127.5 - 1,
        (SHADES.astype(np.int32) * 257 - 32768).astype(np.int16),
    ],
)
def test_floating_point_and_signed_numbers(tmp_path, samples):
    assert np.abs(shown(tmp_path / "a.tif", samples).rgb[..., 0].astype(int) - SHADES).max() <= 1


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colours_of_sixteen_bits_keep_them(tmp_path, compression, planar):
    samples = np.random.default_rng(0).integers(0, 65536, (32, 40, 3), np.uint16)
    stored = np.moveaxis(samples, -1, 0) if planar == "separate" else samples
    picture = shown(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression=compression)
    assert np.array_equal(picture.samples, samples)


@pytest.mark.parametrize(
    "samples", [np.full((32, 32), np.nan), np.linspace(-1000, 3000, 1024).reshape(32, 32), np.full((32, 32, 5), 9.0)]
)
def test_what_is_no_photograph_is_refused(tmp_path, samples):
    tifffile.imwrite(tmp_path / "a.tif", samples.astype(np.float32), photometric="minisblack", planarconfig="contig")
    with pytest.raises(RLIError, match=r"a\.tif cannot be read as an image"):
        read_picture(tmp_path / "a.tif")
