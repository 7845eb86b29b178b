"""An export of any formats is whole or not there, holds what was given and stays in its folder.

What each format writes is read back in test_formats.py.
"""

import gc
import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import files_of
from export_items import CLASSES, SIZE, drawn_items, region, seen, stem, told_by_coco, told_by_yolo
from PIL import Image

from rli.datasets.annotations import Item, Region, regions_of_edit
from rli.datasets.formats import FORMATS, write
from rli.errors import RLIError
from rli.images import write_png
from rli.models.mini.surfaces import surface


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> list[Item]:
    return drawn_items(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def out(items, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write(tuple(FORMATS), items, folder, classes=CLASSES)
    return folder


def test_formats_together_are_the_formats_one_by_one(items, out, tmp_path):
    for name in FORMATS:
        write([name], iter(items), tmp_path / name, classes=CLASSES)
        assert files_of(tmp_path / name / name) == files_of(out / name)


def test_an_interrupted_export_leaves_the_old_one(items, tmp_path):
    write(["coco", "yolo"], items[:3], tmp_path / "set", classes=CLASSES)
    before = files_of(tmp_path)

    def broken():
        yield from items[:6]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tuple(FORMATS), broken(), tmp_path / "set", classes=CLASSES)
    assert files_of(tmp_path) == before
    write(["yolo"], items, tmp_path / "set", classes=CLASSES)
    assert {p.name for p in (tmp_path / "set").iterdir()} == {"yolo", "export.json", "written.csv"}
    assert {p.name for p in tmp_path.iterdir()} == {"set"}


def test_killed_between_the_moves_the_old_one_comes_back(items, tmp_path):
    write(["yolo"], items[:3], tmp_path / "set", classes=CLASSES)
    before = files_of(tmp_path / "set")
    (tmp_path / "set").rename(tmp_path / ".set.old")
    with pytest.raises(RLIError):
        write(["yolo"], [items[0], items[0]], tmp_path / "set", classes=CLASSES)
    assert files_of(tmp_path / "set") == before


def test_nothing_but_an_export_is_replaced(items, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    for place in (tmp_path / "photos", tmp_path / "photos" / "a.jpg"):
        with pytest.raises(RLIError, match="not an export"):
            write(["yolo"], items, place, classes=CLASSES)
    assert files_of(tmp_path) == {"photos/a.jpg": b"mine"}


def test_memory_holds_no_images_and_no_annotations(tmp_path):
    small = np.zeros((16, 16), bool)
    small[4, 3] = True
    write_png(tmp_path / "image.png", np.zeros((16, 16, 3), np.uint8))
    one = Item(tmp_path / "image.png", "edit", "a", "a", label="rust", regions=(region(tmp_path, "m", "rust", small),))

    def held(count: int) -> int:
        """Bytes that are held when the last item has been written."""
        found = []

        def many():
            yield from (replace(one, name=f"n{k}") for k in range(count))
            gc.collect()
            # pathlib interns names, and the interpreter's table of those grows in leaps.
            taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, "*pathlib*")])
            found.append(sum(told.size for told in taken.statistics("filename")))

        tracemalloc.start()
        write(tuple(FORMATS), many(), tmp_path / str(count), classes=CLASSES)
        tracemalloc.stop()
        return found[0]

    held(10)  # what is imported and kept once
    assert held(220) - held(20) < 180_000  # 300 bytes of names each; an annotation alone would be over a thousand


def test_originals(items, tmp_path):
    write(["coco"], items, tmp_path / "none", originals="none", classes=CLASSES)
    write(["coco"], items, tmp_path / "copy", originals="copy", classes=CLASSES)
    left = {p.stem for p in (tmp_path / "none" / "coco").rglob("*.png")}
    assert left == {stem(item) for item in items if item.kind != "original"}
    for item in items:
        path = tmp_path / "copy" / "coco" / item.split / f"{stem(item)}.png"
        assert path.read_bytes() == item.image.read_bytes()
        assert os.path.samefile(path, item.image) == (item.kind != "original")


def test_a_defect_that_nobody_located(items, tmp_path):
    lost = replace(items[0], name="bolt/lost", label="crack", regions=())
    counts = write(tuple(FORMATS), [items[0], lost], tmp_path / "set", classes=CLASSES)
    where = {"mvtec_ad", "anomalib_folder", "yolo", "coco", "huggingface", "voc"}
    assert {name for name, count in counts.items() if count.left_out} == where
    assert (seen(tmp_path / "set" / "segmentation" / "masks" / "train" / "bolt__lost.png") == 255).all()


