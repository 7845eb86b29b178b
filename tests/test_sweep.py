"""A sweep is what its jobs' own files say, whatever state they are in."""

import json

import pytest
import yaml
from builders import box, grey, photo_result

from rli.errors import RLIError
from rli.files import write_whole
from rli.reports import sweep
from rli.reports.results import frame_of, read_results, write_results
from rli.store.failures import write_status
from rli.store.records import EditedPhoto, write_photo

pytestmark = pytest.mark.integration


def job(folder, name, eq, *, photos=("plate",), reason=None, status=True, table=None):
    """A job's folder as main.py leaves it."""
    place = folder / name
    cfg = {"edit": {"eq": eq, "cross": 1.0}, "model": {"name": "mini"}, "data": {"path": f"{name}.png"}}
    cfg |= {"table": table} if table else {}
    write_whole(place / ".hydra" / "config.yaml", yaml.safe_dump(cfg))
    write_whole(place / ".hydra" / "overrides.yaml", yaml.safe_dump(["model=mini", f"edit.eq={eq}"]))
    measured = {"psnr_background": 40.0 - eq, "strength": 10.0 * eq}
    edits = {"rust": EditedPhoto(grey(32, 32, 100 + int(10 * eq)), box(32, 32))}
    made = [
        photo_result(
            photo,
            picture=grey(32, 32, 100),
            edits=edits,
            figures=lambda defect: {"eq": eq, **(measured if defect in edits else {})},
        )
        for photo in (photos if reason is None else ())
    ]
    for photo in made:
        write_photo(place, photo)
    if made:
        write_results(frame_of([row for photo in made for row in photo.rows]), place / "results.csv")
    if status:
        write_status(place, reason)
    return place


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "sweep"
    job(place, "10", 4.0)
    job(place, "2", 2.0)
    job(place, "0", 1.0, photos=("plate", "bolt"))
    job(place, "3", 9.0, reason="eq is too much")
    job(place, "4", 8.0, photos=(), status=False)
    return place


def test_jobs_knobs_and_reasons(folder):
    told = sweep.gather([folder])
    assert [one.name for one in told.jobs] == ["0", "2", "3", "4", "10"]
    assert told.knobs == ("edit.eq",)  # the path differs too, and is no knob
    assert {one.name: one.reason for one in told.failed}["3"] == "eq is too much"
    assert "stopped before its end" in {one.name: one.reason for one in told.failed}["4"]
    frame = sweep.frame(told)
    assert frame["job"].tolist() == ["0"] * 4 + ["2"] * 2 + ["10"] * 2
    assert (frame["edit.eq"] == frame["eq"]).all()


def test_failures_say_what_was_typed_for_them_alone(folder):
    write_whole(folder / "2" / "failed.csv", "name,reason\nbent,it cannot be read\n")
    lost = {one.name: one for one in sweep.failures_of(sweep.gather([folder]))}
    assert set(lost) == {"2/bent", "3", "4"}
    assert lost["3"].settings == "edit.eq=9.0"


def test_photographs_of_one_name_lie_side_by_side(folder):
    records = sweep.records_of(sweep.gather([folder]))
    assert [(one.name, one.job) for one in records] == [("plate", "0"), ("plate", "2"), ("plate", "10"), ("bolt", "0")]
    assert records[1].read().edits["rust"].image[0, 0, 0] == 120


def test_everything_is_gathered_and_gathering_again_changes_nothing(folder):
    sweep.write_sweep([folder], folder)
    first = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    assert {"results.csv", "failed.csv", "comparison.md", "comparison.csv", "overview.png", "report.html"} <= set(first)
    assert len(read_results(folder / "results.csv")) == 8
    assert (folder / "images" / "10" / "plate" / "rust_mask.png").is_file()
    sweep.write_sweep([folder], folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()} == first


def test_an_experiment_s_table_is_written_with_its_published_figures(tmp_path):
    table = {"name": "knobs", "rows": ["eq"], "of": "edits", "metrics": ["psnr_background", "strength"]}
    for k, eq in enumerate((1.0, 2.0)):
        job(tmp_path / "s", str(k), eq, table=table)
    sweep.write_sweep([tmp_path / "s"], tmp_path / "s")
    lines = (tmp_path / "s" / "table.md").read_text().splitlines()
    assert lines[2:] == ["| 1 | 39.00 | 10.0 | 1 |", "| 2 | 38.00 | 20.0 | 1 |"]


def test_several_folders_and_a_damaged_job(folder, tmp_path, capsys):
    other = tmp_path / "tuesday"
    job(other, "0", 3.0)
    (job(other, "1", 5.0) / "results.csv").write_text("image,defect\n\xff")
    assert sweep.main([str(folder), str(other), "--out", str(tmp_path / "both")]) == 0
    back = read_results(tmp_path / "both" / "results.csv")
    assert set(back["job"]) == {"sweep/0", "sweep/2", "sweep/10", "tuesday/0"}
    assert "failed: job tuesday/1: results.csv cannot be read" in capsys.readouterr().err


def test_a_single_run_is_a_sweep_of_one(folder):
    told = sweep.gather([folder / "2"])
    assert len(told.jobs) == 1 and told.knobs == ()


def test_what_is_no_sweep_is_said_in_one_line(tmp_path, capsys):
    with pytest.raises(RLIError, match="no runs found"):
        sweep.gather([tmp_path])
    assert sweep.main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.strip().endswith("there is no such folder")


def test_status_that_is_no_status_is_no_success(folder):
    (folder / "2" / "status.json").write_text(json.dumps([1]))
    assert {one.name for one in sweep.gather([folder]).failed} == {"2", "3", "4"}
