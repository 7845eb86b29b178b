"""Two ways to the same pictures: they agree, and their UNet rows are those that their structure says."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from command import ROOT, run_process

from experiments.cost.results import REFERENCE, SAME, Setup, keep, read, rows, table
from experiments.cost.run import row_flops, rows_expected, spend
from rli.metrics.image import psnr

pytestmark = pytest.mark.integration

SETUP = Setup(model="tiny", size=64, steps=5, inner=2, defects=2, way=SAME, dtype="float32")
SIDE = 512  # of the matrices by which the machine is judged: larger ones take seconds


@pytest.fixture(scope="module")
def both(tiny, photo):
    return {way: spend(tiny, photo, replace(SETUP, way=way), SIDE) for way in (REFERENCE, SAME)}


def test_the_two_ways_give_the_same_pictures(both):
    reference, ours = (both[way].images for way in (REFERENCE, SAME))
    assert reference.shape == ours.shape == (3, 64, 64, 3)
    assert all(psnr(a, b) > 60 for a, b in zip(reference, ours, strict=True))
    assert not np.array_equal(ours[0], ours[1]) and not np.array_equal(ours[1], ours[2])


@pytest.mark.parametrize("way", [REFERENCE, SAME])
def test_rows_follow_from_the_structure(both, way):
    phases = both[way].phases.values()
    counted = sum(p.forwards for p in phases), sum(p.backwards for p in phases)
    assert counted == rows_expected(replace(SETUP, way=way))
    assert all(p.seconds > 0 for p in phases)


def test_published_setting_in_rows():
    published = Setup(model="mini", size=128, steps=50, inner=10, defects=1, way=REFERENCE, dtype="float32")
    assert rows_expected(published) == (50 + 650 + 200, 500)
    assert rows_expected(replace(published, way=SAME, defects=8)) == (49 + 588 + 833, 490)


def test_photographs_together_come_out_as_alone_and_their_floor_is_below_their_time(tiny, photo):
    pair = torch.cat([photo, photo.flip(3)])
    measured = spend(tiny, pair, replace(SETUP, photos=2), SIDE)
    assert len(measured.images) == 2 * (1 + SETUP.defects)
    assert measured.alone > 40
    total = rows(measured, None)[-1]
    assert 0 < total["floor_seconds"] < total["seconds"]


def test_operations_of_a_row_against_a_layer_s_own_count(tiny, photo):
    """Backward to the embeddings visits what lies after the first cross-attention: less than twice the forward."""
    forward, backward = row_flops(tiny, photo)
    first = tiny.unet.conv_in
    assert forward > 2 * 8 * 8 * first.weight.numel()
    assert 0.3 * forward < backward < 2 * forward


def test_the_model_is_left_as_it_was(both, tiny, photo):
    assert all(not p.requires_grad and p.grad is None for p in tiny.unet.parameters())
    counted = {way: replace(spent) for way, spent in both[SAME].phases.items()}
    row_flops(tiny, photo)
    assert both[SAME].phases == counted  # what is called afterwards is counted no more


def test_results_are_kept_in_the_place_of_older_ones(both, tmp_path):
    (tmp_path / "README.md").write_text("before\n<!-- results.csv -->\nold\n<!-- end of results.csv -->\nafter\n")
    lines = pd.DataFrame([line for way in (REFERENCE, SAME) for line in rows(both[way], both[REFERENCE])])
    for part in (lines, lines[lines["way"] == SAME], lines.assign(defects=8)):
        keep(part, tmp_path)
    kept, text = read(tmp_path / "results.csv"), (tmp_path / "README.md").read_text()
    assert len(kept) == 2 * len(lines)
    assert table(kept) in text and text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "**tiny, 64×64, 5 steps, 2 inner iterations of Adam, 8 defects**" in text
    for name in ("encode", "inversion", "optimization", "identity step", "edits", "decode", "all", "**times faster**"):
        assert f"| {name}" in text


def test_the_page_shows_the_kept_results():
    folder = ROOT / "experiments" / "cost"
    assert table(read(folder / "results.csv")) in (folder / "README.md").read_text()


@pytest.mark.slow
def test_main_job_on_the_real_shapes(tmp_path):
    """SDXL's 2.6 billion parameters, drawn at random, in bfloat16: about 3 minutes and 11 GB on one thread."""
    command = [
        *(str(ROOT / "main.py"), "model=sdxl", "model.weights=random", "runtime.device=cpu", "runtime.dtype=bfloat16"),
        *("resolution=512", "inversion.steps=2", "inversion.inner_steps=1", "defect=corrosion", "tracking=off"),
        *("hydra.run.dir=run", "runtime.cache=cache"),
    ]
    answer = run_process(*command, folder=tmp_path, timeout=1800)
    assert answer.status == 0, answer.stderr
    result = pd.read_csv(tmp_path / "run" / "results.csv").iloc[0]
    assert result.defect == "corrosion" and np.isfinite(result.psnr)
    assert result.peak_memory_gb < 12