def test_photographs_that_are_not_read_alike_become_png(tmp_path):
    array = surface(1, (), 32, 48).image
    rotated = Image.Exif()
    rotated[0x0112] = 6
    Image.fromarray(array).save(tmp_path / "turned.jpg", exif=rotated)
    Image.fromarray(array[..., 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(array).save(tmp_path / "film.gif")
    Image.fromarray(array).save(tmp_path / "plain.JPG")
    names = ("turned.jpg", "deep.png", "film.gif", "plain.JPG")
    write(
        ["coco"], [Item(tmp_path / name, "original", name, Path(name).stem) for name in names], tmp_path / "set",
        classes=CLASSES,
    )  # fmt: skip
    found = {p.name: Image.open(p) for p in (tmp_path / "set" / "coco" / "train").iterdir()}
    assert set(found) == {"turned.png", "deep.png", "film.png", "plain.jpg"}
    assert all(image.mode == "RGB" for image in found.values())
    assert found["turned.png"].size == (32, 48)
    assert np.array_equal(np.asarray(found["deep.png"])[..., 0], array[..., 0])
    told = json.loads((tmp_path / "set/coco/annotations/instances_train.json").read_text())
    assert {i["file_name"]: (i["width"], i["height"]) for i in told["images"]} == {n: i.size for n, i in found.items()}


def test_names_that_differ_in_case_or_folders_only_are_numbered(items, tmp_path):
    names = ("a/b", "A/b", "a__b", "a/B-2", "x" * 300, "x" * 301)
    write(["coco"], [replace(items[0], name=name, split="train") for name in names], tmp_path / "set", classes=CLASSES)
    found = [p.stem for p in (tmp_path / "set" / "coco" / "train").iterdir()]
    assert len({name.casefold() for name in found}) == len(names)
    assert {"a__b", "A__b-2", "a__b-3", "a__B-2-2"} <= set(found)


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", "a\\b", "a\nb", "."])
def test_names_do_not_leave_the_folder(items, tmp_path, name):
    with pytest.raises(RLIError, match="cannot name an image"):
        write(["yolo"], [replace(items[0], name=name)], tmp_path / "set", classes=CLASSES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("category", ["../../x", "/x", "..", "a/b", "CON:\n"])
def test_categories_and_classes_do_not_either(items, tmp_path, category):
    label = category.strip() + "?x"
    item = replace(items[2], category=category, label=label, regions=(Region(label, items[2].regions[0].mask),))
    write(["mvtec_ad", "imagefolder", "anomalib_folder"], [item], tmp_path / "set", classes=[label])
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    assert sorted(p.name for p in (tmp_path / "set").iterdir()) == [
        "anomalib_folder",
        "export.json",
        "imagefolder",
        "mvtec_ad",
        "written.csv",
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": "dent"}, "dent"),
        ({"image": Path("none.png")}, "no such file"),
        ({"label": "good"}, "its mask marks a defect"),
    ],
)
def test_items_that_contradict_themselves(items, tmp_path, change, says):
    with pytest.raises(RLIError, match=says):
        write(["yolo"], [replace(items[2], **change)], tmp_path / "set", classes=CLASSES)
    assert not list(tmp_path.iterdir())


def test_a_mask_of_another_size(items, tmp_path):
    other = region(tmp_path, "mask", "rust", np.ones((9, 9), bool))
    with pytest.raises(RLIError, match="same size"):
        write(["yolo"], [replace(items[2], regions=(other,))], tmp_path / "set", classes=CLASSES)


def test_values_that_are_refused(items, tmp_path):
    for values in ({"formats": ["tar"]}, {"originals": "move"}, {"classes": ["good"]}, {"classes": ["a/b", "a_b"]}):
        with pytest.raises(RLIError):
            write(**{"formats": ["yolo"], "items": items, "out": tmp_path / "set", "classes": CLASSES} | values)
    with pytest.raises(RLIError, match="named bolt/ring"):
        write(["yolo"], [items[-1]] * 2, tmp_path / "set", classes=CLASSES)


def test_a_relabelled_pixel_has_the_new_class_alone(tmp_path):
    masks: dict[str, dict[str, np.ndarray]] = {}
    items: dict[bool, list[Item]] = {False: [], True: []}
    for k in range(8):
        # A crack and a patch of rust that covers a part of it; then one within it, and one over all of it.
        drawn = surface(k, ("crack",), *SIZE)
        crack = drawn.mask.copy() if k < 6 else np.indices(SIZE).min(0) > 4 + 9 * (k == 7)
        rust = np.roll(crack, 2, axis=1) if k < 6 else np.indices(SIZE).min(0) > 13 - 9 * (k == 7)
        rust &= np.indices(SIZE).max(0) < 40
        masks[f"p{k}"] = {"crack": crack, "rust": rust}
        write_png(tmp_path / f"{k}.png", drawn.image)
        truth = region(tmp_path, f"{k}_crack", "crack", crack)
        change = region(tmp_path, f"{k}_rust", "rust", rust)
        for relabel, some in items.items():
            regions = regions_of_edit((truth,), change, relabel)
            some.append(Item(tmp_path / f"{k}.png", "edit", f"p{k}", f"p{k}", label="rust", regions=regions))
    for relabel, some in items.items():
        out = tmp_path / f"set{relabel}"
        write(("coco", "yolo", "segmentation", "mvtec_ad"), some, out, classes=CLASSES)
        for told in (told_by_coco(out / "coco", "train"), told_by_yolo(out / "yolo", "train", SIZE)):
            for name, own in masks.items():
                rust, crack = own["rust"], own["crack"] & ~own["rust"] if relabel else own["crack"]
                expected = {label: mask for label, mask in (("crack", crack), ("rust", rust)) if mask.any()}
                assert told[name].keys() == expected.keys()
                assert all(np.array_equal(told[name][label], mask) for label, mask in expected.items())
        for k, (name, own) in enumerate(masks.items()):
            over, under = ("rust", "crack") if relabel else ("crack", "rust")
            index = np.where(own[over], CLASSES.index(over) + 1, np.where(own[under], CLASSES.index(under) + 1, 0))
            assert np.array_equal(seen(out / "segmentation" / "masks" / "train" / f"{name}.png"), index)
            union = seen(out / "mvtec_ad" / "all" / "ground_truth" / "rust" / f"{k:06d}_mask.png") > 0
            assert np.array_equal(union, own["crack"] | own["rust"])
