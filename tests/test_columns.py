"""One entry makes a results column: it is measured, written and shown wherever its entry says."""

import dataclasses
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from builders import box, noise

from rli.datasets.annotations import Item
from rli.datasets.dataset import FACTS, fact_types
from rli.datasets.manifest import ManifestWriter
from rli.method.records import EditSettings
from rli.metrics.columns import BY_NAME, COLUMNS, NAMES, ORIGINAL, Column, Measurement, Row, row_of
from rli.metrics.image import mean_change, psnr, ssim
from rli.reports.analysis import settings_table
from rli.reports.experiment_table import TableSpec, table, table_markdown
from rli.reports.explore import explore_context
from rli.reports.page import write_report
from rli.reports.results import frame_of, read_results, write_results
from rli.store.records import EditedPhoto, PhotoResult
from rli.tracking.summary import summary

# How far the edit is from grey; what a colleague would add.
COLOURFULNESS = Column(
    "colourfulness",
    "number",
    lambda m: float(m.image.std(axis=2).mean()),
    label="Colourfulness",
    unit="grey levels",
    digits=1,
    csv_digits=2,
    better="higher",
    group="Colour",
    heading="spread",
    explorer="first",
    tracked="quality",
    manifest=True,
)
WITH_ONE_MORE = (*COLUMNS, COLOURFULNESS)


