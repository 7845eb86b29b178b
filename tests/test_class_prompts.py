"""Prompts by class and category: from a file, by templates, and photographs of the same prompts together."""

import json
from pathlib import Path

import numpy as np
import pytest
from builders import SOURCE, grey, job, write_images, write_surface
from command import QUICK, SMALL, run

from rli.errors import RLIError
from rli.method.records import Target
from rli.photos.photo import Photo
from rli.photos.placement import PhotoPlace
from rli.photos.placement_settings import Shapes
from rli.photos.sources import photos
from rli.runs.class_prompts import Prompts, asked_again, read_prompts, without_prompts
from rli.runs.runner import alike
from rli.store.records import read_record

DEFAULT = Prompts(SOURCE, (Target("rust", SOURCE.replace("defect", "rust")),))
YAML = """
good: {source: photo of a plate, targets: {rust: photo of a rusty plate, crack: photo of a cracked plate}}
bolt/good: {source: photo of a bolt}
nut/*: {targets: {dent: photo of a crack dent image}}
no: {source: photo of a no entry sign}
"""
CSV = """class,category,source,name,target
good,,photo of a plate,rust,photo of a rusty plate
good,,,crack,photo of a cracked plate
good,bolt,photo of a bolt,,
,nut,,dent,photo of a crack dent image
no,,photo of a no entry sign,,
"""


