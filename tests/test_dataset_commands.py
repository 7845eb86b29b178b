"""What whole commands make of photographs: data sets, read back by the libraries that train on them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dataset_commands import MADE, WRITTEN, files_of, made_by, refused, rows_of
from export_items import told_by_coco
from PIL import Image

from experiments.datasets import surfaces
from experiments.datasets.runs import held
from rli.images import read_mask
from rli.photos.sources import photos

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A folder in which one command has made every format: three cracked photographs, six without a defect, two
    edits of each."""
    place = tmp_path_factory.mktemp("made")
    surfaces.write(place / "photos", 3, ("mvtec_ad",), size=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        before = files_of(place / "photos")
        made_by(*MADE, *WRITTEN)
        assert files_of(place / "photos") == before
    return place


@pytest.fixture
def made(original, tmp_path, monkeypatch) -> Path:
    """The run's folder in a copy, in which one stands."""
    shutil.copytree(original, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    (folder,) = (tmp_path / "copy" / "outputs" / "datasets").iterdir()
    return folder


# --- what is made -----------------------------------------------------------------------------------------------------


def test_every_image_is_listed_with_what_it_shows(original):
    (folder,) = (original / "outputs" / "datasets").iterdir()
    rows = rows_of(folder)
    assert folder.name.startswith("mvtec_ad-")
    assert rows["kind"].value_counts().to_dict() == {"edit": 18, "original": 9, "reconstruction": 9}
    assert rows["kept"].all()
    assert (rows.groupby("photo")["split"].nunique() == 1).all()
    shares = rows[rows["kind"] == "original"].groupby(["category", "label"])["split"].value_counts()
    assert shares.sum() == 9 and rows["split"].nunique() == 3
    for name, row in rows.iterrows():
        regions = json.loads(row["regions"])
        source = "good" if "/good/" in row["photo"] else "crack"
        if row["kind"] == "edit":
            # The new defect, below the photograph's own where it has one and that can still be seen.
            assert row["label"] == name.rpartition("/")[2]
            labels = [label for label, _ in regions]
            assert labels in ([row["label"]], [row["label"], "crack"][: 1 + (source == "crack")])
        else:
            assert row["label"] == source
            assert [label for label, _ in regions] == ["crack"] * (source == "crack")
        assert (folder / row["image"]).is_file() or Path(original, row["image"]).is_file()
    parquet = pd.read_parquet(folder / "manifest.parquet")
    assert [*parquet["name"]] == [*rows.index]
    card = (folder / "README.md").read_text()
    assert "36 images: 9 photographs, 9 reconstructions and 18 synthetic edits." in card
    assert pd.read_csv(folder / "results.csv")["defect"].value_counts().to_dict() == dict.fromkeys(
        ("original", "rust", "dent"), 9
    )


def kept(original: Path) -> tuple[Path, dict[str, pd.Series]]:
    """The data set, and the manifest's kept rows by their files' stems."""
    (folder,) = (original / "outputs" / "datasets").iterdir()
    rows = rows_of(folder)
    return folder / "dataset", {name.replace("/", "__"): row for name, row in rows[rows["kept"]].iterrows()}


def told_classes(data: Path) -> list[str]:
    return json.loads((data / "export.json").read_text())["classes"]


def masks(original: Path, row: pd.Series) -> dict[str, np.ndarray]:
    """(H,W) bool for each class that the row's image shows."""
    found: dict[str, np.ndarray] = {}
    for label, path in json.loads(row["regions"]):
        (folder,) = (original / "outputs" / "datasets").iterdir()
        mask = read_mask(folder / path if (folder / path).is_file() else original / path, 64, 64)
        found[label] = found.get(label, False) | mask
    return {label: mask for label, mask in found.items() if mask.any()}


def test_torchvision_reads_what_was_made(original):
    from torchvision.datasets import ImageFolder

    data, rows = kept(original)
    for split in {row["split"] for row in rows.values()}:
        read = ImageFolder(data / "imagefolder" / split)
        assert {Path(path).stem: read.classes[k] for path, k in read.samples} == {
            stem: row["label"] for stem, row in rows.items() if row["split"] == split
        }


def test_pycocotools_reads_what_was_made(original):
    coco_of = pytest.importorskip("pycocotools.coco").COCO
    data, rows = kept(original)
    for split in {row["split"] for row in rows.values()}:
        coco = coco_of(str(data / "coco" / "annotations" / f"instances_{split}.json"))
        classes = {one["id"]: one["name"] for one in coco.loadCats(coco.getCatIds())}
        assert [*classes.values()] == told_classes(data)
        images = coco.loadImgs(coco.getImgIds())
        # A defect whose place nobody knows, as of an edit that changes too little to be seen, is left out.
        assert {Path(one["file_name"]).stem for one in images} == {
            stem
            for stem, row in rows.items()
            if row["split"] == split and (row["label"] == "good" or masks(original, row))
        }
        for image in images:
            read: dict[str, np.ndarray] = {}
            for told in coco.loadAnns(coco.getAnnIds(image["id"])):
                label = classes[told["category_id"]]
                read[label] = read.get(label, False) | coco.annToMask(told).astype(bool)
            mine = masks(original, rows[Path(image["file_name"]).stem])
            assert read.keys() == mine.keys()
            for label, mask in mine.items():
                assert np.array_equal(read[label], mask)


@pytest.mark.parametrize("layout", ["mvtec_ad", "anomalib_folder"])
def test_anomalib_reads_what_was_made(original, layout):
    image = pytest.importorskip("anomalib.data.datasets.image")
    data, rows = kept(original)
    names = dict(csv.reader((data / "mvtec_ad" / "names.csv").open()))
    count = 0
    for category in sorted({row["category"] or "all" for row in rows.values()}):
        root = data / layout / category
        if layout == "mvtec_ad":
            sets = [image.MVTecADDataset(root=data / layout, category=category, split=s) for s in ("train", "test")]
        else:
            parts = {"normal_dir": "normal", "abnormal_dir": "abnormal", "mask_dir": "mask"}
            if (root / "normal_test").is_dir():
                parts["normal_test_dir"] = "normal_test"
            sets = [image.FolderDataset(name=category, root=root, **parts)]
        for read in sets:
            for k, told in read.samples.iterrows():
                path = Path(told.image_path)
                stem = (
                    names[str(path.relative_to(data / layout))].replace("/", "__")
                    if layout == "mvtec_ad"
                    else path.stem
                )
                row, count = rows[stem], count + 1
                assert (row["category"] or "all") == category
                assert told.label_index == (row["label"] != "good")
                if row["label"] != "good":
                    mine = np.logical_or.reduce([*masks(original, row).values()])
                    assert np.array_equal(read[k].gt_mask.numpy() > 0, mine)
    located = [row for row in rows.values() if row["label"] == "good" or masks(original, row)]
    assert count == len(located)


def test_ultralytics_reads_what_was_made(original, tmp_path):
    pytest.importorskip("ultralytics")
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data, rows = kept(original)
    copy = shutil.copytree(data / "yolo", tmp_path / "yolo")  # it leaves caches beside the labels
    facts = check_det_dataset(str(copy / "data.yaml"), autodownload=False)
    classes = [*facts["names"].values()]
    assert classes == told_classes(data)
    for split in {row["split"] for row in rows.values()}:
        read = YOLODataset(img_path=facts[split], data=facts, task="segment", augment=False, imgsz=64)
        labels = {Path(told["im_file"]).stem: {classes[int(k)] for k in told["cls"].ravel()} for told in read.labels}
        mine = {stem: {*masks(original, row)} for stem, row in rows.items() if row["split"] == split}
        assert labels == {stem: found for stem, found in mine.items() if found or rows[stem]["label"] == "good"}


def seen(original: Path, run: Path, row: pd.Series, name: str) -> np.ndarray:
    file = f"{name.replace('/', '__')}.png"
    return np.asarray(Image.open(run / "dataset" / "segmentation" / "masks" / row["split"] / file))


def test_relabelled_pixels_take_the_new_class(made, original, no_model):
    before = {name: (row, seen(original, made, row, name)) for name, row in rows_of(made).iterrows()}
    assert made_by(*MADE, *WRITTEN, "relabel=true") == made
    shared = 0
    for name, (row, old) in before.items():
        found, new = masks(original, row), seen(original, made, row, name)
        if row["kind"] != "edit" or "crack" not in found or len(found) < 2:
            assert np.array_equal(old, new)
            continue
        crack, edit = found["crack"], found[row["label"]]
        own = {"dent": 2, "rust": 3}[row["label"]]
        assert np.array_equal(old, np.where(crack, 1, np.where(edit, own, 0)))
        assert np.array_equal(new, np.where(edit, own, np.where(crack, 1, 0)))
        told = told_by_coco(made / "dataset" / "coco", row["split"])[name.replace("/", "__")]
        assert np.array_equal(told[row["label"]], edit)
        assert np.array_equal(told.get("crack", np.zeros_like(edit)), crack & ~edit)
        shared += (crack & edit).sum()
    assert shared > 0


# --- done once --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "kind", "labels"),
    [
        ("mvtec_ad", "mvtec_ad", {"crack", "good"}),
        ("kolektor_sdd", "kolektor_sdd", {"defect", "good"}),
        ("twins", "folder", {"crack", "good"}),
        ("beside", "folder", {""}),
    ],
)
def test_the_surfaces_lie_as_their_layout_has_it(tmp_path, layout, kind, labels):
    surfaces.write(tmp_path, 6, (layout,), size=64)
    good = {} if kind == "folder" else {"good": True}
    found = [*photos(kind, str(tmp_path / layout), **good)]
    assert len(found) == 12 and {photo.label for photo in found} == labels
    drawn = [one.surface for one in surfaces.drawn(6, size=64)]
    truths = [photo.truth(64, 64) for photo in found]
    cracks = [truth for truth in truths if truth is not None and truth.any()]
    assert {mask.tobytes() for mask in cracks} == {one.mask.tobytes() for one in drawn if one.mask.any()}
    if kind == "mvtec_ad":
        assert {photo.category for photo in found} == {name.replace(" ", "_") for name in surfaces.MATERIALS}


def test_the_same_command_does_nothing_twice(made, no_model):
    before = held(made)
    assert made_by(*MADE, *WRITTEN) == made
    assert held(made) == before


def test_what_only_the_writing_depends_on_is_written_anew(made, no_model):
    photo = "cast_metal/crack/000"
    Path("review.csv").write_text(f"image,defect,job,decision\n{photo},rust,,reject\n{photo},dent,,keep\n")
    others = ["export=coco", "dataset.originals=none", "dataset.title=Other", "data.limit=4"]
    assert made_by(*MADE, *others, "dataset.review=review.csv") == made
    rows = rows_of(made)
    assert rows["photo"].nunique() == 4
    assert not (rows["kind"] == "original").any()
    assert rows.loc[f"{photo}/rust", "reason"] == "rejected in review" and not rows.loc[f"{photo}/rust", "kept"]
    assert rows.loc[rows.index != f"{photo}/rust", "kept"].all()
    assert [p.name for p in (made / "dataset").iterdir() if p.is_dir()] == ["coco"]
    assert (made / "README.md").read_text().count("# Other")
    Path("review.csv").write_text("image,defect,job,decision\nnowhere,rust,,keep\n")
    assert "“rust” of “nowhere” is no edit of this run" in refused(*MADE, *WRITTEN, "dataset.review=review.csv")
    Path("review.csv").write_text(f"image,defect,job,decision\n{photo},rust,7,keep\n")
    assert "is no edit of this run" in refused(*MADE, *WRITTEN, "dataset.review=review.csv")


def test_what_was_selected_of_the_coco_export_in_another_tool_is_acted_on(made, no_model):
    told = json.loads((made / "dataset" / "coco" / "annotations" / "instances_train.json").read_text())
    rows = rows_of(made)
    edits = rows.query("kind == 'edit' and kept")
    exported = {Path(one["file_name"]).stem for one in told["images"]}
    trained = [name for name, split in edits["split"].items() if split == "train"]
    unseen = {name for name in trained if name.replace("/", "__") not in exported}  # too weak for a mask
    lost = next(name for name in trained if name not in unseen)
    told["images"] = [one for one in told["images"] if Path(one["file_name"]).stem != lost.replace("/", "__")]
    Path("chosen.json").write_text(json.dumps(told))
    made_by(*MADE, *WRITTEN, "dataset.review=chosen.json")
    again = rows_of(made)
    assert {*again.index[~again["kept"]]} == {*rows.index[~rows["kept"]], *unseen, lost}
    assert again.loc[lost, "reason"] == "rejected in review"


def test_another_gate_makes_edits_anew_from_the_same_inversions(made, inversions):
    strict = ["dataset.gate.min_strength=200", "dataset.gate.max_strength=201"]
    photo = "cast_metal/crack/000"
    Path("review.csv").write_text(f"image,defect,job,decision\n{photo},rust,,keep\n")
    folder = made_by(*MADE, *WRITTEN, *strict, "dataset.review=review.csv", "data.limit=2")
    assert folder != made and not inversions
    edits = rows_of(folder).query("kind == 'edit'")
    assert edits["kept"].to_dict() == {name: name == f"{photo}/rust" for name in edits.index}
    assert edits.loc[~edits["kept"], "reason"].str.startswith("strength ").all()
    assert "strength" in (folder / "README.md").read_text().partition("## Rejected")[2].partition("##")[0]
