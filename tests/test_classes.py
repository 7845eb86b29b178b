"""A class's number is the same in every data set that fixes it, and its name is what it was."""

import json

import numpy as np
import pytest
import yaml
from builders import box

from rli.datasets.annotations import Item, Region
from rli.datasets.classes import fixed_classes, in_order
from rli.datasets.formats import FORMATS, write
from rli.errors import RLIError
from rli.images import write_png

# What YAML takes for something else, what file systems do not take, what has to be quoted, what is not ASCII.
NAMES = (
    *("no", "1e3", "null", "~", "0x1F", "2024-01-15", "crack: deep", "- dent", 'it\'s "new"', "back\\slash", "# rust"),
    *(
        "{rust}",
        "rust ",
        "pit.",
        "CON",
        "nul.txt",
        "Kratzer/Riß",
        "ひび割れ",
        "😀",
        "%TAG",
        "&a",
        "*b",
        "!c",
        "1.",
        "=",
    ),
)


def test_names_come_back_unchanged_from_every_file_of_classes(tmp_path):
    write_png(tmp_path / "a.png", np.full((16, 16, 3), 90, np.uint8))
    write_png(tmp_path / "m.png", box(16, 16))
    items = [
        Item(tmp_path / "a.png", "edit", f"p{k}", f"p{k}", label=name, regions=(Region(name, tmp_path / "m.png"),))
        for k, name in enumerate(NAMES)
    ]
    out = tmp_path / "set"
    write(tuple(FORMATS), items, out, classes=NAMES)
    assert yaml.safe_load((out / "yolo" / "data.yaml").read_text("ascii"))["names"] == dict(enumerate(NAMES))
    assert fixed_classes(str(out / "yolo" / "data.yaml")) == NAMES
    assert fixed_classes(str(out / "segmentation" / "data.yaml")) == NAMES
    assert fixed_classes(str(out / "segmentation" / "classes.txt")) == NAMES
    told = json.loads((out / "coco" / "annotations" / "instances_train.json").read_text())
    assert [category["name"] for category in told["categories"]] == list(NAMES)
    mark = json.loads((out / "export.json").read_text())
    assert tuple(mark["classes"]) == NAMES
    folders = {path.name for path in (out / "imagefolder" / "train").iterdir()}
    assert {mark["folders"][name] for name in NAMES} == folders and len(folders) == len(NAMES)


@pytest.mark.parametrize("name", ["classes.txt", "list.yaml", "names.yml", "numbers.yaml"])
def test_a_class_that_is_added_keeps_the_others_numbers(tmp_path, name):
    text = {
        "classes.txt": "\ufeffrust\r\nno\r\ncrack\r\n",
        "list.yaml": "[rust, no, crack]",
        "names.yml": "path: x\nnames:\n  - rust\n  - no\n  - crack\n",
        "numbers.yaml": "names: {1: no, 0: rust, 2: crack}\n",
    }[name]
    (tmp_path / name).write_text(text, "utf-8")
    fixed = fixed_classes(str(tmp_path / name))
    assert fixed == ("rust", "no", "crack") == fixed_classes(["rust", "no", "crack"])
    assert in_order({"crack", "good", "rust"}, fixed) == ["rust", "no", "crack"]
    assert in_order({"blister", "crack", "good", "dent"}, fixed) == ["rust", "no", "crack", "blister", "dent"]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("classes.csv", b"rust", "a file that ends in"),
        ("none.txt", None, "no such file"),
        ("empty.txt", b"", "expected names"),
        ("gap.yaml", b"{0: rust, 2: crack}", "without a gap"),
        ("deep.yaml", b"names: [[rust]]", "expected names"),
        ("bad.yaml", b"names: [rust", "cannot be read"),
        ("utf16.txt", "rust\n".encode("utf-16"), "in UTF-8"),
        ("good.txt", b"rust\ngood\n", "leave it out"),
    ],
)
def test_what_names_no_classes(tmp_path, name, text, says):
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(RLIError, match=f"classes=.*{says}"):
        fixed_classes(str(tmp_path / name))