@pytest.mark.parametrize(("name", "text"), [("p.yaml", YAML), ("p.csv", CSV), ("p.csv", "\ufeff" + CSV)])
def test_the_most_specific_prompts_hold(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    own = read_prompts(tmp_path / name, DEFAULT)
    made = job(tmp_path, source=DEFAULT.source, targets=DEFAULT.targets, by_class=own)

    def told(label: str, category: str = "") -> tuple[str, list[str]]:
        prompts = made.prompts(Photo("a", label=label, category=category))
        return prompts.source, [target.name for target in prompts.targets]

    assert told("good") == ("photo of a plate", ["rust", "crack"])
    assert told("good", "bolt") == ("photo of a bolt", ["rust"])
    assert told("good", "nut") == told("crack", "nut") == (SOURCE, ["dent"])
    assert told("no")[0] == "photo of a no entry sign"
    assert told("hole") == (SOURCE, ["rust"])
    assert made.classes == ["rust", "crack", "dent"]
    labels = ("good", "hole", "", "hole")
    assert without_prompts(own, [Photo(str(k), label=label) for k, label in enumerate(labels)]) == ["hole", "defect"]


@pytest.mark.parametrize(
    ("label", "prompt", "is_asked"),
    [
        ("crack", "photo of a Crack rust image", True),
        ("MT_Crack", "photo of a mt-crack rust image", True),
        ("crack", "photo of a rust image", False),
        ("crack", "photo of a cracked rust image", False),
        ("rust", "photo of a rust image", False),
        ("good", "photo of a good rust image", False),
        ("defect", "photo of a rust defect image", False),
        ("", "photo of a rust image", False),
    ],
)
def test_a_prompt_that_still_asks_for_the_photograph_s_own_defect_is_found(label, prompt, is_asked):
    prompts = Prompts(SOURCE, (Target("rust", prompt),))
    found = asked_again([Photo("a", label=label), Photo("b", label=label)], lambda photo: prompts)
    assert found == (("rust", label) if is_asked else None)


def test_a_photograph_s_class_stands_in_its_prompts(tmp_path):
    made = job(tmp_path, source="photo of a {label} {category}", targets=(Target("rust", "photo of a {label} rust"),))
    prompts = made.prompts(Photo("a", label="MT_Crack", category="tile-2"))
    assert prompts.source == "photo of a MT Crack tile 2" and prompts.targets[0].prompt == "photo of a MT Crack rust"
    assert made.prompts(Photo("a")).source == "photo of a defect "
    assert len(made.prompts(Photo("a", label="x" * 500)).source) < 80


def test_a_row_of_a_list_may_say_its_own_prompts(tmp_path):
    (tmp_path / "list.csv").write_text(
        "path,label,source,target\na.png,scratch,photo of a scratch,photo of a rusty scratch\nb.png,hole,,\n"
    )
    made = job(tmp_path, targets=DEFAULT.targets)
    first, second = photos("list", tmp_path / "list.csv")
    assert made.prompts(first) == Prompts("photo of a scratch", (Target("rust", "photo of a rusty scratch"),))
    assert made.prompts(second) == DEFAULT


def test_good_photographs_that_get_a_defect_have_words_of_their_own(tmp_path):
    good = Prompts("photo of a clean image", (Target("rust", "photo of a rust image"),))
    made = job(tmp_path, targets=DEFAULT.targets, good=good)
    placed = Photo("a", label="good", place=PhotoPlace(Shapes(), 0))
    assert made.prompts(placed) == good
    assert made.prompts(Photo("a", label="good")) == DEFAULT


def test_a_photograph_s_key_follows_from_its_own_prompts(tmp_path):
    photo, other = Photo("a", label="crack"), Photo("b", label="good")
    plain = job(tmp_path, targets=DEFAULT.targets)
    own = job(tmp_path, targets=DEFAULT.targets, by_class={"good": Prompts("photo of a plate", DEFAULT.targets)})
    assert plain.key(photo) == own.key(photo) and plain.key(other) != own.key(other)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("p.yaml", "good: [1, 2", "cannot be read as YAML"),
        ("p.yaml", "[" * 2000, "cannot be read as YAML"),
        ("p.yaml", "", "expected a group of prompts for each class"),
        ("p.yaml", "good: text", "“good”: expected a group of source and targets"),
        ("p.yaml", "good: {sorce: text}", "“good”: expected a group of source and targets"),
        ("p.yaml", "good: {targets: [a, b]}", "expected source as text, and targets as names with prompts"),
        ("p.yaml", "good: {targets: {a: [b]}}", "expected targets as names with prompts"),
        ("p.yaml", "!!python/object/apply:os.system [ls]", "expected a group of prompts for each class"),
        ("p.yaml", "a" * 1_000_001, "prompts fit into 1000 kB"),
        ("p.csv", "class,source\ngood,a\n", "there is no column name"),
        ("p.csv", "class,source,name,target\n" + "x" * 200_000, "cannot be read as CSV"),
        ("p.txt", "good", "expected a file that ends in .yaml, .yml, .csv"),
    ],
)
def test_bad_files_get_one_line(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(RLIError, match=problem) as caught:
        read_prompts(tmp_path / name, DEFAULT)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    with pytest.raises(RLIError, match="there is no such file"):
        read_prompts(tmp_path / "missing.yaml", DEFAULT)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_photographs_of_the_same_prompts_come_together(size):
    rng = np.random.default_rng(size)
    mixed = [Photo(str(k), label=str(rng.choice([*"abc"]))) for k in range(40)]
    groups = [*alike(iter(mixed), lambda photo: Prompts(photo.label, ()), size)]
    assert sorted(photo.name for group in groups for photo in group) == sorted(photo.name for photo in mixed)
    assert all(len({photo.label for photo in group}) == 1 and len(group) <= size for group in groups)
    assert sum(len(group) == size for group in groups) >= len(groups) - 3 or size == 100
    same = [Photo(str(k)) for k in range(7)]
    assert [p for group in alike(same, lambda photo: DEFAULT, 3) for p in group] == same


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.mark.integration
def test_two_classes_of_one_folder_get_their_own_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for k, label in enumerate(("hole", "crack", "dent")):
        write_surface(tmp_path / "photos" / label / "0.png", k)
    Path("prompts.yaml").write_text(
        "hole: {source: photo of a clean image, targets: {wear: photo of a wear image}}\n"
        "crack: {targets: {dent: photo of a crack dent image}}\n"
    )
    quick = (*QUICK, *SMALL, "inversion=direct", "data=folder", "data.path=photos", "defect=rust")
    answer = run(*quick, "defect.prompts=prompts.yaml", "inversion.batch_size=2", "hydra.run.dir=run")
    assert answer.stderr.count("no prompts of their own, so that they have those of defect=…: dent") == 1
    read = {name: read_record(answer.folder, f"{name}/0").prompts for name in ("hole", "crack", "dent")}
    assert read["hole"] == {"original": "photo of a clean image", "wear": "photo of a wear image"}
    assert read["crack"] == {"original": SOURCE, "dent": "photo of a crack dent image"}
    assert read["dent"] == {"original": SOURCE, "rust": "photo of a crack rust image"}


@pytest.mark.integration
def test_good_photographs_become_defective_ones(tmp_path, monkeypatch):
    """Their edits carry the new class, their masks lie in the region, and the manifest says where it came from."""
    import pandas as pd

    from rli.images import read_mask_full

    monkeypatch.chdir(tmp_path)
    for name in ("good/0.png", "good/1.png"):
        write_surface(tmp_path / "photos" / name, len(name), (), (80, 96))
    write_images(tmp_path / "photos" / "crack", "2.png", image=grey(80, 96))
    write_images(tmp_path / "photos" / "crack", "2_mask.png", image=np.eye(80, 96) > 0)
    asked = (
        *(*QUICK, *SMALL, "inversion=direct", "data=folder", "data.path=photos", "data.classes=[good]"),
        *("placement=pool", "placement.margin=4", "defect=rust", "edit.replace=0", "dataset.threshold=0"),
        *("dataset.gate.min_strength=0", "dataset.gate.min_share=0", "dataset.gate.min_difference=0"),
        *("dataset.gate.min_reconstruction_psnr=0", "export=[mvtec_ad]", "dataset.smallest=0"),
    )
    folders = [run(*asked, f"out={name}").folder for name in ("a", "b")]
    rows = pd.read_csv(folders[0] / "manifest.csv", keep_default_na=False).set_index("name")
    edits = rows[rows["kind"] == "edit"]
    assert set(rows.index) == {"good/0", "good/1", "good/0/rust", "good/1/rust"}
    assert set(edits["label"]) == {"rust"} and set(rows[rows["kind"] == "original"]["label"]) == {"good"}
    assert set(edits["prompt"]) == {"photo of a clean image"} and set(edits["target"]) == {
        "photo of a rust defect image"
    }
    for name, edit in edits.iterrows():
        (spot,) = json.loads(edit["placement"])
        assert spot["from"] == "crack/2"
        ((label, change),) = json.loads(edit["regions"])
        mask = read_mask_full(folders[0] / "images" / edit["photo"] / "rust_mask.png")
        assert label == "rust" and (read_mask_full(folders[0] / change) <= mask).all()
        assert mask[spot["top"] : spot["top"] + spot["height"], spot["left"] : spot["left"] + spot["width"]].any()
        pictures = [(folder / "images" / f"{name}.png").read_bytes() for folder in folders]
        assert pictures[0] == pictures[1]
    assert not (folders[0] / "dataset" / "mvtec_ad" / "all" / "test" / "crack").exists()
