"""The page of `rli app` without its widgets: what is chosen is a command, and an edit on the page is that command's."""

import subprocess
from pathlib import Path

import command
import numpy as np
import pytest
from builders import box, files_of, grey, write_surface

from rli.app.choices import SLIDERS, Choices, command_line, edit_name, starting_values, told_changes, with_choices
from rli.app.figures import figures
from rli.app.workbench import PREVIEW, Workbench
from rli.cli.browser import composed
from rli.errors import RLIError
from rli.images import read_mask_full, write_png
from rli.method.records import EditSettings
from rli.runs.config import job_of
from rli.runs.job import RESERVED

SOURCE, TARGET = "photo of a crack defect image", "photo of a crack rust image"
STRENGTHS = {"eq": 2.5, "cross": 0.3, "replace": 0.1, "fresh": 0.25, "threshold": 0.35}


def chosen(photo: Path = Path("part.png"), region: Path | None = None, **values) -> Choices:
    given = {"source": SOURCE, "target": TARGET, "source_word": "", "target_word": "", "strengths": STRENGTHS}
    return Choices(photo, region, **{**given, **values})


# --- choices are a command --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [TARGET, "a 'quoted' rust, with $HOME; and [brackets]", "rust\\", "7"])
def test_a_shell_gives_the_command_the_arguments_of_the_choices(target):
    arguments = with_choices(["model=mini"], chosen(Path("a b/part's.png"), target=target))
    line = command_line(arguments).replace("rli", r"printf '%s\0'", 1)
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    assert said.split("\0")[:-1] == [*arguments]


@pytest.mark.parametrize("target", [TARGET, "a 'quoted' rust, with [brackets]: {all}", "null rust", "7"])
def test_hydra_reads_the_arguments_as_what_was_chosen(target):
    settings = composed(with_choices(["model=mini"], chosen(Path("b,c.png"), target=target, target_word="rust")))
    assert (settings["defect"]["source"], settings["defect"]["target"]) == (SOURCE, target)
    assert (settings["defect"]["source_word"], settings["defect"]["target_word"]) == (None, "rust")
    assert (settings["data"]["path"], settings["data"]["mask_path"]) == ("b,c.png", None)
    assert {name: settings["edit"][name] for name in SLIDERS} == STRENGTHS


def test_what_the_page_chooses_holds_over_what_it_was_started_with():
    given = ["edit.cross=0.9", "defect=rust", "data=folder", "edit.interpolation=nearest", "dataset.title=plates"]
    arguments = with_choices(given, chosen())
    assert arguments[:2] == ("edit.interpolation=nearest", "dataset.title=plates")
    assert [a for a in arguments if a.startswith("edit.cross")] == ["edit.cross=0.3"]


def test_the_page_starts_with_the_settings_that_it_was_started_with():
    paper = EditSettings()
    start = starting_values(job_of(composed(["model=mini", "defect=rust", "edit.cross=0.9"])))
    assert (start["source"], start["target"]) == (SOURCE, TARGET)
    assert [start[name] for name in SLIDERS] == [paper.eq, 0.9, paper.replace, paper.fresh, paper.threshold]


def test_every_slider_s_ends_are_settings_that_an_edit_may_have():
    for name, ends in SLIDERS.items():
        assert [getattr(EditSettings(**{name: value}), name) for value in ends[:2]] == [*ends[:2]]


def test_an_edit_is_called_after_the_words_that_are_new():
    assert edit_name(SOURCE, TARGET) == "rust"
    assert edit_name("photo of steel", "photo of steel with a long, deep scratch") == "with_a_long_deep_scratch"
    assert edit_name(SOURCE, TARGET, "crack rust") == "crack_rust"
    with pytest.raises(RLIError, match="equals"):
        edit_name(SOURCE, SOURCE)


@pytest.mark.parametrize("word", [*RESERVED, "con", "…", "x" * 300, "../../etc", "a/b"])
def test_an_edit_s_name_is_a_file_name_whatever_the_words_are(word, tmp_path):
    name = edit_name(SOURCE, SOURCE.replace("defect", word))
    assert name not in RESERVED
    (tmp_path / f"{name}.png").touch()
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]


