"""Data sets of two commands merge: classes have the same numbers, groups stay whole and corrections stay."""

import json
from pathlib import Path

import command
import pytest
from builders import box, noise
from dataset_commands import OPEN, QUICK, made_by, refused, rows_of

from rli.images import write_png

pytestmark = pytest.mark.integration

LOOSE = ["dataset.threshold=1", "dataset.smallest=1", "inversion=ddim"]
# The miniature's quickest: one edit of each photograph.
MADE = [
    *QUICK,
    *OPEN,
    *LOOSE,
    "inversion.batch_size=7",
    "data=folder",
    "data.path=photos",
    "data.good=true",
    "out=run",
    "export=[yolo,coco]",
]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder in which one stands, with two views of three parts and a copy of one of them under another name."""
    monkeypatch.chdir(tmp_path)
    for part in range(3):
        for view in range(2):
            write_png(Path("photos", f"view{view}_part{part}.png"), noise(64, 64, 10 * part + view))
            write_png(Path("photos", f"view{view}_part{part}_mask.png"), box(64, 64, slice(8, 20), slice(8, 20)))
    Path("photos", "copy.png").write_bytes(Path("photos", "view1_part2.png").read_bytes())
    write_png(Path("photos", "copy_mask.png"), box(64, 64, slice(8, 20), slice(8, 20)))
    return tmp_path


def numbers(folder: Path) -> dict[str, int]:
    told = json.loads((folder / "dataset" / "coco" / "annotations" / "instances_train.json").read_text())
    return {category["name"]: category["id"] - 1 for category in told["categories"]}


def test_two_data_sets_merge(place):
    shared = [*MADE, r"dataset.group=part(\d)", "dataset.split=0.34/0.33/0.33"]
    folder = made_by(*shared, "defect=rust", "dataset.classes=[rust,defect]")
    rows = rows_of(folder)
    part = rows["photo"].str.extract(r"part(\d)")[0].fillna("2")
    assert (rows.groupby(part)["split"].nunique() == 1).all() and rows["split"].nunique() == 3
    assert numbers(folder) == {"rust": 0, "defect": 1}

    # Somebody corrects a label; then the same command is given once more, and says what it keeps.
    (label,) = (folder / "dataset").glob("yolo/labels/*/view0_part0__rust.txt")
    label.write_text("0 0.1 0.1 0.2 0.1 0.2 0.2\n")
    again = command.run(*shared, "defect=rust", "dataset.classes=[rust,defect]")
    assert again.folder == folder and label.read_text() == "0 0.1 0.1 0.2 0.1 0.2 0.2\n"
    assert label.relative_to(folder / "dataset").as_posix() in again.stderr

    # Another data set has a class more: it takes its numbers from the first one's file.
    Path("classes.yaml").write_bytes((folder / "dataset" / "yolo" / "data.yaml").read_bytes())
    few = ["out=more", "data.limit=2", "dataset.split=null"]
    more = command.run(*shared, "defect=dent", *few, "dataset.classes=classes.yaml")
    assert numbers(more.folder) == {"rust": 0, "defect": 1, "dent": 2}
    assert "dent (2)" in more.stderr


def test_a_source_that_tears_a_group_is_told(place):
    lines = [
        "path,label,split,group",
        *(f"photos/view{k}_part0.png,good,{s},a" for k, s in enumerate(("train", "test"))),
    ]
    Path("list.csv").write_text("\n".join([*lines, "photos/view0_part1.png,good,,a", ""]))
    own = [*MADE, "data=list", "data.path=list.csv", "task=reconstruct", "defect=rust"]
    told = command.run(*own)
    assert "apart (1 of the groups)" in told.stderr and "view1_part0~2 in test" in told.stderr
    assert "tear" not in command.run(*own, "dataset.split=1/1/1").stderr
    assert refused(*own, r"dataset.group=lot(\d)").startswith(r"error: dataset.group=lot(\d): it groups no photograph")
    assert refused(*own, "dataset.classes=none.txt").startswith("error: dataset.classes=none.txt: there is no such")
