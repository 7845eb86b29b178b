import os
import random
import tracemalloc
import unicodedata

import numpy as np
import pytest
from PIL import Image

from rli.errors import RLIError
from rli.images import to_uint8, write_png
from rli.photos.naming import by_name, numbered, safe
from rli.photos.sources import photos

GREY = np.full((40, 60, 3), 128, np.uint8)
MASK = np.zeros((40, 60), bool)
MASK[:20, :30] = True


def put(folder, *names, what=GREY):
    for name in names:
        write_png(folder / name, what)


def table(source, *fields):
    return [tuple(getattr(photo, field) for field in fields) for photo in source]


def names(source):
    return [photo.name for photo in source]


# --- samples and single files ----------------------------------------------------------------------------------------


def test_samples_are_the_projects_own_and_come_at_any_size():
    for photo in photos("sample", samples=["surface", "brick", "gravel"]):
        assert photo.read(64, 96).shape == (1, 3, 64, 96)
        assert photo.mask is None
        assert photo.file is None


def test_a_drawn_surface_knows_its_crack():
    surface, other, brick = photos("sample", samples=["surface", "surface-3", "brick"], region="truth")
    assert [surface.label, other.label, brick.label] == ["crack", "crack", ""]
    assert brick.truth is None and brick.mask is None
    for photo in (surface, other):
        truth = photo.truth(64, 96)
        assert truth.shape == (64, 96) and truth.dtype == bool and 0 < truth.mean() < 0.5
        assert np.array_equal(photo.mask(64, 96), truth)
    assert not np.array_equal(surface.truth(64, 96), other.truth(64, 96))


def test_one_image_and_its_masks(tmp_path):
    put(tmp_path, "a.png", "b.png")
    put(tmp_path, "a_label.png", "elsewhere/a.png", "m.png", what=MASK)
    (photo,) = photos("image", str(tmp_path / "a.png"))
    assert (photo.name, photo.source, photo.truth_file, photo.mask) == ("a", "a.png", tmp_path / "a_label.png", None)
    (photo,) = photos("image", str(tmp_path / "a.png"), mask_path=str(tmp_path / "m.png"))
    assert np.array_equal(photo.mask(40, 60), MASK)
    (photo,) = photos("image", str(tmp_path / "a.png"), truth_path=str(tmp_path / "elsewhere"), region="truth")
    assert photo.truth_file == tmp_path / "elsewhere" / "a.png" and np.array_equal(photo.mask(40, 60), MASK)
    (photo,) = photos("image", str(tmp_path / "b.png"), region="truth")
    assert photo.truth is None and photo.mask is None


# --- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_without_what_is_no_photograph(tmp_path):
    put(tmp_path, "b.png", "a.jpg", "c.PNG", ".hidden.png", ".git/x.png")
    (tmp_path / "notes.txt").write_text("x")
    source = photos("folder", str(tmp_path))
    assert names(source) == ["a", "b", "c"] == names(source)
    assert source.count() == 3
    assert names(photos("folder", str(tmp_path), limit=2)) == ["a", "b"]
    assert photos("folder", str(tmp_path), limit=2).count() == 2


def test_folders_at_any_depth_name_and_label(tmp_path):
    put(tmp_path, "z.png", "crack/a.png", "crack/2024/b.png", "images/c.png", "train/good/d.png", "test/e.png")
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
    put(tmp_path, "s/a.png", "s/b.png", "s/c.png", "s/d.png", "s/face_mask.png", "s/plain.png")
    put(tmp_path, "s/a_mask.png", "s/a_label.bmp", "s/b.mask.png", "s/c_LABEL.png", "s/d_GT.png", what=MASK)
    found = table(photos("folder", str(tmp_path)), "name", "truth_file", "mask")
    beside = [tmp_path / "s" / name for name in ("a_label.bmp", "b.mask.png", "c_LABEL.png", "d_GT.png")]
    assert [name for name, _, _ in found] == ["s/a", "s/b", "s/c", "s/d", "s/face_mask", "s/plain"]
    assert [file for _, file, _ in found] == [*beside, None, None]
    assert not any(mask for _, _, mask in found)
    first = next(iter(photos("folder", str(tmp_path), region="truth")))
    assert np.array_equal(first.mask(80, 120), np.kron(MASK, np.ones((2, 2), bool)))
    assert np.array_equal(first.truth(40, 60), MASK)


