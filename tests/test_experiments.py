"""Every experiment runs on the miniature, smaller than recorded, and its tables hold what its README speaks of."""

import dataclasses
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import harness
from experiments.classification import task as classification
from experiments.cost import kernels, memory, profile, savings, solvers
from experiments.datasets import evidence
from experiments.edit_quality import run as edit_quality
from experiments.edit_quality import where
from experiments.evaluate import __main__ as evaluation
from experiments.example import run as example
from experiments.paste_back import run as paste_back
from experiments.peers import contours, labels
from experiments.peers import run as peers
from experiments.placement import run as placement
from experiments.placement.read_back import READ_BACK
from experiments.proof import generation, look, pie, recognised
from experiments.proof import run as proof
from experiments.proof.sizes import SIZES
from experiments.reconstruction import run as reconstruction
from experiments.segmentation import task as segmentation
from experiments.speed import run as speed
from rli.errors import RLIError
from rli.images import read_picture, write_png
from rli.models.mini.surfaces import UNSEEN, surface

pytestmark = pytest.mark.integration

# Of the experiments that train.
TINY = ("--size", "tiny", "--words", "rust", "dent")
FOLDER = Path(harness.__file__).parent
# From a kept table to what its page shows of it, by the page's folder and the table's name.
PAGES = {
    ("classification", "table"): lambda rows: proof.summary(rows, classification.TASK.shown),
    ("segmentation", "table"): lambda rows: proof.summary(rows, segmentation.TASK.shown),
    ("cost", "solvers"): lambda rows: solvers.text(solvers.summary(rows)),
    ("edit_quality", "edits"): lambda rows: edit_quality.text(edit_quality.summary(rows).round(4)),
    ("edit_quality", "where"): where.text,
    ("example", "pairs"): example.summary,
    ("paste_back", "results"): lambda rows: paste_back.text(paste_back.summary(rows)),
    ("peers", "contours"): contours.summary,
    ("peers", "labels"): labels.summary,
    ("proof", "recognised"): recognised.drawn_table,
    ("proof", "recognised_edits"): lambda rows: f"{recognised.edit_table(rows)}\n{recognised.margin_table(rows)}",
    ("reconstruction", "results"): reconstruction.text,
    ("speed", "results"): lambda rows: speed.text(speed.summary(rows)),
}


@pytest.fixture
def typed(monkeypatch):
    """Runs an experiment in this process, as if its options had been typed."""

    def run(experiment, *options) -> None:
        monkeypatch.setattr("sys.argv", [experiment.__name__, *map(str, options)])
        experiment.main()

    return run


@pytest.fixture
def small(monkeypatch):
    """The experiments of one size at a quarter of its side."""
    for module in (edit_quality, evidence, peers, labels):
        monkeypatch.setattr(module, "SIDE", 64)


@pytest.mark.parametrize(("folder", "name"), PAGES)
def test_a_page_shows_what_was_kept(folder, name):
    shown = PAGES[folder, name](pd.read_csv(FOLDER / folder / f"{name}.csv")).splitlines()
    page = (FOLDER / folder / "README.md").read_text().splitlines()
    assert len(shown) > 2 and not [line for line in shown if line not in page]


def test_reconstruction(tmp_path, typed):
    typed(reconstruction, "--surfaces", 1, "--side", 64, "--steps", 2, "--out", tmp_path)
    table = pd.read_csv(tmp_path / "results.csv").set_index(["kind", "method"])
    assert len(table) == 2 * len(reconstruction.SETTINGS)
    assert np.allclose(table.loc[("surface", "direct"), "below_vae"], 0)
    assert np.allclose(table.loc[("real", "null_text with residual"), "psnr_to_vae"], 99)
    assert table.loc[("surface", "guidance 1, aligned"), "photos"] == 1


