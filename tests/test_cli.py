"""Whole runs of the command on the miniature, and its answers to bad input."""

import errno
import os
import re
from importlib import import_module
from itertools import zip_longest

import numpy as np
import pandas as pd
import pytest
from builders import box, write_surface
from command import CONF, QUICK, ROOT, SMALL, Answer, composed, run
from omegaconf import OmegaConf
from PIL import Image

from rli.cli.app import TOOLS, command
from rli.cli.errors import HYDRA_FULL_ERROR
from rli.cli.typed import quoted
from rli.images import write_png
from rli.metrics.columns import NAMES
from rli.models.mini.surfaces import UNSEEN, surface
from rli.runs import config
from rli.runs.config import job_of

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def done(*arguments: str) -> Answer:
    """What a command answers that ends well."""
    answer = run(*arguments)
    assert answer.status == 0, answer.stderr
    return answer


@pytest.fixture
def photo(tmp_path):
    return write_surface(tmp_path / "photo.png", 5, size=(128, 128))


# Their files choose files of other groups: composed alone; and such as choose different ones, or do not go with every
# file of the other groups: composed with each other.
ALONE, CHOOSING = ("experiment", "speed"), ("edit", "method", "model")


def test_every_configuration_file_composes():
    groups: dict[str, list[str]] = {}
    for file in sorted(CONF.glob("*/*.yaml")):
        if file.parent.name != "base":
            groups.setdefault(file.parent.name, []).append(f'{file.parent.name}="{file.stem}"')
    assert sum(map(len, groups.values())) > 40
    alone = [[choice] for group in ALONE for choice in groups.pop(group)]
    # The first of each group, then the second, and so on.
    choosing = [[*filter(None, choices)] for choices in zip_longest(*(groups.pop(group) for group in CHOOSING))]
    together = [["model=mini", *filter(None, choices)] for choices in zip_longest(*groups.values())]
    needs = {
        'defect="custom"': 'defect.target="photo of a crack hole image"',
        'data="image"': "data.path=x.png",
    }
    for choices in (*alone, *choosing, *together):
        cfg = composed(*choices, *(needs[choice] for choice in choices if choice in needs))
        job_of(OmegaConf.to_container(cfg, resolve=True))


def test_the_miniature_has_its_own_resolution_and_the_command_line_the_last_word():
    assert composed("model=mini").resolution.height == 256
    assert composed("model=mini", 'resolution="512"').resolution.height == 512
    assert composed().resolution.height == 512
    assert quoted("resolution=512,1024") == 'resolution="512","1024"'
    assert quoted("edit.eq=1,2") == "edit.eq=1,2"


def test_one_run_leaves_what_the_contract_says(place, photo):
    image = ("data=image", f"data.path={photo}")
    answer = done(*QUICK, *SMALL, *image, "defect=all", "hydra.run.dir=out", "tracking=wandb")
    frame = pd.read_csv("out/results.csv")
    assert tuple(frame.columns) == NAMES
    assert list(frame["defect"]) == "original blistering dent rust peeling corrosion wear degradation".split()
    assert frame["psnr_recon"].isna().tolist() == [True] + [False] * 7
    assert (frame["resolution"] == 64).all()
    images = place / "out" / "images" / "photo"
    assert {p.name for p in images.iterdir()} == {"input.png", "reconstruction.png", "window"} | {
        f"{d}{kind}.png" for d in frame["defect"][1:] for kind in ("", "_mask")
    }
    assert np.array_equal(np.asarray(Image.open(images / "input.png")), np.asarray(Image.open(photo)))
    assert set(np.unique(np.asarray(Image.open(images / "rust_mask.png")))) <= {0, 255}
    for name in ("comparison.csv", "comparison.md", "report.html", ".hydra/config.yaml", "wandb"):
        assert (place / "out" / name).exists(), name
    assert answer.stderr.count("LPIPS is not computed") == 1
    assert "out/report.html" in answer.stdout


def test_a_second_defect_does_not_invert_again_and_runs_repeat_exactly(inversions, place, photo):
    options = [*QUICK, *SMALL, "data=image", f"data.path={photo}"]
    for k, defect in enumerate(["rust", "dent", "rust"]):
        done(*options, f"defect={defect}", f"hydra.run.dir=run{k}")
    done(*options, "defect=rust", "hydra.run.dir=run3", "runtime.cache=other")
    assert len(inversions) == 2
    for name in ("rust.png", "rust_mask.png", "reconstruction.png"):
        same = {(place / f"run{k}" / "images" / "photo" / name).read_bytes() for k in (0, 2, 3)}
        assert len(same) == 1


