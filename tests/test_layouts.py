"""Public layouts are read as their authors mean them: every photograph, no mask, and each defect with its class."""

import json
from pathlib import Path

import numpy as np
import pytest
from builders import write_images
from export_items import CLASSES, drawn_items, truth
from layouts import LAYOUTS, SIZE, Known, filled, mask_file, painted, photograph
from photo_lists import names
from PIL import Image

from rli.datasets.formats import write
from rli.errors import RLIError
from rli.photos.photo import Photo
from rli.photos.sources import photos


def told(photo: Photo) -> Known:
    """What a reader says of a photograph, its masks read at its own size."""
    defects = {label: photo.truth_full(label) for label in photo.truth_labels} if photo.label != "good" else {}
    return Known(photo.label, defects, photo.category, photo.split, photo.group)


def assert_same(found: Known, known: Known) -> None:
    assert (found.label, found.category, found.split, found.group) == (
        *(known.label, known.category, known.split, known.group),
    )
    assert found.defects.keys() == known.defects.keys()
    assert all(np.array_equal(found.defects[label], mask) for label, mask in known.defects.items())


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_public_layout_is_read_back(tmp_path, name):
    layout = LAYOUTS[name]
    known = layout.write(tmp_path / "set")
    source = photos(layout.kind, str(tmp_path / "set"), good=True)
    found = {photo.file.relative_to(tmp_path / "set").as_posix(): photo for photo in source}
    assert found.keys() == known.keys()
    assert source.count() == len(known) == len({*names(source)})
    for file, photo in found.items():
        assert_same(told(photo), known[file])
        assert photo.read(32, 32).shape == (1, 3, 32, 32)
    defective = sum(one.label != "good" for one in known.values())
    assert photos(layout.kind, str(tmp_path / "set")).count() == (defective if layout.hides_good else len(known))


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if layout.kind not in ("coco", "dagm")])
def test_a_plain_folder_finds_the_same_photographs_and_masks(tmp_path, name):
    known = LAYOUTS[name].write(tmp_path / "set")
    source = photos("folder", str(tmp_path / "set"))
    found = {photo.file.relative_to(tmp_path / "set").as_posix(): photo for photo in source}
    assert found.keys() == known.keys()
    for file, photo in found.items():
        inside = photo.truth_full()
        assert np.array_equal(
            np.zeros(SIZE, bool) if inside is None else inside,
            np.logical_or.reduce([np.zeros(SIZE, bool), *known[file].defects.values()]),
        )


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_names_the_reader_that_knows_more(tmp_path, name):
    layout = LAYOUTS[name]
    layout.write(tmp_path / "set")
    remark = photos("folder", str(tmp_path / "set")).remark()
    assert remark is None if layout.kind == "folder" else f"data={layout.kind} " in remark
    assert photos(layout.kind, str(tmp_path / "set")).remark() is None


@pytest.mark.parametrize("name", ["MVTec AD", "BTAD", "VisA", "DAGM", "magnetic tile"])
def test_one_category_alone_is_read_too(tmp_path, name):
    layout = LAYOUTS[name]
    known = layout.write(tmp_path / "set")
    category = sorted(known)[0].split("/")[0]
    alone = photos(layout.kind, str(tmp_path / "set" / category), good=True)
    own = {file: one for file, one in known.items() if file.startswith(f"{category}/")}
    found = {photo.file.relative_to(tmp_path / "set").as_posix(): photo for photo in alone}
    assert found.keys() == own.keys()
    for file, photo in found.items():
        assert_same(told(photo), own[file])


# --- what exports write, readers read --------------------------------------------------------------------------------


@pytest.mark.parametrize(("format_name", "kind"), [("coco", "coco"), ("yolo", "folder")])
def test_an_export_is_read_back_to_the_pixel(tmp_path, format_name, kind):
    items = [item for item in drawn_items(tmp_path / "run") if item.kind == "original" or item.regions]
    write((format_name,), items, tmp_path / "set", classes=CLASSES)
    found = {photo.file.stem: photo for photo in photos(kind, str(tmp_path / "set" / format_name))}
    assert len(found) == len(items)
    for item in items:
        photo, index = found[item.name.replace("/", "__").replace(".", "_")], truth(item)
        assert photo.split == item.split
        assert {*photo.truth_labels} == {CLASSES[k - 1] for k in np.unique(index) if k}
        inside = photo.truth_full()
        assert np.array_equal(np.zeros(SIZE, bool) if inside is None else inside, index > 0)


