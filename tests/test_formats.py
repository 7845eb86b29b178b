"""What is written is what the consumers' own libraries read back; they skip where they are not installed."""

import csv
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from builders import files_of
from export_items import CLASSES, RING, SIZE, drawn_items, seen, stem, told_by_coco, truth

from rli.datasets.annotations import Item
from rli.datasets.formats import FORMATS, write
from rli.datasets.formats.writer import load
from rli.datasets.polygons import INSET
from rli.datasets.review import read_review
from rli.photos.pascal_voc import markings


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> list[Item]:
    return drawn_items(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def out(items, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "set"
    write(tuple(FORMATS), items, folder, classes=CLASSES)
    return folder


# --- each format, by the plain rules ----------------------------------------------------------------------------------


def test_counts(items, out, tmp_path):
    counts = write(tuple(FORMATS), items, tmp_path / "set", classes=CLASSES)
    assert set(counts) == set(FORMATS)
    for count in counts.values():
        assert (count.images, count.train, count.val, count.test, count.left_out) == (22, 10, 6, 6, 0)
    told = json.loads((out / "export.json").read_text())
    assert told["classes"] == list(CLASSES)
    assert told["formats"]["coco"]["objects"] == counts["coco"].objects == counts["yolo"].objects
    assert files_of(tmp_path / "set") == files_of(out)


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


def test_huggingface(items, out):
    root, seen_names = out / "huggingface", set()
    for split in ("train", "val", "test"):
        rows = [json.loads(line) for line in (root / split / "metadata.jsonl").read_text().splitlines()]
        assert len({tuple(row) for row in rows}) == 1 or split == "train"  # the ring's photograph is in another split
        for row in rows:
            (item,) = [item for item in items if item.name == row["name"]]
            seen_names.add(item.name)
            assert (row["label"], row["kind"], row["photo"]) == (item.label, item.kind, item.photo)
            assert np.array_equal(seen(root / split / row["file_name"]), seen(item.image))
            assert np.array_equal(seen(root / split / row["mask_file_name"]), truth(item))
            if source := row.get("source_file_name"):
                (original,) = [i for i in items if i.photo == item.photo and i.kind == "original"]
                assert np.array_equal(seen(root / split / source), seen(original.image))
    assert seen_names == {item.name for item in items}
    head = yaml.safe_load((root / "README.md").read_text().split("---")[1])
    assert [one["split"] for one in head["configs"][0]["data_files"]] == ["train", "validation", "test"]


def test_voc(items, out):
    root, listed = out / "voc", set()
    for split in ("train", "val", "test"):
        mine = {stem(item): item for item in items if item.split == split}
        assert (root / "ImageSets" / "Main" / f"{split}.txt").read_text().split("\n")[:-1] == [*mine]
        for name, item in mine.items():
            listed.add(name)
            sample = load(item, name, CLASSES)
            assert np.array_equal(seen(root / "JPEGImages" / f"{name}.png"), seen(item.image))
            assert np.array_equal(seen(root / "SegmentationClass" / f"{name}.png"), truth(item))
            boxes = markings(root / "Annotations" / f"{name}.xml")
            assert [box.label for box in boxes] == [piece.label for piece in sample.pieces]
            for box, piece in zip(boxes, sample.pieces, strict=True):
                rows, columns = np.nonzero(box.mask(SIZE[::-1]))
                height, width = piece.mask.shape
                assert (rows.min(), columns.min()) == (piece.top, piece.left)
                assert (rows.max() + 1, columns.max() + 1) == (piece.top + height, piece.left + width)
    assert listed == {stem(item) for item in items}


def test_images_are_links_to_the_runs_own_and_photographs_are_copied(items, out):
    for item in items:
        written = out / "coco" / item.split / f"{stem(item)}.png"
        assert os.path.samefile(written, item.image) == (item.kind != "original")


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
                left, top = columns.min(), rows.min()
                assert a["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
                assert a["area"] == mask.sum()
            for name, mask in masks.items():
                assert np.array_equal(read[name], mask)
    (hole,) = [a for a in json.loads((out / "coco/annotations/instances_train.json").read_text())["annotations"]
               if a["category_id"] == CLASSES.index("oil stain") + 1]  # fmt: skip
    coco = coco_of(str(out / "coco" / "annotations" / "instances_train.json"))
    assert isinstance(hole["segmentation"], dict) and np.array_equal(coco.annToMask(hole).astype(bool), RING)
    assert hole["area"] == RING.sum()


def test_fiftyone_reads_coco_and_what_it_selects_is_a_review(items, out, tmp_path, monkeypatch):
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    pytest.importorskip("pycocotools")
    coco = pytest.importorskip("fiftyone.utils.coco")
    for split in ("train", "val", "test"):
        where = {"data_path": out / "coco" / split, "labels_path": out / f"coco/annotations/instances_{split}.json"}
        told, shown = told_by_coco(out / "coco", split), []
        with coco.COCODetectionDatasetImporter(label_types="segmentations", **where) as importer:
            for path, metadata, label in importer:
                shown.append((path, metadata, label))
                read = {name: np.zeros(SIZE, bool) for name in told[Path(path).stem]}
                for one in label.detections if label else ():
                    left, top, width, height = np.round(np.multiply(one.bounding_box, (64, 48, 64, 48))).astype(int)
                    read[one.label][top : top + height, left : left + width] |= one.mask
                for name, mask in told[Path(path).stem].items():
                    assert np.array_equal(read[name], mask)
        with coco.COCODetectionDatasetExporter(
            labels_path=str(tmp_path / f"{split}.json"), export_media=False
        ) as exporter:
            for path, metadata, label in shown[:2]:
                exporter.export_sample(path, label, metadata=metadata)
        chosen = read_review(tmp_path / f"{split}.json")
        assert chosen.rejects_others and {*chosen.files} == {Path(path).stem for path, *_ in shown[:2]}


def test_cvat_s_library_reads_coco_and_voc(items, out, tmp_path):
    datumaro = pytest.importorskip("datumaro").Dataset
    shutil.copytree(out / "coco" / "annotations", tmp_path / "annotations")
    for split in ("train", "val", "test"):
        shutil.copytree(out / "coco" / split, tmp_path / "images" / split)
    mine = {stem(item): item for item in items}
    for path, layout in ((tmp_path, "coco_instances"), (out / "voc", "voc_segmentation")):
        data = datumaro.import_from(str(path), layout)
        names = [label.name for label in data.categories()[next(iter(data.categories()))]]
        assert {(image.id, image.subset) for image in data} == {(name, item.split) for name, item in mine.items()}
        for image in data:
            masks = dict(load(mine[image.id], "", CLASSES).masks)
            read = np.zeros(SIZE, np.uint8)
            for one in image.annotations:
                label = names[one.label]
                if hasattr(one, "image") and label in CLASSES:
                    read[one.image > 0] = CLASSES.index(label) + 1
            if layout == "voc_segmentation":
                assert np.array_equal(read, truth(mine[image.id]))
            assert {names[one.label] for one in image.annotations} - {"background"} == {*masks}


def test_label_studio_s_converter_reads_coco_s_polygons(out, tmp_path):
    converter = pytest.importorskip("label_studio_sdk.converter.imports.coco")
    told = json.loads((out / "coco" / "annotations" / "instances_train.json").read_text())
    whole = [one for one in told["annotations"] if isinstance(one["segmentation"], list)]
    assert len(whole) == len(told["annotations"]) - 1  # the ring
    for one in told["annotations"]:
        one["segmentation"] = one["segmentation"] if one in whole else []
    (tmp_path / "coco.json").write_text(json.dumps(told))
    converter.convert_coco_to_ls(str(tmp_path / "coco.json"), str(tmp_path / "tasks.json"))
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    # The names that it gives to images come back from it.
    (tmp_path / "back.json").write_text(json.dumps({"images": [{"file_name": t["data"]["image"]} for t in tasks]}))
    assert {*read_review(tmp_path / "back.json").files} == {Path(one["file_name"]).stem for one in told["images"]}
    results = [result for task in tasks for result in task["annotations"][0]["result"]]
    kinds = [result["type"] for result in results]
    assert (kinds.count("rectanglelabels"), kinds.count("polygonlabels")) == (len(told["annotations"]), len(whole))
    outlines = sorted(tuple(np.ravel(one["segmentation"])) for one in whole)
    drawn = [np.multiply(r["value"]["points"], (0.64, 0.48)).ravel() for r in results if r["type"] == "polygonlabels"]
    assert np.allclose(np.concatenate(sorted(map(tuple, drawn))), np.concatenate(outlines))


@pytest.mark.parametrize("originals", ["copy", "none"])
def test_datasets_reads_huggingface(items, tmp_path, monkeypatch, originals):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    load_dataset = pytest.importorskip("datasets").load_dataset
    # A split without an edit has no scores, and its columns are the same all the same.
    some = [replace(i, facts={"psnr": 30.5, "eq": 2.0} if i.kind == "edit" else {}) for i in items]
    some = [i for i in some if i.split != "val" or i.kind != "edit"]
    write(["huggingface"], some, tmp_path / "set", classes=CLASSES, originals=originals)
    data = load_dataset(str(tmp_path / "set" / "huggingface"), cache_dir=str(tmp_path / "cache"))
    wanted = [i for i in some if originals == "copy" or i.kind != "original"]
    assert {name: len(rows) for name, rows in data.items()} == {
        hub: sum(i.split == split for i in wanted)
        for hub, split in (("train",) * 2, ("validation", "val"), ("test",) * 2)
    }
    assert all(("source" in rows.column_names) == (originals == "copy") for rows in data.values())
    for rows in data.values():
        for row in rows:
            (item,) = [i for i in wanted if i.name == row["name"]]
            assert np.array_equal(np.asarray(row["image"]), seen(item.image))
            assert np.array_equal(np.asarray(row["mask"]), truth(item))
            assert json.loads(row["scores"]) == ({"psnr": 30.5} if item.kind == "edit" else {})
            assert json.loads(row["settings"]) == ({"eq": 2.0} if item.kind == "edit" else {})


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


@pytest.fixture
def ultralytics(monkeypatch):
    """The library without the network that it looks for when it is imported, and the font that it would fetch."""
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    pytest.importorskip("ultralytics")
    monkeypatch.setattr("ultralytics.data.utils.check_font", lambda font: None)


@pytest.mark.usefixtures("ultralytics")
def test_ultralytics_reads_yolo(items, out, tmp_path):
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    copy = shutil.copytree(out / "yolo", tmp_path / "yolo")  # it leaves caches beside the labels
    facts = check_det_dataset(str(copy / "data.yaml"), autodownload=False)
    assert list(facts["names"].values()) == list(CLASSES)
    for split in ("train", "val", "test"):
        apart = get_cfg(overrides={"mask_ratio": 1, "overlap_mask": False})
        data = YOLODataset(img_path=facts[split], data=facts, task="segment", augment=False, imgsz=64, hyp=apart)
        mine = {stem(item): item for item in items if item.split == split}
        assert {Path(told["im_file"]).stem for told in data.labels} == set(mine)
        for k, told in enumerate(data.labels):
            sample = load(mine[Path(told["im_file"]).stem], "", CLASSES)
            assert tuple(told["shape"]) == SIZE
            assert sorted(told["cls"].ravel()) == sorted(CLASSES.index(piece.label) for piece in sample.pieces)
            assert len(told["segments"]) == len(sample.pieces)
            read = {tuple(np.round(box * [64, 48, 64, 48], 2)) for box in told["bboxes"]}
            sides = {(piece.left, piece.top, *piece.mask.shape[::-1]) for piece in sample.pieces}
            # The outline lies inside its pixels.
            assert read == {(x + w / 2, y + h / 2, w - 2 * INSET, h - 2 * INSET) for x, y, w, h in sides}
            drawn = data[k]["masks"].numpy()[:, 8:56] > 0  # in a square
            assert len(drawn) == len(sample.pieces)
            for piece, mask in zip(sample.pieces, drawn, strict=True):
                (height, width), expected = piece.mask.shape, np.zeros(SIZE, bool)
                expected[piece.top : piece.top + height, piece.left : piece.left + width] = piece.mask
                assert np.array_equal(mask, expected)


@pytest.mark.usefixtures("ultralytics")
def test_ultralytics_reads_segmentation(items, out, tmp_path):
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