def test_edit_quality(tmp_path, typed, small):
    typed(edit_quality, "--surfaces", 2, "--steps", 5, "--settings", "direct", "--out", tmp_path)
    rows, table = pd.read_csv(tmp_path / "edits.csv"), pd.read_csv(tmp_path / "results.csv")
    assert len(rows) == 2 * len(edit_quality.WANTED)
    total = table[table["defect"] == "all"].iloc[0]
    assert total["background"] == pytest.approx(rows["background"].median(), abs=1e-3)
    assert rows["near"].between(0, 1).all()
    assert total["crack_named"] == pytest.approx((rows["crack"] > 0.5).mean(), abs=1e-4)
    assert total["named_after"] == pytest.approx((rows["after"] > 0.5).mean(), abs=1e-4)
    assert (tmp_path / "direct.png").exists()


def test_a_crack_is_found_better_late_on_the_way_from_noise(tmp_path, typed):
    typed(where, "--surfaces", 1, "--steps", 10, "--out", tmp_path)
    table = pd.read_csv(tmp_path / "where.csv").set_index(["look", "threshold"])
    assert len(table) == len(where.WAYS) * len(where.THRESHOLDS)
    assert table[["near", "covered", "share"]].stack().between(0, 1).all()
    late, early = table.loc[("as edited", 0.3)], table.loc[("0.3", 0.3)]
    assert late["covered"] > early["covered"] and late["near"] > early["near"]
    assert table.loc[("as edited", 0.1), "share"] >= late["share"]


def test_peers_and_their_labels(tmp_path, typed, small):
    methods = ("masked inpainting", "LEDITS++", "cross 0.4, replace 0, fresh 1")
    where = ("--steps", 4, "--out", tmp_path, "--cache", tmp_path / "cache", "--work", tmp_path / "work", "--methods")
    typed(peers, "--surfaces", 1, "--variants", 0, *where, *methods)
    rows = pd.read_csv(tmp_path / "edits.csv")
    assert rows.groupby("method").size().to_dict() == dict.fromkeys(methods, len(peers.WANTED))
    assert (tmp_path / "peers.png").exists()
    typed(peers, "--surfaces", 1, "--variants", 0, *where, *methods)
    assert len(pd.read_csv(tmp_path / "edits.csv")) == len(rows)  # nothing is made twice
    typed(labels, "--out", tmp_path, "--work", tmp_path / "work", "--methods", methods[-1])
    assert pd.read_csv(tmp_path / "labels.csv")["remains"].between(-1, 1).all()


@pytest.mark.slow
def test_example(tmp_path, typed, monkeypatch):
    monkeypatch.setattr(example, "apart", lambda function, *arguments: function(*arguments))
    where = ("--steps", 2, "--out", tmp_path, "--work", tmp_path / "work")
    typed(example, "--surfaces", 1, *where)
    rows = pd.read_csv(tmp_path / "pairs.csv").set_index("way")
    assert [*rows.index] == [*example.WAYS] and (rows["background"] == 0).all()
    costs = pd.read_csv(tmp_path / "cost.csv").set_index("way")["rows"]
    assert costs.to_dict() == {"by words": 3, "by example": 4}  # of one move: the source, the target twice, the example
    assert (tmp_path / "pairs.png").exists()


def test_contours(tmp_path, typed, small):
    typed(contours, "--surfaces", 1, "--steps", 3, "--out", tmp_path)
    rows = pd.read_csv(tmp_path / "contours.csv").set_index("way")
    assert [*rows.index] == [*contours.WAYS]
    assert rows.loc["truth and margin", "inside"] == 1