# --- which file is a mask --------------------------------------------------------------------------------------------

NAMINGS = (
    "part_mask.png", "part-mask.png", "part_masks.png", "part.mask.png", "part_label.bmp", "part_labels.png",
    "part_seg.png", "part_gt.png", "part_GT.tif", "part_annotation.png", "mask_part.png", "part.jpg.png", "part.png",
    "masks/part.png", "mask/part.png", "GT/part.png", "Label/part_label.PNG", "ground_truth/part_mask.png",
    "../masks/lot/part.png", "../ground_truth/lot/part.png",
)  # fmt: skip


@pytest.mark.parametrize("naming", NAMINGS)
def test_a_mask_of_any_naming_is_found_and_no_photograph(tmp_path, naming):
    photograph(tmp_path / "set" / "lot" / "part.jpg")
    photograph(tmp_path / "set" / "lot" / "other.jpg")
    mask = mask_file(tmp_path / "set" / "lot" / naming, painted(3))
    other, part = photos("folder", str(tmp_path / "set"))
    assert (other.name, part.name) == ("lot/other", "lot/part")
    assert other.truth_full() is None and np.array_equal(part.truth_full(), mask)


@pytest.mark.parametrize("twins", [("images", "masks"), ("Images", "Masks"), ("image", "label"), ("imgs", "gt")])
@pytest.mark.parametrize("place", [".", "crack", "train/crack"])
def test_folders_of_photographs_beside_folders_of_masks(tmp_path, twins, place):
    photograph(tmp_path / place / twins[0] / "a.jpg")
    mask = mask_file(tmp_path / place / twins[1] / "a.png", painted(1))
    (photo,) = photos("folder", str(tmp_path))
    assert np.array_equal(photo.truth_full(), mask)
    assert photo.label == ("crack" if "crack" in place else "")
    assert photo.split == ("train" if "train" in place else "")


def test_photographs_that_are_called_like_masks_stay_photographs(tmp_path):
    # Two pictures of one stem, classes called mask and label, and a photograph of a mask.
    files = ["a.png", "a.jpg", "mask/b.png", "no_mask/b.png", "label/c.jpg", "face_mask.png"]
    for k, name in enumerate(files):
        photograph(tmp_path / name, k)
    assert {photo.source for photo in photos("folder", str(tmp_path))} == {*files}


@pytest.mark.parametrize("count", [3, 60])
def test_pairs_of_one_stem_are_masks_in_folders_of_any_size(tmp_path, count):
    for k in range(count):
        photograph(tmp_path / "set" / f"{k:02d}.jpg", k)
        mask_file(tmp_path / "set" / f"{k:02d}.png", painted(k))
        photograph(tmp_path / "copies" / f"{k:02d}.jpg", k)
        photograph(tmp_path / "copies" / f"{k:02d}.png", k)
    found = [*photos("folder", str(tmp_path / "set"))]
    assert len(found) == count
    assert all(np.array_equal(photo.truth_full(), painted(k)) for k, photo in enumerate(found))
    assert photos("folder", str(tmp_path / "copies")).count() == 2 * count


def test_several_masks_of_a_photograph_are_united(tmp_path):
    photograph(tmp_path / "a.jpg")
    masks = [mask_file(tmp_path / f"a_{mark}.png", painted(k)) for k, mark in enumerate(("mask_1", "mask_2", "label"))]
    (photo,) = photos("folder", str(tmp_path))
    assert np.array_equal(photo.truth_full(), np.logical_or.reduce(masks))
    assert np.array_equal(photo.truth(*SIZE), photo.truth_full())


@pytest.mark.parametrize("name", ["good", "OK", "ok", "Normal", "normal", "defect-free", "No Defect"])
def test_good_photographs_are_called_many_things(tmp_path, name):
    photograph(tmp_path / name / "a.png")
    photograph(tmp_path / "Train" / name / "a.png")
    assert {photo.label for photo in photos("folder", str(tmp_path))} == {"good"}


# --- annotations -----------------------------------------------------------------------------------------------------


