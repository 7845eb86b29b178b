"""A folder of everything that goes wrong: each file is used rightly, or refused in one line; nothing is touched."""

import csv
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rli.errors import RLIError
from rli.images import to_uint8, write_png
from rli.photos.sources import photos

COLOURS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
SMOOTH = np.dstack([np.linspace(0, 255, 40 * 60).reshape(40, 60)] * 3).astype(np.uint8)
TURNED = Image.Exif()
TURNED[0x0112] = 6  # to be shown turned by 90° clockwise


def only(folder, **options):
    (photo,) = photos("folder", str(folder), **options)
    return photo


def seen(photo, height=40, width=60):
    return to_uint8(photo.read(height, width))


def reason(photo) -> str:
    with pytest.raises(RLIError) as error:
        photo.read(64, 64)
    text = str(error.value)
    assert text.isprintable(), text
    return text


def outcome(photo) -> np.ndarray | str:
    try:
        return seen(photo, 64, 64)
    except RLIError as error:
        return str(error)


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_not_half_a_picture(tmp_path, progressive):
    place = tmp_path / "t.jpg"
    Image.fromarray(COLOURS).save(place, progressive=progressive)
    whole = place.read_bytes()
    for kept in (2, len(whole) // 4, len(whole) // 2, len(whole) - 200, len(whole) - 2):
        place.write_bytes(whole[:kept])
        assert "cannot be read as an image" in reason(only(tmp_path))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "gif", "ppm"])
def test_truncated_files_of_other_formats(tmp_path, suffix):
    Image.fromarray(COLOURS).save(tmp_path / f"t.{suffix}")
    whole = (tmp_path / f"t.{suffix}").read_bytes()
    (tmp_path / f"t.{suffix}").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as an image" in reason(only(tmp_path))


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path, seed):
    rng = np.random.default_rng(seed)
    for suffix in ("png", "jpg", "tif", "gif", "webp", "bmp", "jp2"):
        Image.fromarray(COLOURS).save(tmp_path / f"d.{suffix}")
        data = bytearray((tmp_path / f"d.{suffix}").read_bytes())
        for _ in range(rng.integers(1, 30)):
            data[rng.integers(0, min(len(data), 400))] = rng.integers(0, 256)
        (tmp_path / f"d.{suffix}").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for photo in photos("folder", str(tmp_path)):
            result = outcome(photo)
            assert result.isprintable() if isinstance(result, str) else result.shape == (64, 64, 3)


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    # A program that Pillow would start another program for.
    (tmp_path / "written.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 60 40\nshowpage\n")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "ring.png").symlink_to(tmp_path / "ring.png")
    told = {photo.name: reason(photo) for photo in photos("folder", str(tmp_path))}
    assert told.keys() == {"empty", "text", "written", "pipe", "gone", "ring"}
    assert "empty.png cannot be read as an image: it is empty" in told["empty"]
    assert "it is not an image" in told["text"] and "it is a PostScript document" in told["written"]
    assert "pipe.png is not a file" in told["pipe"]
    assert "there is no such file" in told["gone"]
    assert "symbolic links" in told["ring"]


def test_links_to_folders_are_followed_but_not_round_in_circles(tmp_path):
    write_png(tmp_path / "in" / "a" / "x.png", COLOURS)
    write_png(tmp_path / "elsewhere" / "y.png", COLOURS)
    (tmp_path / "in" / "a" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "ring").symlink_to(tmp_path / "in" / "ring")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "in" / "other")
    found = {photo.name: photo for photo in photos("folder", str(tmp_path / "in"))}
    assert [*found] == ["a/x", "a/back", "other/y", "other/back", "ring"]
    for name in ("a/back", "other/back"):
        assert "back is a link to a folder that it lies in: it is not followed" in reason(found[name])
    assert "ring cannot be listed" in reason(found["ring"])
    assert np.array_equal(seen(found["other/y"]), COLOURS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path):
    for name in ("a.png", "b/b.png"):
        write_png(tmp_path / name, COLOURS)
    (tmp_path / "a.png").chmod(0)
    (tmp_path / "b").chmod(0)
    try:
        told = {photo.name: reason(photo) for photo in photos("folder", str(tmp_path))}
    finally:
        (tmp_path / "b").chmod(0o700)
    assert "Permission denied" in told["a"] and "b cannot be listed: Permission denied" in told["b"]


def test_a_refused_permission_says_so(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", COLOURS)
    write_png(tmp_path / "b" / "b.png", COLOURS)
    kept = os.scandir

    def refuse(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) if Path(path).name == "b" else kept(path))
    monkeypatch.setattr(Image, "open", refuse)
    one, two = photos("folder", str(tmp_path))
    assert reason(one).endswith("a.png cannot be read as an image: Permission denied")
    assert reason(two).endswith("b cannot be listed: Permission denied")


