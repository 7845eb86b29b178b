"""What is written is what the consumers' own libraries read back; they skip where they are not installed."""

import csv
import json
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rli.datasets.annotations import Item, Region, class_index
from rli.datasets.formats import FORMATS, write
from rli.datasets.formats.writer import load
from rli.errors import RLIError
from rli.images import write_png
from rli.models.mini.surfaces import surface

CLASSES = ("crack", "rust", "oil stain")
SIZE = (48, 64)
RING = np.zeros(SIZE, bool)
RING[10:30, 10:30] = True
RING[15:20, 15:20] = False


def region(folder: Path, name: str, label: str, mask: np.ndarray) -> Region:
    write_png(folder / f"{name}.png", mask)
    return Region(label, folder / f"{name}.png")


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> list[Item]:
    """Two categories, photographs in every split, each with its reconstruction and an edit; a ring for a hole."""
    folder = tmp_path_factory.mktemp("run")
    found = []
    for k, split in enumerate(("train", "train", "val", "test", "train", "val", "test")):
        category, photo = ("bolt", "wood nut")[k % 2], f"part.{k:02d}"
        good = k in (1, 2, 3, 4, 6)
        drawn = surface(k, () if good else ("crack",), *SIZE)
        edited = surface(k, ("rust",) if good else ("crack", "rust"), *SIZE)
        write_png(folder / f"{k}.png", drawn.image)
        write_png(folder / f"{k}_rust.png", edited.image)
        truth = () if good else (region(folder, f"{k}_mask", "crack", drawn.mask),)
        new = region(folder, f"{k}_rust_mask", "rust", edited.masks["rust"])
        label, name = "good" if good else "crack", f"{category}/{photo}"
        common = {"photo": photo, "category": category, "split": split}
        shown = {"label": label, "regions": truth} | common
        found += [
            Item(folder / f"{k}.png", "original", name=name, **shown),
            Item(folder / f"{k}.png", "reconstruction", name=f"{name}__back", **shown),
            Item(folder / f"{k}_rust.png", "edit", name=f"{name}__rust", label="rust", regions=(*truth, new), **common),
        ]
    ring = region(folder, "ring", "oil stain", RING)
    found.append(
        replace(found[-1], name="bolt/ring", category="bolt", label="oil stain", split="train", regions=(ring,))
    )
    return found