def test_lines_circles_and_slivers_mark_pixels(tmp_path):
    photograph(tmp_path / "a.jpg")
    shapes = [
        {"label": "line", "shape_type": "linestrip", "points": [[2.5, 5.5], [40.5, 5.5], [40.5, 30.5]]},
        {"label": "disc", "shape_type": "circle", "points": [[30, 20], [40, 20]]},
        {"label": "sliver", "shape_type": "polygon", "points": [[5, 40.6], [60, 40.6], [60, 40.9]]},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"shapes": shapes}))
    (photo,) = photos("folder", str(tmp_path))
    line = filled((2, 5, 41, 6), (40, 5, 41, 31))
    assert np.array_equal(photo.truth_full("line"), line)
    assert photo.truth_full("disc").sum() == pytest.approx(np.pi * 100, rel=0.02)
    assert photo.truth_full("sliver")[40, 5:60].all()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", '{"shapes": [{"label": "x", "shape_type": "cloud", "points": [[1, 2]]}]}', "a shape is a cloud"),
        ("a.json", '{"shapes": [{"points": [[1, 2]]}]}', "lacks its label or its points"),
        ("a.json", '{"shapes": [{"label": "x", "points": [[1, NaN]]}]}', "lacks its label or its points"),
        ("a.json", '{"shapes": [{"label": "x", "points": [[1, 2]]}], "imageWidth": 10, "imageHeight": 10}', "10×10"),
        ("a.xml", "<annotation><object><name>x</name></object></annotation>", "has no name or no bndbox"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_the_photographs_problem(tmp_path, name, text, says):
    photograph(tmp_path / "a.jpg")
    photograph(tmp_path / "b.jpg")
    (tmp_path / name).write_text(text)
    bad, good = photos("folder", str(tmp_path))
    told = bad.problem
    if not told:
        with pytest.raises(RLIError) as error:
            bad.truth(32, 32)
        told = str(error.value)
    assert says in told and told.isprintable()
    assert good.read(32, 32).shape == (1, 3, 32, 32) and good.truth(32, 32) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "a note"), ("a.txt", "1 2 3"), ("a.json", '{"camera": 3}'), ("a.json", "["), ("a.xml", "<a>"),
     ("a.xml", '<!DOCTYPE x [<!ENTITY y "z">]><annotation>&y;</annotation>')],
)  # fmt: skip
def test_files_that_are_no_annotations_change_nothing(tmp_path, name, text):
    photograph(tmp_path / "lot" / "a.jpg")
    (tmp_path / "lot" / name).write_text(text)
    (photo,) = photos("folder", str(tmp_path))
    assert photo.label == "lot" and photo.truth_full() is None and photo.read(32, 32) is not None


def test_a_yolo_label_without_names_has_the_folders_class(tmp_path):
    photograph(tmp_path / "crack" / "a.jpg")
    (tmp_path / "crack" / "a.txt").write_text("3 0.5 0.5 0.25 0.5\n")
    (photo,) = photos("folder", str(tmp_path))
    assert photo.truth_labels == ("crack",)
    assert np.array_equal(photo.truth_full(), filled((24, 12, 40, 36)))


def test_one_photograph_has_its_annotation_too(tmp_path):
    photograph(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "elsewhere.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (photo,) = photos("image", str(tmp_path / "a.jpg"))
    assert photo.truth_full().sum() == SIZE[0] * SIZE[1] / 8
    (photo,) = photos("image", str(tmp_path / "a.jpg"), truth_path=str(tmp_path / "elsewhere.txt"))
    assert photo.truth_full().sum() == SIZE[0] * SIZE[1] / 4


def coco_file(folder: Path, file_name: str, **changes) -> Path:
    image = {"id": 1, "file_name": file_name, "width": SIZE[1], "height": SIZE[0]}
    told = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "crack"}], **changes}
    folder.mkdir(exist_ok=True)
    (folder / "set.json").write_text(json.dumps(told))
    return folder / "set.json"


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "C:\\x\\a.jpg", "a\\..\\..\\secret.jpg", "gone.jpg"])
def test_no_path_of_a_coco_file_leads_out_of_its_folder(tmp_path, name):
    photograph(tmp_path / "secret.jpg")
    (photo,) = photos("coco", str(coco_file(tmp_path / "set", name)))
    with pytest.raises(RLIError, match="must lead to a file below its folder"):
        photo.read(32, 32)


