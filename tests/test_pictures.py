"""Photographs at their own size: shown as any viewer shows them, and written back as they were but for edits."""

import io

import numpy as np
import pytest
from builders import noise
from PIL import Image, ImageCms

from rli.images import png, read_picture

RNG = np.random.default_rng(0)
GREY, DEEP = noise()[..., 0], RNG.integers(0, 65536, (32, 48), np.uint16)
ALPHA = np.linspace(0, 255, 48).astype(np.uint8)[None].repeat(32, 0)


def deep_colours(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).integers(0, 65536, (32, 48, channels), np.uint16)


FILES = {
    "grey.png": lambda path: Image.fromarray(GREY).save(path),
    "grey16.png": lambda path: Image.fromarray(DEEP).save(path),
    "grey12.tif": lambda path: Image.fromarray(DEEP >> 4).save(path),
    "grey alpha.png": lambda path: Image.fromarray(np.dstack([GREY, ALPHA])).save(path),
    "colours.jpg": lambda path: Image.fromarray(noise()).save(path),
    "palette.gif": lambda path: Image.fromarray(noise()).quantize(16).save(path),
    "alpha.webp": lambda path: Image.fromarray(np.dstack([noise(), ALPHA])).save(path, lossless=True),
    "colours16.png": lambda path: path.write_bytes(png(deep_colours(3))),
    "alpha16.png": lambda path: path.write_bytes(png(deep_colours(4))),
    "cmyk.tif": lambda path: Image.fromarray(noise()).convert("CMYK").save(path),
    "float.tif": lambda path: Image.fromarray(GREY.astype(np.float32) / 255).save(path),
}


def picture_of(name, tmp_path):
    FILES[name](tmp_path / name)
    return read_picture(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
def test_a_picture_is_written_as_it_was_read(tmp_path, name):
    picture = picture_of(name, tmp_path)
    assert picture.size == (32, 48) and picture.rgb.shape == (32, 48, 3) and picture.rgb.dtype == np.uint8
    (tmp_path / "again.png").write_bytes(picture.png())
    again = read_picture(tmp_path / "again.png")
    assert again.samples.dtype == picture.samples.dtype and np.array_equal(again.samples, picture.samples)
    assert np.array_equal(again.rgb, picture.rgb) and again.is_grey == picture.is_grey


@pytest.mark.parametrize(
    ("name", "samples"),
    [("grey.png", GREY), ("grey16.png", DEEP), ("grey12.tif", DEEP >> 4), ("colours16.png", deep_colours(3)),
     ("alpha16.png", deep_colours(4)), ("grey alpha.png", np.dstack([GREY, ALPHA]))],
)  # fmt: skip
def test_a_picture_has_the_samples_of_its_file(tmp_path, name, samples):
    picture = picture_of(name, tmp_path)
    assert picture.samples.dtype == samples.dtype
    assert np.array_equal(picture.samples.squeeze(), samples)


@pytest.mark.parametrize("name", FILES)
def test_an_edit_changes_what_it_weighs_and_nothing_else(tmp_path, name):
    picture = picture_of(name, tmp_path)
    weights = np.zeros(picture.size)
    weights[8:16, 30:40], weights[16:20, 30:40] = 1, 0.5
    edited = picture.rgb.copy()
    edited[:, 24:] = 255 - edited[:, 24:]
    pasted = picture.pasted(edited, weights)
    outside = weights == 0
    assert np.array_equal(pasted.samples[outside], picture.samples[outside])
    assert pasted.samples.dtype == picture.samples.dtype and pasted.samples.shape == picture.samples.shape
    assert np.array_equal(pasted.rgb[outside], picture.rgb[outside])
    if picture.has_alpha:
        assert np.array_equal(pasted.samples[..., -1], picture.samples[..., -1])
    else:
        assert np.abs(pasted.rgb[8:16, 30:40].astype(int) - edited[8:16, 30:40]).max() <= 1
        halfway = (picture.rgb[16:20, 30:40].astype(int) + edited[16:20, 30:40]) / 2
        assert np.abs(pasted.rgb[16:20, 30:40] - halfway).max() <= 1
    (tmp_path / "pasted.png").write_bytes(pasted.png())
    assert np.array_equal(read_picture(tmp_path / "pasted.png").rgb, pasted.rgb)


def test_a_darker_edit_is_shown_at_the_depth_of_its_photograph(tmp_path):
    """A file of 12 bits is still one when its only bright pixels have gone."""
    samples = np.full((32, 48), 500, np.uint16)
    samples[:4] = 3000
    Image.fromarray(samples).save(tmp_path / "part.png")
    picture = read_picture(tmp_path / "part.png")
    pasted = picture.pasted(np.full((32, 48, 3), picture.rgb[20, 20], np.uint8), (samples == 3000).astype(float))
    assert pasted.samples.max() < 1023
    (tmp_path / "edit.png").write_bytes(pasted.png())
    assert np.array_equal(read_picture(tmp_path / "edit.png").rgb, pasted.rgb)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "edit.png")), pasted.samples[..., 0])


def test_pasting_what_is_there_changes_no_sample(tmp_path):
    for name in FILES:
        picture = picture_of(name, tmp_path)
        assert np.array_equal(picture.pasted(picture.rgb, np.ones(picture.size)).samples, picture.samples)


def test_a_coloured_edit_of_a_grey_picture_is_grey(tmp_path):
    (tmp_path / "grey as colours.png").write_bytes(png(np.dstack([GREY] * 3)))
    pictures = [picture_of("grey16.png", tmp_path), read_picture(tmp_path / "grey as colours.png")]
    for picture in pictures:
        pasted = picture.pasted(noise(seed=1), np.ones(picture.size))
        assert picture.is_grey and pasted.is_grey
        assert np.abs(pasted.rgb[..., 0] - noise(seed=1) @ [0.299, 0.587, 0.114]).max() <= 1


def test_a_colour_profile_is_applied_and_kept(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise()).save(tmp_path / "srgb.png", icc_profile=lab)
    assert np.array_equal(read_picture(tmp_path / "srgb.png").rgb, noise())
    Image.fromarray(noise()).save(tmp_path / "broken.png", icc_profile=b"no profile")
    broken = read_picture(tmp_path / "broken.png")
    assert np.array_equal(broken.rgb, noise()) and "damaged" in broken.remarks[0]
    assert "icc_profile" not in Image.open(io.BytesIO(broken.png())).info