def test_the_changed_words_are_told_and_so_is_what_is_wrong():
    assert told_changes(SOURCE, TARGET) == "defect → rust"
    assert told_changes("photo of steel", "photo of rusty steel") == "(nothing) → rusty"
    assert "equals" in told_changes(SOURCE, SOURCE)


# --- photographs and regions ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory) -> Workbench:
    folder = tmp_path_factory.mktemp("app")
    given = [*command.QUICK, *command.SMALL, f"runtime.cache={folder / 'cache'}", f"out={folder / 'run'}"]
    return Workbench.open(given, composed, folder / "photographs")


def test_a_photograph_is_kept_as_it_came_and_shown_smaller(bench, tmp_path):
    write_png(tmp_path / "Große Platte.PNG", grey(PREVIEW, PREVIEW * 2))
    kept = bench.keep(tmp_path / "Große Platte.PNG")
    assert kept.file.read_bytes() == (tmp_path / "Große Platte.PNG").read_bytes()
    assert (kept.file.name, kept.size) == ("Große Platte.png", (PREVIEW, PREVIEW * 2))
    assert kept.preview.shape == (PREVIEW // 2, PREVIEW, 3)
    assert bench.keep(tmp_path / "Große Platte.PNG").file == kept.file


def test_what_is_no_photograph_is_refused_in_a_line(bench, tmp_path):
    (tmp_path / "part.png").write_text("no picture")
    with pytest.raises(RLIError, match=r"part\.png"):
        bench.keep(tmp_path / "part.png")


def test_a_brushed_region_is_a_mask_that_fits_the_photograph(bench, tmp_path):
    write_png(tmp_path / "wide.png", grey(333, 2 * PREVIEW + 77))
    kept = bench.keep(tmp_path / "wide.png")
    painted = np.zeros(kept.preview.shape[:2], bool)
    assert bench.region(kept, painted) is None
    painted[: len(painted) // 2] = True
    mask = read_mask_full(bench.region(kept, painted), kept.size[::-1])
    assert mask.shape == kept.size
    assert abs(mask.mean() - painted.mean()) < 0.01


# --- an edit on the page is the command's -----------------------------------------------------------------------------


@pytest.mark.integration
def test_a_saved_edit_is_what_its_command_makes_and_the_photograph_is_inverted_once(bench, tmp_path):
    kept = bench.keep(write_surface(tmp_path / "plate.png", size=(96, 80)))
    region = bench.region(kept, box(*kept.size))
    steps: list[str] = []

    def noted(items, label):
        steps.append(label)
        return items

    first = bench.edit(chosen(kept.file, region), noted)
    assert "inversion" in steps
    assert first.result.edits["rust"].image.shape == (*kept.size, 3)
    steps.clear()
    second = bench.edit(chosen(kept.file, region, strengths={**STRENGTHS, "eq": 6.0}), noted)
    assert steps and "inversion" not in steps
    assert not np.array_equal(first.result.edits["rust"].image, second.result.edits["rust"].image)

    folder = bench.save(first)
    assert (folder / "report.html").is_file()
    typed = [argument for argument in first.arguments if not argument.startswith("out=")]
    assert files_of(command.run(*typed, f"out={tmp_path / 'typed'}").folder / "images") == files_of(folder / "images")
    # The same command finds everything made.
    before = (folder / "records" / "plate.safetensors").stat().st_mtime_ns
    assert command.run(*first.arguments).folder == folder
    assert (folder / "records" / "plate.safetensors").stat().st_mtime_ns == before
    told = figures(first.result.rows)
    assert "PSNR to photograph" in told and told.count("<tr>") == 5


@pytest.mark.integration
def test_a_choice_that_is_not_possible_is_one_line(bench, tmp_path):
    kept = bench.keep(write_surface(tmp_path / "plate.png"))
    with pytest.raises(RLIError, match=r"edit\.cross"):
        bench.edit(chosen(kept.file, strengths={**STRENGTHS, "cross": 2.0}))
    with pytest.raises(RLIError, match="equals the source prompt"):
        bench.edit(chosen(kept.file, target=SOURCE))


def test_the_command_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr("rli.cli.browser.find_spec", lambda name: None)
    assert command.run("app", "model=mini").error == 'error: the page needs the library gradio: pip install "rli[app]"'
