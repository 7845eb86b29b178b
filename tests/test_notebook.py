"""The notebook runs from top to bottom on the miniature, and is kept without outputs."""

import json
import runpy

import pytest
from command import ROOT, environment

PATH = ROOT / "experiments" / "notebook" / "rli.ipynb"
# Few steps are enough to go through every cell.
STEPS = ("STEPS = 50", "STEPS = 3")


@pytest.fixture(scope="module")
def notebook() -> dict:
    return json.loads(PATH.read_text())


def code_of(notebook: dict) -> list[str]:
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert sum(cell.count(STEPS[0]) for cell in cells) == 1
    return [cell.replace(*STEPS) for cell in cells]


def test_outputs_are_cleared_and_cells_have_names_of_their_own(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


@pytest.mark.integration
def test_every_cell_runs_and_shows_what_it_says(notebook, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MPLBACKEND", "agg")
    script = tmp_path / "notebook.py"
    script.write_text("\n".join(code_of(notebook)))
    drawn = runpy.run_path(str(script))
    drawn["plt"].close("all")
    edits, table = drawn["edits"], drawn["table"]
    assert [edit.target.prompt for edit in edits] == drawn["TARGET_PROMPTS"] == [*table["defect"]]
    assert len(drawn["inversion"].source_latents) == 4
    assert table["psnr"].between(5, 60).all() and table["psnr_background"].notna().all()
    assert [token.word for token in drawn["maps"]] == drawn["TARGET_PROMPTS"][0].split()
    assert "psnr_background" in capsys.readouterr().out


@pytest.mark.integration
def test_a_notebook_kernel_runs_it(notebook, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    read = nbformat.read(PATH, as_version=4)
    nbformat.validate(read)
    for cell in read.cells:
        cell.source = cell.source.replace(*STEPS)
    done = nbclient.NotebookClient(read, timeout=300, resources={"metadata": {"path": str(PATH.parent)}}).execute()
    pictures = [out for cell in done.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert len(pictures) >= 7
    assert not any(out.output_type == "error" for cell in done.cells for out in cell.get("outputs", []))
