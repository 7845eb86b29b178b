"""Commands by example: which photograph it is, what is kept of it, and what is refused before a model is loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import box, job, targets
from command import QUICK, SMALL, run

from rli.errors import SettingError
from rli.images import write_png
from rli.method.inversion.direct import Direct
from rli.method.inversion.settings import InversionSettings
from rli.method.records import EditSettings
from rli.models.mini.surfaces import UNSEEN, surface
from rli.photos.sources import photos
from rli.runs.examples import Examples, ExampleSettings, find_examples
from rli.store.records import read_record

pytestmark = pytest.mark.integration


def write_defect(path: Path, number: int, word: str = "rust") -> Path:
    """A drawn surface with its defect's mask beside it."""
    drawn = surface(UNSEEN + number, (word,), 64, 64)
    write_png(path, drawn.image)
    write_png(path.with_name(f"{path.stem}_mask.png"), drawn.mask)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Two cracked photographs, an example, and a pool of two classes."""
    folder = tmp_path_factory.mktemp("examples")
    for k in (0, 1):
        write_defect(folder / "photos" / "crack" / f"{k}.png", k, "crack")
    write_defect(folder / "ours.png", 5)
    for word, k in (("rust", 6), ("rust", 7), ("wear", 8)):
        write_defect(folder / "pool" / word / f"{k}.png", k, word)
    return folder


def ask(place: Path, out: str, *more: str) -> Path:
    settings = (*QUICK, *SMALL, "inversion=direct", "data=folder", f"data.path={place / 'photos'}", "inversion.steps=2")
    return run(*settings, f"out={place / out}", f"runtime.cache={place / 'cache'}", "defect=rust", *more).folder


@pytest.fixture(scope="module")
def made(place) -> Path:
    return ask(place, "run", f"edit.example={place / 'ours.png'}", "export=imagefolder", "dataset.max_retries=0")


def test_one_example_serves_all_and_is_inverted_once(place, made):
    kept = hashlib.sha256((place / "ours.png").read_bytes()).hexdigest()
    drawn = surface(UNSEEN + 5, ("rust",), 64, 64)
    for k in (0, 1):
        record = read_record(made, f"crack/{k}")
        assert record is not None
        edit = record.edits["rust"]
        assert (edit.example.name, edit.example.sha256) == ("ours", kept)
        shown = record.read().edits["rust"].example_picture
        assert np.array_equal(shown.image, drawn.image) and np.array_equal(shown.mask, drawn.mask)
    assert len([*(place / "cache").glob("*.safetensors")]) == 3
    rows = pd.read_csv(made / "manifest.csv").set_index("name").loc[["crack/0/rust", "crack/1/rust"]]
    assert set(rows["example"]) == {"ours"} and set(rows["example_sha256"]) == {kept}
    assert (made / "report.html").read_text().count("example: ours<") == 2


def test_a_photograph_of_the_data_set_by_its_name_and_no_words(place):
    custom = ("defect=custom", "defect.name=crack-of-0", "edit.example=crack/0", "edit.example_colours=own")
    folder = ask(place, "named", *custom)
    for k in (0, 1):
        record = read_record(folder, f"crack/{k}")
        assert record.edits["crack-of-0"].example.name == "crack/0"
        assert record.prompts["crack-of-0"] == record.prompts["original"]
        settings = record.edits["crack-of-0"].settings
        # What suits examples, unless something else is said.
        assert (settings.cross, settings.replace, settings.fresh) == (0.4, 0.0, 0.0)


def test_without_a_region_a_photograph_is_skipped_in_one_line(place):
    answer = run(
        *(*QUICK, *SMALL, "data=image", f"data.path={place / 'photos/crack/0.png'}", "data.region=attention"),
        *(f"edit.example={place / 'ours.png'}", f"out={place / 'none'}", "defect=rust", "inversion=direct"),
    )
    assert "nothing says where the example's defect is to go" in answer.error


def test_examples_that_are_not_there_are_refused_before_a_model_is_loaded(place, no_model):
    common = (*QUICK, *SMALL, "data=image", f"data.path={place / 'photos/crack/0.png'}", "defect=rust")
    nobody = run(*common, "edit.example=nobody.png")
    assert nobody.error.startswith("error: edit.example=nobody.png: there is no such file, and no photograph")
    bare = place / "bare" / "x.png"
    write_png(bare, np.full((64, 64, 3), 90, np.uint8))
    ours, pool = str(place / "ours.png"), str(place / "pool")
    wrong = {
        "name its mask with edit.example_mask": {"example": str(bare)},
        "leave one of them out": {"example": ours, "example_pool": pool},
        "none of its photographs has the mask": {"example_pool": str(bare.parent)},
        "it needs edit.example": {"example_mask": str(place / "ours_mask.png")},
        "example_mask=nowhere.png": {"example": ours, "example_mask": "nowhere.png"},
        "example_pool=": {"example_pool": str(place / "nowhere")},
    }
    for message, settings in wrong.items():
        with pytest.raises(SettingError, match=message):
            find_examples(ExampleSettings(**settings), (), 0)


# --- which one --------------------------------------------------------------------------------------------------------


def examples_of(place: Path, seed: int = 0) -> Examples:
    found = find_examples(ExampleSettings(example_pool=str(place / "pool")), (), seed)
    assert found is not None
    return found


def test_a_pool_is_drawn_from_by_class_and_seed_and_each_variant_has_another(place):
    pool = examples_of(place)
    names = {name: photo for photo in photos("folder", place / "pool") for name in [photo.name]}
    photo = next(iter(photos("folder", place / "photos")))
    assert {one.name for one in pool.photos} == set(names)
    drawn = [pool.of(photo, "Rust", k).name for k in range(4)]
    assert drawn == [pool.of(photo, "rust", k).name for k in range(4)] and drawn[:2] == drawn[2:]
    assert set(drawn) == {"rust/6", "rust/7"} and pool.of(photo, "wear", 0).name == "wear/8"
    assert {pool.of(photo, "dent", k).name for k in range(3)} == set(names)
    assert pool.of(names["rust/6"], "rust", 0).name == "rust/7"  # not itself
    firsts = {examples_of(place, seed).of(photo, "dent", 0).name for seed in range(20)}
    assert firsts == set(names)


def test_a_result_depends_on_its_own_example_alone(place, tmp_path):
    common = {"targets": targets("rust"), "inversion": InversionSettings(Direct(), steps=2)}
    photo = next(iter(photos("folder", place / "photos")))
    plain = job(tmp_path, **common).key(photo)
    pool = examples_of(place)
    key = job(tmp_path, **common, examples=pool).key(photo)
    assert key != plain and key != job(tmp_path, **common, examples=pool, edit=EditSettings(example_steps=0.5)).key(
        photo
    )
    wear = Examples(tuple(one for one in pool.photos if one.label != "wear"), 0)
    assert job(tmp_path, **common, examples=wear).key(photo) == key
    write_png(place / "pool" / "rust" / "6_mask.png", box(64, 64))
    assert (
        job(tmp_path, **common, examples=examples_of(place)).key(photo) != key
        or wear.of(photo, "rust", 0).name[-1] == "7"
    )