@pytest.fixture(scope="module")
def out(items, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write(tuple(FORMATS), items, folder, classes=CLASSES)
    return folder


def truth(item: Item) -> np.ndarray:
    """(H,W) class indices that the item's masks say."""
    return class_index(load(item, "", CLASSES).masks, CLASSES, SIZE)


def seen(path) -> np.ndarray:
    return np.asarray(Image.open(path))


def stem(item: Item) -> str:
    return item.name.replace("/", "__").replace(".", "_")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- each layout, by the plain rules ----------------------------------------------------------------------------------


def test_counts(items, out, tmp_path):
    counts = write(tuple(FORMATS), items, tmp_path / "set", classes=CLASSES)
    assert set(counts) == set(FORMATS)
    for count in counts.values():
        assert (count.images, count.train, count.val, count.test, count.left_out) == (22, 10, 6, 6, 0)
    told = json.loads((out / "export.json").read_text())
    assert told["classes"] == list(CLASSES)
    assert told["formats"]["coco"]["objects"] == counts["coco"].objects == counts["yolo"].objects
    assert files(tmp_path / "set") == files(out)


def test_mvtec_ad(items, out):
    names = {name: out / "mvtec_ad" / file for file, name in csv.reader((out / "mvtec_ad" / "names.csv").open())}
    for item in items:
        path = names[item.name]
        category, half, label, file = path.parts[-4:]
        assert (category, label) == (item.category, item.label)
        assert half == ("train" if item.label == "good" and item.split == "train" else "test")
        assert np.array_equal(seen(path), seen(item.image))
        mask = out / "mvtec_ad" / category / "ground_truth" / label / f"{Path(file).stem}_mask.png"
        assert mask.exists() == (item.label != "good")
        if mask.exists():
            assert np.array_equal(seen(mask), (truth(item) > 0) * np.uint8(255))
    assert {p.name for p in (out / "mvtec_ad").iterdir()} == {"bolt", "wood nut", "names.csv"}


def test_segmentation(items, out):
    root = out / "segmentation"
    assert (root / "classes.txt").read_text().split("\n") == ["background", *CLASSES, ""]
    for item in items:
        assert np.array_equal(seen(root / "images" / item.split / f"{stem(item)}.png"), seen(item.image))
        assert np.array_equal(seen(root / "masks" / item.split / f"{stem(item)}.png"), truth(item))


def test_images_are_links_to_the_runs_own(items, out):
    for item in items:
        assert os.path.samefile(out / "coco" / item.split / f"{stem(item)}.png", item.image)


# --- read back by the consumers ---------------------------------------------------------------------------------------


def test_torchvision_reads_imagefolder(items, out):
    from torchvision.datasets import ImageFolder

    for split in ("train", "val", "test"):
        data = ImageFolder(out / "imagefolder" / split)
        mine = [item for item in items if item.split == split]
        assert len(data) == len(mine)
        found = {Path(path).stem: data.classes[k] for path, k in data.samples}
        assert found == {stem(item): item.label for item in mine}
    assert (out / "imagefolder" / "classes.txt").read_text().split() == "crack good oil stain rust".split()


def test_pycocotools_reads_coco(items, out):
    coco_of = pytest.importorskip("pycocotools.coco").COCO
    for split in ("train", "val", "test"):
        coco = coco_of(str(out / "coco" / "annotations" / f"instances_{split}.json"))
        mine = {f"{stem(item)}.png": item for item in items if item.split == split}
        images = coco.loadImgs(coco.getImgIds())
        assert {image["file_name"] for image in images} == set(mine)
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
        for image in images:
            item = mine[image["file_name"]]
            assert (image["height"], image["width"]) == SIZE
            masks = dict(load(item, "", CLASSES).masks)
            read = {name: np.zeros(SIZE, bool) for name in masks}
            for a in coco.loadAnns(coco.getAnnIds(image["id"])):
                mask = coco.annToMask(a).astype(bool)
                read[CLASSES[a["category_id"] - 1]] |= mask
                rows, columns = np.nonzero(mask)
                x, y, _, height = a["bbox"]
                assert abs(columns.min() - x) <= 1 and abs(rows.max() + 1 - y - height) <= 1
            for name, mask in masks.items():
                assert (read[name] & mask).sum() / (read[name] | mask).sum() > 0.9
    (hole,) = [a for a in json.loads((out / "coco/annotations/instances_train.json").read_text())["annotations"]
               if isinstance(a["segmentation"], dict)]  # fmt: skip
    coco = coco_of(str(out / "coco" / "annotations" / "instances_train.json"))
    assert np.array_equal(coco.annToMask(hole).astype(bool), RING)
    assert hole["area"] == RING.sum()


def test_anomalib_reads_mvtec_ad(items, out):
    mvtec = pytest.importorskip("anomalib.data.datasets.image.mvtecad").MVTecADDataset
    names = dict(csv.reader((out / "mvtec_ad" / "names.csv").open()))
    mine = {item.name: item for item in items}
    read = set()
    for category in ("bolt", "wood nut"):
        for half in ("train", "test"):
            data = mvtec(root=out / "mvtec_ad", category=category, split=half)
            for k, row in data.samples.iterrows():
                item = mine[names[str(Path(row.image_path).relative_to(out / "mvtec_ad"))]]
                read.add(item.name)
                assert (item.category, item.label) == (category, row.label)
                assert (half == "train") == (item.label == "good" and item.split == "train")
                if row.label != "good":
                    assert np.array_equal(data[k].gt_mask.numpy() > 0, truth(item) > 0)
    assert read == set(mine)


def test_anomalib_reads_its_folder(items, out):
    folder = pytest.importorskip("anomalib.data.datasets.image.folder").FolderDataset
    for category in ("bolt", "wood nut"):
        data = folder(
            name=category, root=out / "anomalib_folder" / category, normal_dir="normal", abnormal_dir="abnormal",
            normal_test_dir="normal_test", mask_dir="mask",
        )  # fmt: skip
        mine = {stem(i): i for i in items if i.category == category}
        assert len(data) == len(mine)
        for k, row in data.samples.iterrows():
            item = mine[Path(row.image_path).stem]
            assert row.label_index == (item.label != "good")
            assert str(row.split.value if hasattr(row.split, "value") else row.split) == (
                "train" if item.label == "good" and item.split == "train" else "test"
            )
            if item.label != "good":
                assert np.array_equal(data[k].gt_mask.numpy() > 0, truth(item) > 0)


def test_ultralytics_reads_yolo(items, out, tmp_path):
    pytest.importorskip("ultralytics")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    copy = shutil.copytree(out / "yolo", tmp_path / "yolo")  # it leaves caches beside the labels
    facts = check_det_dataset(str(copy / "data.yaml"), autodownload=False)
    assert list(facts["names"].values()) == list(CLASSES)
    for split in ("train", "val", "test"):
        data = YOLODataset(img_path=facts[split], data=facts, task="segment", augment=False, imgsz=64)
        mine = {stem(item): item for item in items if item.split == split}
        assert {Path(told["im_file"]).stem for told in data.labels} == set(mine)
        for told in data.labels:
            sample = load(mine[Path(told["im_file"]).stem], "", CLASSES)
            assert tuple(told["shape"]) == SIZE
            assert sorted(told["cls"].ravel()) == sorted(CLASSES.index(piece.label) for piece in sample.pieces)
            assert len(told["segments"]) == len(sample.pieces)
            read = {tuple(np.round(box * [64, 48, 64, 48], 2)) for box in told["bboxes"]}
            sides = {(piece.left, piece.top, *piece.mask.shape[::-1]) for piece in sample.pieces}
            assert read == {(x + width / 2, y + height / 2, width, height) for x, y, width, height in sides}


def test_ultralytics_reads_segmentation(items, out, tmp_path):
    pytest.importorskip("ultralytics")
    from ultralytics.data.dataset import SemanticDataset
    from ultralytics.data.utils import check_det_dataset

    copy = shutil.copytree(out / "segmentation", tmp_path / "segmentation")
    facts = check_det_dataset(str(copy / "data.yaml"), autodownload=False)
    data = SemanticDataset(img_path=facts["train"], data=facts, augment=False, imgsz=64)
    mine = {stem(item): item for item in items if item.split == "train"}
    assert len(data) == len(mine)
    for k, told in enumerate(data.labels):
        assert np.array_equal(data.load_mask(k), truth(mine[Path(told["im_file"]).stem]))


def test_a_segmentation_network_trains_on_it(out):
    smp = pytest.importorskip("segmentation_models_pytorch")
    paths = sorted((out / "segmentation" / "images" / "train").iterdir())
    images = torch.stack([torch.from_numpy(seen(p).copy()).permute(2, 0, 1) / 255.0 for p in paths])[..., :32, :]
    masks = torch.stack([torch.from_numpy(seen(str(p).replace("images", "masks")).copy()).long() for p in paths])[
        :, :32
    ]
    network = smp.Unet("mobilenet_v2", encoder_weights=None, classes=len(CLASSES) + 1)
    smp.losses.DiceLoss("multiclass", ignore_index=255)(network(images), masks).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


# --- the whole --------------------------------------------------------------------------------------------------------


def test_formats_together_are_the_formats_one_by_one(items, out, tmp_path):
    for name in FORMATS:
        write([name], iter(items), tmp_path / name, classes=CLASSES)
        assert files(tmp_path / name / name) == files(out / name)


def test_an_interrupted_export_leaves_the_old_one(items, tmp_path):
    write(["coco", "yolo"], items[:3], tmp_path / "set", classes=CLASSES)
    before = files(tmp_path)

    def broken():
        yield from items[:6]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tuple(FORMATS), broken(), tmp_path / "set", classes=CLASSES)
    assert files(tmp_path) == before
    write(["yolo"], items, tmp_path / "set", classes=CLASSES)
    assert {p.name for p in (tmp_path / "set").iterdir()} == {"yolo", "export.json"}
    assert {p.name for p in tmp_path.iterdir()} == {"set"}


