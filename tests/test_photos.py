"""Each layout is read as its rules say, photograph by photograph, and what is not there is refused in one line."""

import dataclasses
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import yaml
from builders import box, grey, write_images
from command import CONF
from photo_lists import names, peak, table
from PIL import Image

from rli.errors import RLIError
from rli.images import to_uint8
from rli.photos.photo import GOOD, Photo
from rli.photos.sources import READERS, photos

MASK = box()

# --- samples and single files ----------------------------------------------------------------------------------------


def test_samples_are_the_projects_own_and_come_at_any_size():
    for photo in photos("sample", samples=["surface", "brick", "gravel"], region="attention"):
        assert photo.read(64, 96).shape == (1, 3, 64, 96)
        assert photo.region(64, 96) is None
        assert photo.file is None


def test_one_sample_is_a_file_of_which_a_place_may_change():
    (coffee,) = photos("sample", samples=["coffee"], region="attention")
    region = coffee.region(*coffee.size())
    assert coffee.picture().size == coffee.size() == (400, 600) and len(coffee.sha256()) == 64
    assert 0.01 < region.mean() < 0.05 and region[256, 138] and not region[100, 300]
    assert abs(coffee.region(100, 150).mean() - region.mean()) < 0.002


def test_a_drawn_surface_knows_its_crack():
    surface, other, brick = photos("sample", samples=["surface", "surface-3", "brick"], region="truth")
    assert [surface.label, other.label, brick.label] == ["crack", "crack", ""]
    assert brick.truth(64, 96) is None and brick.region(64, 96) is None
    for photo in (surface, other):
        truth = photo.truth(64, 96)
        assert truth.shape == (64, 96) and truth.dtype == bool and 0 < truth.mean() < 0.5
        assert np.array_equal(photo.region(64, 96), truth)
    assert not np.array_equal(surface.truth(64, 96), other.truth(64, 96))


def test_one_image_and_its_masks(tmp_path):
    write_images(tmp_path, "a.png", "b.png")
    write_images(tmp_path, "a_label.png", "elsewhere/a.png", "m.png", image=MASK)
    (photo,) = photos("image", str(tmp_path / "a.png"), region="attention")
    assert (photo.name, photo.source, photo.truth_file) == ("a", "a.png", tmp_path / "a_label.png")
    assert photo.region(40, 60) is None
    (photo,) = photos("image", str(tmp_path / "a.png"), mask_path=str(tmp_path / "m.png"))
    assert np.array_equal(photo.region(40, 60), MASK)
    (photo,) = photos("image", str(tmp_path / "a.png"), truth_path=str(tmp_path / "elsewhere"), region="truth")
    assert photo.truth_file == tmp_path / "elsewhere" / "a.png" and np.array_equal(photo.region(40, 60), MASK)
    (photo,) = photos("image", str(tmp_path / "b.png"), region="truth")
    assert photo.truth(40, 60) is None and photo.region(40, 60) is None


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_without_what_is_no_photograph(tmp_path):
    write_images(tmp_path, "b.png", "a.jpg", "c.PNG", ".hidden.png", ".git/x.png")
    (tmp_path / "notes.txt").write_text("x")
    source = photos("folder", str(tmp_path))
    assert names(source) == ["a", "b", "c"] == names(source)
    assert source.count() == 3
    assert names(photos("folder", str(tmp_path), limit=2)) == ["a", "b"]
    assert photos("folder", str(tmp_path), limit=2).count() == 2


def test_folders_at_any_depth_name_and_label(tmp_path):
    write_images(tmp_path, "z.png", "crack/a.png", "crack/2024/b.png", "images/c.png", "train/good/d.png", "test/e.png")
    assert table(photos("folder", str(tmp_path)), "name", "label", "split", "source") == [
        ("z", "", "", "z.png"),
        ("crack/a", "crack", "", "crack/a.png"),
        ("crack/2024/b", "crack", "", "crack/2024/b.png"),
        ("images/c", "", "", "images/c.png"),
        ("test/e", "", "test", "test/e.png"),
        ("train/good/d", "good", "train", "train/good/d.png"),
    ]
    assert names(photos("folder", str(tmp_path), recursive=False)) == ["z"]


