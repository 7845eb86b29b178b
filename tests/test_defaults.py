"""Each default is said twice, in conf/ for whoever types and in the code for whoever imports; here they are one."""

import json
from dataclasses import MISSING, fields, is_dataclass
from inspect import signature

import pytest
from command import composed
from omegaconf import OmegaConf

from rli.datasets.dataset import Dataset
from rli.method.attention.rli import RLI
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import INVERTERS, InversionSettings
from rli.method.recognition import Recognition
from rli.method.records import EditSettings
from rli.method.solvers import SOLVERS
from rli.photos.placement_settings import Pool, Shapes
from rli.photos.sources import READERS, photos
from rli.reports.outputs import write_outcome
from rli.reports.sweep import write_sweep
from rli.runs.config import RayCluster
from rli.runs.examples import ExampleSettings
from rli.runs.job import Job, Selection
from rli.runs.memory_plan import Memory
from rli.runs.model_spec import ModelSpec
from rli.runs.quality_gate import Gate
from rli.runs.variants import Variants
from rli.tracking.tracker import open_tracker

# Where the values of a group of keys go: what takes them, and arguments with other names than their keys.
TAKERS = {
    "inversion": [InversionSettings, *INVERTERS.values(), *SOLVERS.values(), Job],
    "rli": [RLI],
    "edit": [EditSettings, ExampleSettings],
    "runtime": [
        InversionSettings,
        Job,
        ModelSpec,
        (Memory, {"mode": "memory", "limit": "memory_gb"}),
        RayCluster,
    ],
    "data": [photos, *READERS.values()],
    "placement": [Shapes, Pool],
    "recognition": [Recognition],
    "dataset": [Dataset, Selection],
    "dataset.gate": [Gate],
    "dataset.variants": [Variants],
    "report": [write_outcome, write_sweep],
    "tracking": [open_tracker],
}
# Said in conf/ alone: the choice of a group's option; paths and prompts; and what only the command knows.
CONF_ALONE = {
    "runtime.kind", "runtime.cache", "data.kind", "data.path", "placement.kind", "dataset.review", "dataset.gate",
    "dataset.variants", "recognition.kind",
    "inversion.method", "inversion.solver", "edit.method", "tracking.kind",
}  # fmt: skip


def defaults(taker, names):
    """The defaults of a dataclass's fields or a function's arguments, by the key that sets them."""
    if is_dataclass(taker):
        found = {field.name: field.default for field in fields(taker) if field.default is not MISSING}
    else:
        found = {name: p.default for name, p in signature(taker).parameters.items() if p.default is not p.empty}
    return {names.get(name, name): value for name, value in found.items()}


@pytest.fixture(scope="module")
def cfg():
    return OmegaConf.to_container(composed("model=mini"), resolve=False)


def same(value) -> str:
    """Lists and tuples alike."""
    return json.dumps(value)


@pytest.mark.parametrize("group", TAKERS)
def test_a_group_s_defaults_are_the_code_s(cfg, group):
    values = cfg
    for part in group.split("."):
        values = values[part]
    takers = [taker if isinstance(taker, tuple) else (taker, {}) for taker in TAKERS[group]]
    said = [(key, value) for taker, names in takers for key, value in defaults(taker, names).items() if key in values]
    for key, value in said:
        # Of a nested group the values are compared where that group's own turn is.
        # Null is the default of whichever solver is chosen, or what suits the task.
        if f"{group}.{key}" not in TAKERS and not (values[key] is None and group in ("inversion", "edit")):
            assert same(values[key]) == same(value), f"{group}.{key}"
    left = {f"{group}.{key}" for key in values} - {f"{group}.{key}" for key, _ in said}
    assert left <= CONF_ALONE


def test_every_setting_of_the_records_has_its_key(cfg):
    """What the library can be told, the command can be told."""
    groups = {
        InversionSettings: {*cfg["inversion"], "seed", "hooks"},
        **{kind: {*cfg["inversion"]} for kind in (*INVERTERS.values(), *SOLVERS.values())},
        RLI: {*cfg["rli"]},
        EditSettings: {*cfg["edit"]},
        Recognition: {*cfg["recognition"]},
        ExampleSettings: {*cfg["edit"]},
        Shapes: {*cfg["placement"]},
        Pool: {*cfg["placement"]},
        Gate: {*cfg["dataset"]["gate"]},
        Variants: {*cfg["dataset"]["variants"]},
        ModelSpec: {*cfg["model"], *cfg["runtime"]},
        Selection: {*cfg["dataset"]},
        Dataset: {*cfg["dataset"], "formats", "reconstructions", "edits", "relabel"},
    }
    for record, keys in groups.items():
        assert {field.name for field in fields(record)} <= keys, record
    own = {field.name for reader in READERS.values() for field in fields(reader)}
    assert {*signature(photos).parameters, *own} - {"settings"} <= {*cfg["data"]}


def test_the_solver_that_is_taken_unless_one_is_named(cfg):
    assert SOLVERS[cfg["inversion"]["solver"]]() == NullText().solver