@pytest.mark.parametrize("mates", ["masks", "ground_truth"])
def test_a_pair_of_twin_folders(tmp_path, mates):
    put(tmp_path, "images/a.jpg", "images/crack/b.png", "other/x.png")
    put(tmp_path / mates, "a.png", "crack/b_mask.png", what=MASK)
    assert table(photos("folder", str(tmp_path)), "name", "label", "source", "truth_file") == [
        ("a", "", "images/a.jpg", tmp_path / mates / "a.png"),
        ("crack/b", "crack", "images/crack/b.png", tmp_path / mates / "crack" / "b_mask.png"),
    ]


def test_twin_folders_that_are_named(tmp_path):
    put(tmp_path / "set", "a.png", "sub/a.png", "sub/b.png")
    put(tmp_path / "set" / "truth", "a.png", "sub/a_mask.png", what=MASK)
    put(tmp_path / "regions", "sub/b.tif", what=MASK)
    where = {"truth_path": str(tmp_path / "set" / "truth"), "mask_path": str(tmp_path / "regions")}
    found = [*photos("folder", str(tmp_path / "set"), **where)]
    assert [p.name for p in found] == ["a", "sub/a", "sub/b"]
    assert [p.truth is not None for p in found] == [True, True, False]
    assert [p.mask is not None for p in found] == [False, False, True]
    # A named region goes before the truth.
    assert [p.mask is not None for p in photos("folder", str(tmp_path / "set"), region="truth", **where)] == [True] * 3


def test_a_stamp_changes_with_the_files_and_with_what_is_done_with_them(tmp_path):
    put(tmp_path, "a.png")
    put(tmp_path, "a_mask.png", what=MASK)

    def stamp(**options):
        return next(iter(photos("folder", str(tmp_path), **options))).stamp

    before = {stamp(), stamp(fit="letterbox"), stamp(region="truth")}
    assert len(before) == 3 and stamp() in before
    os.utime(tmp_path / "a_mask.png", ns=(1, 1))
    assert len({*before, stamp(), stamp(fit="letterbox"), stamp(region="truth")}) == 6


# --- data sets -------------------------------------------------------------------------------------------------------


@pytest.fixture
def mvtec(tmp_path):
    put(tmp_path, *(f"bottle/{name}" for name in ("train/good/000.png", "test/good/000.png", "test/broken/000.png")))
    put(tmp_path, "bottle/test/broken/001.png", "cable/test/cut/000.png", "cable/train/good/000.png", "x/000.png")
    put(tmp_path, "bottle/ground_truth/broken/000_mask.png", "cable/ground_truth/cut/000_mask.png", what=MASK)
    return tmp_path


def test_mvtec_ad_of_several_categories(mvtec):
    source = photos("mvtec_ad", str(mvtec))
    assert table(source, "name", "label", "category", "split", "source") == [
        ("bottle/broken/000", "broken", "bottle", "test", "bottle/test/broken/000.png"),
        ("bottle/broken/001", "broken", "bottle", "test", "bottle/test/broken/001.png"),
        ("cable/cut/000", "cut", "cable", "test", "cable/test/cut/000.png"),
    ]
    truths = [photo.truth and photo.truth(40, 60).sum() for photo in source]
    assert truths == [MASK.sum(), None, MASK.sum()]
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
    put(mvtec / "mine", "test/broken/001.png", what=MASK)
    found = photos("mvtec_ad", ".", mask_path=str(mvtec / "mine"))
    assert [photo.mask is not None for photo in found] == [False, True]


def test_kolektor_sdd_is_labelled_by_its_masks(tmp_path):
    put(tmp_path, "kos01/Part0.jpg", "kos01/Part1.jpg", "kos02/Part0.jpg", "kos03/Part0.jpg")
    put(tmp_path, "kos01/Part0_label.bmp", what=MASK)
    put(tmp_path, "kos01/Part1_label.bmp", what=np.zeros((40, 60), bool))
    (tmp_path / "kos03" / "Part0_label.bmp").write_bytes(b"")
    source = photos("kolektor_sdd", str(tmp_path))
    assert table(source, "name", "label") == [("kos01/Part0", "defect"), ("kos02/Part0", ""), ("kos03/Part0", "")]
    assert source.count() == 3
    with pytest.raises(RLIError, match=r"kos03/Part0_label\.bmp cannot be read"):
        [*source][-1].read(64, 64)
    every = [*photos("kolektor_sdd", str(tmp_path), good=True, region="truth")]
    assert [photo.label for photo in every[:2]] == ["defect", "good"]
    assert not every[1].truth(40, 60).any() and every[1].mask is None  # nothing could change in an empty region