@pytest.fixture
def reconstruction():
    photo = noise(32, 48)
    back = (photo // 2 * 2).astype(np.uint8)
    return Measurement(
        photo_name="plate",
        defect=ORIGINAL,
        resolution="32x48",
        model="mini",
        inversion="direct",
        alpha=0.1,
        settings=EditSettings(),
        photo=photo,
        vae_round_trip=(photo // 4 * 4).astype(np.uint8),
        reconstruction=back,
        image=back,
        judge=lambda image, defect: 0.75 if defect == "rust" else None,
        seconds_inversion=2.0,
        peak_memory_gb=1.5,
    )


@pytest.fixture
def edit(reconstruction):
    mask = box(32, 48, slice(8, 20), slice(8, 20))
    image = np.where(mask[..., None], 200, reconstruction.reconstruction).astype(np.uint8)
    return dataclasses.replace(reconstruction, defect="rust-2", label="rust", image=image, mask=mask, seconds_edit=0.5)


def test_a_row_measures_the_image_against_each_of_its_references(edit):
    row = row_of(edit)
    assert row.psnr == psnr(edit.image, edit.photo) and row.ssim == ssim(edit.image, edit.photo)
    assert row.psnr_recon == psnr(edit.image, edit.reconstruction)
    assert row.psnr_background == psnr(edit.image, edit.photo, ~edit.mask)
    assert row.psnr_vae == psnr(edit.vae_round_trip, edit.photo)
    assert row.strength == mean_change(edit.image, edit.reconstruction, edit.mask)
    assert row.mask_share == 144 / (32 * 48)
    assert row.named == 0.75
    assert row.lpips is row.lpips_standard is None
    assert (row.seconds_inversion, row.seconds_edit, row.peak_memory_gb) == (2.0, 0.5, 1.5)


def test_the_reconstruction_s_row_has_nothing_that_only_an_edit_has(reconstruction):
    row = row_of(reconstruction)
    own = ("recon", "background", "strength", "mask_share", "named")
    assert all(getattr(row, name) is None for name in NAMES if name.endswith(own))
    assert row.psnr == psnr(reconstruction.image, reconstruction.photo)


def test_rows_are_plain_records(edit):
    row = row_of(edit)
    assert tuple(field.name for field in dataclasses.fields(Row)) == tuple(dataclasses.asdict(row)) == NAMES
    assert pickle.loads(pickle.dumps(row)) == row == Row(**dataclasses.asdict(row))  # noqa: S301
    assert Row("a", "b", "64", "mini", "ddim", 0.0, 1.0, 1.0, 1.0).psnr is None


def test_every_column_that_people_read_says_what_it_is():
    assert len(set(NAMES)) == len(NAMES)
    for column in COLUMNS:
        if column.kind == "number":
            assert column.label and column.better, column.name
            assert column.heading or not column.group, column.name
            assert column.digits <= column.csv_digits


@pytest.fixture
def rows(reconstruction, edit):
    return frame_of([row_of(reconstruction, WITH_ONE_MORE), row_of(edit, WITH_ONE_MORE)], WITH_ONE_MORE)


@pytest.fixture
def value(edit):
    return float(edit.image.std(axis=2).mean())


def test_a_new_column_is_in_results_csv(rows, value, tmp_path):
    write_results(rows, tmp_path / "results.csv", columns=WITH_ONE_MORE)
    head, _, line = (tmp_path / "results.csv").read_text().splitlines()
    assert head.endswith(",colourfulness") and line.endswith(f",{value:.2f}")
    assert read_results(tmp_path / "results.csv", WITH_ONE_MORE)["colourfulness"][1] == round(value, 2)


def test_a_new_column_is_on_the_page(rows, value, edit, tmp_path):
    edited = EditedPhoto(edit.image, edit.mask)
    photo = PhotoResult("plate", edit.photo, edit.reconstruction, {"rust-2": edited}, ())
    write_report(tmp_path / "r.html", [photo], rows, pd.DataFrame(), {}, {}, columns=WITH_ONE_MORE)
    text = (tmp_path / "r.html").read_text()
    assert "Colour<br><small>spread</small>" in text
    assert text.count(f'<td class="num">{value:.1f}</td>') == 1  # in the table of rows
    assert text.count(f'<td class="num edge">{value:.1f}</td>') == 1  # in the table of means


def test_a_new_column_is_explored(rows, value, monkeypatch):
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda: "")
    sweep = rows.assign(job="0", **{"edit.eq": [1.0, 2.0]})
    explore = explore_context(sweep, ["edit.eq"], columns=WITH_ONE_MORE)
    data = json.loads(explore["data_json"])
    assert data["columns"]["colourfulness"][1] == pytest.approx(value)
    assert {"id": "colourfulness", "label": "Colourfulness", "unit": "grey levels", "main": True, "number": True} in (
        explore["columns"]
    )
    settings = settings_table(sweep, ["edit.eq"], columns=WITH_ONE_MORE)
    assert settings["colourfulness"].tolist() == [pytest.approx(value)]


def test_a_new_column_is_in_an_experiment_s_table(rows, value):
    spec = TableSpec("x", ("eq",), "edits", ("colourfulness",))
    figures = table(rows, spec, columns=WITH_ONE_MORE)
    assert figures["colourfulness"].tolist() == [pytest.approx(value)]
    head, _, line = table_markdown(figures, spec, WITH_ONE_MORE).splitlines()
    assert head == "| eq | Colourfulness (grey levels) ours | Photographs |"
    assert f"| {value:.1f} |" in line


def test_a_new_column_is_in_the_summary_of_a_tracked_run(rows, value):
    told = summary(rows, columns=WITH_ONE_MORE)
    assert told["colourfulness/rust-2"] == told["mean/colourfulness"] == pytest.approx(value)


def test_a_new_column_is_in_the_manifest(value, tmp_path):
    facts = fact_types(WITH_ONE_MORE)
    assert facts["colourfulness"] is float and facts.keys() - FACTS.keys() == {"colourfulness"}
    with ManifestWriter(tmp_path, facts) as manifest:
        manifest.add(Item(tmp_path / "x.png", "edit", "plate", "plate/rust-2", facts={"colourfulness": value}))
    assert pd.read_parquet(tmp_path / "manifest.parquet")["colourfulness"].tolist() == [value]


def test_a_manifest_has_what_the_image_depends_on_and_not_what_the_process_did():
    assert {"model", "resolution", "inversion", "alpha", "eq", "psnr_recon", "seconds_edit"} <= FACTS.keys()
    assert not {"image", "defect", "peak_memory_gb"} & FACTS.keys()
    assert all(FACTS[name] is (str if BY_NAME[name].kind == "text" else float) for name in FACTS.keys() & set(NAMES))
