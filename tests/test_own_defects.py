"""Photographs' own defects in data sets: each class keeps its pixels, and what nobody located does not pass as good."""

import csv
import json
from pathlib import Path

import numpy as np
from builders import box, noise, photo_result
from export_items import told_by_coco
from layouts import SIZE, labelme, mask_file, painted, photograph

from rli.datasets.dataset import Dataset, write_dataset
from rli.photos.sources import photos
from rli.store.records import read_record, write_photo
from rli.store.results import EditedPhoto

CHANGE = box(*SIZE, slice(30, 40), slice(40, 60))


def exported(place: Path) -> Path:
    """The run's folder, with a data set of the photographs in place/set, their reconstructions and edits, which all
    change the same pixels."""
    made = []
    for photo in photos("folder", str(place / "set")):
        edit = EditedPhoto(noise(*SIZE, 1), CHANGE, change=CHANGE, label="rust")
        result = photo_result(
            photo.name,
            picture=noise(*SIZE),
            edits={"rust": edit},
            truth=photo.truth(*SIZE),
            made={"model": "mini", "model_hash": "", "version": ""},
        )
        write_photo(place / "run", result)
        made.append((photo, read_record(place / "run", photo.name)))
    write_dataset(made, place / "run", Dataset(("coco",), reconstructions=True, relabel=False), {})
    return place / "run"


def listed(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


def test_each_class_of_an_annotation_is_exported_with_its_own_pixels(tmp_path):
    known = labelme(tmp_path / "set")
    folder = exported(tmp_path)
    told = told_by_coco(folder / "dataset" / "coco", "train")
    assert len(told) == 3 * len(known)
    for file, one in known.items():
        name, own = Path(file).stem, one.defects
        for stem, masks in ((name, own), (f"{name}__reconstruction", own), (f"{name}__rust", {**own, "rust": CHANGE})):
            assert told[stem].keys() == masks.keys()
            assert all(np.array_equal(told[stem][label], mask) for label, mask in masks.items())
    assert {row["name"]: row["label"] for row in listed(folder) if row["kind"] == "original"} == {
        Path(file).stem: one.label for file, one in known.items()
    }


def test_what_a_black_mask_leaves_open_is_good_or_left_out(tmp_path):
    black = np.zeros(SIZE, bool)
    for name, mask in (("a", painted(1)), ("b", black), ("crack/c", black), ("crack/d", painted(2))):
        photograph(tmp_path / "set" / f"{name}.jpg")
        mask_file(tmp_path / "set" / f"{name}_mask.png", mask)
    folder = exported(tmp_path)
    # Nobody named a class of b, and its mask is black: it is good. The folder of c says that it is not.
    labels = {row["name"]: row["label"] for row in listed(folder) if row["kind"] == "original"}
    assert labels == {"a": "defect", "b": "good", "crack/c": "crack", "crack/d": "crack"}
    told = json.loads((folder / "dataset" / "coco" / "annotations" / "instances_train.json").read_text())
    written = {Path(image["file_name"]).stem for image in told["images"]}
    assert written == {
        f"{name}{made}" for name in ("a", "b", "crack__d") for made in ("", "__reconstruction", "__rust")
    }
