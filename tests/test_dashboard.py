"""The W&B workspace names what is tracked, and the W&B sweep files drive main.py."""

import json
import os
import random
from dataclasses import fields

import pytest
import yaml
from command import ROOT, composed
from omegaconf import OmegaConf

from experiments.dashboard import workspace
from rli.metrics.columns import NAMES, Row
from rli.reports.results import frame_of
from rli.runs.config import job_of
from rli.tracking.summary import summary
from rli.tracking.wandb_tables import COMPARISON, FAILED, RESULTS, SCATTER, SWEEP_RESULTS, TRADE_OFF

SWEEPS = sorted((ROOT / "experiments" / "knobs").glob("wandb_*.yaml"))
KNOBS = {"edit.eq", "edit.cross", "edit.replace", "rli.alpha"}
TEXT = {"image", "defect", "resolution", "model", "inversion"}


@pytest.fixture(autouse=True)
def fresh_machine(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def figures(defects):
    """The keys of a run's figures where everything was measured."""
    rows = [Row(**{name: "x" if name in TEXT else 1.0 for name in NAMES} | {"defect": d}) for d in defects]
    return set(summary(frame_of(rows)))


def named(panel):
    """What a panel shows: keys of tables, pictures and figures, and knobs."""
    import wandb_workspaces.reports.v2 as wr

    values = {field.name: getattr(panel, field.name) for field in fields(panel)}
    columns = [column.metric for column in values.get("columns", [])]
    metrics = [values.get(axis) for axis in "xyz"] + columns
    return {
        "tables": {values["table_name"]} if "table_name" in values else set(),
        "pictures": {*values.get("media_keys", [])},
        "charts": {values["query"]["summaryTable"]["tableKey"]} if "query" in values else set(),
        "figures": {m.name for m in metrics if isinstance(m, wr.SummaryMetric)}
        | {*values.get("metrics", [])}
        | ({values["with_respect_to"]} if "with_respect_to" in values else set()),
        "knobs": {m.name for m in metrics if isinstance(m, wr.Config)},
    }


def test_the_workspace_names_what_is_tracked():
    pytest.importorskip("wandb_workspaces")
    defects = workspace.published_defects()
    made = workspace.build("someone", "rli", defects)
    assert [section.name for section in made.sections] == ["Comparison", "Trade-off", "Images", "Cost"]
    shown = [named(panel) for section in made.sections for panel in section.panels]
    every = {kind: set().union(*(one[kind] for one in shown)) for kind in shown[0]}
    assert every["tables"] == {COMPARISON, FAILED, RESULTS, SWEEP_RESULTS}
    assert every["pictures"] == {TRADE_OFF}
    assert every["charts"] == {f"{SCATTER}_table"}
    assert every["figures"] <= figures(defects)
    assert every["knobs"] == KNOBS
    assert all(OmegaConf.select(composed(), knob) is not None for knob in every["knobs"])
    assert all(any(one.values()) for one in shown)  # no panel is empty
    assert {f"strength/{defect}" for defect in defects if defect != "original"} <= every["figures"]
    written = json.dumps(made._spec)  # as W&B stores it
    assert all(f'"{key}"' in written for key in ("summary:mean/strength", "config:edit.value.eq", "psnr/original"))
    assert "ScatterPlot: Strength against background, by edit.eq" in workspace.layout(made)


def test_a_dry_run_needs_neither_key_nor_network(fresh_machine, monkeypatch, capsys):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    assert workspace.main(["--entity", "someone", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("someone/rli: RLI\n  Comparison\n")
    assert [*fresh_machine.iterdir()] == []


def test_a_missing_key_is_one_line(fresh_machine, capsys):
    pytest.importorskip("wandb_workspaces")
    assert workspace.main(["--entity", "someone"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: no W&B key is configured: `wandb login`, or set WANDB_API_KEY\n")
    assert [*fresh_machine.iterdir()] == []


def test_a_missing_package_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "wandb_workspaces", None)
    assert workspace.main(["--entity", "someone", "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install -e '.[dashboard]'" in err


def sampled(parameter, rng):
    """A value as W&B's controller draws it."""
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return rng.choice(parameter["values"])
    drawn = rng.choice([parameter["min"], parameter["max"], rng.uniform(parameter["min"], parameter["max"])])
    return round(drawn / parameter["q"]) * parameter["q"] if "q" in parameter else drawn


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_w_b_sweep_drives_main(path):
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    sweep, rng = yaml.safe_load(path.read_text()), random.Random(0)
    assert (ROOT / sweep["program"]) == ROOT / "main.py"
    assert sweep["command"] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
    assert sweep["metric"] == {"name": "objective", "goal": "maximize"}
    assert sweep["metric"]["name"] in figures(["rust"])
    assert set(sweep["parameters"]) >= KNOBS
    for model in ("mini", "sdxl"):  # any key may be a parameter
        for _ in range(5):
            drawn = {name: sampled(one, rng) for name, one in sweep["parameters"].items()} | {"model": model}
            command = {"args": {name: {"value": value} for name, value in drawn.items()}}
            cfg = composed(*utils.create_sweep_command_args(command)["args_no_hyphens"])
            job = job_of(OmegaConf.to_container(cfg, resolve=True))
            told = (job.edit.eq, job.edit.cross, job.edit.replace, job.inversion.alpha)
            assert told == tuple(drawn[name] for name in ("edit.eq", "edit.cross", "edit.replace", "rli.alpha"))
            assert job.model == model


def test_the_sweep_files_are_a_grid_and_a_bayesian_search():
    assert [yaml.safe_load(path.read_text())["method"] for path in SWEEPS] == ["bayes", "grid"]
