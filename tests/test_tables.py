"""Every experiment's preset runs on the miniature, smaller than recorded, and its table holds what its README shows."""

import sys
from pathlib import Path

import command
import pandas as pd
import pytest

from experiments import tables
from experiments.harness import embed

pytestmark = pytest.mark.integration

QUICK = ["inversion.steps=2", "inversion.inner_steps=1", "data.samples=[surface-1]", "runtime=cpu"]
SMALL = ["resolution=64"]
# What is left of each preset's sweep, and how many lines its table then has (of ours, without what is published only).
FEWER = {
    "defect_comparison": (["resolution=64,128", "defect=rust", "defect.original=true"], 4),
    "reconstruction": ([*SMALL, "method=null_text,null_text_residual"], 2),
    "rli_location": ([*SMALL, "rli=off,up"], 4),
    "rli_alpha": ([*SMALL, "rli.alpha=0,0.4", "inversion.alignment=aligned"], 2),
    "rli_models": ([*SMALL, "inversion.alignment=aligned"], 2),
    "prompt_specificity": ([*SMALL, "specificity=low,unrelated"], 2),
    "cost": (["resolution=64,128"], 2),
    "knobs": ([*SMALL, "edit.eq=1,4", "edit.cross=0.4", "edit.replace=0"], 2),
}


@pytest.fixture
def quick(monkeypatch, tmp_path):
    """Presets run in this process, where the imports are done."""
    monkeypatch.chdir(tmp_path)

    def run(typed, check):
        answer = command.run(*typed[2:])
        assert answer.status == 0, answer.stderr

    monkeypatch.setattr(tables.subprocess, "run", run)
    return tmp_path


def test_every_preset_has_its_folder_and_is_tested():
    assert set(FEWER) == set(tables.EXPERIMENTS)
    presets = {path.stem for path in (command.CONF / "experiment").glob("*.yaml")}
    assert presets == {*tables.EXPERIMENTS, "demo", "reference"}
    for name in tables.EXPERIMENTS:
        folder = tables.HERE / name
        readme = (folder / "README.md").read_text()
        assert "<!-- table.csv -->" in readme and f"experiment={name}" in readme
        told = pd.read_csv(folder / "table.csv")
        assert (told["photos"] > 0).any()
        assert f"`python {' '.join(tables.command(name))}`" in readme


@pytest.mark.parametrize("name", tables.EXPERIMENTS)
def test_a_preset_on_the_miniature(name, quick, monkeypatch, capsys):
    (quick / "out" / name).mkdir(parents=True)
    (quick / "out" / name / "README.md").write_text("<!-- table.csv -->\n<!-- end of table.csv -->\n")
    fewer, lines = FEWER[name]
    monkeypatch.setattr(sys, "argv", ["tables", name, "--work", "work", "--out", "out", "--with", *QUICK, *fewer])
    assert tables.main() == 0, capsys.readouterr().err
    told = pd.read_csv(quick / "out" / name / "table.csv")
    ours = told[told["photos"] > 0]
    assert len(ours) == lines
    assert ours.filter(regex="^(psnr|seconds)").notna().any(axis=None)
    published = Path(tables.HERE / name / "published.csv")
    if published.is_file() and name != "defect_comparison":
        assert told.filter(regex="_published").notna().any(axis=None)
    text = (quick / "out" / name / "README.md").read_text()
    assert f"experiment={name} model=mini" in text and text.count("\n| ") >= lines
    assert (quick / "out" / name / "tradeoff.png").is_file() == (name == "knobs")


def test_a_failed_job_is_no_table(monkeypatch, tmp_path, capsys):
    def fails(command, check):
        raise tables.subprocess.CalledProcessError(2, command)

    monkeypatch.setattr(tables.subprocess, "run", fails)
    monkeypatch.setattr(sys, "argv", ["tables", "knobs", "--work", str(tmp_path), "--out", str(tmp_path / "out")])
    assert tables.main() == 2
    assert "knobs had failed jobs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_replaces_what_stood_between_its_marks(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- t -->\nold\n<!-- end of t -->\nb\n")
    embed(tmp_path, "t", "new")
    embed(tmp_path, "t", "newer")
    assert readme.read_text() == "a\n<!-- t -->\n\nnewer\n\n<!-- end of t -->\nb\n"
    embed(tmp_path, "other", "x")
    assert "x" not in readme.read_text()
