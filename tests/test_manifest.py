"""The manifest says the same in both files, whole or not at all."""

import csv
import json
import math
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from manifest_rows import FACTS, item, write

from rli.datasets.manifest import COLUMNS, ManifestWriter
from rli.errors import RLIError


def test_both_files_say_what_was_added(tmp_path):
    items = write(tmp_path, 2500)
    table = pq.read_table(tmp_path / "manifest.parquet")
    rows = table.to_pylist()
    assert table.column_names == [*COLUMNS, *FACTS]
    for k, (one, row) in enumerate(zip(items, rows, strict=True)):
        assert row["image"] == f"images/part {k}/rust.png"
        assert row["kept"] == (k % 4 != 3) == (row["reason"] == "")
        assert json.loads(row["regions"]) == [[r.label, f"images/{k}_mask.png"] for r in one.regions]
        assert json.loads(row["settings"]) == one.facts["settings"]
        for name in ("source", "seed", "psnr", "again"):
            assert row[name] == one.facts[name]
    with (tmp_path / "manifest.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [
            {name: "" if value is None else str(value) for name, value in row.items()} for row in rows
        ]
    told = pd.read_csv(tmp_path / "manifest.csv", keep_default_na=False, na_values={"psnr": [""]})
    pd.testing.assert_frame_equal(told, pd.read_parquet(tmp_path / "manifest.parquet"), check_dtype=False)


def test_rows_are_grouped_and_the_same_items_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / name, 1500)
    assert pq.ParquetFile(tmp_path / "a" / "manifest.parquet").num_row_groups == 2
    for file in ("manifest.csv", "manifest.parquet"):
        # paths count from the manifest's own folder
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_interrupted_manifest_leaves_the_old_one(tmp_path):
    write(tmp_path, 3)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def interrupted():
        with ManifestWriter(tmp_path, FACTS) as manifest:
            for k in range(1200):
                manifest.add(item(tmp_path, k))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_memory_holds_one_group_of_rows(tmp_path):
    def held(count: int) -> int:
        """Bytes that are held after the last row."""
        tracemalloc.start()
        with ManifestWriter(tmp_path / str(count), FACTS) as manifest:
            for k in range(count):
                manifest.add(item(tmp_path, k))
            # pathlib interns names, and the interpreter's table of those grows in leaps.
            taken = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, "*pathlib*")])
        tracemalloc.stop()
        return sum(told.size for told in taken.statistics("filename"))

    held(1)
    assert held(3100) - held(1100) < 200_000


def test_no_rows(tmp_path):
    write(tmp_path, 0)
    assert pd.read_parquet(tmp_path / "manifest.parquet").empty


def test_cells_that_are_empty(tmp_path):
    with ManifestWriter(tmp_path, {"psnr": float, "count": int}) as manifest:
        manifest.add(item(tmp_path, 0, facts={"psnr": math.nan}))
        manifest.add(item(tmp_path, 1, facts={"psnr": math.inf, "count": 3}))
        manifest.add(item(tmp_path, 2, facts={"psnr": 2, "count": np.int64(4)}))
    frame = pd.read_parquet(tmp_path / "manifest.parquet")
    assert frame["psnr"].isna().tolist() == [True, False, False]
    assert frame["psnr"].tolist()[1:] == [math.inf, 2.0]
    assert pq.read_table(tmp_path / "manifest.parquet")["count"].to_pylist() == [None, 3, 4]


@pytest.mark.parametrize(("facts", "says"), [({"eq": 1.0}, "no column for eq"), ({"seed": 1.5}, "does not fit")])
def test_facts_that_have_no_place(tmp_path, facts, says):
    with pytest.raises(RLIError, match=says), ManifestWriter(tmp_path, FACTS) as manifest:
        manifest.add(item(tmp_path, 0, facts=facts))
    assert not list(tmp_path.iterdir())


def test_facts_do_not_take_a_columns_name(tmp_path):
    with pytest.raises(RLIError, match="has a column “split” already; rename the fact"):
        ManifestWriter(tmp_path, {"split": str})


def test_facts_have_a_type_that_a_cell_can_hold(tmp_path):
    with pytest.raises(RLIError, match="facts of the type list cannot be written"):
        ManifestWriter(tmp_path, {"when": list})
