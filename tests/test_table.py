"""An experiment's table: means over photographs, published figures matched by settings, nothing lost."""

import math

import numpy as np
import pandas as pd
import pytest
from builders import row

from rli.errors import RLIError
from rli.reports.experiment_table import TableSpec, spec_of, table, table_markdown, write_table
from rli.reports.results import frame_of

SPEC = TableSpec("x", ("rli.location",), "original", ("psnr", "ssim"))


def rows(model="mini", resolution="128"):
    """Two photographs, two places: psnr 20 and 30 without, 22 and infinity with."""
    values = {"off": (20.0, 30.0), "up": (22.0, math.inf)}
    told = [
        (row(name, defect, resolution, model=model, psnr=psnr), place)
        for place, psnrs in values.items()
        for name, psnr in zip("ab", psnrs, strict=True)
        for defect in ("original", "rust")
    ]
    return frame_of([one for one, _ in told]).assign(**{"rli.location": [place for _, place in told]})


def published(**further):
    return pd.DataFrame({"rli.location": ["up", "none"], "psnr": [30.0, 26.0], **further})


def test_means_and_spreads_over_photographs():
    told = table(rows(), SPEC).set_index("rli.location")
    assert list(told.index) == ["off", "up"]
    assert told.loc["off", "psnr"] == 25 and told.loc["off", "psnr_spread"] == pytest.approx(np.std([20, 30], ddof=1))
    assert told.loc["up", "psnr"] == (22 + 99) / 2  # equal pictures count 99 dB
    assert (told["photos"] == 2).all()


def test_a_photograph_counts_once_however_many_edits_it_has():
    spec = TableSpec("x", ("rli.location",), "all", ("psnr",))
    frame = pd.concat([rows(), rows().query("image == 'a' and defect == 'rust'")])
    pd.testing.assert_frame_equal(table(frame, spec), table(rows(), spec))


def test_published_figures_stand_beside_and_what_is_published_only_follows():
    told = table(rows(), SPEC, published())
    assert told["rli.location"].tolist() == ["off", "up", "none"]
    assert np.allclose(told["psnr_published"], [np.nan, 30, 26], equal_nan=True)
    assert told["photos"].tolist() == [2, 2, 0]
    assert not any("difference" in c or "ssim_pub" in c for c in told)  # the miniature is not to be compared with


def test_a_difference_where_model_and_resolution_are_the_published_ones():
    both = pd.concat([published(resolution=512), published(resolution=1024).assign(psnr=0.0)])
    told = table(rows("sdxl", "512"), SPEC, both)
    assert told.loc[1, "psnr_difference"] == told.loc[1, "psnr"] - 30
    assert told.loc[1, "psnr_published 1024"] == 0
    assert not any("difference" in c for c in table(rows("sdxl", "256"), SPEC, both))


def test_settings_compare_by_value_not_by_spelling():
    frame = rows().assign(alpha=0.10)
    told = table(
        frame, TableSpec("x", ("alpha",), "original", ("psnr",)), pd.DataFrame({"alpha": ["0.1"], "psnr": [1.0]})
    )
    assert len(told) == 1 and told.loc[0, "psnr_published"] == 1


def test_markdown_holds_every_figure_and_no_markup_of_a_name():
    frame = rows().replace({"rli.location": {"off": "a|<b>"}})
    text = table_markdown(table(frame, SPEC, published()), SPEC)
    lines = text.splitlines()
    assert len({line.count(" | ") for line in lines}) == 1
    assert "a\\|&lt;b&gt;" in lines[2] and "25.00 ± 7.07" in lines[2]
    assert lines[4].startswith("| none |") and "26.00" in lines[4]


def test_files_and_what_is_wrong(tmp_path):
    (tmp_path / "experiments" / "x").mkdir(parents=True)
    published().to_csv(tmp_path / "experiments" / "x" / "published.csv", index=False)
    write_table(tmp_path, rows(), SPEC, tmp_path / "experiments")
    assert pd.read_csv(tmp_path / "table.csv")["psnr_published"].notna().sum() == 2
    assert (tmp_path / "table.md").read_text().startswith("| rli.location |")
    with pytest.raises(RLIError, match="unknown column nothing"):
        table(rows(), TableSpec("x", ("nothing",), "original", ("psnr",)))
    with pytest.raises(RLIError, match=r"table\.of=some: unknown value"):
        table(rows(), TableSpec("x", ("rli.location",), "some", ("psnr",)))


def test_the_spec_is_what_all_jobs_say():
    one = {"table.name": "x", "table.rows": ["eq"], "table.of": "edits", "table.metrics": ["psnr"], "edit.eq": 1}
    assert spec_of([one, {**one, "edit.eq": 2}]) == TableSpec("x", ("eq",), "edits", ("psnr",))
    assert spec_of([one, {**one, "table.name": "y"}]) is None
    assert spec_of([{"edit.eq": 1}]) is None


def test_what_is_lost_against_the_vae_alone_is_a_column_of_its_own():
    told = table(rows().assign(psnr_vae=31.0), TableSpec("x", ("rli.location",), "original", ("below_vae",)))
    assert told.loc[0, "below_vae"] == (11 + 1) / 2