def test_strips(tmp_path):
    write_png(tmp_path / "thin" / "s.png", np.zeros((10, 20_000, 3), np.uint8))
    assert "20000×10 pixels are too few" in reason(only(tmp_path / "thin"))
    strip = np.zeros((20, 20_000, 3), np.uint8)
    strip[:, 10_000:] = 255
    write_png(tmp_path / "wide" / "s.png", strip)
    stretched = seen(only(tmp_path / "wide"), 64, 64)
    assert (stretched[:, :30] == 0).all() and (stretched[:, 34:] == 255).all()
    assert seen(only(tmp_path / "wide", fit="letterbox"), 64, 64).shape == (64, 64, 3)


def test_decompression_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    write_png(tmp_path / "bomb.png", COLOURS)
    assert "more than 1000 pixels: cut it into parts" in reason(only(tmp_path))


# --- used rightly ----------------------------------------------------------------------------------------------------


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path):
    write_png(tmp_path / "x.png" / "y.png", COLOURS)
    write_png(tmp_path / "x.jpg", COLOURS)
    (tmp_path / "z.png").mkdir()
    found = [*photos("folder", str(tmp_path))]
    assert [photo.name for photo in found] == ["x", "x_png/y"]
    assert found[1].source == "x.png/y.png" and np.array_equal(seen(found[1]), COLOURS)


@pytest.mark.parametrize(
    "name",
    [" a b .png", "it's \"quoted\".png", "new\nline.png", "tab\t;,=1+1.png", "裂纹 трещина شقّ.png", "a\\b.png",
     "-rf.png", "$(x) `y` %s {z}.png", "a.b.c.png", "....png", "x" * 251 + ".png", "é" * 120 + ".png", "<b>.png"],
)  # fmt: skip
def test_strange_names(tmp_path, name):
    if name.startswith("."):
        name = "a" + name
    Image.fromarray(COLOURS).save(tmp_path / "plain", format="png")
    (tmp_path / "plain").rename(tmp_path / name)
    photo = only(tmp_path)
    assert np.array_equal(seen(photo), COLOURS)
    assert photo.source == name and photo.file == tmp_path / name
    assert photo.name.isprintable() and not set('/\\:*?"<>|') & set(photo.name) and len(photo.name.encode()) <= 150
    (tmp_path / "out" / photo.name).mkdir(parents=True)
    assert (tmp_path / "out" / photo.name).parent == tmp_path / "out"


def test_names_that_are_no_text(tmp_path):
    try:
        write_png(tmp_path / "a.png", COLOURS)
        os.rename(os.fsencode(tmp_path) + b"/a.png", os.fsencode(tmp_path) + b"/\xff\xfe.png")
    except OSError:
        pytest.skip("this file system takes text only")
    photo = only(tmp_path)
    assert np.array_equal(seen(photo), COLOURS)
    assert (photo.name, photo.source) == ("__", "\\udcff\\udcfe.png")
    with open(tmp_path / "list.csv", "wb") as file:
        file.write(b"path\n\xff\xfe.png\n")
    (listed,) = photos("list", str(tmp_path / "list.csv"))
    assert np.array_equal(seen(listed), COLOURS)
    photo.file.write_bytes(b"")
    assert reason(photo).endswith("\\udcff\\udcfe.png cannot be read as an image: it is empty")


def test_a_reason_is_one_line_whatever_the_name(tmp_path):
    (tmp_path / "new\nline \u202e.png").touch()
    assert "new\\nline \\u202e.png" in reason(only(tmp_path))


def test_clashing_names_stay_apart(tmp_path):
    for name in (
        "a.png",
        "a.jpg",
        "A.PNG",
        "a?.png",
        "a*.png",
        "a_.png",
        "a/a.png",
        "A/a.png",
        "a~2.png",
        "e\u0301.png",
        "é.png",
    ):
        write_png(tmp_path / name, COLOURS)
    found = [photo.name for photo in photos("folder", str(tmp_path))]
    assert len({name.casefold() for name in found}) == len(found) == len([*tmp_path.rglob("*.*")])
    # No photograph's folder is one that other photographs' folders lie in.
    assert not {name.casefold() for name in found} & {name.rpartition("/")[0].casefold() for name in found}


def test_cmyk(tmp_path):
    Image.fromarray(SMOOTH).convert("CMYK").save(tmp_path / "c.jpg", quality=95)
    assert np.abs(seen(only(tmp_path)).astype(int) - SMOOTH).mean() < 3


