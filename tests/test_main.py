"""Whole runs of main.py on the miniature, and its answers to bad input."""

import errno
import io
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from PIL import Image

import main
from rli.images import write_png
from rli.metrics.columns import COLUMNS
from rli.models.mini.surfaces import UNSEEN, surface
from rli.runs import job

CONF = Path(main.__file__).parent / "conf"
QUICK = ["model=mini", "inversion.steps=4", "inversion.inner_steps=1", "tracking=off", "runtime=cpu"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("rli.metrics.image.load_lpips", lambda: None)
    return tmp_path


def run(monkeypatch, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr of one command."""
    for name in ("HYDRA_FULL_ERROR", main.WANTS_TRACE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.argv", ["main.py", *arguments])
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main.command()
    return status, out.getvalue(), err.getvalue()


def refused(monkeypatch, *arguments: str) -> str:
    """The one line that a bad command ends in."""
    status, _, err = run(monkeypatch, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert status == 2
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    write_png(path, surface(UNSEEN + 5, ("crack",)).image)
    return path


def test_every_configuration_file_composes():
    files = [f for f in CONF.glob("*/*.yaml") if f.parent.name != "base"]
    assert len(files) > 40
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for file in files:
            group = file.parent.name
            options = {"custom": ['defect.target="photo of a crack hole image"'], "image": ["data.path=x.png"]}
            overrides = [f'{group}="{file.stem}"', *options.get(file.stem, [])]
            cfg = compose("config", overrides if group in ("model", "experiment") else ["model=mini", *overrides])
            main.settings(main.OmegaConf.to_container(cfg, resolve=True))


def test_the_miniature_has_its_own_resolution_and_the_command_line_the_last_word(monkeypatch):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("config", ["model=mini"]).resolution.height == 128
        assert compose("config", ["model=mini", 'resolution="512"']).resolution.height == 512
        assert compose("config").resolution.height == 512
    assert main.quoted("resolution=512,1024") == 'resolution="512","1024"'
    assert main.quoted("edit.eq=1,2") == "edit.eq=1,2"


def test_one_run_leaves_what_the_contract_says(monkeypatch, place, photo):
    status, out, err = run(
        monkeypatch, *QUICK, "data=image", f"data.path={photo}", "defect=all", "hydra.run.dir=out", "tracking=wandb"
    )
    assert status == 0, err
    frame = pd.read_csv("out/results.csv")
    assert tuple(frame.columns) == COLUMNS
    assert list(frame["defect"]) == "original blistering dent rust peeling corrosion wear degradation".split()
    assert frame["psnr_recon"].isna().tolist() == [True] + [False] * 7
    assert (frame["resolution"] == 128).all()
    images = place / "out" / "images" / "photo"
    assert {p.name for p in images.iterdir()} == {"input.png", "reconstruction.png"} | {
        f"{d}{kind}.png" for d in frame["defect"][1:] for kind in ("", "_mask")
    }
    assert np.array_equal(np.asarray(Image.open(images / "input.png")), np.asarray(Image.open(photo)))
    assert set(np.unique(np.asarray(Image.open(images / "rust_mask.png")))) <= {0, 255}
    for name in ("comparison.csv", "comparison.md", "report.html", ".hydra/config.yaml", "wandb"):
        assert (place / "out" / name).exists(), name
    assert err.count("LPIPS stays empty") == 1
    assert "out/report.html" in out


def test_a_second_defect_does_not_invert_again_and_runs_repeat_exactly(monkeypatch, place, photo):
    calls = []
    invert = job.invert_batch
    monkeypatch.setattr(job, "invert_batch", lambda *a, **k: calls.append(1) or invert(*a, **k))
    options = [*QUICK, "data=image", f"data.path={photo}"]
    for k, defect in enumerate(["rust", "dent", "rust"]):
        assert run(monkeypatch, *options, f"defect={defect}", f"hydra.run.dir=run{k}")[0] == 0
    assert run(monkeypatch, *options, "defect=rust", "hydra.run.dir=run3", "runtime.cache=other")[0] == 0
    assert len(calls) == 2
    for name in ("rust.png", "rust_mask.png", "reconstruction.png"):
        same = {(place / f"run{k}" / "images" / "photo" / name).read_bytes() for k in (0, 2, 3)}
        assert len(same) == 1


def test_sparing_memory_changes_no_picture(monkeypatch, place, photo):
    options = [*QUICK, "data=image", f"data.path={photo}", "defect=rust"]
    for memory in ("high", "low"):
        status, _, err = run(
            monkeypatch, *options, f"runtime.memory={memory}", f"hydra.run.dir={memory}", f"runtime.cache=c{memory}"
        )
        assert status == 0, err
        assert ("memory: low chose gradient checkpointing" in err) == (memory == "low")
    for name in ("rust.png", "reconstruction.png"):
        high, low = (np.asarray(Image.open(f"{m}/images/photo/{name}")).astype(int) for m in ("high", "low"))
        assert np.abs(high - low).max() <= 1


def test_photographs_together_are_photographs_alone(monkeypatch, place):
    for k in range(3):
        write_png(place / "in" / f"{k}.png", surface(UNSEEN + k, ("crack",)).image)
    options = [*QUICK, "data=folder", "data.path=in", "defect=rust"]
    assert run(monkeypatch, *options, "hydra.run.dir=a", "runtime.cache=ca")[0] == 0
    assert run(monkeypatch, *options, "hydra.run.dir=b", "runtime.cache=cb", "inversion.batch_size=3")[0] == 0
    a, b = (pd.read_csv(f"{name}/results.csv")["psnr"] for name in "ab")
    assert np.allclose(a, b, atol=0.1)


def test_a_folder_goes_on_after_a_bad_file(monkeypatch, place):
    write_png(place / "in" / "good.png", surface(UNSEEN, ("crack",)).image)
    (place / "in" / "bad.png").write_text("no image")
    status, _, err = run(monkeypatch, *QUICK, "data=folder", "data.path=in", "hydra.run.dir=out")
    assert status == 0
    assert "skipped: in/bad.png cannot be read" in err
    assert pd.read_csv("out/failed.csv")["name"].tolist() == ["bad"]
    assert pd.read_csv("out/results.csv")["image"].tolist() == ["good"]


def test_photographs_need_not_be_square_and_masks_may_be_given(monkeypatch, place, photo):
    mask = np.zeros((128, 128), bool)
    mask[40:80, 40:80] = True
    write_png(place / "mask.png", mask)
    status, _, err = run(
        monkeypatch, *QUICK, "data=image", f"data.path={photo}", "data.mask_path=mask.png", "data.fit=letterbox",
        "resolution.height=64", "resolution.width=96", "hydra.run.dir=out", "edit=replace",
    )  # fmt: skip
    assert status == 0, err
    assert pd.read_csv("out/results.csv")["resolution"].tolist() == ["64x96"]
    saved = np.asarray(Image.open("out/images/photo/corrosion_mask.png"))
    assert saved.shape == (64, 96)
    assert saved[:, :16].max() == 0
    assert saved[30, 48] == 255


@pytest.mark.parametrize("kind", ["I;16", "P", "RGBA"])
def test_unusual_files_work(monkeypatch, place, kind):
    image = Image.fromarray(surface(UNSEEN, ("crack",)).image)
    if kind == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(kind)
    image.save("x.png")
    assert run(monkeypatch, *QUICK, "data=image", "data.path=x.png", "hydra.run.dir=out")[0] == 0


def test_a_sweep_gathers_its_jobs_and_says_which_failed(monkeypatch, place):
    status, _, err = run(
        monkeypatch, "-m", *QUICK, "defect=rust,original", "edit.replace=0.4,8.2", "hydra.sweep.dir=sweep"
    )
    assert status == 2
    assert "edit.replace=8.2: out of range" in err.splitlines()[-1]
    frame = pd.read_csv("sweep/results.csv")
    assert sorted(frame["defect"]) == ["original", "rust"]
    assert pd.read_csv("sweep/failed.csv")["name"].astype(str).tolist() == ["1", "3"]
    for name in ("comparison.md", "report.html", "images/0/surface/rust.png"):
        assert (place / "sweep" / name).exists(), name
    assert len(list((place / "outputs" / "cache").glob("*.safetensors"))) == 1


def test_the_reference_preset_runs(monkeypatch, place):
    assert run(monkeypatch, *QUICK, "experiment=reference", "hydra.run.dir=out")[0] == 0


BAD = {
    "edit.replace=8.2": "edit.replace=8.2: out of range",
    "defect=hole": "Could not find 'defect/hole'",
    "inversion.steps=0": "inversion.steps=0",
    "resolution.height=500": "use a multiple of 16",
    "nonsense=1": "nonsense",
    "runtime.dtype=float16": "needs CUDA",
    "data=image": "data.path=None: image needs one: a photograph",
    "defect=custom": "needs defect.target",
    "runtime.seed=x": "runtime.seed=x",
    "runtime.memory=middle": "runtime.memory=middle: unknown value; expected one of auto, low, high",
    "runtime.memory_gb=-1": "runtime.memory_gb=-1",
    "runtime.checkpointing=often": "runtime.checkpointing=often",
    "runtime.vae_tiling=1": "runtime.vae_tiling=1",
    "+edit.foo=1": "edit.foo is not a setting",
    "inversion=null": "must be a string",
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_values_end_in_one_line(monkeypatch, argument):
    assert BAD[argument] in refused(monkeypatch, *QUICK, argument)


def test_bad_prompts_end_in_one_line(monkeypatch):
    custom = [*QUICK, "defect=custom"]
    line = refused(monkeypatch, *custom, "defect.target=photo of a crack defect image")
    assert "equals the source prompt" in line
    assert "as many words" in refused(monkeypatch, *custom, "edit=replace", "defect.target=photo of rust")


def test_bad_sizes_and_weights_end_in_one_line(monkeypatch, place):
    assert "use a multiple of 32" in refused(monkeypatch, "resolution.height=500")
    assert "has no model_index.json" in refused(monkeypatch, "model.weights=./none")
    assert "needs a StableDiffusionPipeline" in refused(
        monkeypatch, "model=sd15", f"model.weights={main.ROOT}/rli/models/mini/weights"
    )


def test_bad_files_end_in_one_line_and_leave_nothing(monkeypatch, place, photo):
    (place / "text.png").write_text("hello")
    write_png(place / "one.png", np.zeros((1, 1, 3), np.uint8))
    write_png(place / "mask.png", np.zeros((7, 9), bool))
    image = [*QUICK, "data=image", "hydra.run.dir=out"]
    assert "no such file" in refused(monkeypatch, *image, "data.path=none.png")
    assert "cannot be read as an image" in refused(monkeypatch, *image, "data.path=text.png")
    assert "too few" in refused(monkeypatch, *image, "data.path=one.png")
    assert "9×7 pixels" in refused(monkeypatch, *image, f"data.path={photo}", "data.mask_path=mask.png")
    left = {p.name for p in (place / "out").iterdir()}
    assert left <= {".hydra", "main.log", "status.json"}


def test_a_folder_that_cannot_be_written_ends_in_one_line(monkeypatch, place):
    (place / "blocked").write_text("a file where a folder should be")
    assert "blocked" in refused(monkeypatch, *QUICK, "hydra.run.dir=blocked/out")


def test_a_full_disk_ends_in_one_line_and_leaves_no_half_file(monkeypatch, place):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    assert "No space left on device" in refused(monkeypatch, *QUICK, "hydra.run.dir=out")
    assert not list(place.rglob(".part-*"))
    assert not list(place.rglob("*.safetensors"))


def test_a_traceback_can_be_asked_for(monkeypatch):
    monkeypatch.setattr("sys.argv", ["main.py", *QUICK, "edit.replace=8.2"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    err = io.StringIO()
    with redirect_stderr(err):
        assert main.command() == 2
    monkeypatch.delenv(main.WANTS_TRACE)
    assert "Traceback" in err.getvalue()
    assert "edit.replace=8.2" in err.getvalue().splitlines()[-1]


def test_a_bug_shows_its_traceback_and_is_no_user_error(monkeypatch):
    monkeypatch.setattr(main, "settings", lambda cfg: 1 / 0)
    status, _, err = run(monkeypatch, *QUICK, "hydra.run.dir=out")
    assert status == 1
    assert "ZeroDivisionError" in err


def test_the_readme_s_five_lines_run(place, photo):
    code = re.search(r"```python\n(.*?)```", (main.ROOT / "README.md").read_text(), re.DOTALL)[1]
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("import", "from", "#"))]
    assert len(lines) <= 5
    exec(code, {})
    assert (place / "corrosion.png").exists()
