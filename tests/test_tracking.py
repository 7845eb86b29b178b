"""Tracking: offline without key or network, readable afterwards, and never in a run's way."""

import json
import math
import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from wandb_harness import KEY, Tracked, fresh_home, log, photograph, pixels, records, shown, sweep, track

from rli.images import write_png
from rli.metrics.columns import NAMES
from rli.reports.comparison import comparison
from rli.reports.results import frame_of, read_results, write_results
from rli.reports.sweep import PUBLISHED
from rli.store.failures import Failure
from rli.tracking.summary import objective, summary
from rli.tracking.tracker import open_tracker
from rli.tracking.wandb_run import tidy_tags

pytestmark = pytest.mark.integration

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def fresh_machine(tmp_path, monkeypatch):
    return fresh_home(tmp_path, monkeypatch)


def test_offline_leaves_everything_in_the_run_s_folder(tmp_path, fresh_machine, capfd):
    before = dict(os.environ)
    assert track(tmp_path / "run", name="a name", group="a group", tags=["a tag"]).mode == "offline"
    assert dict(os.environ) == before
    assert list(fresh_machine.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    (table,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media/table/*.table.json")
    content = json.loads(table.read_text())
    assert tuple(content["columns"]) == (*NAMES, "input", "reconstruction", "edit", "mask")
    assert [line[:2] for line in content["data"]] == [
        ["one", "original"],
        ["one", "rust"],
        ["two", "original"],
        ["two", "rust"],
    ]


def test_the_offline_file_is_readable_and_tells_the_run(tmp_path):
    tags = ["a tag", "", "a tag", " ", "x" * 80]
    track(tmp_path, name="a name", group="a group", tags=tags, job_type="job")
    told = Tracked(tmp_path)
    run = told.run
    assert (run.display_name, run.run_group, run.job_type, run.project) == ("a name", "a group", "job", "rli")
    assert [*run.tags] == ["a tag", "x" * 64]
    assert told.config["model"] == {"weights": "a/b"}
    assert told.config["steps"] == 4
    assert told.history["psnr/rust"] == 25.0
    assert told.history["results.nrows"] == 4
    # The two photographs are alike here, and a picture is stored once: the photograph, its reconstruction, the edit and
    # the mask.
    pictures = [place for name, place in told.staged.items() if name.startswith("media/images/")]
    assert sorted(pixels(place).ndim for place in pictures) == [2, 3, 3, 3]
    assert all(place.is_relative_to(told.path.parent) and place.is_file() for place in told.staged.values())
    assert next(r.exit for r in told.found if r.WhichOneof("record_type") == "exit").exit_code == 0


def test_the_table_is_results_csv_with_its_pictures(tmp_path):
    one = photograph("one")
    rows = [*one.rows, *photograph("none").rows, replace(one.rows[1], strength=4.5, psnr_background=math.inf)]
    write_results(frame_of(rows), tmp_path / "results.csv")
    with open_tracker("wandb", tmp_path, {}) as tracker:
        tracker.log(frame_of(rows), shown(tracker, [one]))
    table = Tracked(tmp_path).table("results")
    expected = read_results(tmp_path / "results.csv")
    table = table.replace("Infinity", math.inf)
    pd.testing.assert_frame_equal(table[[*NAMES]].astype(expected.dtypes), expected)
    assert (table[["input", "reconstruction", "edit"]].map(bool).all(axis=1) == (table["image"] == "one")).all()
    original, rust = table.iloc[0], table.iloc[1]
    assert np.array_equal(pixels(original["edit"]), one.reconstruction)
    assert original["mask"] is None
    assert np.array_equal(pixels(rust["input"]), one.input)
    assert np.array_equal(pixels(rust["edit"]), one.edits["rust"].image)
    assert np.array_equal(pixels(rust["mask"]) > 0, one.edits["rust"].mask)


def test_a_sweep_s_summary_run_tells_it_whole(tmp_path):
    photos, rows = sweep()
    write_png(tmp_path / "plot.png", photos[0].edits["rust"].image)
    table = comparison(rows, PUBLISHED)
    with open_tracker("wandb", tmp_path, {}, group="monday", job_type="summary") as tracker:
        tracker.log_sweep(table, rows, shown(tracker, photos), tmp_path / "plot.png", [Failure("2", "no room")])
    told = Tracked(tmp_path)
    assert (told.run.run_group, told.run.job_type) == ("monday", "summary")
    pd.testing.assert_frame_equal(told.table("comparison").astype(table.dtypes), table)
    every = told.table("sweep_results").replace("Infinity", math.inf)
    expected = rows.assign(**{"inversion.start": rows["inversion.start"].fillna("")})
    pd.testing.assert_frame_equal(every[[*rows]].astype(expected.dtypes), expected)
    assert [pixels(place).max() for place in every["input"]] == [0, 0, 1, 1]  # each row has its own job's
    assert told.table("failed").to_numpy().tolist() == [["2", "no room"]]
    points = told.table("strength_background_table")
    assert points[["image", "defect", "job", "edit.eq"]].to_numpy().tolist() == [
        ["one", "rust", "0", 1.0],
        ["one", "rust", "1", 2.5],
    ]
    assert points["psnr_background"].tolist() == [99.0, 99.0]  # no chart shows infinity
    plot = told.path.parent / "files" / told.history["trade_off.path"]
    assert plot.read_bytes() == (tmp_path / "plot.png").read_bytes()
    charts = json.loads(
        next(item.value_json for r in told.found for item in r.config.update if "visualize" in item.nested_key)
    )
    assert charts["panel_config"]["fieldSettings"] == {"x": "psnr_background", "y": "strength"}


def test_a_sweep_without_edits_plot_or_failures_tells_its_tables(tmp_path):
    rows = sweep()[1]
    rows = rows[rows["defect"] == "original"]
    with open_tracker("wandb", tmp_path, {}) as tracker:
        tracker.log_sweep(comparison(rows, PUBLISHED), rows, {})
    told = Tracked(tmp_path)
    assert [*told.staged] == ["comparison.table.json", "sweep_results.table.json"]
    assert told.table("sweep_results")[["input", "reconstruction", "edit", "mask"]].isna().all(axis=None)


def test_an_agent_of_a_w_b_sweep_names_the_run(tmp_path, monkeypatch):
    (tmp_path / "sampled.yaml").write_text("wandb_version: 1\n\nedit.eq:\n  value: 3.5\n")
    values = {"SWEEP_ID": "sweep1", "RUN_ID": "abcd1234", "PROJECT": "a project"}
    for name, value in (values | {"SWEEP_PARAM_PATH": str(tmp_path / "sampled.yaml")}).items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    track(tmp_path)
    run = Tracked(tmp_path).run
    assert (run.run_id, run.sweep_id, run.project) == ("abcd1234", "sweep1", "a project")


def test_a_failed_run_is_marked_and_its_error_goes_on(tmp_path):
    with pytest.raises(KeyError), open_tracker("wandb", tmp_path, {}):
        raise KeyError
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert next(r.exit for r in records(path) if r.WhichOneof("record_type") == "exit").exit_code == 1


def test_two_runs_of_one_process_stay_apart(tmp_path):
    for name in ("a", "b"):
        track(tmp_path / name)
        assert len(list(tmp_path.glob(f"{name}/wandb/offline-run-*"))) == 1


def test_off_and_missing_wandb_go_untracked(tmp_path, monkeypatch, capfd):
    with open_tracker("off", tmp_path / "off", {}) as tracker:
        log(tracker, [photograph()])
    assert not (tmp_path / "off").exists()
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    track(tmp_path / "missing")
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "not installed" in err


@pytest.mark.parametrize(
    ("name", "value"),
    [("WANDB_CONSOLE", "no"), ("WANDB_MODE", "later"), ("WANDB_BASE_URL", "a.host"), ("WANDB_INIT_TIMEOUT", "1m")],
)
def test_a_variable_that_wandb_refuses_is_named_without_its_value(tmp_path, monkeypatch, capfd, name, value):
    monkeypatch.setenv(name, value)
    track(tmp_path)
    err = capfd.readouterr().err
    assert err == f"warning: W&B's own settings ({name}) cannot be used, so the run is not tracked\n"


def test_a_failure_while_logging_does_not_stop_the_run(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(wandb, "Table", lambda **_: (_ for _ in ()).throw(OSError(f"disk full {KEY}")))
    track(tmp_path)
    err = capfd.readouterr().err
    assert err == "warning: the results were not tracked (OSError)\n"


@pytest.mark.parametrize(("kind", "mode"), [("mlflow", "auto"), ("wandb", "later")])
def test_unknown_kinds_and_modes_are_refused(tmp_path, kind, mode):
    with pytest.raises(ValueError, match=r"mlflow|later"), open_tracker(kind, tmp_path, {}, mode):
        pass


def test_summary_means_what_was_measured():
    rows = [r for photo in (photograph("one"), photograph("two")) for r in photo.rows]
    rows = [
        replace(row, strength=s, psnr_background=math.inf) for row, s in zip(rows, (None, 2.0, None, 4.0), strict=True)
    ]
    told = summary(frame_of(rows))
    assert told["psnr/original"] == 30.0
    assert told["psnr/rust"] == told["mean/psnr"] == 25.0  # over the edits alone
    assert told["mean/strength"] == told["strength/rust"] == told["objective"] == 3.0
    assert told["psnr_background/rust"] == 99.0  # infinity is no number to a chart
    assert not any(name.startswith(("lpips", "strength/original", "mean/named")) for name in told)
    assert "objective" not in summary(frame_of(rows[:1]))


def test_whatever_keeps_the_background_is_better_than_whatever_does_not():
    def settings(strength, background):
        return frame_of([replace(photograph().rows[1], strength=strength, psnr_background=background)] * 2)

    good = [
        objective(settings(strength, background))
        for strength, background in ((0.0, 32.0), (3.0, 40.0), (9.0, math.inf))
    ]
    bad = [objective(settings(200.0, background)) for background in (-5.0, 12.0, 31.9)]
    assert good == [0.0, 3.0, 9.0]
    assert bad == sorted(bad) and bad[-1] < 0
    assert objective(settings(3.0, 30.0), floor_db=30.0) == 3.0
    assert objective(frame_of([])) is None
    assert objective(settings(None, 30.0)) is None


def test_tags_are_tidied():
    assert tidy_tags([]) == []
    assert tidy_tags(["sdxl", " rust ", "rust", "", "y" * 65, "y" * 66]) == ["sdxl", "rust", "y" * 64]
