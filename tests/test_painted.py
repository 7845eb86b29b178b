"""Masks as people have them: whatever they are painted with, the region read is the one painted, or it is refused."""

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw, ImageFilter

from rli.errors import RLIError
from rli.images import is_marked, png, read_mask_full

SIZE = (90, 70)


def drawn(rng, thick):
    """(H,W) bool: random boxes, ellipses and lines."""
    image = Image.new("L", SIZE)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(1, 5)):
        x, y, width, height = (int(k) for k in rng.integers((0, 0, 6, 6), (70, 50, 30, 30)))
        shape = [draw.rectangle, draw.ellipse][rng.integers(2)]
        shape((x, y, x + width, y + height), fill=255)
    if not thick:
        draw.line([tuple(rng.integers(0, 70, 2)) for _ in range(3)], fill=255, width=1)
    return np.asarray(image) > 0


def classes(inside, rng, most):
    """(H,W) class numbers from 1 to `most`, in stripes; 0 outside."""
    stripes = (np.arange(inside.shape[1]) // rng.integers(3, 20)) % most + 1
    return (inside * stripes).astype(np.int64)


def grey(values, path):
    Image.fromarray(values).save(path)


def palette(inside, rng, path):
    """Class numbers with a palette of random colours on black, as VOC has them."""
    numbers = classes(inside, rng, 20).astype(np.uint8)
    colours = rng.integers(0, 256, (256, 3), np.uint8)
    colours[:, 0] |= 1
    colours[0] = 0
    image = Image.fromarray(numbers).convert("P")
    image.putdata(numbers.ravel().tolist())
    image.putpalette(colours.tobytes())
    image.save(path)


def colours(inside, rng, path):
    of_class = rng.integers(1, 256, (21, 3), np.uint8)
    of_class[0] = 0
    grey(of_class[classes(inside, rng, 20)], path)


def paint(inside, rng, path):
    """One colour, black perhaps, on a transparent ground."""
    colour = rng.choice([[0, 0, 0], [255, 255, 255], [200, 10, 10], [1, 1, 1]])
    below = rng.choice([0, 255])
    values = np.where(inside[..., None], colour, below).astype(np.uint8)
    grey(np.dstack([values, inside * np.uint8(255)]), path)


def softly(inside, factor, top=255):
    """A mask whose edges were smoothed, brighter than half of the top where it is inside: (H,W) uint8."""
    smooth = np.asarray(Image.fromarray(inside * np.uint8(top)).filter(ImageFilter.GaussianBlur(factor)))
    return np.where(inside, np.maximum(smooth, top // 2 + 1), np.minimum(smooth, top // 2)).astype(np.uint8)


CODINGS = {
    "0 and 255": lambda inside, rng, path: path.write_bytes(png(inside)),
    "0 and 1": lambda inside, rng, path: grey(inside.astype(np.uint8), path),
    "two levels": lambda inside, rng, path: grey(inside * np.uint8(rng.integers(1, 256)), path),
    "two levels, none 0": lambda inside, rng, path: grey((inside * 200 + 5).astype(np.uint8), path),
    "class numbers": lambda inside, rng, path: grey(classes(inside, rng, rng.integers(1, 31)).astype(np.uint8), path),
    "class greys": lambda inside, rng, path: grey((classes(inside, rng, 5) * 51).astype(np.uint8), path),
    "classes and 255": lambda inside, rng, path: grey(
        np.where(inside, (np.arange(SIZE[0]) > 40) * 254 + 1, 0).astype(np.uint8), path
    ),
    "bits": lambda inside, rng, path: Image.fromarray(inside).save(path),
    "16 bits": lambda inside, rng, path: grey((inside * rng.choice([1, 2, 255, 4095, 65535])).astype(np.uint16), path),
    "16-bit instances": lambda inside, rng, path: grey(
        (inside * (1 + 300 * (np.arange(SIZE[0]) // 15))).astype(np.uint16), path
    ),
    "palette": palette,
    "colours": colours,
    "grey and alpha": lambda inside, rng, path: grey(np.dstack([inside * np.uint8(rng.choice([0, 255]))] * 2)
                                                     | np.array([0, 255], np.uint8) * inside[..., None], path),
    "paint": paint,
    "opaque": lambda inside, rng, path: grey(
        np.dstack([inside * np.uint8(255)] * 3 + [np.full(inside.shape, 255, np.uint8)]), path
    ),
    "soft edges": lambda inside, rng, path: grey(softly(inside, 1), path),
    "softer edges": lambda inside, rng, path: grey(softly(inside, 2.5), path),
    "dim soft edges": lambda inside, rng, path: grey(softly(inside, 1, 100), path),
}  # fmt: skip


@pytest.mark.parametrize("coding", CODINGS)
def test_the_region_read_is_the_one_painted(tmp_path, coding):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        inside = drawn(rng, thick="soft" in coding)
        CODINGS[coding](inside, rng, tmp_path / "mask.png")
        assert np.array_equal(read_mask_full(tmp_path / "mask.png"), inside), (coding, seed)


@pytest.mark.parametrize("dtype", [np.int16, np.uint32, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("level", [1, 255])
def test_tiffs_of_any_depth(tmp_path, dtype, level):
    inside = drawn(np.random.default_rng(1), thick=False)
    tifffile.imwrite(tmp_path / "mask.tif", inside.astype(dtype) * dtype(level))
    assert np.array_equal(read_mask_full(tmp_path / "mask.tif"), inside)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_compression_with_loss_adds_no_paint(tmp_path, suffix):
    """Even where its noise was kept by a format without loss."""
    for seed in range(6):
        inside = drawn(np.random.default_rng(seed), thick=True)
        Image.fromarray(inside.astype(np.uint8) * 255).save(tmp_path / "lossy.jpg", quality=60)
        Image.open(tmp_path / "lossy.jpg").save(tmp_path / f"mask.{suffix}")
        wrong = read_mask_full(tmp_path / f"mask.{suffix}") ^ inside
        assert wrong.mean() < 0.01


def test_edges_smoothed_by_making_a_mask_smaller(tmp_path):
    """Few levels, as edges along the pixels' own grid have them."""
    large = np.zeros((280, 360), np.uint8)
    large[41:162, 82:300] = 255
    shares = large.reshape(70, 4, 90, 4).mean((1, 3)).round().astype(np.uint8)
    grey(shares, tmp_path / "mask.png")
    assert np.array_equal(read_mask_full(tmp_path / "mask.png"), shares > 127.5)


def test_nothing_is_painted_in_black(tmp_path):
    for name, mode in (("a.png", "L"), ("b.png", "RGBA"), ("c.jpg", "RGB"), ("d.png", "1"), ("e.png", "I;16")):
        Image.new(mode, SIZE).save(tmp_path / name)
        assert not is_marked(tmp_path / name)
    Image.new("L", SIZE, 255).save(tmp_path / "all.png")
    assert read_mask_full(tmp_path / "all.png").all()


def unclear_masks():
    rng = np.random.default_rng(0)
    inside = drawn(rng, thick=True)
    colour, x = np.zeros((*inside.shape, 3), np.uint8), np.arange(SIZE[0], dtype=np.uint8)
    colour[:] = np.where(inside[..., None], (255, 0, 0), (0, 0, 255))
    hidden = np.dstack([inside * np.uint8(255)] * 3 + [np.zeros(inside.shape, np.uint8)])
    area = softly(inside, 2.5)
    area[:12, :12] = 80
    return {
        "two colours": (colour, "ground that is not black"),
        "transparent": (hidden, "transparent everywhere"),
        "photograph": (rng.integers(0, 256, inside.shape, np.uint8), "as in a photograph"),
        "heat": (np.tile(x * 2, (70, 1)), "as in a photograph"),
        "classes from 1": ((inside + 1).astype(np.uint8), "none is black"),
        "soft and an area": (area, "areas of level 80"),
    }


@pytest.mark.parametrize("name", unclear_masks())
def test_what_may_mean_two_things_is_refused(tmp_path, name):
    values, reason = unclear_masks()[name]
    grey(values, tmp_path / "mask.png")
    with pytest.raises(RLIError, match=rf"mask\.png cannot be read as a mask: .*{reason}.*0 outside and 255 inside"):
        read_mask_full(tmp_path / "mask.png")
