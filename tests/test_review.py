"""Reading review.csv: what a page saved comes back, and what cannot be meant is refused in one line."""

import csv

import pytest

from rli.datasets.review import read_review
from rli.errors import RLIError

HEAD = "image,defect,job,decision,file\r\n"


def write(path, text):
    path.write_bytes(text.encode())
    return path


def refused(path):
    with pytest.raises(RLIError) as caught:
        read_review(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_come_back_as_they_were(tmp_path):
    names = ['a, "b"\nc', "=1+1", " crack ", "ä\r\n"]
    with (tmp_path / "review.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(HEAD.strip().split(","))
        table.writerows([name, name, name, decision, ""] for name in names for decision in ["keep"])
    assert read_review(tmp_path / "review.csv") == {(name, name, name): True for name in names}


def test_both_decisions_in_the_file_s_order_and_other_columns_do_not_matter(tmp_path):
    path = write(tmp_path / "r.csv", "\ufeffdecision,job,defect,image,note\nreject,3,rust,plate,x\nkeep,,rust,plate,\n")
    assert list(read_review(path).items()) == [(("3", "plate", "rust"), False), (("", "plate", "rust"), True)]


def test_nothing_decided_is_nothing(tmp_path):
    assert read_review(write(tmp_path / "r.csv", HEAD)) == {}


def test_the_same_said_twice_is_said_once(tmp_path):
    line = "plate,rust,,keep,images/plate/rust.png\r\n"
    assert read_review(write(tmp_path / "r.csv", HEAD + line + line)) == {("", "plate", "rust"): True}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + "plate,rust,,keep,\r\nplate,rust,,reject,\r\n", "plate / rust is both kept and rejected"),
        (HEAD + "plate,rust,,maybe,\r\n", "unknown decision “maybe” in line 2"),
        (HEAD + "plate,rust\r\n", "unknown decision “”"),
        ("image,defect,decision\r\nplate,rust,keep\r\n", "the column job is missing"),
        ("", "the column image is missing"),
        (HEAD + '"plate,rust,,keep,\r\n', "not a readable CSV"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, text, told):
    assert told in refused(write(tmp_path / "r.csv", text))


def test_what_cannot_be_read_is_refused(tmp_path):
    assert "there is no such file" in refused(tmp_path / "none.csv")
    assert "is not a file" in refused(tmp_path)
    (tmp_path / "r.csv").write_bytes(b"\xff\xfe\x00")
    assert "not a readable CSV" in refused(tmp_path / "r.csv")