@pytest.mark.slow
def test_placement(tmp_path, typed):
    typed(placement, "--surfaces", 1, "--steps", 3, "--work", tmp_path / "work", "--out", tmp_path)
    row = pd.read_csv(tmp_path / "results.csv").iloc[0]
    formats = [name for name in READ_BACK if name != "coco" or importlib.util.find_spec("pycocotools")]
    assert row["photographs"] == row["wholly in the part"] == row["changed in the region alone"] == 1
    assert row["read back"].split(", ") == formats and (tmp_path / "sheet.png").exists()


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Where both experiments find the images that the first one has made."""
    return tmp_path_factory.mktemp("proof")


@pytest.mark.parametrize("task", [segmentation.TASK, classification.TASK], ids=lambda task: task.name)
def test_training_with_generated_images(task, tmp_path, generated, capsys):
    where = (*TINY, "--work", str(generated), "--out", str(tmp_path))
    assert proof.main(task, "doc", where) == 0
    table = pd.read_csv(tmp_path / "table.csv")
    assert [*table["row"]] == [*SIZES["tiny"].rows] and [*table.columns[:3]] == ["data", "row", "seed"]
    assert table[task.shown[0]].between(0, 1).all() and (table[task.shown[0]] <= table[f"{task.shown[0]}_best"]).all()
    assert [*table["synthetic"]] == [0, 8] and table["real"].nunique() == 1
    # A stopped experiment goes on: nothing is measured twice, and what is asked for beside it is added.
    before = (tmp_path / "table.csv").read_text()
    assert proof.main(task, "doc", where) == 0 and (tmp_path / "table.csv").read_text() == before
    capsys.readouterr()
    assert proof.main(task, "doc", (*where, "--jobs", "0")) == 2
    assert capsys.readouterr().err == "error: --jobs 0: expected 1 or more\n"
    assert proof.main(task, "doc", (*where, "--rows", "no such row")) == 2
    assert capsys.readouterr().err.startswith("error: --rows no such row: unknown row; expected some of real alone")


def test_trainings_at_once_give_the_same_table(tmp_path, generated):
    tables = []
    for jobs in ("1", "2"):
        where = ("--work", str(generated), "--out", str(tmp_path / jobs), "--jobs", jobs, "--seeds", "2")
        assert proof.main(classification.TASK, "doc", (*TINY, *where, "--rows", "real alone")) == 0
        tables.append(pd.read_csv(tmp_path / jobs / "table.csv").sort_values(["row", "seed"], ignore_index=True))
    pd.testing.assert_frame_equal(*tables)


def test_a_network_that_cannot_be_had_is_told_before_images_are_made_for_it(tmp_path, capsys):
    def network(name, weights):
        raise RLIError(f"the weights of {name} cannot be downloaded; use --weights none")

    task = dataclasses.replace(segmentation.TASK, network=network)
    assert (
        proof.main(task, "doc", (*TINY, "--work", str(tmp_path), "--out", str(tmp_path), "--weights", "imagenet")) == 2
    )
    assert "error: the weights of LRASPP cannot be downloaded" in capsys.readouterr().err
    assert not (tmp_path / "tiny" / "drawn" / "made").exists() and not (tmp_path / "table.csv").exists()


def test_rows_without_generated_images_make_none(tmp_path):
    rows = ("--rows", "real alone", "copy and paste", "--work", str(tmp_path), "--out", str(tmp_path))
    assert proof.main(segmentation.TASK, "doc", (*TINY, *rows)) == 0
    assert {path.name for path in (tmp_path / "tiny" / "drawn" / "made").iterdir()} == {"pasted"}


def test_what_generated_images_are_like_themselves(tmp_path, generated, typed, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # it would download its network
    own = (*TINY, "--work", str(generated), "--out", str(tmp_path))
    assert generation.main(own) == 0
    table = pd.read_csv(tmp_path / "generation.csv").set_index("maker")
    assert {"edits", "placed", "copy and paste"} <= {*table.index}
    assert table.loc["copy and paste", "mask_fidelity"] > 0.5 and table["mask_fidelity"].dropna().between(0, 1).all()
    run = generated / "tiny" / "drawn" / "made" / "run"
    typed(pie, "--run", run, "--out", tmp_path)
    rows = pd.read_csv(tmp_path / "pie.csv")
    assert (rows["psnr_published"] >= rows["psnr_background"]).all() and len(rows) > 0
    typed(recognised, "--surfaces", 1, "--words", "rust", "dent", "--ways", "1 level", "--run", run, "--out", tmp_path)
    assert pd.read_csv(tmp_path / "recognised.csv")["rank"].between(1, 3).all()
    assert pd.read_csv(tmp_path / "recognised_edits.csv")["recognised_margin"].notna().all()
    assert look.main(("--run", str(run), "--sheet", str(tmp_path / "sheet.png"), "--count", "4")) == 0
    sheet = read_picture(tmp_path / "sheet.png").rgb
    assert sheet.shape == (2 * look.SIDE, look.ACROSS * 3 * look.SIDE, 3)
    photo, edit, outlined = np.split(sheet[: look.SIDE, : 3 * look.SIDE].astype(int), 3, 1)
    redder = (outlined - edit).sum((0, 1))
    assert (photo != edit).any() and redder[0] > redder[1]
    assert look.main(("--run", str(tmp_path), "--sheet", str(tmp_path / "none.png"))) == 2
    assert not (tmp_path / "none.png").exists()


def test_evaluation_of_one_s_own_photographs(tmp_path, capsys):
    for k in range(24):
        defects = ("crack",) if k % 2 else ()
        drawn = surface(UNSEEN + k, defects, 64, 64)
        write_png(tmp_path / "photos" / ("crack" if k % 2 else "good") / f"<b>{k:02d}.png", drawn.image)
        if defects:
            write_png(tmp_path / "photos" / "crack" / f"<b>{k:02d}_mask.png", drawn.mask)
    own = (f"folder={tmp_path / 'photos'}", "--size", "tiny", "--words", "rust", "--seeds", "2")
    rows = ("--rows", "augmented", "edits and placed", "--out", str(tmp_path / "out"))
    assert evaluation.main((*own, *rows)) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"(better|no different|worse): mIoU [+-].* of “edits and placed” beside “augmented”", line)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Missed before, found after" in page and "<b>" not in page
    assert len(pd.read_csv(tmp_path / "out" / "table.csv")) == 4
    assert evaluation.main(("nothing", *rows)) == 2
    assert "expected drawn, drawn=200, or a reader and its folder" in capsys.readouterr().err


@pytest.mark.slow
def test_solvers(tmp_path, typed):
    (tmp_path / "README.md").write_text("<!-- solvers.csv -->\n<!-- end of solvers.csv -->\n")
    typed(solvers, "--surfaces", 1, "--few", 1, "--side", 64, "--steps", 5, "--out", tmp_path)
    rows = pd.read_csv(tmp_path / "solvers.csv")
    mini = rows[(rows["model"] == "mini") & (rows["kind"] == "surface")].set_index("settings")
    assert set(mini.index) == set(solvers.SETTINGS)
    assert mini.loc[solvers.PAPER, "passes"] == 4 * (1 + 10 + 1 + 10)
    assert mini.loc[solvers.DEFAULT, "psnr_to_vae"] > mini.loc[solvers.PAPER, "psnr_to_vae"]
    assert mini.loc[solvers.DEFAULT, "psnr_to_vae"] > mini.loc[solvers.GAUSS_NEWTON, "psnr_to_vae"]
    assert mini.loc[solvers.DEFAULT, "passes"] < mini.loc[solvers.PAPER, "passes"]
    # Without a learning rate the embeddings' scale makes less of a difference.
    surface = rows[rows["kind"] == "surface"].pivot(index="settings", columns="model", values="psnr_to_vae")
    spread = surface.max(axis=1) - surface.min(axis=1)
    assert spread[solvers.DEFAULT] < spread[solvers.PAPER]
    assert (tmp_path / "solvers.png").exists()
    # One setting alone is measured again; the other rows stay.
    again = ("--surfaces", 1, "--few", 1, "--side", 64, "--steps", 3, "--settings", solvers.DEFAULT)
    typed(solvers, *again, "--out", tmp_path)
    both = rows.merge(pd.read_csv(tmp_path / "solvers.csv"), on=["model", "kind", "image", "settings"])
    changed = both["passes_x"] != both["passes_y"]
    assert len(both) == len(rows)
    assert (changed == (both["settings"] == solvers.DEFAULT)).all()
    assert f"| {solvers.DEFAULT} |" in (tmp_path / "README.md").read_text()


def test_memory(tmp_path, typed, capsys, monkeypatch):
    monkeypatch.setattr(memory, "apart", lambda function, *arguments: function(*arguments))
    options = {"--model": "tiny", "--size": 64, "--photos": 2, "--targets": 2, "--budgets": 0.1}
    typed(memory, *(word for pair in options.items() for word in pair), "--out", tmp_path)
    free, tight = capsys.readouterr().out.splitlines()[-2:]
    assert "| none | no savings |" in free
    assert "gradient checkpointing, photographs one by one, targets one by one" in tight


def test_savings(typed, tmp_path, capsys):
    typed(savings, "--model", "mini", "--sizes", 128, "--out", tmp_path)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    none, *alone, together = lines[: len(savings.SAVINGS) + 1]
    assert none.startswith("| none |") and len(alone) == 6 and "gradient checkpointing, photographs" in together
    most = next(line for line in lines if line.startswith("| model.quantize=nf4, all of the above |"))
    assert all(float(a) <= float(b) for a, b in zip(most.split("|")[2:4], together.split("|")[2:4], strict=True))


def test_speed(tmp_path, typed):
    ways = ("null_text, 20 steps", "direct, 15 steps")
    typed(speed, "--surfaces", 1, "--side", 64, "--divide", 5, "--out", tmp_path, "--ways", *ways)
    rows = pd.read_csv(tmp_path / "results.csv").set_index(["edits", "way"])
    moves, edits = 15 // 5 - 1, 1 + 2 * len(speed.WANTED)
    passes = rows.loc[("loose", "direct, 15 steps"), ["inversion_passes", "edit_passes"]]
    assert tuple(passes) == (moves, moves * edits)
    assert rows.loc[("loose", "direct, 15 steps"), "psnr_to_vae"] == speed.CEILING
    assert len(rows) == 2 * len(speed.EDITS)


def test_kernels(typed, capsys):
    typed(kernels, "--size", 64, "--rounds", 2, "--ways", "channels_last")
    table = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split("|")[1].strip() for line in table] == ["plain", "channels_last"]
    assert all(float(cell) > 0 for line in table for cell in line.split("|")[2:4])


def test_profile(typed, capsys):
    typed(profile, "--size", 64, "--steps", 2, "--items", 3)
    table = capsys.readouterr().out.splitlines()[-3:]
    shares = [int(line.split("|")[4].strip(" %")) for line in table]
    assert shares == sorted(shares, reverse=True) and shares[0] > 5


def test_every_experiment_is_listed_with_a_command_and_files_that_are_there():
    text = (FOLDER / "README.md").read_text()
    for module in re.findall(r"`python -m (experiments\S+?)[ `]", text):
        assert importlib.util.find_spec(module), module
    for preset in re.findall(r"experiment=(\w+)", text):
        assert (harness.ROOT / "conf" / "experiment" / f"{preset}.yaml").is_file(), preset
    files = re.findall(r"\]\(([^)]+)\)", text)
    assert all((FOLDER / file).is_file() for file in files)
    assert {Path(file).parts[0] for file in files} == {path.parent.name for path in FOLDER.glob("*/README.md")}


def test_rows_are_recorded_as_a_file_and_between_the_page_s_marks(tmp_path, capsys):
    (tmp_path / "README.md").write_text("before\n<!-- x.csv -->\nold\n<!-- end of x.csv -->\nafter\n")
    table = harness.markdown(("Setting", "PSNR"), [("a", "1.23")])
    harness.record(tmp_path, "x", pd.DataFrame({"setting": ["a"], "psnr": [1.23456]}), table)
    assert (tmp_path / "x.csv").read_text() == "setting,psnr\na,1.2346\n"
    assert table == "| Setting | PSNR |\n| --- | ---: |\n| a | 1.23 |" and table in capsys.readouterr().out
    assert (tmp_path / "README.md").read_text() == (
        f"before\n<!-- x.csv -->\n\n{table}\n\n<!-- end of x.csv -->\nafter\n"
    )
