"""Files of a finished run that are lost or damaged are made again by the same command; what may pass is not kept."""

import errno
import os
import random

import pytest
from shortcuts import shortcuts

from experiments.faults import damage, failing
from experiments.faults.trial import SETTINGS, finished, not_healed, restored, run
from rli.runs import runner

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with shortcuts(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("rli.metrics.lpips.load_lpips", lambda: None)
        yield finished(tmp_path_factory.mktemp("faults"), photographs=1)


@pytest.mark.parametrize("kind", ["missing", "another's", "bit flip"])
def test_a_run_all_of_whose_files_are_damaged_is_made_as_it_was(place, kind):
    assert damage.trial(place, damage.files_for(place, kind), kind, seed=0) is None


def test_any_file_may_be_damaged_alone(place):
    draw = random.Random(1)
    for kind in damage.DAMAGES:  # experiments/faults does it to all
        file = draw.choice(damage.files_for(place, kind))
        assert (file, kind, damage.trial(place, [file], kind, seed=2)) == (file, kind, None)


def test_what_is_made_again_is_named(place):
    restored(place)
    (place / "run" / "images" / "p0" / "rust.png").unlink()
    answer = run(place, *SETTINGS)
    assert "made again: p0: rust.png is missing" in answer.stderr
    assert not_healed(place, [answer]) is None


@pytest.mark.parametrize("kind", ["missing", "another's", "null bytes"])
def test_a_damaged_review_is_told_in_one_line_or_read(place, kind):
    restored(place)
    review, before = place / "review.csv", (place / "review.csv").read_bytes()
    try:
        damage.DAMAGES[kind](review, b"\x89PNG", random.Random(3))
        assert run(place, *SETTINGS).fault is None
    finally:
        review.write_bytes(before)
    assert not_healed(place, [run(place, *SETTINGS)]) is None


@pytest.mark.parametrize("error", failing.ERRORS)
def test_a_file_that_cannot_be_opened_once_harms_the_next_run_in_nothing(place, error):
    assert failing.trial(place, failing.ERRORS[error], range(4, 5)) is None


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), MemoryError()])
def test_what_may_pass_is_tried_again_by_the_same_command_and_what_lasts_is_not(place, error, monkeypatch):
    failing.begun(place)
    read = runner.read_photo

    def fails(job, photo):
        if photo.name == "p0":
            raise error
        return read(job, photo)

    reads = []
    with monkeypatch.context() as patch:
        patch.setattr(runner, "read_photo", fails)
        answer = run(place, *SETTINGS)
    lines = [line for line in answer.stderr.splitlines() if line.startswith("skipped: ")]
    assert len(lines) == 2
    (lasting,) = [line for line in lines if "broken.png" in line]
    (passing,) = [line for line in lines if line != lasting]
    assert "retry_failed=true" in lasting and "(the same command tries it again)" in passing
    monkeypatch.setattr(runner, "read_photo", lambda job, photo: reads.append(photo.name) or read(job, photo))
    assert not_healed(place, [run(place, *SETTINGS)]) is None
    assert reads == ["p0"]
