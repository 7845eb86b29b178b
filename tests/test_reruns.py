"""Commands that are interrupted, given again or refused, and photographs of every kind."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from builders import write_surface
from command import composed, run
from dataset_commands import OPEN, QUICK, TWO, files_of, made_by, refused, rows_of
from PIL import Image

from experiments.datasets.runs import differences
from rli.images import write_png
from rli.models.mini.surfaces import UNSEEN, surface
from rli.photos.sources import photos
from rli.runs import runner

pytestmark = pytest.mark.integration


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- done once --------------------------------------------------------------------------------------------------------


def test_interrupted_it_says_so_in_one_line_and_goes_on(here, monkeypatch, inversions):
    write, times = runner.write_photo, itertools.count()
    with monkeypatch.context() as patch:

        def once(*args):
            if next(times):
                raise KeyboardInterrupt
            write(*args)

        patch.setattr(runner, "write_photo", once)
        answer = run(*TWO)
    assert answer.status == 130
    assert answer.stderr.splitlines()[-1].startswith("stopped. To continue, give the same command with hydra.run.dir=")
    assert "Traceback" not in answer.stderr
    folder = made_by(*TWO)
    assert inversions == [1, 1]
    assert rows_of(folder)["photo"].nunique() == 2
    # What a killed process left half written goes when nobody can be at it any more.
    parts = [folder / "images" / "surface" / f".part-{name}.png" for name in ("new", "old")]
    for part in parts:
        part.touch()
    os.utime(parts[1], (0, 0))
    made_by(*TWO)
    assert [part.exists() for part in parts] == [True, False]
    # Shards make the same, whichever ends last.
    other = [*TWO, "out=other", "runtime.cache=other_cache"]
    answer = run(*other, "shard=1/2")
    assert answer.status == 0 and "shard 1/2 is finished" in answer.stdout
    assert not (here / "other" / "results.csv").exists()
    assert made_by(*other, "shard=0/2").resolve() == here / "other"
    parts[0].unlink()
    assert differences(folder, here / "other") == []


def test_what_failed_is_told_and_not_tried_again_unless_asked(here, monkeypatch, inversions):
    write_surface(here / "in" / "b.png")
    (here / "in" / "a.png").write_text("no image")
    arguments = [*QUICK, *OPEN, "data=folder", "data.path=in", "defect=rust", "export=[coco]"]
    folder = made_by(*arguments)
    assert pd.read_csv(folder / "failed.csv")["name"].tolist() == ["a"]
    reads, read = [], runner.read_photo
    monkeypatch.setattr(runner, "read_photo", lambda of, photo: reads.append(photo.name) or read(of, photo))
    assert made_by(*arguments) == folder and reads == []
    assert made_by(*arguments, "retry_failed=true") == folder and reads == ["a"]
    assert rows_of(folder)["photo"].unique().tolist() == ["b"]
    write_surface(here / "in" / "a.png", 1)
    made_by(*arguments)
    assert reads == ["a", "a"] and inversions == [1, 1]
    assert not (folder / "failed.csv").exists()
    assert rows_of(folder)["photo"].unique().tolist() == ["a", "b"]


def test_a_dry_run_tells_and_leaves_nothing(here):
    answer = run(*TWO, "dry_run=true")
    assert answer.status == 0, answer.stderr
    assert "photographs: 2, of which 2 are pending" in answer.stdout and "images: 2 edits" in answer.stdout
    for word in ("time: ", "disk: ", "data sets: coco"):
        assert word in answer.stdout
    assert [*here.iterdir()] == []


# --- photographs of every kind ----------------------------------------------------------------------------------------


def nuisances(folder: Path) -> None:
    """Photographs that are used and photographs that cannot be, with names that clash in files and data sets."""
    images = [surface(UNSEEN + k, ("crack",), 48, 64) for k in range(4)]
    for name in (
        "a.png",
        "a.jpg",
        "A.PNG",
        "a__rust.png",
        "oil, stain/ü 1.png",
        "Crack?/x.y.png",
        "a/a.png",
        "a/rust.png",
    ):
        write_png(folder / f"{name}.png", images[0].image)
        (folder / f"{name}.png").rename(folder / name)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(images[1].image).save(folder / "turned.jpg", exif=turned)
    write_png(folder / "turned_mask.png", np.rot90(images[1].mask, -1))
    Image.fromarray(images[1].image[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    Image.fromarray(images[2].image).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(images[2].image).save(folder / "film.gif")
    write_png(folder / "wrong.png", images[3].image)
    write_png(folder / "wrong_mask.png", np.ones((9, 9), bool))
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("no image")
    write_png(folder / "tiny.png", np.zeros((3, 3, 3), np.uint8))
    (folder / "back").symlink_to(folder)


def test_a_folder_of_everything_is_used_or_told_and_left_as_it_was(here):
    nuisances(here / "in")
    before = files_of(here / "in")
    folder = made_by(
        *QUICK, *OPEN, "data=folder", "data.path=in", "data.fit=letterbox", "defect=rust", "inversion.batch_size=4",
        "export=[coco,imagefolder]",
    )  # fmt: skip
    assert files_of(here / "in") == before
    assert {path.name for path in here.iterdir()} == {"in", "outputs"}
    rows, lost = rows_of(folder), pd.read_csv(folder / "failed.csv")
    assert set(lost["name"]) == {"wrong", "empty", "text", "tiny", "back"}
    found = {photo.name: photo for photo in photos("folder", str(here / "in"))}
    assert found.keys() == {*rows["photo"], *lost["name"]} and len(found) == 17
    assert not rows.index.has_duplicates
    assert len({*map(str.casefold, rows.loc[rows["kind"] == "edit", "image"])}) == len(rows) / 2
    for _, row in rows.iterrows():
        with Image.open(folder / row["image"] if row["kind"] == "edit" else row["image"]) as image:
            assert row["kind"] == "original" or image.size[::-1] == found[row["photo"]].size()
    # Masks have their image's size: the photograph's as it is seen.
    truth = np.asarray(Image.open(folder / "images" / "turned" / "truth.png"))
    assert truth.any() and truth.shape == (64, 48)
    told = json.loads((folder / "dataset/coco/annotations/instances_train.json").read_text())
    sizes = {one["file_name"]: (one["width"], one["height"]) for one in told["images"]}
    assert sizes["turned.png"] == (48, 64) and sizes["turned__rust.png"] == (48, 64)
    labels = {path.name for path in (folder / "dataset" / "imagefolder" / "train").iterdir()}
    assert {"oil, stain", "Crack_", "rust", "defect", "a"} == labels


def test_what_the_source_says_holds_also_where_it_is_said_later(here, inversions):
    """A list: classes of the user's own, one of them the wanted defect's, good ones, and none."""
    drawn = surface(UNSEEN, ("rust",), 64, 64)
    write_png(here / "p.png", drawn.image)
    write_png(here / "m.png", drawn.mask)
    arguments = [
        *QUICK,
        *OPEN,
        "data=list",
        "data.path=list.csv",
        "defect=rust",
        "task=both",
        "relabel=false",
        "export=[coco,segmentation]",
    ]
    (here / "list.csv").write_text("path,mask,label,category\np.png,m.png,rust,k\np.png,,good,k\np.png,m.png,,k\n")
    folder = made_by(*arguments)
    rows = rows_of(folder)
    told = rows.reset_index().groupby("photo")["label"].agg(list).to_dict()
    assert told == {"p~1": ["rust"] * 3, "p~2": ["good", "good", "rust"], "p~3": ["defect", "defect", "rust"]}
    assert [label for label, _ in json.loads(rows.loc["p~1/rust", "regions"])] == ["rust", "rust"]
    assert (folder / "dataset/segmentation/classes.txt").read_text().split() == ["background", "defect", "rust"]
    (here / "list.csv").write_text("path,mask,label,category\np.png,m.png,dirt: old,k\np.png,,good,k\np.png,m.png,,k\n")
    calls = len(inversions)
    assert made_by(*arguments) == folder and len(inversions) == calls
    assert set(rows_of(folder).query("photo == 'p~1'")["label"]) == {"dirt: old", "rust"}


def test_variants_each_have_settings_and_files_of_their_own(here):
    folder = made_by(
        *QUICK, *OPEN, "defect=rust", "export=[coco]", "dataset.variants.count=3", "dataset.variants.eq=[1,6]"
    )
    rows = rows_of(folder).query("kind == 'edit'")
    assert [*rows.index] == ["surface/rust", "surface/rust-2", "surface/rust-3"]
    assert set(rows["label"]) == {"rust"} and rows["eq"].nunique() == 3
    results = pd.read_csv(folder / "results.csv")
    assert results["defect"].tolist() == ["rust", "rust-2", "rust-3"]
    assert np.allclose(results["eq"], rows["eq"].astype(float))
    assert len({(folder / image).read_bytes() for image in rows["image"]}) == 3


def test_reconstructions_alone_need_no_defect(here):
    folder = made_by(*QUICK, "task=reconstruct", "export=[coco]", "dataset.originals=none")
    assert [*rows_of(folder)["kind"]] == ["reconstruction"]
    assert json.loads((folder / "dataset" / "export.json").read_text())["classes"] == ["crack"]


# --- refused ----------------------------------------------------------------------------------------------------------

BAD = {
    "export=foo": "export=foo: unknown value",
    "export=3": "export=3: unknown value",
    "task=foo": "task=foo: unknown value; expected one of edit, reconstruct, both",
    "defect=original": "export writes edits, and no defect is chosen",
    "shard=4/4": "shard=4/4",
    "relabel=2": "relabel=2: unknown value; expected auto, true or false",
    "dataset.gate.foo=1": "dataset.gate.foo",
    "+dataset.gate.foo=1": "dataset.gate.foo: unknown setting",
    "dataset.gate=null": "dataset.gate=None",
    "dataset.gate.min_share=x": "dataset.gate.min_share=x: unknown value; expected a number or null",
    "dataset.max_retries=-1": "dataset.max_retries=-1: out of range",
    "+dataset.foo=1": "dataset.foo: unknown setting",
    "dataset.split=0.5/0.5": "dataset.split=0.5/0.5",
    "dataset.keep_split=2": "dataset.keep_split=2",
    "dataset.originals=foo": "dataset.originals=foo: unknown value",
    "dataset.review=none.csv": "none.csv: there is no such file",
    "dataset.variants.eq=3": "dataset.variants.eq=3",
    "+dataset.variants.foo=1": "dataset.variants.foo: unknown setting",
    "data=folder": "data.path=None: folder needs it",
    "+defect.all.rust_mask=photo of a crack dent image": "the defect name “rust_mask” cannot be used",
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_values_end_in_one_line_before_a_model_is_loaded(here, no_model, argument):
    assert BAD[argument] in refused(*TWO, argument)


def test_variants_that_would_be_equal_are_refused(here, no_model):
    said = refused(*TWO, "dataset.variants.count=2", "edit.fresh=0")
    assert "dataset.variants.count=2: these edits would be equal" in said


def test_a_data_set_is_not_made_into_its_photographs(here, no_model):
    write_surface(here / "in" / "a.png", defects=())
    assert "holds the photographs" in refused(
        *QUICK, "data=folder", "data.path=in", "export=[coco]", "hydra.run.dir=in"
    )
    (here / "empty").mkdir()
    assert "no photographs found" in refused(*QUICK, "data=folder", "data.path=empty", "export=[coco]")


def test_pictures_decide_the_folder_and_nothing_else(here):
    def folder(*arguments: str) -> str:
        return composed(*TWO, *arguments).out

    same = "export=[yolo] relabel=true shard=0/4 runtime=ray retry_failed=true dataset.split=1/1/1 dataset.title=x"
    assert folder(*same.split(), "data.limit=3", "inversion.batch_size=2") == folder()
    others = ("edit.eq=3", "runtime.seed=1", "dataset.gate.min_strength=9", "task=both")
    assert len({folder(), *map(folder, others)}) == 1 + len(others)
    assert folder("export=[]") != folder("export=[]")
    assert folder("export=[]", "shard=0/2") == folder("export=[]", "shard=1/2")
