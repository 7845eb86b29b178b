"""Names that a data set cannot have are found before any photograph is made, and without opening one."""

from collections import Counter

import pytest

from rli.datasets.dataset import Dataset, check_names
from rli.errors import RLIError
from rli.photos.photo import Photo

COCO = ("coco",)
PHOTOS = [Photo("a", label="crack", split="train"), Photo("b", label="good"), Photo("c")]


def edits(photo):
    return ["rust", "dent"]


def checked(photos=PHOTOS, classes=("rust", "dent"), **settings):
    check_names(photos, edits, classes, Dataset(COCO, **settings))


def test_what_can_be_passes_in_one_pass_over_the_photographs():
    passes = Counter()

    def once():
        passes["begun"] += 1
        yield from PHOTOS

    check_names(once(), edits, ["rust", "dent"], Dataset(COCO, review={("", "a", "rust"): True}))
    assert passes == {"begun": 1}


def test_no_photograph_is_opened(tmp_path):
    checked([Photo("a", tmp_path / "none.png", truth_file=tmp_path / "no_mask.png", label="crack")])


def test_a_split_that_is_none_names_its_photograph():
    with pytest.raises(RLIError, match=r"a: split=holdout: unknown value; expected one of train, val, test"):
        checked([Photo("a", split="holdout")])


@pytest.mark.parametrize("name", ["CON", "nul.x", "a/b", "a: b", "off", "x" * 100])
def test_classes_that_file_systems_or_yaml_do_not_like_are_written_all_the_same(name):
    checked(classes=["rust", name])


@pytest.mark.parametrize("name", ["..", "", " ", "x" * 300])
def test_classes_that_files_cannot_be_called_are_refused(name):
    with pytest.raises(RLIError):
        checked(classes=["rust", name])


def test_a_class_of_photographs_alone_counts_where_these_are_images_of_the_set():
    photos = [Photo("a", label="..")]
    with pytest.raises(RLIError):
        checked(photos)
    checked(photos, originals="none")


@pytest.mark.parametrize("of", [("", "a", "scratch"), ("", "nobody", "rust"), ("job", "a", "rust")])
def test_a_review_of_what_will_not_be_is_refused(of):
    with pytest.raises(RLIError, match="is no edit of this run"):
        checked(review={("", "b", "dent"): False, of: True})