def test_memory_savings_change_no_picture(place, photo):
    options = [*QUICK, *SMALL, "data=image", f"data.path={photo}", "defect=rust"]
    for memory in ("high", "low"):
        answer = done(*options, f"runtime.memory={memory}", f"hydra.run.dir={memory}", f"runtime.cache=c{memory}")
        assert ("memory: low turned on: gradient checkpointing" in answer.stderr) == (memory == "low")
    for name in ("rust.png", "reconstruction.png"):
        high, low = (np.asarray(Image.open(f"{m}/images/photo/{name}")).astype(int) for m in ("high", "low"))
        assert np.abs(high - low).max() <= 1


def test_photographs_together_are_photographs_alone(place):
    for k in range(3):
        write_surface(place / "in" / f"{k}.png", k)
    options = [*QUICK, *SMALL, "data=folder", "data.path=in", "defect=rust"]
    done(*options, "hydra.run.dir=a", "runtime.cache=ca")
    done(*options, "hydra.run.dir=b", "runtime.cache=cb", "inversion.batch_size=3")
    a, b = (pd.read_csv(f"{name}/results.csv")["psnr"] for name in "ab")
    assert np.allclose(a, b, atol=0.1)


def test_a_folder_goes_on_after_a_bad_file(place):
    write_surface(place / "in" / "good.png")
    (place / "in" / "bad.png").write_text("no image")
    answer = done(*QUICK, *SMALL, "data=folder", "data.path=in", "hydra.run.dir=out")
    assert "skipped: in/bad.png cannot be read" in answer.stderr
    assert pd.read_csv("out/failed.csv")["name"].tolist() == ["bad"]
    assert pd.read_csv("out/results.csv")["image"].tolist() == ["good"]


def test_photographs_need_not_be_square_and_masks_may_be_given(place, photo):
    write_png(place / "mask.png", box(128, 128, slice(40, 80), slice(40, 80)))
    done(
        *QUICK, "data=image", f"data.path={photo}", "data.mask_path=mask.png", "data.fit=letterbox",
        "resolution.height=64", "resolution.width=96", "hydra.run.dir=out", "edit=replace",
    )  # fmt: skip
    assert pd.read_csv("out/results.csv")["resolution"].tolist() == ["64x96"]
    saved = np.asarray(Image.open("out/images/photo/corrosion_mask.png"))
    assert np.array_equal(saved > 0, box(128, 128, slice(40, 80), slice(40, 80)))  # at the photograph's own size
    worked = np.asarray(Image.open("out/images/photo/window/corrosion_mask.png"))
    assert worked.shape == (64, 96)
    assert worked[:, :16].max() == 0
    assert worked[30, 48] == 255


def test_unusual_files_work(place):
    image = Image.fromarray(surface(UNSEEN, ("crack",), 64, 64).image)
    (place / "in").mkdir()
    Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save("in/deep.png")
    for mode in ("P", "RGBA"):
        image.convert(mode).save(f"in/{mode}.png")
    done(*QUICK, *SMALL, "data=folder", "data.path=in", "hydra.run.dir=out")
    assert pd.read_csv("out/results.csv")["image"].tolist() == ["deep", "P", "RGBA"]


def test_a_sweep_gathers_its_jobs_and_says_which_failed(place):
    answer = run("-m", *QUICK, *SMALL, "defect=rust,original", "edit.replace=0.4,8.2", "hydra.sweep.dir=sweep")
    assert "edit.replace=8.2: out of range" in answer.error
    frame = pd.read_csv("sweep/results.csv")
    assert sorted(frame["defect"]) == ["original", "rust"]
    assert pd.read_csv("sweep/failed.csv")["name"].astype(str).tolist() == ["1", "3"]
    for name in ("comparison.md", "report.html", "images/0/surface/rust.png"):
        assert (place / "sweep" / name).exists(), name
    assert len(list((place / "outputs" / "cache").glob("*.safetensors"))) == 1


def test_the_reference_preset_runs(place):
    done(*QUICK, *SMALL, "experiment=reference", "hydra.run.dir=out")