def test_masks_beside_are_truth_and_no_photographs(tmp_path):
    write_images(tmp_path, "s/a.png", "s/b.png", "s/c.png", "s/d.png", "s/face_mask.png", "s/plain.png")
    write_images(tmp_path, "s/a_mask.png", "s/a_label.bmp", "s/b.mask.png", "s/c_LABEL.png", "s/d_GT.png", image=MASK)
    found = table(photos("folder", str(tmp_path)), "name", "truth_file", "region_file")
    beside = [tmp_path / "s" / name for name in ("a_label.bmp", "b.mask.png", "c_LABEL.png", "d_GT.png")]
    assert [name for name, _, _ in found] == ["s/a", "s/b", "s/c", "s/d", "s/face_mask", "s/plain"]
    assert [file for _, file, _ in found] == [*beside, None, None]
    assert not any(region for _, _, region in found)
    first = next(iter(photos("folder", str(tmp_path), region="truth")))
    assert np.array_equal(first.region(80, 120), np.kron(MASK, np.ones((2, 2), bool)))
    assert np.array_equal(first.truth(40, 60), MASK)


@pytest.mark.parametrize("beside", ["masks", "ground_truth"])
def test_a_folder_of_images_beside_one_of_masks(tmp_path, beside):
    write_images(tmp_path, "images/a.jpg", "images/crack/b.png", "other/x.png")
    write_images(tmp_path / beside, "a.png", "crack/b_mask.png", image=MASK)
    assert table(photos("folder", str(tmp_path)), "name", "label", "source", "truth_file") == [
        ("a", "", "images/a.jpg", tmp_path / beside / "a.png"),
        ("crack/b", "crack", "images/crack/b.png", tmp_path / beside / "crack" / "b_mask.png"),
    ]


def test_folders_of_masks_that_are_named(tmp_path):
    write_images(tmp_path / "set", "a.png", "sub/a.png", "sub/b.png")
    write_images(tmp_path / "set" / "truth", "a.png", "sub/a_mask.png", image=MASK)
    write_images(tmp_path / "regions", "sub/b.tif", image=MASK)
    where = {
        "truth_path": str(tmp_path / "set" / "truth"),
        "mask_path": str(tmp_path / "regions"),
    }
    found = [*photos("folder", str(tmp_path / "set"), **where, region="attention")]
    assert [p.name for p in found] == ["a", "sub/a", "sub/b"]
    assert [p.truth(40, 60) is not None for p in found] == [True, True, False]
    assert [p.region(40, 60) is not None for p in found] == [False, False, True]
    # A named region goes before the truth.
    every = photos("folder", str(tmp_path / "set"), region="truth", **where)
    assert [p.region(40, 60) is not None for p in every] == [True] * 3


def test_a_stamp_changes_with_the_files_and_with_what_is_done_with_them(tmp_path):
    write_images(tmp_path, "a.png")
    write_images(tmp_path, "a_mask.png", image=MASK)

    def stamp(**options):
        return next(iter(photos("folder", str(tmp_path), **options))).stamp

    before = {stamp(), stamp(fit="letterbox"), stamp(region="truth")}
    assert len(before) == 3 and stamp() in before
    os.utime(tmp_path / "a_mask.png", ns=(1, 1))
    assert len({*before, stamp(), stamp(fit="letterbox"), stamp(region="truth")}) == 6


# --- data sets -------------------------------------------------------------------------------------------------------


@pytest.fixture
def mvtec(tmp_path):
    write_images(
        tmp_path, *(f"bottle/{name}" for name in ("train/good/000.png", "test/good/000.png", "test/broken/000.png"))
    )
    write_images(
        tmp_path, "bottle/test/broken/001.png", "cable/test/cut/000.png", "cable/train/good/000.png", "x/000.png"
    )
    write_images(tmp_path, "bottle/ground_truth/broken/000_mask.png", "cable/ground_truth/cut/000_mask.png", image=MASK)
    return tmp_path


def test_mvtec_ad_of_several_categories(mvtec):
    source = photos("mvtec_ad", str(mvtec))
    assert table(source, "name", "label", "category", "split", "source") == [
        ("bottle/broken/000", "broken", "bottle", "test", "bottle/test/broken/000.png"),
        ("bottle/broken/001", "broken", "bottle", "test", "bottle/test/broken/001.png"),
        ("cable/cut/000", "cut", "cable", "test", "cable/test/cut/000.png"),
    ]
    truths = [photo.truth(40, 60) for photo in source]
    assert [truth if truth is None else truth.sum() for truth in truths] == [MASK.sum(), None, MASK.sum()]
    assert photos("mvtec_ad", str(mvtec), good=True).count() == 6


