import numpy as np
import pytest
from PIL import Image

from rli.errors import RLIError
from rli.images import image_size, read_image, read_mask, to_uint8, write_png


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def test_files_come_back_as_they_were_written(tmp_path, colours):
    write_png(tmp_path / "deep" / "a.png", colours)
    assert np.array_equal(to_uint8(read_image(tmp_path / "deep" / "a.png", 40, 60)), colours)


def test_sixteen_bits_are_brought_to_eight(tmp_path, colours):
    grey = colours[:, :, 0]
    path = saved(tmp_path / "deep.png", Image.fromarray(grey.astype(np.uint16) * 257))
    assert np.array_equal(to_uint8(read_image(path, 40, 60))[:, :, 1], grey)


def test_palette_and_cmyk_and_grey_are_colours(tmp_path, colours):
    image = Image.fromarray(colours)
    palette = saved(tmp_path / "p.png", image.quantize(16))
    assert np.array_equal(to_uint8(read_image(palette, 40, 60)), np.asarray(image.quantize(16).convert("RGB")))
    cmyk = saved(tmp_path / "c.tif", image.convert("CMYK"))
    assert np.abs(to_uint8(read_image(cmyk, 40, 60)).astype(int) - colours).max() <= 2
    grey = saved(tmp_path / "g.png", image.convert("L"))
    assert np.ptp(to_uint8(read_image(grey, 40, 60)), axis=2).max() == 0


def test_alpha_is_laid_over_white(tmp_path, colours):
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 30:] = 255
    path = saved(tmp_path / "a.png", Image.fromarray(np.dstack([colours, alpha])))
    out = to_uint8(read_image(path, 40, 60))
    assert (out[:, :30] == 255).all()
    assert np.array_equal(out[:, 30:], colours[:, 30:])


def test_rotation_in_exif_is_applied(tmp_path, colours):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    path = saved(tmp_path / "r.png", Image.fromarray(colours), exif=exif)
    assert image_size(path) == (40, 60)
    assert np.array_equal(to_uint8(read_image(path, 60, 40)), np.rot90(colours, -1))


def test_a_letterbox_keeps_the_shape_and_repeats_the_border(tmp_path):
    stripes = np.zeros((10 * 4, 20 * 4, 3), np.uint8)
    stripes[0], stripes[-1] = 200, 100
    path = tmp_path / "s.png"
    write_png(path, stripes)
    out = to_uint8(read_image(path, 80, 80, "letterbox"))
    assert np.array_equal(out[20:60], stripes)
    assert (out[:20] == 200).all()
    assert (out[60:] == 100).all()


def test_a_mask_stays_a_mask(tmp_path):
    mask = np.zeros((40, 60), bool)
    mask[10:20, 30:45] = True
    write_png(tmp_path / "m.png", mask)
    assert np.array_equal(read_mask(tmp_path / "m.png", 40, 60, photo_size=(60, 40)), mask)
    assert read_mask(tmp_path / "m.png", 80, 120).sum() == 4 * mask.sum()
    assert not read_mask(tmp_path / "m.png", 80, 60, "letterbox")[:20].any()
    with pytest.raises(RLIError, match="60×40 pixels and its photograph 61×40"):
        read_mask(tmp_path / "m.png", 40, 60, photo_size=(61, 40))


@pytest.mark.parametrize("content", [b"not an image", b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_image_says_so_in_one_line(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(RLIError, match=r"x\.png cannot be read") as error:
        read_image(tmp_path / "x.png", 64, 64)
    assert "\n" not in str(error.value)


def test_a_truncated_photograph_is_refused(tmp_path, colours):
    path = saved(tmp_path / "t.jpg", Image.fromarray(colours))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RLIError, match="cannot be read"):
        read_image(path, 64, 64)


def test_missing_and_tiny_files_are_refused(tmp_path):
    with pytest.raises(RLIError, match="no such file"):
        read_image(tmp_path / "none.png", 64, 64)
    write_png(tmp_path / "one.png", np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(RLIError, match="1×1 pixels are too few"):
        read_image(tmp_path / "one.png", 64, 64)