def test_killed_between_the_moves_the_old_one_comes_back(items, tmp_path):
    write(["yolo"], items[:3], tmp_path / "set", classes=CLASSES)
    before = files(tmp_path / "set")
    (tmp_path / "set").rename(tmp_path / ".set.old")
    with pytest.raises(RLIError):
        write(["yolo"], [items[0], items[0]], tmp_path / "set", classes=CLASSES)
    assert files(tmp_path / "set") == before


def test_nothing_but_an_export_is_replaced(items, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    for place in (tmp_path / "photos", tmp_path / "photos" / "a.jpg"):
        with pytest.raises(RLIError, match="something else"):
            write(["yolo"], items, place, classes=CLASSES)
    assert files(tmp_path) == {"photos/a.jpg": b"mine"}


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
            # pathlib interns names, and the interpreter's table of those grows in leaps.
            taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, "*pathlib*")])
            found.append(sum(told.size for told in taken.statistics("filename")))

        tracemalloc.start()
        write(tuple(FORMATS), many(), tmp_path / str(count), classes=CLASSES)
        tracemalloc.stop()
        return found[0]

    held(10)  # what is imported and kept once
    assert held(500) - held(50) < 400_000  # 300 bytes of names each; an annotation alone would be over a thousand


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
    assert {name for name, count in counts.items() if count.left_out} == {"mvtec_ad", "anomalib_folder", "yolo", "coco"}
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
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"label": "dent"}, "dent"),
        ({"image": Path("none.png")}, "no such file"),
        ({"label": "good"}, "shows a defect"),
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
