"""Every experiment runs on the miniature, smaller than recorded, and its tables hold what its README speaks of."""

import numpy as np
import pandas as pd
import pytest

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
