"""From photographs to labelled data sets by whole commands on the miniature, and what interrupts them."""

import csv
import io
import itertools
import json
import os
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import main
from experiments.datasets import surfaces
from experiments.datasets.runs import differences, held
from rli.datasets.formats import FORMATS
from rli.images import read_mask, write_png
from rli.models.mini.surfaces import UNSEEN, surface
from rli.photos.sources import photos
from rli.runs import job
from rli.runs import runner as production

QUICK = [
    "model=mini", "runtime=cpu", "tracking=off", "inversion.steps=2", "inversion.inner_steps=1",
    "resolution.height=64", "resolution.width=64", "dataset.tries=0",
]  # fmt: skip
# Two steps make no good edits.
OPEN = ["dataset.gate.min_background_psnr=0", "dataset.gate.min_background_ssim=-1", "dataset.gate.min_share=0"]
OPEN += ["dataset.gate.min_reconstruction_psnr=0", "dataset.gate.min_strength=0", "dataset.gate.min_difference=0"]
OPEN += ["dataset.gate.max_share=1"]
DENT = '+defect.all.dent="photo of a crack dent image"'
MADE = [
    *QUICK, *OPEN, "data=mvtec_ad", "data.path=photos/mvtec_ad", "data.good=true", "task=both", "defect=rust", DENT,
    "dataset.threshold=1", "dataset.smallest=1", "inversion.batch_size=3",
]  # fmt: skip
WRITTEN = ["dataset.split=0.5/0.2/0.3", f"export=[{','.join(FORMATS)}]"]
TWO = [*QUICK, *OPEN, "data=sample", "data.samples=[surface,surface-1]", "defect=rust", "export=[coco]"]


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HYDRA_FULL_ERROR", main.WANTS_TRACE):
            patch.delenv(name, raising=False)
        patch.setattr("sys.argv", ["main.py", *arguments])
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main.command()
    return status, out.getvalue(), err.getvalue()


def made_by(*arguments: str) -> Path:
    """The one folder of a command that ends well."""
    status, out, err = command(*arguments)
    assert status == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("results: ")]
    return Path(line.removeprefix("results: ").partition(";")[0]).parent


def refused(*arguments: str) -> str:
    """The one line that a bad command ends in."""
    status, _, err = command(*arguments)
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2 and "Traceback" not in err
    return line


def rows_of(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "manifest.csv", keep_default_na=False).set_index("name")


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setattr("rli.runs.runner.load_lpips", lambda: None)
        yield


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


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_model(monkeypatch):
    monkeypatch.setattr(production, "load", lambda *a, **k: pytest.fail("a model is loaded"))


@pytest.fixture
def inversions(monkeypatch) -> list[int]:
    """Grows by a number for each call: how many photographs were inverted together."""
    calls, invert = [], job.invert_batch
    monkeypatch.setattr(
        job, "invert_batch", lambda model, images, *a: calls.append(len(images)) or invert(model, images, *a)
    )
    return calls


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
            # The new defect, below the photograph's own where it has one.
            assert row["label"] == name.rpartition("/")[2]
            assert [label for label, _ in regions] == [row["label"]] + ["crack"] * (source == "crack")
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
        assert {Path(one["file_name"]).stem for one in images} == {
            stem for stem, row in rows.items() if row["split"] == split
        }
        for image in images:
            read: dict[str, np.ndarray] = {}
            for told in coco.loadAnns(coco.getAnnIds(image["id"])):
                label = classes[told["category_id"]]
                read[label] = read.get(label, False) | coco.annToMask(told).astype(bool)
            mine = masks(original, rows[Path(image["file_name"]).stem])
            assert read.keys() == mine.keys()
            for label, mask in mine.items():
                union = read[label] | mask
                assert (union & ~(read[label] & mask)).sum() <= max(4, 0.15 * union.sum())


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
    truths = [truth for photo in found if (truth := photo.truth(64, 64)) is not None]
    cracks = [truth for truth in truths if truth.any()]
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
    assert "“rust” of “nowhere” is no edit of" in refused(*MADE, *WRITTEN, "dataset.review=review.csv")
    Path("review.csv").write_text(f"image,defect,job,decision\n{photo},rust,7,keep\n")
    assert "is no edit of" in refused(*MADE, *WRITTEN, "dataset.review=review.csv")


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


def test_interrupted_it_says_so_in_one_line_and_goes_on(here, monkeypatch, inversions):
    write, times = production.write_photo, itertools.count()
    with monkeypatch.context() as patch:

        def once(*args):
            if next(times):
                raise KeyboardInterrupt
            write(*args)

        patch.setattr(production, "write_photo", once)
        status, _, err = command(*TWO)
    assert status == 130
    assert err.splitlines()[-1].startswith("stopped: the same command goes on") and "Traceback" not in err
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
    # Parts of the photographs make the same, whichever ends last.
    other = [*TWO, "out=other", "runtime.cache=other_cache"]
    status, out, _ = command(*other, "shard=1/2")
    assert status == 0 and "part 1/2 is done" in out and not (here / "other" / "results.csv").exists()
    assert made_by(*other, "shard=0/2").resolve() == here / "other"
    parts[0].unlink()
    assert differences(folder, here / "other") == []


