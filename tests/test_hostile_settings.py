"""No configuration, however wrong, ends in a traceback or goes on for long: it is taken, or one line refuses it."""

import os
from itertools import islice

import numpy as np
import pytest
from command import run
from hostile_settings import QUICK, cases, complaint, place

from rli.images import write_png
from rli.runs import run as story

pytestmark = pytest.mark.integration


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What the runs were asked for, whose commands were taken; nothing is made."""
    configurations = []
    monkeypatch.chdir(tmp_path)
    place(tmp_path)
    monkeypatch.setattr(story, "work", lambda config, folder, group=None: configurations.append(config))
    return configurations


@pytest.mark.parametrize("seed", [10, 11])
def test_any_configuration_is_answered(tmp_path, monkeypatch, seed):
    monkeypatch.chdir(tmp_path)
    place(tmp_path)
    for overrides in islice(cases(seed), 12):
        assert not complaint(overrides), overrides


REFUSED = {
    "inversion.residual=off": "inversion.residual=off: unknown value; expected true or false",
    "edit.local_blend=off": "edit.local_blend=off: unknown value; expected true or false",
    "resolution.width=1e309": "resolution.width=inf: unknown value; expected a whole number",
    "resolution.width=100000000": "resolution.width=100000000: out of range",
    "report=null": "report=None: unknown value; expected a group of settings",
    "runtime.cache=null": "runtime.cache=None: unknown value; expected text",
    "defect.source=null": "defect.source=None: unknown value; expected text",
    "inversion.learning_rate=high": "inversion.learning_rate=high: unknown value; expected a number",
    "data.limit=all": "data.limit=all: unknown value; expected a whole number or null",
    "tracking.mode=disabled": "tracking.mode=disabled: unknown value; expected one of auto, online, offline",
    "~task": "task: the setting is missing",
    "~dataset": "dataset: the setting is missing",
    "~defect.source": "defect.source: the setting is missing",
    "++data.foo=1": "data.foo: unknown setting",
    "+model.adapter=x": "model.adapter: unknown setting",
    "+runtime.gpu=1": "runtime.gpu: unknown setting",
    "+defect.negative=blur": "defect.negative: unknown setting",
    "+tracking.entity=me": "tracking.entity: unknown setting",
    "+report.x=1": "report.x: unknown setting",
    "+resolution.depth=3": "resolution.depth: unknown setting",
    "+dataset.gate.x=1": "dataset.gate.x: unknown setting",
    "+inversion.seed=1": "inversion.seed: unknown setting",
    "+attention.x=1": "attention.x: unknown setting",
    "+crop=true": "crop: unknown setting",
    "edit.blend=x": "there is no such setting",
    "dataset.split=1e999999999/1/1": "dataset.split=1e999999999/1/1: expected the shares",
    "runtime.device=mps": "runtime.device=mps: not supported",
    "model.weights=7": "model.weights=7: there is no such file or folder",
    "defect.name=con": "“con” cannot be used",
    "defect.target=photo of a (rust:1.3) image": "weights in the prompt are not read",
    "defect.target=photo of ${rust} image": r"quote them with a backslash: \${",
}


@pytest.mark.parametrize("argument", REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_line(asked, argument):
    answer = run(*QUICK, argument)
    assert REFUSED[argument] in answer.error
    assert len(answer.stderr.splitlines()) == 1 and len(answer.error) < 400
    assert not asked


def test_files_are_looked_at_before_they_are_opened(asked):
    """A pipe would be waited for; a device never ends."""
    for file in ("pipe", "/dev/zero", "folder"):
        assert f"{file} is not a file" in run(*QUICK, "export=[coco]", f"dataset.review={file}").error
        for data in ("data=image", "data=list"):
            assert f"data.path={file}" in run(*QUICK, data, f"data.path={file}").error
    os.mkfifo("folder/a.png")
    assert "is not a file" in run(*QUICK, "data=folder", "data.path=folder").error


TEXTS = (
    *(
        "5",
        "007",
        "1e3",
        "2024_01_15",
        "true",
        "no",
        "null and void",
        "a, b",
        "a: b",
        "a=b",
        "(a)",
        "[a]",
        "{a}",
        "50%",
    ),
    *("#3", "a & b", "crack's", '"rust" image', "$rust", "rust!", "Riß", "end\\", "a 'b' \"c\"", " blanks "),
)


def test_texts_are_what_was_typed(asked):
    prompts = {f"no{k}": text for k, text in enumerate(TEXTS)}
    all_of_them = [f"+defect.all.{name}={text}" for name, text in prompts.items()]
    assert run(*QUICK, "defect=custom", "defect.name=no", "defect.target=true", *all_of_them).status == 0
    assert {target.name: target.prompt for target in asked[0].job.targets} == {"no": "true", **prompts}


def test_quotes_of_hydra_and_paths_that_look_like_numbers_work(asked, tmp_path):
    for name in ("2024_01_15", "304", "1e3", "true", "lot,5", "lot[5]"):
        write_png(tmp_path / name / "a.png", np.full((32, 32, 3), 90, np.uint8))
        assert run(*QUICK, "data=folder", f"data.path={name}", f"runtime.cache='{name}'").status == 0, name
        assert asked[-1].source.reader.path.name == asked[-1].job.cache.name == name


def test_null_lifts_every_limit_of_the_quality_gate(asked):
    names = "min_background_psnr min_background_ssim min_reconstruction_psnr min_strength min_share max_share".split()
    limits = [f"dataset.gate.{name}=null" for name in (*names, "max_strength", "min_difference")]
    assert run(*QUICK, "export=[coco]", *limits).status == 0
    assert {*vars(asked[0].job.selection.gate).values()} == {None}


def test_a_single_tag_is_a_list_of_one(asked):
    assert run(*QUICK, "tracking.tags=rust").status == 0


def test_a_sweep_s_commas_separate_values_that_are_texts(asked):
    assert run("-m", *QUICK[:3], "defect=custom", "defect.target=a b,7", "hydra.sweep.dir=s").status in (0, 2)
    assert [config.job.targets[0].prompt for config in asked] == ["a b", "7"]
