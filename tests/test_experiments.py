"""Every experiment runs on the miniature, smaller than recorded, and its tables hold what its README speaks of."""

import numpy as np
import pandas as pd
import pytest

from experiments.cost import kernels, memory, profile, solvers
from experiments.edit_quality import run as edit_quality
from experiments.reconstruction import run as reconstruction


def test_reconstruction(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run", "--surfaces", "1", "--side", "64", "--steps", "5", "--out", str(tmp_path)])
    reconstruction.main()
    table = pd.read_csv(tmp_path / "results.csv").set_index(["kind", "method"])
    assert len(table) == 2 * len(reconstruction.SETTINGS)
    assert np.allclose(table.loc[("surface", "direct"), "below_vae"], 0)
    assert np.allclose(table.loc[("real", "null_text with residual"), "psnr_to_vae"], 99)
    assert table.loc[("surface", "guidance 1, aligned"), "photos"] == 1


def test_edit_quality(tmp_path, monkeypatch):
    label = "direct"
    monkeypatch.setattr(
        "sys.argv", ["run", "--surfaces", "2", "--steps", "5", "--settings", label, "--out", str(tmp_path)]
    )
    edit_quality.main()
    rows, table = pd.read_csv(tmp_path / "edits.csv"), pd.read_csv(tmp_path / "results.csv")
    assert len(rows) == 2 * len(edit_quality.WANTED)
    total = table[table["defect"] == "all"].iloc[0]
    assert total["background"] == pytest.approx(rows["background"].mean(), abs=1e-3)
    assert total["named_after"] == pytest.approx((rows["after"] > 0.5).mean())
    assert (tmp_path / "direct.png").exists()


def test_solvers(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("<!-- solvers.csv -->\n<!-- end of solvers.csv -->\n")
    monkeypatch.setattr(
        "sys.argv",
        ["run", "--surfaces", "1", "--few", "1", "--side", "64", "--steps", "5", "--out", str(tmp_path)],
    )
    solvers.main()
    rows = pd.read_csv(tmp_path / "solvers.csv")
    mini = rows[(rows["model"] == "mini") & (rows["kind"] == "surface")].set_index("settings")
    assert set(mini.index) == set(solvers.SETTINGS)
    assert mini.loc[solvers.PAPER, "passes"] == 4 * (1 + 10 + 1 + 10)
    assert mini.loc[solvers.DEFAULT, "psnr_to_vae"] > mini.loc[solvers.PAPER, "psnr_to_vae"]
    # Without a learning rate the embeddings' scale makes no difference; with one it does.
    surface = rows[rows["kind"] == "surface"].pivot(index="settings", columns="model", values="psnr_to_vae")
    assert surface.loc[solvers.DEFAULT].max() - surface.loc[solvers.DEFAULT].min() < 0.1
    assert surface.loc[solvers.PAPER].max() - surface.loc[solvers.PAPER].min() > 1
    assert (tmp_path / "solvers.png").exists() and "| gauss_newton (the default) |" in (
        tmp_path / "README.md"
    ).read_text()


def test_memory(tmp_path, monkeypatch, capsys):
    options = {"--model": "tiny", "--size": "64", "--photos": "2", "--targets": "2", "--budgets": "0.1"}
    monkeypatch.setattr("sys.argv", ["run", *(x for pair in options.items() for x in pair), "--out", str(tmp_path)])
    memory.main()
    free, tight = capsys.readouterr().out.splitlines()[-2:]
    assert "| none | nothing spared |" in free
    assert "gradient checkpointing, photographs one by one, targets one by one" in tight


def test_kernels(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["run", "--size", "64", "--rounds", "2", "--ways", "channels_last"])
    kernels.main()
    table = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split("|")[1].strip() for line in table] == ["plain", "channels_last"]
    assert all(float(cell) > 0 for line in table for cell in line.split("|")[2:4])


def test_profile(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["run", "--size", "64", "--steps", "2", "--items", "3"])
    profile.main()
    table = capsys.readouterr().out.splitlines()[-3:]
    shares = [int(line.split("|")[4].strip(" %")) for line in table]
    assert shares == sorted(shares, reverse=True) and shares[0] > 5