def test_sixteen_bits(tmp_path):
    Image.fromarray(COLOURS[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "grey.png")
    Image.fromarray(COLOURS[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "grey_.tif")
    grey = [seen(photo) for photo in photos("folder", str(tmp_path))]
    assert all(np.array_equal(one, np.dstack([COLOURS[:, :, 0]] * 3)) for one in grey)
    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "rgb").mkdir()
    tifffile.imwrite(tmp_path / "rgb" / "c.tif", COLOURS.astype(np.uint16) * 257, photometric="rgb")
    assert np.array_equal(seen(only(tmp_path / "rgb")), COLOURS)
    tifffile.imwrite(tmp_path / "rgb" / "c.tif", np.full((40, 60), np.nan, np.float32))
    assert "not numbers" in reason(only(tmp_path / "rgb"))


def test_exif_rotation_holds_for_the_mask_too(tmp_path):
    mask = np.zeros((60, 40), bool)  # as the photograph is seen: 40 wide, 60 high
    mask[:10, :20] = True
    Image.fromarray(COLOURS).save(tmp_path / "r.png", exif=TURNED)
    write_png(tmp_path / "r_mask.png", mask)
    photo = only(tmp_path)
    assert np.array_equal(seen(photo, 60, 40), np.rot90(COLOURS, -1))
    assert np.array_equal(photo.truth(60, 40), mask)
    # A mask with the same note is turned alike.
    Image.fromarray(np.rot90(mask).astype(np.uint8) * 255).save(tmp_path / "r_mask.png", exif=TURNED)
    assert np.array_equal(photo.truth(60, 40), mask)
    write_png(tmp_path / "r_mask.png", np.rot90(mask))
    with pytest.raises(RLIError, match="the mask has 60×40 pixels and its photograph 40×60"):
        photo.truth(60, 40)


def test_an_animation_shows_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((40, 60, 3), level, np.uint8)) for level in (10, 200)]
    for suffix in ("gif", "webp", "png", "tif"):
        lossless = {"lossless": True} if suffix == "webp" else {}
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **lossless)
    found = [*photos("folder", str(tmp_path))]
    assert len(found) == 4
    assert all((seen(photo) == 10).all() for photo in found)


def test_masks_of_every_make(tmp_path):
    inside = np.zeros((40, 60), bool)
    inside[5:20, 10:30] = True
    levels = inside.astype(np.uint8)
    write_png(tmp_path / "p.png", COLOURS)
    clear = np.dstack([np.full((40, 60, 3), 255, np.uint8), levels * 255])
    for picture in (
        Image.fromarray(levels * 255),
        Image.fromarray(levels),  # classes 0 and 1
        Image.fromarray(levels * 255).convert("1"),
        Image.fromarray(levels * 255).convert("P"),
        Image.fromarray(levels.astype(np.uint16) * 65535),
        Image.fromarray(clear),  # white where it marks, transparent elsewhere
    ):
        picture.save(tmp_path / "p_mask.png")
        assert np.array_equal(only(tmp_path).truth(40, 60), inside)
    write_png(tmp_path / "p_mask.png", np.zeros((40, 60), bool))
    assert not only(tmp_path).truth(40, 60).any()
    with pytest.raises(RLIError, match=r"p_mask\.png is empty at 60×40 pixels"):
        only(tmp_path, region="truth").region(40, 60)
    (tmp_path / "p_mask.png").write_bytes(b"")
    with pytest.raises(RLIError, match=r"p_mask\.png cannot be read"):
        only(tmp_path).truth(40, 60)


# --- nothing is touched, nothing read twice --------------------------------------------------------------------------


def test_what_runs_leave_is_not_read(tmp_path):
    for name in ("a.png", "outputs/run/images/a/input.png", "outputs/sweep/images/a/input.png", "outputs/b.png"):
        write_png(tmp_path / name, COLOURS)
    (tmp_path / "outputs" / "run" / ".hydra").mkdir()
    (tmp_path / "outputs" / "sweep" / "multirun.yaml").touch()
    assert [photo.name for photo in photos("folder", str(tmp_path))] == ["a", "outputs/b"]
    assert only(tmp_path / "outputs" / "run" / "images").name == "a/input"


def test_reading_changes_nothing(tmp_path):
    for name in ("a.png", "b/c.jpg", "b/c_mask.png", "new\nline.png"):
        write_png(tmp_path / name, COLOURS)
    with open(tmp_path / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([["path"], ["a.png"], ["new\nline.png"], ["b/c.jpg"]])

    def state():
        return {(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in tmp_path.rglob("*")}

    before = state()
    for source in (photos("folder", str(tmp_path)), photos("list", str(tmp_path / "list.csv"))):
        assert source.count() == 3
        for photo in source:
            assert np.array_equal(seen(photo).shape, (40, 60, 3))
    assert state() == before