def test_mvtec_ad_of_one_category(mvtec, monkeypatch):
    monkeypatch.chdir(mvtec / "bottle")
    assert table(photos("mvtec_ad", ".", good=True), "name", "label", "category", "split") == [
        ("train/good/000", "good", "bottle", "train"),
        ("broken/000", "broken", "bottle", "test"),
        ("broken/001", "broken", "bottle", "test"),
        ("good/000", "good", "bottle", "test"),
    ]
    assert names(photos("mvtec_ad", ".", limit=1)) == ["broken/000"]
    write_images(mvtec / "mine", "test/broken/001.png", image=MASK)
    found = photos("mvtec_ad", ".", mask_path=str(mvtec / "mine"), region="attention")
    assert [photo.region(40, 60) is not None for photo in found] == [False, True]


def test_kolektor_sdd_is_labelled_by_its_masks(tmp_path):
    write_images(tmp_path, "kos01/Part0.jpg", "kos01/Part1.jpg", "kos02/Part0.jpg", "kos03/Part0.jpg")
    write_images(tmp_path, "kos01/Part0_label.bmp", image=MASK)
    write_images(tmp_path, "kos01/Part1_label.bmp", image=np.zeros((40, 60), bool))
    (tmp_path / "kos03" / "Part0_label.bmp").write_bytes(b"")
    source = photos("kolektor_sdd", str(tmp_path))
    assert table(source, "name", "label") == [("kos01/Part0", "defect"), ("kos02/Part0", ""), ("kos03/Part0", "")]
    assert [photo.group for photo in source] == ["kos01", "kos02", "kos03"]
    assert source.count() == 3
    with pytest.raises(RLIError, match=r"kos03/Part0_label\.bmp cannot be read"):
        [*source][-1].read(64, 64)
    every = [*photos("kolektor_sdd", str(tmp_path), good=True, region="truth")]
    assert [photo.label for photo in every[:2]] == ["defect", "good"]
    assert not every[1].truth(40, 60).any()
    assert every[1].region(40, 60) is None  # nothing could change in an empty region


def test_kolektor_sdd_2(tmp_path):
    write_images(tmp_path, "train/10000.png", "train/10001.png", "test/20000.png")
    write_images(tmp_path, "train/10001_GT.png", "test/20000_GT.png", image=MASK)
    write_images(tmp_path, "train/10000_GT.png", image=np.zeros((40, 60), bool))
    assert table(photos("kolektor_sdd", str(tmp_path)), "name", "label", "split", "group") == [
        ("test/20000", "defect", "test", ""),
        ("train/10001", "defect", "train", ""),
    ]


# --- streaming ----------------------------------------------------------------------------------------------------


def test_a_limit_takes_the_first_and_each_round_is_the_same(tmp_path):
    write_images(tmp_path, *(f"{a}/{b}/{c}.png" for a in "xyz" for b in "pq" for c in "cba"))
    every = table(photos("folder", str(tmp_path)), "name", "source", "stamp")
    assert len(every) == 18 == len({name for name, _, _ in every})
    for limit in (1, 5, 17, 18, 99):
        source = photos("folder", str(tmp_path), limit=limit)
        assert table(source, "name", "source", "stamp") == every[:limit] == table(source, "name", "source", "stamp")
        assert source.count() == min(limit, 18)


def test_many_photographs_take_no_more_memory_than_a_few(tmp_path):
    for count, folder in ((2, "few"), (60, "many")):
        for k in range(count):
            for twin, numbers in (("images", 100), ("masks", 10)):
                place = tmp_path / folder / twin / f"{k:03}"
                place.mkdir(parents=True)
                for n in range(numbers):
                    (place / f"{n}.png").touch()
    few, many = (photos("folder", str(tmp_path / folder)) for folder in ("few", "many"))
    assert (few.count(), many.count()) == (200, 6_000)
    assert peak(many) - peak(few) < 100_000


# --- readers of one's own ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbered:
    """Photographs 0.png, 1.png, … of a folder, the odd ones defective."""

    expects: ClassVar[str] = "a folder with 0.png"
    path: Path

    def __iter__(self):
        for k in itertools.count():
            if not (file := self.path / f"{k}.png").is_file():
                return
            yield Photo(str(k), file, file.name, label="dent" if k % 2 else GOOD)


