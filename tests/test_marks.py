"""A run that is refused, or only forecast, leaves a folder as it was; folders that runs fill are passed over and
named."""

import pytest
from builders import files_of, write_surface
from command import QUICK, SMALL, run

pytestmark = pytest.mark.integration
FOLDER = (*QUICK, *SMALL, "data=folder", "data.path=d")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rli.metrics.lpips.load_lpips", lambda: None)
    write_surface(tmp_path / "d" / "a.png")
    return tmp_path


def everything(folder):
    """Every file and what it holds, and every folder."""
    return files_of(folder), sorted(str(p) for p in folder.rglob("*"))


REFUSED = {
    "results among the photographs": ("hydra.run.dir=d",),
    "a bad value among the photographs": ("hydra.run.dir=d/new", "edit.eq=-1"),
    "a bad value in a folder of one's own": ("hydra.run.dir=other", "edit.eq=-1"),
    "a bad value in a new folder": ("hydra.run.dir=new/er", "edit.eq=-1"),
    "a sweep among the photographs": ("-m", "hydra.sweep.dir=d", "edit.eq=1,2"),
    "a shard among the photographs": ("out=d", "shard=0/2", "export=[coco]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_run_leaves_no_mark(place, case):
    (place / "other").mkdir()
    before = everything(place)
    flags = [word for word in REFUSED[case] if word == "-m"]
    assert run(*flags, *FOLDER, *(word for word in REFUSED[case] if word != "-m")).error
    assert everything(place) == before


def test_a_forecast_leaves_another_program_s_files(place):
    for name in (".hydra/config.yaml", "rli.log", "status.json"):
        (place / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "mine" / name).write_text("another's")
    before = everything(place)
    answer = run(*FOLDER, "hydra.run.dir=mine", "dry_run=true", "runtime.cache=mine/cache")
    assert answer.status == 0, answer.stderr
    assert everything(place) == before


def test_folders_that_runs_fill_are_named_in_one_line(place):
    write_surface(place / "d" / "filled" / "b.png")
    (place / "d" / "filled" / ".hydra").mkdir()
    answer = run(*FOLDER, "defect=original", "inversion=direct", "hydra.run.dir=out")
    assert answer.status == 0, answer.stderr
    lines = [line for line in answer.stderr.splitlines() if line.startswith("left out")]
    assert lines == ["left out, because runs have their output there: d/filled"]
    (place / "d" / "a.png").unlink()
    assert "d/filled is left out, because a run has its output there" in run(*FOLDER).error
    assert (place / "out" / ".hydra" / "config.yaml").read_text().startswith("resolution:")