def test_kolektor_sdd_2(tmp_path):
    put(tmp_path, "train/10000.png", "train/10001.png", "test/20000.png")
    put(tmp_path, "train/10001_GT.png", "test/20000_GT.png", what=MASK)
    put(tmp_path, "train/10000_GT.png", what=np.zeros((40, 60), bool))
    assert table(photos("kolektor_sdd", str(tmp_path)), "name", "label", "split") == [
        ("test/20000", "defect", "test"),
        ("train/10001", "defect", "train"),
    ]


# --- lists -----------------------------------------------------------------------------------------------------------

ROWS = [
    {"path": "sub/a.png", "mask": "masks/a.png", "label": "crack", "category": "tile", "split": "train", "region": ""},
    {"path": "sub/a.png", "mask": "", "label": "", "category": "", "split": "", "region": "masks/a.png"},
    {"path": "../set/b, \"c\".png", "mask": "", "label": "good", "category": "", "split": "", "region": ""},
    {"path": "", "mask": "", "label": "", "category": "", "split": "", "region": ""},
]  # fmt: skip


def write_list(path, rows):
    import pandas as pd

    frame = pd.DataFrame(rows)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, encoding="utf-8-sig")
    else:
        frame.replace("", None).to_parquet(path, row_group_size=2)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_says_what_its_columns_say(tmp_path, suffix):
    put(tmp_path / "set", "sub/a.png", 'b, "c".png')
    put(tmp_path / "set" / "masks", "a.png", what=MASK)
    source = photos("list", write_list(tmp_path / "set" / f"list{suffix}", ROWS), region="truth")
    assert table(source, "name", "label", "category", "split", "source") == [
        ("sub/a~1", "crack", "tile", "train", "sub/a.png"),
        ("sub/a~2", "", "", "", "sub/a.png"),
        ("set/b, _c_~3", "good", "", "", '../set/b, "c".png'),
        ("row~4", "", "", "", ""),
    ]
    first, second, third, fourth = source
    assert np.array_equal(first.truth(40, 60), MASK) and np.array_equal(first.mask(40, 60), MASK)
    assert second.truth is None and np.array_equal(second.mask(40, 60), MASK)
    assert third.mask is None and third.read(40, 60).shape == (1, 3, 40, 60)
    with pytest.raises(RLIError, match="row 4 names no photograph"):
        fourth.read(64, 64)
    assert source.count() == 4 and names(source) == names(source)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_needs_only_paths_and_they_may_be_absolute(tmp_path, suffix):
    put(tmp_path / "far", "a.png")
    source = photos(
        "list", write_list(tmp_path / f"list{suffix}", [{"path": str(tmp_path / "far" / "a.png")}, {"path": "b.png"}])
    )
    here, missing = source
    assert here.read(40, 60).shape == (1, 3, 40, 60) and here.name.endswith("far/a~1")
    with pytest.raises(RLIError, match="no such file"):
        missing.read(40, 60)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_lists_that_are_none(tmp_path, suffix):
    with pytest.raises(RLIError, match=r"needs a column named path; its columns: file, label"):
        photos("list", write_list(tmp_path / f"l{suffix}", [{"file": "a.png", "label": "x"}]))
    with pytest.raises(RLIError, match="no rows"):
        photos("list", write_list(tmp_path / f"l{suffix}", {"path": []}))
    (tmp_path / f"l{suffix}").write_bytes(b"")
    with pytest.raises(RLIError) as error:
        photos("list", str(tmp_path / f"l{suffix}"))
    assert "\n" not in str(error.value)


# --- names and streaming ---------------------------------------------------------------------------------------------

LETTERS = 'aAbB.  ~-_/\\:*?"<>|\n\t\x00é\u0301ßS日\u200b\ud800'


def random_entries(rng):
    def name():
        return "".join(rng.choices(LETTERS.replace("/", ""), k=rng.randint(1, 5))) * rng.choice([1, 1, 1, 90])

    return {name() + rng.choice([".png", ".jpg", "/", "~2.png", "-2.png"]) for _ in range(rng.randint(1, 40))}


@pytest.mark.parametrize("seed", range(50))
def test_names_are_safe_and_unique_and_depend_on_their_folder_alone(seed):
    entries = random_entries(random.Random(seed))
    named = [*numbered(by_name(entries))]
    assert sorted(entry for _, entry in named) == sorted(entries)
    assert named == [*numbered(by_name(sorted(entries, reverse=True)))]
    assert len({unicodedata.normalize("NFC", name.casefold()) for name, _ in named}) == len(entries)
    for name, entry in named:
        assert name.isprintable() and not set('/\\:*?"<>|') & set(name)
        assert name == name.strip(" .") and 0 < len(name.encode()) <= 150
        assert not entry.endswith("/") or "." not in name
        assert safe(entry) == safe(f"{safe(entry)}{'/' if entry.endswith('/') else '.png'}")


