"""The tables: columns, round trips, the comparison computed by hand, and files that are whole or not there."""

import math

import builders
import numpy as np
import pandas as pd
import pytest

from rli.files import whole_file, write_whole
from rli.metrics.columns import NAMES, ORIGINAL
from rli.reports.comparison import comparison, heading, write_comparison
from rli.reports.results import frame_of, read_results, write_results


def result(image="a", defect="rust", resolution="512", recon=28.0, **changes):
    """A row in which everything that the comparison looks at was measured."""
    own = {"psnr_recon": recon, "ssim_recon": 0.95, "lpips_recon": 0.04} if defect != ORIGINAL else {}
    return builders.row(image, defect, resolution, **{"psnr": 24.0, "ssim": 0.8, "lpips": 0.1, **own, **changes})


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(
        "defect,psnr_512,ssim_512,lpips_512,psnr_1024,ssim_1024,lpips_1024\n"
        "original,28.79,0.879,0.046,31.05,0.892,0.088\nrust,27.54,0.938,0.051,28.76,0.948,0.04\n"
    )
    return path


def test_results_have_the_columns_in_order_and_empty_cells_for_none(tmp_path):
    some = frame_of([result(defect="original", psnr=29.123456, lpips=None, seconds_inversion=1.23456)])
    write_results(some, tmp_path / "r.csv")
    head, line = (tmp_path / "r.csv").read_text().splitlines()
    cells = dict(zip(head.split(","), line.split(","), strict=True))
    assert tuple(head.split(",")) == NAMES
    assert cells["psnr"] == "29.1235"
    assert cells["ssim"] == "0.80000"
    assert cells["seconds_inversion"] == "1.235"
    assert cells["alpha"] == "0.1"
    assert cells["lpips"] == cells["psnr_recon"] == cells["lpips_standard"] == ""


def test_results_come_back_as_they_were_written(tmp_path):
    rows = [
        result(),
        result("NA", "none", "512x768", lpips=None),
        result('a,"b"\nc', "<script>", "0128", psnr=math.inf),
    ]
    write_results(frame_of(rows), tmp_path / "r.csv")
    pd.testing.assert_frame_equal(read_results(tmp_path / "r.csv"), frame_of(rows))


def test_a_sweep_s_file_tells_the_job_and_the_knobs_beside(tmp_path):
    frame = frame_of([result(), result()]).assign(job=["0", "1"], **{"rli.location": ["off", "up"], "not told": 1})
    write_results(frame, tmp_path / "r.csv", ["rli.location"])
    back = pd.read_csv(tmp_path / "r.csv", dtype={"job": "str"})
    assert tuple(back) == (*NAMES, "job", "rli.location")
    assert back["rli.location"].tolist() == ["off", "up"]


def test_no_rows_leave_a_readable_table(tmp_path):
    write_results(frame_of([]), tmp_path / "r.csv")
    assert list(read_results(tmp_path / "r.csv")) == list(NAMES)


def test_comparison_by_hand(published):
    rows = [
        result("a", "original", psnr=30.0),
        result("b", "original", psnr=32.0),
        result("a", psnr=24.0, recon=28.0),
        result("b", psnr=26.0, recon=29.0),
        result("a", "hole", recon=20.0),
    ]
    table = comparison(frame_of(rows), published).set_index("defect")
    assert list(table.index) == ["original", "rust", "hole"]
    # The reconstruction against the photograph; an edit against the reconstruction.
    assert table.loc["original", "psnr_512"] == pytest.approx(31.0)
    assert table.loc["rust", "psnr_512"] == pytest.approx(28.5)
    assert table.loc["rust", "photo_psnr_512"] == pytest.approx(25.0)
    assert table.loc["rust", "difference_psnr_512"] == pytest.approx(28.5 - 27.54)
    assert table.loc["original", "difference_ssim_512"] == pytest.approx(0.8 - 0.879)
    assert table.loc["rust", "spread_psnr_512"] == pytest.approx(math.sqrt(0.5))
    assert np.isnan(table.loc["hole", "spread_psnr_512"])
    assert np.isnan(table.loc["hole", "difference_psnr_512"])
    assert list(table["photos_512"]) == [2, 2, 1]
    # Published, and not measured.
    assert table.loc["rust", "published_psnr_1024"] == 28.76
    assert table[["psnr_1024", "difference_psnr_1024"]].isna().all(axis=None)
    assert (table["photos_1024"] == 0).all()


def test_other_resolutions_stand_beside_the_published_ones_without_a_difference(published):
    table = comparison(frame_of([result(resolution="128"), result(resolution="512x768")]), published).set_index(
        "defect"
    )
    sizes = [column.removeprefix("photos_") for column in table if column.startswith("photos_")]
    assert sizes == ["128", "512", "512x768", "1024"]
    assert table.loc["rust", "psnr_128"] == 28.0
    assert table[["published_psnr_128", "difference_psnr_128", "difference_lpips_512x768"]].isna().all(axis=None)


def test_each_photograph_counts_once_however_often_it_was_edited(published):
    rows = [result("a", recon=20.0, eq=1.0), result("a", recon=30.0, eq=2.0), result("b", recon=31.0, eq=2.0)]
    table = comparison(frame_of(rows), published).set_index("defect")
    assert table.loc["rust", "psnr_512"] == pytest.approx((25.0 + 31.0) / 2)
    assert table.loc["rust", "photos_512"] == 2
    assert heading(frame_of(rows))["eq"] == "1.0 / 2.0"


def test_comparison_is_the_same_from_rows_and_from_the_file(tmp_path, published):
    rows = [result(), result("b", lpips_recon=None)]
    write_results(frame_of(rows), tmp_path / "r.csv")
    from_file = comparison(read_results(tmp_path / "r.csv"), published)
    pd.testing.assert_frame_equal(comparison(frame_of(rows), published), from_file)


def test_comparison_without_rows(tmp_path, published):
    table = comparison(frame_of([]), published)
    assert list(table["defect"]) == ["original", "rust"]
    write_comparison(table, tmp_path, heading(frame_of([])))


def test_comparison_files(tmp_path, published):
    rows = [result(defect="original"), result(), result("b"), result(defect="a|<b>", resolution="128")]
    write_comparison(comparison(frame_of(rows), published), tmp_path, heading(frame_of(rows)))
    table = pd.read_csv(tmp_path / "comparison.csv").set_index("defect")
    assert table.loc["rust", "difference_psnr_512"] == pytest.approx(28.0 - 27.54)
    text = (tmp_path / "comparison.md").read_text()
    assert "model: mini" in text
    assert "photographs: 2" in text
    assert "| rust | 28.00 ± 0.00 | 27.54 | +0.46 |" in text
    assert "Nothing is published at 128×128" in text
    assert "a\\|&lt;b" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    assert all(len({line.replace("\\|", "").count("|") for line in lines}) == 1 for lines in tables)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "results.csv"
    write_whole(path, "old\n")

    def write_half():
        with whole_file(path) as part:
            part.write_text("half of")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert path.read_text() == "old\n"
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]


def test_a_file_is_replaced_whole_with_a_plain_file_s_permissions(tmp_path):
    path = tmp_path / "new" / "folder" / "picture.png"
    with whole_file(path) as part:
        assert part.suffix == ".png"
        part.write_bytes(b"whole")
        assert not path.exists()
    (tmp_path / "plain").write_bytes(b"")
    assert path.read_bytes() == b"whole"
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]