def test_a_reader_that_nobody_registered_is_passed_as_an_object(tmp_path):
    write_images(tmp_path, "0.png", "1.png", "2.png", "4.png")
    source = photos(Numbered(tmp_path), limit=2, fit="letterbox")
    assert table(source, "name", "label", "fit") == [("0", "good", "letterbox"), ("1", "dent", "letterbox")]
    assert source.count() == 2 and next(iter(source)).read(40, 40).shape == (1, 3, 40, 40)
    with pytest.raises(RLIError, match=r"no photographs found; expected a folder with 0\.png"):
        photos(Numbered(tmp_path / "empty"))
    with pytest.raises(RLIError, match="given as an object"):
        photos(Numbered(tmp_path), str(tmp_path))


def test_settings_of_other_readers_are_passed_over(tmp_path):
    write_images(tmp_path, "a.png")
    everything = {"samples": ["brick"], "good": True, "recursive": False}
    assert names(photos("folder", str(tmp_path), **everything)) == ["a"]
    assert names(photos("sample", str(tmp_path), **everything)) == ["brick"]


def test_each_reader_has_its_configuration_with_its_own_defaults():
    shared = yaml.safe_load((CONF / "base" / "data.yaml").read_text())
    files = {file.stem: yaml.safe_load(file.read_text()) for file in (CONF / "data").glob("*.yaml")}
    assert files.keys() == READERS.keys()
    for name, config in files.items():
        assert config["kind"] == name and config["defaults"][0] == "/base/data@_here_"
        for field in dataclasses.fields(READERS[name]):
            value = (shared | config)[field.name]
            default = None if field.default is dataclasses.MISSING else field.default
            assert value == (list(default) if isinstance(default, tuple) else default), (name, field.name)


# --- what is refused at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "options", "says"),
    [
        ("image", None, {}, r"image needs it; expected a photograph \(\.png"),
        ("image", "none.png", {}, "no such file"),
        ("image", ".", {}, "is a folder"),
        ("folder", "nowhere", {}, "no such folder"),
        ("folder", ".", {}, "no photographs"),
        ("folder", "x.png", {}, "it is a file; expected a folder"),
        ("folder", ".", {"truth_path": "nowhere"}, "truth_path=nowhere: there is no such folder"),
        ("folder", ".", {"mask_path": "."}, "the photographs' own folder"),
        ("image", "x.png", {"mask_path": "nowhere"}, "no such file or folder"),
        ("mvtec_ad", ".", {}, "no photographs"),
        ("kolektor_sdd", ".", {}, "no photographs"),
        ("list", None, {}, "list needs it; expected a CSV or Parquet file"),
        ("list", "x.png", {}, r"expected a file that ends in \.csv"),
        ("list", "x.csv", {"mask_path": "."}, "mask_path=.: unknown setting of list; expected some of path"),
        ("list", "x.csv", {"truth_path": "."}, "truth_path=.: unknown setting of list"),
        ("sample", None, {"samples": ["moon"]}, "samples=moon: unknown value"),
        ("sample", None, {"samples": ["brick", "brick"]}, "twice"),
        ("sample", None, {"samples": []}, "is empty"),
        ("sample", None, {"samples": "brick"}, "expected a list, such as"),
        ("sample", None, {"truth_path": "."}, "truth_path=.: unknown setting of sample"),
        ("sample", None, {"limit": 0}, "out of range"),
        ("sample", None, {"limit": True}, "out of range"),
        ("sample", None, {"region": "all"}, "region=all: unknown value"),
        ("mvtec_ad", ".", {"good": "yes"}, "good=yes: .* true or false"),
        ("kolektor_sdd", ".", {"good": 1}, "good=1: .* true or false"),
        ("folder", ".", {"recursive": "no"}, "recursive=no: .* true or false"),
        (
            "folder",
            ".",
            {"depth": 2},
            "depth=2: unknown setting of folder; expected some of mask_path",
        ),
        ("tape", None, {}, "kind=tape: unknown value"),
    ],
)
def test_sources_that_are_not_there(tmp_path, monkeypatch, kind, path, options, says):
    (tmp_path / "x.png").touch() if kind in ("image", "list") else None
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    if path == "x.png" and kind == "folder":
        (tmp_path / "x.png").touch()
    with pytest.raises(RLIError, match=says) as error:
        photos(kind, path, **options)
    assert "\n" not in str(error.value)


def test_images_of_any_common_format_are_found_and_read(tmp_path):
    for suffix in ("png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "gif", "ppm", "jp2", "PNG"):
        Image.fromarray(grey()).save(tmp_path / f"{suffix}-{suffix.isupper()}.{suffix}")
    source = photos("folder", str(tmp_path))
    assert source.count() == 11
    assert all(abs(to_uint8(photo.read(40, 60)).astype(int) - 128).max() <= 3 for photo in source)
