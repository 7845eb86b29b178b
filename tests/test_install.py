"""The wheel: built without a network, installed into an empty folder, and run from another."""

import shutil
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from command import CONF, ROOT, run_process
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rli

pytestmark = pytest.mark.integration

# What the wheel is built from; the build leaves files of its own beside them.
SOURCES = ("rli", "conf", "experiments", "pyproject.toml", "setup.py", "README.md", "LICENSE")

# Commands one after the other in one process, which loads the libraries once.
BOTH = "from rli.cli.app import command; (lambda *all: exit(max(map(command, all))))"


def pip(*arguments: str, folder: Path) -> None:
    answer = run_process("-m", "pip", "--disable-pip-version-check", "--quiet", *arguments, folder=folder)
    assert answer.status == 0, answer.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds what the wheel installs, and nothing else."""
    place = tmp_path_factory.mktemp("install")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / "sources" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, place / "sources" / name)
    pip("wheel", "--no-deps", "--no-build-isolation", str(place / "sources"), folder=place)
    (built,) = place.glob("*.whl")
    pip("install", "--no-deps", "--no-index", "--target", "site", str(built), folder=place)
    shutil.rmtree(place / "sources")
    return place / "site"


def test_the_wheel_holds_what_the_commands_read(installed):
    held = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert {f"rli/conf/{path.relative_to(CONF)}" for path in CONF.rglob("*.yaml")} <= held
    published = (ROOT / "experiments").glob("*/published.csv")
    assert {f"rli/published/{path.relative_to(ROOT / 'experiments')}" for path in published} <= held
    assert {"rli/py.typed", "rli/reports/templates/report.html.j2", "bin/rli"} <= held
    assert any(name.startswith("rli/models/mini/weights/unet/") for name in held)
    assert {"rli/models/configurations/clip_merges.txt.gz", "rli/models/configurations/sdxl/unet/config.json"} <= held
    tops = {name.split("/")[0] for name in held}
    assert tops == {"bin", "rli", f"rli-{rli.__version__}.dist-info"}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "rli").rglob("*.py")}
    assert modules == {name for name in held if name.startswith("rli/") and name.endswith(".py")}


def test_the_version_is_said_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project and project["dynamic"] == ["version"]


def test_the_sample_runs_from_the_wheel_in_an_empty_folder(installed, tmp_path):
    options = ["model=mini", "resolution=64", "inversion.steps=2", "inversion.inner_steps=1", "tracking=off"]
    alone = {"PYTHONPATH": str(installed)}
    run, gather = [*options, "runtime=cpu", "hydra.run.dir=out"], ["gather", "out", "--out", "all"]
    answer = run_process("-c", f"{BOTH}({run}, {gather})", folder=tmp_path, env=alone)
    assert answer.status == 0, answer.stderr
    assert pd.read_csv(tmp_path / "out" / "results.csv")["defect"].tolist() == ["corrosion"]
    published = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert published.filter(regex="published").notna().any(axis=None)
    assert (tmp_path / "all" / "report.html").is_file()


def test_help_comes_from_the_wheel(installed, tmp_path):
    alone = {"PYTHONPATH": str(installed)}
    where = run_process("-c", "import rli; print(rli.__file__)", folder=tmp_path, env=alone)
    assert where.stdout.strip() == str(installed / "rli" / "__init__.py")
    for typed in (("-m", "rli"), (str(installed / "bin" / "rli"),)):
        answer = run_process(*typed, "--help", folder=tmp_path, env=alone)
        assert answer.status == 0 and "corrosion" in answer.stdout, answer.stderr
    assert [*tmp_path.iterdir()] == []


def ranges() -> dict[str, Requirement]:
    """What pyproject.toml asks for, by name, extras that the tests need included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(one for name in ("test", "sweep", "docs") for one in extras[name])]
    found = [Requirement(one) for one in asked]
    return {canonicalize_name(one.name): one for one in found if one.name not in ("rli", "setuptools")}


def test_every_library_has_a_tested_version_within_the_range_that_is_asked_for():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    for name, asked in ranges().items():
        assert asked.specifier.contains(pins[name]), f"{name}: {pins[name]} is not within {asked.specifier}"
    # PyTorch's build brings its own kind of device's libraries, and nothing comes from a place of one machine's own.
    assert not [name for name in pins if name.startswith(("nvidia", "cuda", "triton"))]
    assert not any(mark in line for line in lines for mark in ("://", "+", "@", "--"))
