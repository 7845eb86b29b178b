"""A choice of images that was made in another tool is a review."""

import json

import pytest

from rli.datasets.dataset import Dataset, check_names
from rli.datasets.review import read_review
from rli.datasets.selection import Selection, image_stem
from rli.errors import RLIError
from rli.photos.photo import Photo

EDITS = [
    *(("bolt/a.1", edit, "train") for edit in ("", "rust", "dent")),
    *(("bolt/b", edit, "train") for edit in ("", "rust", "dent")),
    *(("nut/c", edit, "val") for edit in ("", "rust", "dent")),
]


def coco(*files):
    return {
        "images": [{"id": k, "file_name": file} for k, file in enumerate(files)],
        "annotations": [],
        "categories": [],
    }


def samples(**tags):
    return {"samples": [{"filepath": f"data/{name}.png", "tags": own} for name, own in tags.items()]}


@pytest.fixture
def saved(tmp_path):
    def save(told, name="selection.json"):
        (tmp_path / name).write_text(told if isinstance(told, str) else json.dumps(told))
        return tmp_path / name

    return save


def test_of_coco_what_is_listed_is_kept_and_the_rest_of_its_splits_is_not(saved):
    listed = coco(
        "bolt__a_1__rust.png", "images/bolt__b.png", r"C:\set\bolt__b__dent.jpg", "/data/local-files/?d=nut%20_c.png"
    )
    assert read_review(saved(listed)).decisions(EDITS) == {
        ("", "bolt/a.1", "rust"): True,
        ("", "bolt/a.1", "dent"): False,
        ("", "bolt/b", "rust"): False,
        ("", "bolt/b", "dent"): True,
    }


def test_a_photograph_alone_says_that_its_split_was_looked_at(saved):
    decided = read_review(saved(coco("nut__c.png"))).decisions(EDITS)
    assert decided == {("", "nut/c", "rust"): False, ("", "nut/c", "dent"): False}


def test_of_samples_with_tags_the_tags_decide_and_nothing_else_is_decided(saved):
    tagged = samples(bolt__a_1__rust=["reject"], bolt__b__rust=["keep", "nice"], bolt__b__dent=["nice"], nut__c=[])
    assert read_review(saved(tagged)).decisions(EDITS) == {
        ("", "bolt/a.1", "rust"): False,
        ("", "bolt/b", "rust"): True,
    }


def test_of_samples_without_such_tags_the_listing_decides(saved):
    listed = read_review(saved(samples(nut__c__dent=["nice"]), "SAMPLES.JSON"))
    assert listed.decisions(EDITS) == {("", "nut/c", "rust"): False, ("", "nut/c", "dent"): True}


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (coco(), "it lists no image"),
        ({"samples": []}, "it lists no image"),
        (samples(a=["keep", "reject"]), "a is both kept and rejected"),
        ("[1, 2]", "expected COCO's JSON"),
        ("{", "expected COCO's JSON"),
        ("[" * 100_000, "expected COCO's JSON"),
        ({"images": [{"id": 1}]}, "expected COCO's JSON"),
        ({"images": [{"file_name": 7}]}, "expected COCO's JSON"),
        ({"annotations": []}, "expected COCO's JSON"),
    ],
)
def test_what_is_no_selection_is_refused_in_a_line(saved, told, said):
    with pytest.raises(RLIError, match=said) as caught:
        read_review(saved(told))
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(RLIError, match="No such file"):
        read_review(tmp_path / "none.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(RLIError, match="is not a file"):
        read_review(tmp_path / "folder.json")


def test_an_image_that_there_will_not_be_is_named_before_the_run():
    def checked(*stems):
        review = Selection(dict.fromkeys(stems, True), rejects_others=True)
        photos = [Photo("bolt/a.1", label="crack"), Photo("b")]
        check_names(photos, lambda photo: ["rust"], ["rust"], Dataset(("coco",), review=review))

    checked("bolt__a_1", "bolt__a_1__reconstruction", "bolt__a_1__rust", image_stem("b", "rust"))
    with pytest.raises(RLIError, match="review: “b__dent” is no image of this run"):
        checked("b__rust", "b__dent")