def test_what_failed_is_told_and_not_tried_again_unless_asked(here, monkeypatch, inversions):
    write_png(here / "in" / "b.png", surface(UNSEEN, ("crack",), 64, 64).image)
    (here / "in" / "a.png").write_text("no image")
    arguments = [*QUICK, *OPEN, "data=folder", "data.path=in", "defect=rust", "export=[coco]"]
    folder = made_by(*arguments)
    assert pd.read_csv(folder / "failed.csv")["name"].tolist() == ["a"]
    reads, read = [], job._read
    monkeypatch.setattr(job, "_read", lambda of, photo: reads.append(photo.name) or read(of, photo))
    assert made_by(*arguments) == folder and reads == []
    assert made_by(*arguments, "retry_failed=true") == folder and reads == ["a"]
    assert rows_of(folder)["photo"].unique().tolist() == ["b"]
    write_png(here / "in" / "a.png", surface(UNSEEN + 1, ("crack",), 64, 64).image)
    made_by(*arguments)
    assert reads == ["a", "a"] and inversions == [1, 1]
    assert not (folder / "failed.csv").exists()
    assert rows_of(folder)["photo"].unique().tolist() == ["a", "b"]


def test_a_dry_run_tells_and_leaves_nothing(here):
    status, out, err = command(*TWO, "dry_run=true")
    assert status == 0, err
    assert "photographs: 2, of which 2 are to be done" in out and "images: 2 edits" in out
    for word in ("time: ", "disk: ", "data sets: coco"):
        assert word in out
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
    found = {photo.name for photo in photos("folder", str(here / "in"))}
    assert found == {*rows["photo"], *lost["name"]} and len(found) == 17
    assert not rows.index.has_duplicates
    assert len({*map(str.casefold, rows.loc[rows["kind"] == "edit", "image"])}) == len(rows) / 2
    for _, row in rows.iterrows():
        with Image.open(folder / row["image"] if row["kind"] == "edit" else row["image"]) as image:
            assert row["kind"] == "original" or image.size == (64, 64)
    # Masks have their image's size: the photograph's as it is seen, and the letterbox with nothing on its borders.
    truth = np.asarray(Image.open(folder / "images" / "turned" / "truth.png"))
    assert truth.any() and not truth[:, :8].any() and not truth[:, -8:].any()
    told = json.loads((folder / "dataset/coco/annotations/instances_train.json").read_text())
    sizes = {one["file_name"]: (one["width"], one["height"]) for one in told["images"]}
    assert sizes["turned.png"] == (48, 64) and sizes["turned__rust.png"] == (64, 64)
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
    "defect=original": "export needs a defect to edit to, or task=reconstruct",
    "shard=4/4": "shard=4/4",
    "relabel=2": "relabel=2",
    "dataset.gate.foo=1": "dataset.gate.foo",
    "+dataset.gate.foo=1": "dataset.gate.foo is not a setting",
    "dataset.gate=null": "dataset.gate=None",
    "dataset.gate.min_share=x": "gate.min_share=x",
    "dataset.tries=-1": "dataset.tries=-1",
    "+dataset.foo=1": "dataset.foo is not a setting",
    "dataset.split=0.5/0.5": "dataset.split=0.5/0.5",
    "dataset.keep_split=2": "dataset.keep_split=2",
    "dataset.originals=foo": "dataset.originals=foo: unknown value",
    "dataset.review=none.csv": "none.csv: there is no such file",
    "dataset.variants.count=2": "would all be the same",
    "dataset.variants.eq=3": "dataset.variants.eq=3",
    "+dataset.variants.foo=1": "dataset.variants.foo is not a setting",
    "data=folder": "data.path=None: folder needs one: a folder of photographs",
    "+defect.all.rust_mask=photo of a crack dent image": "the defect name “rust_mask” cannot be used",
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_values_end_in_one_line_before_a_model_is_loaded(here, no_model, argument):
    assert BAD[argument] in refused(*TWO, argument)


def test_a_data_set_is_not_made_into_its_photographs(here, no_model):
    write_png(here / "in" / "a.png", surface(UNSEEN, (), 64, 64).image)
    assert "holds the photographs" in refused(
        *QUICK, "data=folder", "data.path=in", "export=[coco]", "hydra.run.dir=in"
    )
    (here / "empty").mkdir()
    assert "no photographs found" in refused(*QUICK, "data=folder", "data.path=empty", "export=[coco]")


def test_pictures_decide_the_folder_and_nothing_else(here):
    def folder(*arguments: str) -> str:
        with main.hydra.initialize_config_dir(str(main.ROOT / "conf"), version_base="1.3"):
            return main.hydra.compose("config", [*TWO, *arguments]).out

    same = "export=[yolo] relabel=true shard=0/4 runtime=ray retry_failed=true dataset.split=1/1/1 dataset.title=x"
    assert folder(*same.split(), "data.limit=3", "inversion.batch_size=2") == folder()
    others = ("edit.eq=3", "runtime.seed=1", "dataset.gate.min_strength=9", "task=both")
    assert len({folder(), *map(folder, others)}) == 1 + len(others)
    assert folder("export=[]") != folder("export=[]")
    assert folder("export=[]", "shard=0/2") == folder("export=[]", "shard=1/2")
