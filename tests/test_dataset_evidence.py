"""The experiments on data sets, each on two surfaces and few steps: what their tables say follows from their rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.datasets import batch, changes, evidence, gaps, gate, masks, overhead
from rli.models.mini.surfaces import surface

pytestmark = pytest.mark.integration

MARKS = "".join(
    f"<!-- {n}.csv -->\n<!-- end of {n}.csv -->\n" for n in ("overhead", "batch", "masks", "changes", "gaps", "gate")
)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The options of a small run; pictures and inversions lie in the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evidence, "SIDE", 64)
    (tmp_path / "evidence.md").write_text(MARKS)
    return ["run", "--surfaces", "2", "--steps", "2", "--out", str(tmp_path)]


def told(folder: Path) -> str:
    return (folder / "evidence.md").read_text()


def test_tables_go_between_their_marks_and_nowhere_else(tmp_path):
    (tmp_path / "evidence.md").write_text(f"before\n{MARKS}after\n")
    rows = pd.DataFrame({"a": [1.23456]})
    for text in ("| first |", "| \\1 second |"):
        evidence.publish(tmp_path, "gate", rows, text)
    assert told(tmp_path).count("|") == 2 and "| \\1 second |" in told(tmp_path).split("<!-- gate.csv -->")[1]
    assert told(tmp_path).startswith("before\n") and told(tmp_path).endswith("<!-- end of gate.csv -->\nafter\n")
    assert (tmp_path / "gate.csv").read_text() == "a\n1.2346\n"


def test_the_stub_core_goes_through_the_whole_pipeline(tmp_path):
    overhead.write_photos(tmp_path / "photos", 2)
    spent = overhead.spend(tmp_path / "photos", tmp_path / "run", ["coco"])
    assert spent["peak_gb"] >= spent["loaded_gb"] > 0
    assert all(spent[stage] > 0 for stage in (*overhead.STAGES.values(), overhead.REST))
    assert "| 2 |" in overhead.table(pd.DataFrame([{"photographs": 2, **spent}]))
    manifest = pd.read_csv(tmp_path / "run" / "manifest.csv")
    assert len(manifest) == 4 and (manifest[manifest["kind"] == "edit"]["kept"]).all()
    assert (tmp_path / "run" / "dataset" / "coco" / "annotations" / "instances_train.json").is_file()
    assert (tmp_path / "run" / "report.html").is_file()


def test_gaps(small, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", small)
    monkeypatch.setattr(gaps, "DEFECTS", ("dent",))
    gaps.main()
    rows = pd.read_csv(tmp_path / "gaps.csv")
    assert [*rows["gap"]] == [*gaps.GAPS] * 2 and rows["iou"].between(0, 1).all()
    assert "| dent |" in told(tmp_path)


def test_batch(small, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", [*small, "--batches", "1", "2"])
    batch.main()
    alone, both = pd.read_csv(tmp_path / "batch.csv").to_dict("records")
    assert alone["worst_psnr"] == 99 and alone["largest"] == alone["masks"] == 0
    assert both["worst_psnr"] > 50 and both["largest"] <= 2 and both["differing"] < 0.1


def test_masks_and_gate_share_their_pictures(small, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", small)
    masks.main()
    under = pd.read_csv(tmp_path / "masks.csv")
    assert len(under) == 2 * (2 + 2 * len(evidence.WORDS))
    photographs = under[under["what"] == "photograph"]
    assert (photographs[["photograph", "still_dark"]] == 1).all(None) and (photographs["crack_moved"] == 0).all()
    monkeypatch.setattr(gate, "SETTINGS", evidence.EDITS)
    monkeypatch.setattr(gate, "again", lambda *_: pd.DataFrame(columns=["named", "reason"]))
    monkeypatch.setattr(evidence.Runner, "make", lambda runner, todo, *_: _none(todo))
    gate.main()
    rows = pd.read_csv(tmp_path / "gate.csv")
    assert (rows["gate"] == gate.DEFAULT).sum() == 2 * 2 * len(evidence.WORDS) and set(rows["settings"]) == set(
        evidence.EDITS
    )
    assert "rejected" in told(tmp_path) and (tmp_path / "gate.png").is_file()


def test_changes(small, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", small)
    changes.main()
    rows = pd.read_csv(tmp_path / "changes.csv")
    assert len(rows) == 2 * 2 * len(evidence.WORDS) and "grey levels | rust" in told(tmp_path)
    assert (rows["outside"] == 0).all()  # outside the blend mask an edit is the reconstruction


def _none(todo):
    assert not [*todo]


def test_where_a_crack_is_found():
    drawn, bare = surface(5, ("crack",), 256, 256), surface(5, (), 256, 256).image
    dark, near = masks.darkness(drawn.image, bare), np.ones((256, 256), bool)
    assert masks.iou(masks.found(dark, near, 0.1), drawn.mask) > 0.6
    assert masks.crack_moved(dark, dark, near) == 0
    assert masks.crack_moved(np.roll(dark, (2, 0), (0, 1)), dark, near) == 2
    assert masks.moved(np.roll(drawn.image, 3, 1), drawn.image) == pytest.approx(3, abs=0.1)
    assert masks.iou(near, near) == 1 and masks.iou(near, ~near) == 0


def test_what_a_score_tells():
    agrees = pd.Series([True, True, False, False])
    assert gate.auc(pd.Series([3.0, np.inf, 1.0, 2.0]), agrees) == 1
    assert gate.auc(pd.Series([1.0, 1.0, 1.0, 1.0]), agrees) == 0.5
    assert np.isnan(gate.auc(pd.Series([1.0, 2.0]), pd.Series([True, True])))
