"""Lists of photographs say what their columns say, and are read row by row."""

import numpy as np
import pytest
from builders import box, write_images
from photo_lists import names, peak, table, write_list

from rli.errors import RLIError
from rli.photos.sources import photos

MASK = box()
ROWS = [
    {
        "path": "sub/a.png",
        "mask": "masks/a.png",
        "label": "crack",
        "category": "tile",
        "split": "train",
        "region": "",
        "group": "t1",
    },
    {"path": "sub/a.png", "mask": "", "label": "", "category": "", "split": "", "region": "masks/a.png", "group": "t1"},
    {"path": '../set/b, "c".png', "mask": "", "label": "good", "category": "", "split": "", "region": "", "group": ""},
    {"path": "", "mask": "", "label": "", "category": "", "split": "", "region": "", "group": ""},
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_says_what_its_columns_say(tmp_path, suffix):
    write_images(tmp_path / "set", "sub/a.png", 'b, "c".png')
    write_images(tmp_path / "set" / "masks", "a.png", image=MASK)
    source = photos("list", write_list(tmp_path / "set" / f"list{suffix}", ROWS), region="truth")
    assert table(source, "name", "label", "category", "split", "source") == [
        ("sub/a~1", "crack", "tile", "train", "sub/a.png"),
        ("sub/a~2", "", "", "", "sub/a.png"),
        ("set/b, _c_~3", "good", "", "", '../set/b, "c".png'),
        ("row~4", "", "", "", ""),
    ]
    first, second, third, fourth = source
    assert np.array_equal(first.truth(40, 60), MASK) and np.array_equal(first.region(40, 60), MASK)
    assert second.truth(40, 60) is None and np.array_equal(second.region(40, 60), MASK)
    assert third.region(40, 60) is None and third.read(40, 60).shape == (1, 3, 40, 60)
    with pytest.raises(RLIError, match="row 4 names no photograph"):
        fourth.read(64, 64)
    assert [photo.group for photo in source] == ["t1", "t1", "", ""]
    assert source.count() == 4 and names(source) == names(source)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_list_needs_only_paths_and_they_may_be_absolute(tmp_path, suffix):
    write_images(tmp_path / "far", "a.png")
    source = photos(
        "list", write_list(tmp_path / f"list{suffix}", [{"path": str(tmp_path / "far" / "a.png")}, {"path": "b.png"}])
    )
    here, missing = source
    assert here.read(40, 60).shape == (1, 3, 40, 60) and here.name.endswith("far/a~1")
    with pytest.raises(RLIError, match="no such file"):
        missing.read(40, 60)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_lists_that_are_none(tmp_path, suffix):
    with pytest.raises(RLIError, match=r"needs a column named path, and this one has file, label"):
        photos("list", write_list(tmp_path / f"l{suffix}", [{"file": "a.png", "label": "x"}]))
    with pytest.raises(RLIError, match="no photographs found; expected a CSV or Parquet file with a row for each"):
        photos("list", write_list(tmp_path / f"l{suffix}", {"path": []}))
    (tmp_path / f"l{suffix}").write_bytes(b"")
    with pytest.raises(RLIError) as error:
        photos("list", str(tmp_path / f"l{suffix}"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_long_lists_take_no_more_memory_than_short_ones(tmp_path, suffix):
    short, long = (
        photos("list", write_list(tmp_path / f"{n}{suffix}", {"path": [f"sub/{k}.png" for k in range(n)]}))
        for n in (1_500, 4_500)
    )
    assert long.count() == 4_500
    assert peak(long) - peak(short) < 100_000


SPREADSHEETS = {
    "backslashes": "path,mask,label\nlot\\prüf.png,lot\\m.png,Riß\n".encode(),
    "semicolons": "path;mask;label\nlot/prüf.png;lot/m.png;Riß\n".encode(),
    "a note of the separator": "sep=;\r\npath;mask;label\r\nlot/prüf.png;lot/m.png;Riß\r\n".encode(),
    "tabs": "path\tmask\tlabel\nlot/prüf.png\tlot/m.png\tRiß\n".encode(),
    "a byte order mark": "path,mask,label\nlot/prüf.png,lot/m.png,Riß\n".encode("utf-8-sig"),
    "UTF-16": "path\tmask\tlabel\r\nlot\\prüf.png\tlot\\m.png\tRiß\r\n".encode("utf-16"),
    "Windows' old coding": "path;mask;label\r\nlot\\prüf.png;lot\\m.png;Riß\r\n".encode("cp1252"),
    "capitals": "Path,MASK,Label\nlot/prüf.png,lot/m.png,Riß\n".encode(),
    "blanks": "path, mask , label\nlot/prüf.png, lot/m.png, Riß\n".encode(),
    "old ends of lines": "path,mask,label\rlot/prüf.png,lot/m.png,Riß\r".encode(),
}


@pytest.mark.parametrize("kind", SPREADSHEETS)
def test_a_spreadsheets_list_says_the_same_as_any(tmp_path, kind):
    write_images(tmp_path, "lot/prüf.png")
    write_images(tmp_path, "lot/m.png", image=MASK)
    (tmp_path / "list.csv").write_bytes(SPREADSHEETS[kind])
    (photo,) = photos("list", str(tmp_path / "list.csv"))
    assert (photo.name, photo.label, photo.file) == ("lot/prüf~1", "Riß", tmp_path / "lot" / "prüf.png")
    assert photo.read(40, 60).shape == (1, 3, 40, 60) and np.array_equal(photo.truth(40, 60), MASK)


def test_a_path_of_another_system_is_the_problem_of_its_row(tmp_path):
    write_images(tmp_path, "a.png")
    rows = "path,mask\nC:\\lot\\a.png,\n\\\\server\\lot\\a.png,\na.png,D:/m.png\na.png,\n"
    (tmp_path / "list.csv").write_text(rows)
    *foreign, own = photos("list", str(tmp_path / "list.csv"))
    for photo, path in zip(foreign, (r"C:\\lot\\a.png", r"\\\\server", "D:/m.png"), strict=True):
        with pytest.raises(RLIError, match=rf"row \d: .*{path}.* is a path of Windows"):
            photo.read(40, 60)
    assert own.read(40, 60).shape == (1, 3, 40, 60)


def test_labels_and_splits_of_a_list_are_what_they_mean(tmp_path):
    write_images(tmp_path, "a.png")
    (tmp_path / "list.csv").write_text("path,label,split\na.png,OK,Train\na.png,crack,valid\na.png,,mine\n")
    found = table(photos("list", str(tmp_path / "list.csv")), "label", "split")
    assert found == [("good", "train"), ("crack", "val"), ("", "mine")]


def test_a_list_may_name_annotations_in_the_place_of_masks(tmp_path):
    write_images(tmp_path, "a.png")
    (tmp_path / "a.xml").write_text("<annotation><object><name>dent</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
                                    "<xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>")  # fmt: skip
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / "list.csv").write_text("path,mask\na.png,a.xml\na.png,notes.txt\n")
    told, none = photos("list", str(tmp_path / "list.csv"))
    assert told.label == "dent" and np.array_equal(told.truth(40, 60), MASK)
    with pytest.raises(RLIError, match=r"notes\.txt is no annotation of labelme, Pascal VOC or YOLO"):
        none.read(40, 60)