@pytest.mark.parametrize(
    "one",
    [{"category_id": 1, "segmentation": [[1, 2, 3]]}, {"category_id": 1}, {"segmentation": [[1, 2, 3, 4, 5, 6]]},
     {"category_id": 1, "segmentation": {"counts": "`", "size": [48, 64]}}],
)  # fmt: skip
def test_a_broken_annotation_of_coco_is_the_problem_of_its_photograph(tmp_path, one):
    photograph(tmp_path / "set" / "a.jpg")
    file = coco_file(tmp_path / "set", "a.jpg", annotations=[{"image_id": 1, **one}])
    (photo,) = photos("coco", str(file))
    with pytest.raises(RLIError, match=r"an annotation of a\.jpg cannot be read"):
        photo.read(32, 32)


def test_files_that_are_no_coco(tmp_path):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(RLIError, match="is no COCO file"):
        photos("coco", str(tmp_path / "a.json"))
    with pytest.raises(RLIError, match="no photographs found; expected a COCO file"):
        photos("coco", str(tmp_path))
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(RLIError, match="cannot be read as JSON"):
        photos("coco", str(tmp_path))
    with pytest.raises(RLIError, match="there is no such file or folder"):
        photos("coco", str(tmp_path / "none.json"))


# --- stamps ----------------------------------------------------------------------------------------------------------


def test_a_stamp_changes_with_what_an_annotation_says_of_its_photograph(tmp_path):
    write_images(tmp_path, "a.png", "b.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    (tmp_path / "b.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    before = [photo.stamp for photo in photos("folder", str(tmp_path))]
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    after = [photo.stamp for photo in photos("folder", str(tmp_path))]
    assert before[0] != after[0] and before[1] == after[1]


# --- real photographs ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Path:
    """The folder of real photographs; a test skips where it is not at hand."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "real"
    if not folder.is_dir():
        pytest.skip("the real photographs are not here")
    return folder


def counted(source) -> dict[str, list[int]]:
    """For each class its photographs, and the pixels of their masks."""
    found: dict[str, list[int]] = {}
    for photo in source:
        inside = photo.truth_full()
        count = found.setdefault(photo.label, [0, 0])
        count[0], count[1] = count[0] + 1, count[1] + int(inside.sum())
    return found


def pixels(mask: Path) -> int:
    """Those brighter than half, by Pillow alone."""
    return sum(Image.open(mask).convert("L").histogram()[128:])


def test_real_magnetic_tiles(real):
    expected: dict[str, list[int]] = {}
    for mask in sorted((real / "magnetic_tile").glob("MT_*/Imgs/*.png")):
        label = mask.parts[-3].removeprefix("MT_").lower().replace("free", "good")
        count = expected.setdefault(label, [0, 0])
        count[0], count[1] = count[0] + 1, count[1] + pixels(mask)
    found = [*photos("magnetic_tile", str(real / "magnetic_tile"), good=True)]
    counts = counted(found)
    assert counts.keys() == expected.keys()
    for label, (count, area) in expected.items():
        # One mask of uneven tiles is thirteen stray pixels of twelve levels, for which half is no measure.
        assert counts[label] == [count, pytest.approx(area, abs=7 if label == "uneven" else 0)]
    assert {photo.group for photo in found} == {photo.file.stem.split("_")[2] for photo in found}


def test_real_commutators(real):
    masks = sorted((real / "kolektor_sdd").glob("kos*/*_label.bmp"))
    areas = [pixels(mask) for mask in masks]
    found = [*photos("kolektor_sdd", str(real / "kolektor_sdd"), good=True)]
    defective = [area for area in areas if area]
    assert counted(found) == {"defect": [len(defective), sum(defective)], "good": [len(areas) - len(defective), 0]}
    assert [photo.group for photo in found] == [mask.parent.name for mask in masks]


def test_real_concrete_whose_masks_are_smaller(real):
    masks = sorted((real / "concrete_cracks" / "label").iterdir())
    found = [*photos("folder", str(real / "concrete_cracks"))]
    assert [photo.file.name for photo in found] == [mask.name for mask in masks]
    # Photographs are 768 pixels a side and masks 256.
    assert [photo.truth_full().sum() for photo in found] == [9 * pixels(mask) for mask in masks]