BAD = {
    "edit.replace=8.2": "edit.replace=8.2: out of range; expected a number from 0 to 1",
    "defect=hole": "Could not find 'defect/hole'",
    "inversion.steps=0": "inversion.steps=0",
    "resolution.height=500": "resolution.height=500: not possible with mini; expected a multiple of 16, such as 496",
    "nonsense=1": "nonsense",
    "runtime.dtype=float16": "runtime.dtype=float16: needs CUDA",
    "data=image": "data.path=None: image needs it; expected a photograph",
    "defect=custom": "needs defect.target",
    "runtime.seed=x": "runtime.seed=x",
    "runtime.memory=middle": "runtime.memory=middle: unknown value; expected one of auto, low, high",
    "runtime.memory_gb=-1": "runtime.memory_gb=-1: out of range",
    "runtime.checkpointing=often": "runtime.checkpointing=often: unknown value",
    "runtime.vae_tiling=1": "runtime.vae_tiling=1: unknown value",
    "runtime.kind=cloud": "runtime.kind=cloud: unknown value; expected one of local, ray",
    "runtime.compile=1": "runtime.compile=1: unknown value; expected true or false",
    "edit.local_blend=2": "edit.local_blend=2: unknown value; expected true or false",
    "inversion.alignment=foo": "inversion.alignment=foo: unknown value; expected one of aligned, reference",
    "inversion.batch_size=0": "inversion.batch_size=0: out of range",
    "runtime.target_batch=x": "runtime.target_batch=x: unknown value; expected a whole number",
    "rli.alpha=2": "rli.alpha=2: out of range",
    "report.edits=0": "report.edits=0: out of range",
    "data.limit=0": "data.limit=0: out of range",
    "+data.foo=1": "data.foo: unknown setting",
    "+rli.foo=1": "rli.foo: unknown setting",
    "+edit.foo=1": "edit.foo: unknown setting",
    "inversion=null": "must be a string",
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_values_end_in_one_line(argument):
    assert BAD[argument] in run(*QUICK, argument).error


def test_bad_prompts_end_in_one_line():
    custom = [*QUICK, "defect=custom"]
    line = run(*custom, "defect.target=photo of a crack defect image").error
    assert "equals the source prompt" in line
    assert "the same number of words" in run(*custom, "edit=replace", "defect.target=photo of rust").error


def test_bad_sizes_and_weights_end_in_one_line(place):
    assert "expected a multiple of 32" in run("resolution.height=500").error
    assert "model.weights=./none: there is no such file or folder" in run("model.weights=./none").error
    assert "needs a StableDiffusionPipeline" in run("model=sd15", f"model.weights={ROOT}/rli/models/mini/weights").error


def test_bad_files_end_in_one_line_and_leave_nothing(place, photo):
    (place / "text.png").write_text("hello")
    write_png(place / "one.png", np.zeros((1, 1, 3), np.uint8))
    write_png(place / "mask.png", np.zeros((7, 9), bool))
    image = [*QUICK, "data=image", "hydra.run.dir=out"]
    assert "no such file" in run(*image, "data.path=none.png").error
    assert "cannot be read as an image" in run(*image, "data.path=text.png").error
    assert "too few" in run(*image, "data.path=one.png").error
    assert "9×7 pixels" in run(*image, f"data.path={photo}", "data.mask_path=mask.png").error
    assert not (place / "out").exists()


def test_a_folder_that_cannot_be_written_ends_in_one_line(place):
    (place / "blocked").write_text("a file where a folder should be")
    assert "blocked" in run(*QUICK, "hydra.run.dir=blocked/out").error


def test_a_full_disk_ends_in_one_line_and_leaves_no_half_file(monkeypatch, place):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    assert "No space left on device" in run(*QUICK, "hydra.run.dir=out").error
    assert not list(place.rglob(".part-*"))
    assert not list(place.rglob("*.safetensors"))


def test_a_traceback_can_be_asked_for(monkeypatch, capsys):
    monkeypatch.setenv(HYDRA_FULL_ERROR, "1")
    surroundings = dict(os.environ)
    assert command([*QUICK, "edit.replace=8.2"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "edit.replace=8.2" in err.splitlines()[-1]
    assert dict(os.environ) == surroundings


def test_a_bug_shows_its_traceback_and_is_no_user_error(monkeypatch):
    monkeypatch.setattr(config, "job_of", lambda cfg: 1 / 0)
    answer = run(*QUICK, "hydra.run.dir=out")
    assert answer.status == 1
    assert "ZeroDivisionError" in answer.stderr


def test_the_command_s_tools_take_arguments_of_their_own(place, capsys):
    for module in TOOLS.values():
        assert callable(import_module(module).main)
    done(*QUICK, *SMALL, "defect=rust", "hydra.run.dir=one")
    assert command(["gather", "one", "--out", "all"]) == 0
    assert (place / "all" / "report.html").is_file()
    assert command(["gather", "nowhere"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: nowhere: there is no such folder"


def test_the_readme_s_five_lines_run(place, photo):
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    lines = [line for line in code.splitlines() if line.strip() and not line.startswith(("import", "from", "#"))]
    assert len(lines) <= 5
    assert "256, 256" in code
    exec(code.replace("256, 256", "64, 64"), {})  # as it is printed but for the size, which is quick
    assert (place / "corrosion.png").exists()
