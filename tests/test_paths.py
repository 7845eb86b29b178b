"""Names that come back from files stay in their folder, and what killed processes left is removed."""

import os

import pytest
from filelock import FileLock

from rli.errors import RLIError
from rli.store.paths import STALE, inside, remove_leftovers


@pytest.mark.parametrize("name", ["a", "sub/plate", "ü 1", "..a", "a..b/c", "a\n"])
def test_a_plain_name_is_a_path_in_the_folder(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a", "a/../../b", "a/..", "/etc/passwd", "C:/a", "c:a", "\\a", "\\\\host\\a", "..\\a", "a\0b"],
)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(RLIError, match="no name of a file"):
        inside(tmp_path, name)


def test_a_link_that_leads_out_is_refused_and_one_that_stays_is_followed(tmp_path):
    (tmp_path / "run" / "real").mkdir(parents=True)
    (tmp_path / "run" / "in").symlink_to("real")
    (tmp_path / "run" / "out").symlink_to(tmp_path)
    (tmp_path / "run" / "ring").symlink_to("ring")
    assert inside(tmp_path / "run", "in/a.png").name == "a.png"
    for name in ("out", "out/a.png", "in/../out/a.png"):
        with pytest.raises(RLIError):
            inside(tmp_path / "run", name)
    # The folder itself may be a link: it is the user's own choice.
    (tmp_path / "link").symlink_to("run")
    assert inside(tmp_path / "link", "real/a.png").parent.is_dir()


def test_leftovers_go_once_nobody_can_be_at_them(tmp_path):
    old, new, held, free = (tmp_path / name for name in (".part-old.png", ".part-new.png", "held.lock", "free.lock"))
    for path in (old, new, held, free):
        path.touch()
    lock = FileLock(held)
    with lock:
        for path in (old, held, free):
            os.utime(path, (0, 0))
        remove_leftovers(tmp_path)
    assert STALE > 60
    assert {path.name for path in tmp_path.iterdir()} >= {new.name}
    assert not old.exists() and not free.exists()


def test_where_there_is_no_folder_there_are_no_leftovers(tmp_path):
    remove_leftovers(tmp_path / "none")
