"""What somebody changes in an export outlives the next one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import files_of
from export_items import CLASSES, drawn_items, region

from rli.datasets.annotations import Item
from rli.datasets.formats import FORMATS, write
from rli.errors import RLIError
from rli.images import write_png

LABEL = "yolo/labels/train/bolt__part_00.txt"


@pytest.fixture
def items(tmp_path) -> list[Item]:
    return drawn_items(tmp_path / "run")


@pytest.fixture
def out(items, tmp_path) -> Path:
    write(tuple(FORMATS), items, tmp_path / "set", classes=CLASSES)
    return tmp_path / "set"


def moved(items: list[Item], folder: Path) -> list[Item]:
    """The same images with another mask of the first photograph's crack."""
    mask = np.zeros((48, 64), bool)
    mask[5:20, 5:9] = True
    return [replace(items[0], regions=(region(folder, "other", "crack", mask),)), *items[1:]]


def test_nothing_is_kept_or_said_where_nothing_was_changed(items, out, tmp_path, capsys):
    before = files_of(out)
    write(tuple(FORMATS), items, out, classes=CLASSES)
    assert files_of(out) == before
    write(["yolo"], moved(items, tmp_path), out, classes=CLASSES)
    write(["yolo"], moved(items, tmp_path), tmp_path / "fresh", classes=CLASSES)
    assert files_of(out) == files_of(tmp_path / "fresh")
    assert capsys.readouterr().err == ""


def test_any_file_that_was_changed_stays_as_it_is(items, out, capsys):
    """Of whichever format, a label or a copy of a photograph, time and again."""
    before = files_of(out)
    copies = {f"coco/{item.split}/{item.name.replace('/', '__').replace('.', '_')}.png" for item in items}
    corrected = [LABEL, "coco/annotations/instances_train.json", "segmentation/masks/test/wood nut__part_03.png"]
    corrected = [*corrected, "yolo/data.yaml", *sorted(copies & before.keys())[:1]]
    for path in corrected:
        content = (out / path).read_bytes()
        (out / path).unlink()  # as editors do
        (out / path).write_bytes(content + b"corrected")
    (out / "yolo" / "runs").mkdir()
    (out / "yolo" / "runs" / "best.pt").write_bytes(b"weights")
    for _ in range(2):
        write(tuple(FORMATS), items, out, classes=CLASSES)
        after = files_of(out)
        assert {path for path in after if after[path] != before.get(path)} == {*corrected, "yolo/runs/best.pt"}
        assert all(after[path].endswith(b"corrected") for path in corrected)
        said = capsys.readouterr().err
        assert "changed or added since the last export" in said and "and 3 more" in said


def test_what_no_longer_fits_is_set_aside(items, out, tmp_path, capsys):
    (out / LABEL).write_text("0 0.1 0.1 0.2 0.1 0.2 0.2\n")
    for k in range(3):  # the new mask takes the label's place, then the image is left out, then nothing happens
        new = moved(items, tmp_path)[k > 0 :]
        write(["yolo"], new, out, classes=CLASSES)
        write(["yolo"], new, tmp_path / "fresh", classes=CLASSES)
        fresh, found = files_of(tmp_path / "fresh"), files_of(out)
        aside = {path: content for path, content in found.items() if path.startswith("corrected/")}
        assert aside == {f"corrected/{LABEL}": b"0 0.1 0.1 0.2 0.1 0.2 0.2\n"}
        assert found == {**fresh, **aside}
        assert LABEL in capsys.readouterr().err
    # A second one finds a name of its own.
    write(["yolo"], items, out, classes=CLASSES)
    (out / LABEL).write_text("again")
    write(["yolo"], moved(items, tmp_path), out, classes=CLASSES)
    assert (out / "corrected" / LABEL.replace(".txt", "~2.txt")).read_text() == "again"


def test_an_export_that_does_not_say_what_it_wrote_loses_nothing(items, out, tmp_path):
    (out / "written.csv").unlink()
    (out / LABEL).write_text("mine")
    write(tuple(FORMATS), items, out, classes=CLASSES)
    write(tuple(FORMATS), items, tmp_path / "fresh", classes=CLASSES)
    assert files_of(out) == {**files_of(tmp_path / "fresh"), f"corrected/{LABEL}": b"mine"}


def test_an_export_that_fails_leaves_corrections_where_they_are(items, out, tmp_path):
    (out / LABEL).write_text("mine")
    before = files_of(out)
    with pytest.raises(RLIError):
        write(["yolo"], [*items, items[0]], out, classes=CLASSES)
    assert files_of(out) == before


def test_a_trainer_that_rewrites_images_does_not_reach_the_photograph(tmp_path):
    photo = tmp_path / "photo.png"
    write_png(photo, np.full((16, 16, 3), 90, np.uint8))
    before = photo.read_bytes()
    write(tuple(FORMATS), [Item(photo, "original", "photo", "photo")], tmp_path / "set", classes=CLASSES)
    copies = [path for path in (tmp_path / "set").rglob("photo.png") if path.parent.name != "masks"]
    for path in [*copies, *(tmp_path / "set" / "mvtec_ad").rglob("000000.png")]:
        with path.open("r+b") as file:
            file.write(b"repaired")
    assert photo.read_bytes() == before
