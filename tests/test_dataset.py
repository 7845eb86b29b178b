from pathlib import Path

import numpy as np
import pytest

from rli.dataset import photos, unique_names
from rli.images import write_png
from rli.types import RLIError

GREY = np.full((40, 60, 3), 128, np.uint8)


def test_samples_are_the_projects_own_and_come_at_any_size():
    for photo in photos("sample", samples=["surface", "brick", "gravel"]):
        assert photo.read(64, 96).shape == (1, 3, 64, 96)
        assert photo.mask is None


def test_a_folder_is_read_in_order_without_what_is_no_photograph(tmp_path):
    for name in ("b.png", "a.jpg", "c.PNG"):
        write_png(tmp_path / name, GREY)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in photos("folder", str(tmp_path))] == ["a", "b", "c"]
    assert [p.name for p in photos("folder", str(tmp_path), limit=2)] == ["a", "b"]


def test_masks_are_found_by_stem(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        write_png(tmp_path / "images" / name, GREY)
    mask = np.zeros((40, 60), bool)
    mask[:20] = True
    write_png(tmp_path / "masks" / "a.png", mask)
    write_png(tmp_path / "masks" / "b_mask.png", mask)
    found = photos("folder", str(tmp_path / "images"), mask_path=str(tmp_path / "masks"))
    assert [p.mask is not None for p in found] == [True, True, False]
    assert np.array_equal(found[1].mask(80, 120), np.kron(mask, np.ones((2, 2), bool)))


def test_layouts_of_data_sets(tmp_path):
    for name in (
        "bottle/test/broken/000.png",
        "bottle/test/good/000.png",
        "bottle/train/good/000.png",
        "cable/test/cut/000.png",
    ):
        write_png(tmp_path / "mvtec" / name, GREY)
    assert [p.name for p in photos("mvtec_ad", str(tmp_path / "mvtec"))] == ["000", "000-2"]
    assert [p.name for p in photos("mvtec_ad", str(tmp_path / "mvtec" / "bottle"))] == ["000"]
    for name in ("kos01/Part0.jpg", "kos01/Part0_label.bmp", "kos02/Part0.jpg"):
        write_png(tmp_path / "ksdd" / name, GREY)
    assert [p.name for p in photos("kolektor_sdd", str(tmp_path / "ksdd"))] == ["Part0", "Part0-2"]


def test_names_are_unique_and_no_paths():
    names = unique_names([Path("x/a.png"), Path("y/a.jpg"), Path("A.png"), Path("..png"), Path("a\nb.png")])
    assert len({n.lower() for n in names}) == 5
    assert not any(set("/\\\n") & set(n) or n in ("", ".", "..") for n in names)


@pytest.mark.parametrize(
    ("kind", "path", "options", "says"),
    [
        ("image", None, {}, "needs data.path"),
        ("image", "none.png", {}, "no such file"),
        ("image", ".", {}, "is a folder"),
        ("folder", "nowhere", {}, "no such folder"),
        ("folder", ".", {}, "no photographs"),
        ("sample", None, {"samples": ["moon"]}, "is not known"),
        ("sample", None, {"limit": 0}, "at least 1"),
        ("tape", None, {}, "is not known"),
    ],
)
def test_sources_that_are_not_there(tmp_path, monkeypatch, kind, path, options, says):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RLIError, match=says):
        photos(kind, path, **options)
