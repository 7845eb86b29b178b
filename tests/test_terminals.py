"""Terminals and names that are not UTF-8: what cannot be written there is escaped, and the work goes on."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from command import run, run_process
from dataset_commands import OPEN, QUICK

from rli.images import write_png
from rli.models.mini.surfaces import UNSEEN, surface

LINE = "Rost-ä “日” \udce9 \x1b[31m"
SAYS = f"""
import sys
from rli.cli.errors import print_error, print_on_any_terminal
print_on_any_terminal()
print({LINE!r})
print_error({LINE!r})
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_text_is_printed_on_any_terminal(tmp_path, encoding):
    answer = run_process("-c", SAYS, folder=tmp_path, env={"PYTHONIOENCODING": f"{encoding}:strict"})
    assert answer.status == 0, answer.stderr


@pytest.mark.integration
@pytest.mark.skipif(os.name == "nt", reason="file names there are text")
def test_photographs_whose_names_are_no_utf_8_are_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rli.metrics.lpips.load_lpips", lambda: None)
    drawn = surface(UNSEEN, ("crack",), 64, 64)
    folder = tmp_path / "d" / os.fsdecode(b"ri\xdf")
    write_png(folder / "plain.png", drawn.image)
    (folder / "plain.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    write_png(folder / "mask.png", np.asarray(drawn.mask, bool))
    (folder / "mask.png").rename(folder / os.fsdecode(b"caf\xe9_mask.png"))
    answer = run(
        *QUICK, *OPEN, "data=folder", "data.path=d", "defect=rust", "export=[coco,yolo,mvtec_ad]", "hydra.run.dir=r"
    )
    assert answer.status == 0 and "Traceback" not in answer.stderr, answer.stderr
    manifest = pd.read_csv(tmp_path / "r" / "manifest.csv", keep_default_na=False)
    assert set(manifest["source"]) == {"ri\\udcdf/caf\\udce9.png"}
    images = json.loads(next((tmp_path / "r" / "dataset" / "coco").rglob("*.json")).read_text(encoding="utf-8"))[
        "images"
    ]
    assert len(images) == len(manifest) == 2
    for file in (tmp_path / "r").rglob("*"):
        str(file.relative_to(tmp_path)).encode()  # every name that is made is UTF-8
