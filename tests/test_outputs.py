"""How a run ends: what it writes, and that every photograph's files are read once for all of it."""

import dataclasses
import weakref
from collections import Counter

import numpy as np
import pytest
from builders import grey, photo_result
from PIL import Image

from rli.errors import RLIError
from rli.metrics.columns import ORIGINAL
from rli.reports.outputs import OVERVIEW, Outcome, write_outcome
from rli.reports.pixels import contact_sheet, tiles
from rli.reports.results import frame_of, read_results
from rli.reports.sweep import PUBLISHED
from rli.store.failures import Failure
from rli.tracking.tracker import Untracked

pytestmark = pytest.mark.integration


def photograph(name, job=""):
    return photo_result(
        name, picture=grey(32, 32), figures=lambda defect: {} if defect == ORIGINAL else {"strength": 10.0}, job=job
    )


class Shelf:
    """Photographs that are read when they are asked for, and how often they were."""

    def __init__(self, *names, gone=(), job=""):
        self.names, self.gone, self.job = names, gone, job
        self.reads, self.alive, self.most = Counter(), [], 0

    def records(self):
        return [Shelf.Record(self, name) for name in self.names]

    @dataclasses.dataclass(frozen=True)
    class Record:
        shelf: "Shelf"
        name: str
        windows = ()

        def read(self):
            if self.name in self.shelf.gone:
                raise RLIError(f"{self.name} is gone")
            self.shelf.reads[self.name] += 1
            photo = photograph(self.name, self.shelf.job)
            self.shelf.alive.append(weakref.ref(photo.input))
            self.shelf.most = max(self.shelf.most, sum(one() is not None for one in self.shelf.alive))
            return photo


class Listener(Untracked):
    """A tracker that remembers what it was given."""

    def thumbnails(self, photo):
        return {("input",): photo.name}

    def log(self, rows, pictures):
        self.logged = (rows, pictures)

    def log_sweep(self, comparison, rows, pictures, trade_off=None, failures=()):
        self.logged = (rows, pictures, trade_off, failures)


def outcome(shelf, **changes):
    rows = frame_of([row for name in shelf.names for row in photograph(name).rows])
    given = {"rows": rows, "records": shelf.records(), "failures": [], "settings": {}, "title": "Plates"}
    return Outcome(**{**given, **changes})


def test_page_overview_and_tracker_read_each_photograph_once(tmp_path):
    shelf, tracker = Shelf(*"abcdef"), Listener()
    write_outcome(tmp_path, outcome(shelf), PUBLISHED, tracker=tracker)
    assert shelf.reads == dict.fromkeys("abcdef", 1)
    assert shelf.most <= 2  # the last one, and this
    rows, pictures = tracker.logged
    assert len(rows) == 12 and pictures == {("", name): {("input",): name} for name in "abcdef"}
    assert (tmp_path / "report.html").read_text().count('<details class="photo"') == 6
    assert {p.name for p in tmp_path.iterdir()} == {
        *("results.csv", "comparison.csv", "comparison.md", "overview.png", "report.html")
    }


def test_the_overview_shows_the_first_photographs(tmp_path):
    shelf = Shelf(*"abcdef")
    write_outcome(tmp_path, outcome(shelf), PUBLISHED)
    first = [tiles(photograph(name)) for name in "abcdef"[:OVERVIEW]]
    with Image.open(tmp_path / "overview.png") as overview:
        assert np.array_equal(np.asarray(overview), contact_sheet(first))


def test_as_many_photographs_are_read_as_may_be_shown(tmp_path):
    shelf = Shelf(*"abcdef")
    write_outcome(tmp_path, outcome(shelf), PUBLISHED, edits=4)
    assert shelf.reads == {"a": 1, "b": 1}
    assert "2 of 6 results are shown" in (tmp_path / "report.html").read_text()


def test_a_photograph_whose_files_are_gone_is_in_the_tables_alone(tmp_path):
    shelf = Shelf("a", "b", gone="a")
    write_outcome(tmp_path, outcome(shelf), PUBLISHED)
    assert read_results(tmp_path / "results.csv")["image"].tolist() == ["a", "a", "b", "b"]
    assert (tmp_path / "report.html").read_text().count('<details class="photo"') == 1


def test_where_nothing_was_done_there_are_the_reasons_alone(tmp_path):
    tracker = Listener()
    nothing = outcome(Shelf(), rows=frame_of([]), failures=[Failure("bent", "it cannot be read")])
    write_outcome(tmp_path, nothing, PUBLISHED, tracker=tracker)
    assert [p.name for p in tmp_path.iterdir()] == ["failed.csv"]
    assert not hasattr(tracker, "logged")


@pytest.mark.parametrize("knobs", [(), ("edit.eq",)])
def test_a_sweep_ends_as_a_run_does_with_its_plot_beside(tmp_path, knobs):
    shelf, tracker, lost = Shelf("a", "b", job="0"), Listener(), [Failure("1", "eq is too much", "edit.eq=9")]
    sweep = outcome(shelf)
    rows = sweep.rows.assign(job="0", **dict.fromkeys(knobs, sweep.rows["eq"]))
    rows["psnr_background"] = 40.0
    sweep = dataclasses.replace(sweep, rows=rows, knobs=knobs, failures=lost)
    write_outcome(tmp_path, sweep, PUBLISHED, tracker=tracker)
    *_, trade_off, failures = tracker.logged
    assert failures == lost
    assert (trade_off == tmp_path / "tradeoff.png") == (tmp_path / "tradeoff.png").is_file() == bool(knobs)
    assert 'id="explore"' in (tmp_path / "report.html").read_text()
    assert "1: edit.eq=9" in (tmp_path / "report.html").read_text()
