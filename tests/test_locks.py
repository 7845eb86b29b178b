"""A lock is held by one at a time; who waits says what for, and who need not wait goes on."""

import os
import subprocess
import threading

import pytest
from command import started, wait_for_line

from rli.files import locked
from rli.store.paths import remove_leftovers

HOLDS = """
import pathlib
from rli.files import locked
with locked(pathlib.Path("a.lock"), "nobody"):
    print("held", flush=True)
    input()
"""


def test_a_lock_is_free_again_however_its_block_ends(tmp_path, capsys):
    def fails():
        with locked(tmp_path / "a.lock", "nobody") as is_held:
            raise KeyboardInterrupt(is_held)

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt, match="True"):
            fails()
    assert not capsys.readouterr().err


def test_who_waits_says_what_for_and_gets_it(tmp_path, capsys):
    order, entered = [], threading.Event()

    def hold():
        with locked(tmp_path / "a.lock", "nobody"):
            entered.set()
            with locked(tmp_path / "a.lock", None) as is_ours:  # another's view of the same lock
                order.append(("first", is_ours))

    first = threading.Thread(target=hold)
    first.start()
    assert entered.wait(10)
    with locked(tmp_path / "a.lock", "somebody writes") as is_held:
        order.append(("second", is_held))
    first.join()
    assert order == [("first", False), ("second", True)]
    assert capsys.readouterr().err in ("", "waiting: somebody writes\n")


def test_another_process_s_lock_is_left_alone_until_it_dies(tmp_path, capsys):
    with started("-c", HOLDS, folder=tmp_path, stdin=subprocess.PIPE) as process:
        wait_for_line(process, "held")
        os.utime(tmp_path / "a.lock", (0, 0))
        with locked(tmp_path / "a.lock", None) as is_held:
            assert not is_held
        remove_leftovers(tmp_path)
        assert (tmp_path / "a.lock").exists()
        process.kill()
        process.wait()
    with locked(tmp_path / "a.lock", None) as is_held:
        assert is_held
    os.utime(tmp_path / "a.lock", (0, 0))
    remove_leftovers(tmp_path)
    assert not (tmp_path / "a.lock").exists()
    assert not capsys.readouterr().err