def test_names_stay_where_folders_come_and_go(tmp_path):
    put(tmp_path, "b/a.png", "b/a.jpg", "b/A.gif", "b/a~2.png", "b/a/x.png")
    before = names(photos("folder", str(tmp_path)))
    assert before == ["b/A", "b/a~2", "b/a~3", "b/a_2", "b/a~4/x"]
    put(tmp_path, "a/a.png", "c.png", "b.png/a.png")
    assert names(photos("folder", str(tmp_path))) == ["c", "a/a", *before, "b_png/a"]


def test_a_limit_takes_the_first_and_each_round_is_the_same(tmp_path):
    put(tmp_path, *(f"{a}/{b}/{c}.png" for a in "xyz" for b in "pq" for c in "cba"))
    every = table(photos("folder", str(tmp_path)), "name", "source", "stamp")
    assert len(every) == 18 == len({name for name, _, _ in every})
    for limit in (1, 5, 17, 18, 99):
        source = photos("folder", str(tmp_path), limit=limit)
        assert table(source, "name", "source", "stamp") == every[:limit] == table(source, "name", "source", "stamp")
        assert source.count() == min(limit, 18)


def peak(source) -> int:
    """Bytes allocated at once, at most, while all photographs are gone through: the lesser of two rounds, for now and
    then the interpreter's own table of names is made anew, and that takes megabytes."""
    tops = []
    for _ in range(2):
        tracemalloc.start()
        for _ in source:
            pass
        tops.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return min(tops)


def test_many_photographs_take_no_more_memory_than_a_few(tmp_path):
    for count, folder in ((2, "few"), (200, "many")):
        for k in range(count):
            for twin, numbers in (("images", 100), ("masks", 10)):
                place = tmp_path / folder / twin / f"{k:03}"
                place.mkdir(parents=True)
                for n in range(numbers):
                    (place / f"{n}.png").touch()
    few, many = (photos("folder", str(tmp_path / folder)) for folder in ("few", "many"))
    assert (few.count(), many.count()) == (200, 20_000)
    assert peak(many) - peak(few) < 100_000


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_long_lists_take_no_more_memory_than_short_ones(tmp_path, suffix):
    short, long = (
        photos("list", write_list(tmp_path / f"{n}{suffix}", {"path": [f"sub/{k}.png" for k in range(n)]}))
        for n in (1_500, 6_000)
    )
    assert long.count() == 6_000
    assert peak(long) - peak(short) < 100_000


# --- what is refused at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "options", "says"),
    [
        ("image", None, {}, "needs data.path"),
        ("image", "none.png", {}, "no such file"),
        ("image", ".", {}, "is a folder"),
        ("folder", "nowhere", {}, "no such folder"),
        ("folder", ".", {}, "no photographs"),
        ("folder", "x.png", {}, "no such folder"),
        ("folder", ".", {"truth_path": "nowhere"}, "data.truth_path=nowhere: there is no such folder"),
        ("folder", ".", {"mask_path": "."}, "is data.path itself"),
        ("image", "x.png", {"mask_path": "nowhere"}, "no such file or folder"),
        ("mvtec_ad", ".", {}, "no photographs"),
        ("kolektor_sdd", ".", {}, "no photographs"),
        ("list", None, {}, "needs data.path: the CSV or Parquet file"),
        ("list", "x.png", {}, r"a list ends in \.csv"),
        ("list", "x.csv", {"mask_path": "."}, "columns region and mask"),
        ("sample", None, {"samples": ["moon"]}, "is not known"),
        ("sample", None, {"samples": ["brick", "brick"]}, "twice"),
        ("sample", None, {"samples": []}, "is empty"),
        ("sample", None, {"samples": "brick"}, "must be a list"),
        ("sample", None, {"truth_path": "."}, "do not go with"),
        ("sample", None, {"limit": 0}, "out of range"),
        ("sample", None, {"limit": True}, "out of range"),
        ("sample", None, {"region": "all"}, "is not known"),
        ("sample", None, {"good": "yes"}, "true or false"),
        ("tape", None, {}, "is not known"),
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
        Image.fromarray(GREY).save(tmp_path / f"{suffix}-{suffix.isupper()}.{suffix}")
    source = photos("folder", str(tmp_path))
    assert source.count() == 11
    assert all(abs(to_uint8(photo.read(40, 60)).astype(int) - 128).max() <= 3 for photo in source)
