"""The keys of the configuration and their types, checked before anything else is done with them.

The keys of edit, rli, inversion, dataset.gate and dataset.variants are the fields of the records that they make. The
other groups serve several records, or none, and are written down here; what their values may be is said by the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rli.datasets.splits import ratios_of
from rli.errors import RLIError, one_of
from rli.method.attention.rli import RLI
from rli.method.inversion.settings import INVERTERS, InversionSettings
from rli.method.records import EditSettings
from rli.method.solvers import SOLVERS
from rli.photos.placement_settings import PLACEMENTS
from rli.photos.sources import READERS, photos
from rli.photos.windows import WindowSettings
from rli.runs.examples import ExampleSettings
from rli.runs.groups import check_group, check_shared, keyed, named_class
from rli.runs.quality_gate import Gate
from rli.runs.variants import Variants

# Arguments of InversionSettings that other groups give.
FROM_ELSEWHERE = {"seed", "hooks"}
TASKS = ("edit", "reconstruct", "both")
Group = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """The configuration itself: what each key means is said in conf/."""

    resolution: Group
    defect: Group
    data: Group
    window: Group
    placement: Group
    inversion: Group
    rli: Group
    attention: Group
    edit: Group
    recognition: Group
    tracking: Group
    runtime: Group
    model: Group
    dataset: Group
    report: Group
    task: str
    export: Sequence[str] | str | None
    relabel: Literal["auto"] | bool
    shard: str | None
    dry_run: bool
    retry_failed: bool
    out: str
    # Of presets: the published table of an experiment, and the names of what was chosen, which tables show.
    table: Group | None = None
    method: str | None = None
    specificity: str | None = None


@dataclass(frozen=True)
class Resolution:
    """The size in pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class Defect:
    """The prompts."""

    name: str | None
    source: str
    target: str | None
    source_word: str | None
    target_word: str | None
    original: bool
    all: Mapping[str, str]
    good_source: str | None
    good_target: str | None
    prompts: str | None


@dataclass(frozen=True)
class Tracking:
    """Weights & Biases."""

    kind: Literal["wandb", "off"]
    mode: Literal["auto", "online", "offline"]
    project: str
    group: str | None
    tags: Sequence[str] | str


@dataclass(frozen=True)
class Runtime:
    """Where and how it is computed."""

    device: str
    dtype: str
    seed: int
    memory: str
    memory_gb: float | None
    checkpointing: bool | Literal["auto"]
    vae_tiling: bool | Literal["auto"]
    target_batch: int
    compile: bool
    cache: str
    kind: Literal["local", "ray"]
    address: str | None
    workers: int | None


@dataclass(frozen=True)
class ModelChoice:
    """The base model."""

    name: str
    weights: str | None
    vae: str | None
    lora: Sequence[str] | str
    prediction: Literal["epsilon", "v_prediction"] | None
    quantize: Sequence[str] | str
    resolutions: str


@dataclass(frozen=True)
class DatasetChoice:
    """How a data set is made and written."""

    originals: str
    split: str | None
    keep_split: bool
    group: str | None
    classes: Sequence[str] | str
    variants: Group
    gate: Group
    max_retries: int
    threshold: float
    smallest: int
    gap: int
    review: str | None
    title: str
    about: str
    licence: str


@dataclass(frozen=True)
class RecognitionChoice:
    """Whether and how the model judges edits."""

    kind: Literal["off", "on"]
    levels: Sequence[float]
    noises: int
    prompts: Sequence[str]
    clip: str | None


@dataclass(frozen=True)
class Report:
    """The page."""

    edits: int
    floor_db: float


# Groups whose keys are those of one class.
GROUPS: dict[str, type] = {
    "resolution": Resolution,
    "defect": Defect,
    "rli": RLI,
    "tracking": Tracking,
    "runtime": Runtime,
    "model": ModelChoice,
    "dataset": DatasetChoice,
    "recognition": RecognitionChoice,
    "report": Report,
    "window": WindowSettings,
}


def check_settings(cfg: Any) -> None:
    """Whether the configuration has the keys that it must have, no others, and values of their types.

    Args:
        cfg: What conf/config.yaml composes to, as plain values.

    Raises:
        RLIError: It has not; one line that names the key.
    """
    check_group(Settings, "", cfg)
    for name, kind in GROUPS.items():
        check_group(kind, name, cfg[name])
    check_group(Gate, "dataset.gate", cfg["dataset"]["gate"])
    check_group(Variants, "dataset.variants", cfg["dataset"]["variants"])
    check_shared([EditSettings, ExampleSettings], "edit", cfg["edit"], nullable=True)
    _check_data(cfg["data"])
    _check_placement(cfg["placement"])
    _check_inversion(cfg["inversion"])
    _check_attention(cfg["attention"])
    one_of("task", cfg["task"], TASKS)
    if cfg["dataset"]["split"] is not None:
        with keyed("dataset"):
            ratios_of(cfg["dataset"]["split"])


def _check_data(group: Any) -> None:
    """A setting of another reader than the chosen one is not used, so that a sweep over data sets may set it."""
    if not isinstance(group, Mapping) or "kind" not in group:
        raise RLIError("data.kind: the setting is missing")
    reader = named_class("data", group["kind"], READERS)
    check_shared((photos, reader, *READERS.values()), "data", group)


def _check_placement(group: Any) -> None:
    """A setting of another way of placing than the chosen one is not used, so that a sweep may set it."""
    check_shared((*PLACEMENTS.values(),), "placement", group, ("kind",))
    if "kind" not in group:
        raise RLIError("placement.kind: the setting is missing")
    one_of("placement", group["kind"], ("none", *PLACEMENTS))


def _check_inversion(group: Any) -> None:
    """A setting of another method or solver than the chosen ones is not used, so that a sweep over methods may set
    it."""
    for name in ("method", "solver", "batch_size"):
        if not isinstance(group, Mapping) or name not in group:
            raise RLIError(f"inversion.{name}: the setting is missing")
    method = named_class("inversion", group["method"], INVERTERS)
    solver = named_class("inversion.solver", group["solver"], SOLVERS)
    kinds = (InversionSettings, method, solver, *INVERTERS.values(), *SOLVERS.values())
    for name in FROM_ELSEWHERE & group.keys():
        raise RLIError(f"inversion.{name}: unknown setting")
    own = {name: value for name, value in group.items() if name not in ("method", "solver")}
    check_shared(kinds, "inversion", own, ("batch_size",), nullable=True)


def _check_attention(group: Any) -> None:
    """The hook's own settings are checked where it is made."""
    if not isinstance(group, Mapping) or "hook" not in group:
        raise RLIError("attention.hook: the setting is missing")
    if group["hook"] is None:
        check_group(_no_settings, "attention", {name: value for name, value in group.items() if name != "hook"})


def _no_settings() -> None:
    """What no hook is made from."""
