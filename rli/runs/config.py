"""A run's configuration, plain nested values by name, as checked records: what is wrong with it is said here, in one
line, before a model is loaded."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rli.datasets.dataset import Dataset
from rli.datasets.review import read_review
from rli.errors import RLIError, SettingError, one_of, whole, within
from rli.method.attention.install import AttentionHook
from rli.method.attention.rli import LOCATIONS, RLI
from rli.method.inversion.settings import INVERTERS, InversionSettings
from rli.method.records import EditSettings, Target
from rli.method.solvers import SOLVERS
from rli.models.device import pick_device, pick_dtype
from rli.models.loading import check_weights
from rli.photos.sources import PhotoSource, photos
from rli.runs.job import Job, Selection
from rli.runs.memory import Memory
from rli.runs.quality_gate import Gate
from rli.runs.runner import Maker
from rli.runs.variants import Variants

TASKS = ("edit", "reconstruct", "both")
# Keys that are true or false; of dataset, those that say which edits are good enough and how many there are.
SWITCHES = ("relabel", "dry_run", "retry_failed")
SELECTION = ("gate", "tries", "threshold", "smallest", "variants")
# Keys that a data set's pictures do not depend on.
FREE = ("export", "shard", "dry_run", "retry_failed", "relabel", "report", "tracking")


def settings(cfg: Mapping[str, Any]) -> Job:
    """The configuration as checked records. Raises RLIError, in one line, for whatever cannot be."""
    defect, runtime = cfg["defect"], cfg["runtime"]
    for key in {*cfg["edit"]} - {field.name for field in fields(EditSettings)}:
        raise RLIError(f"edit.{key} is not a setting")
    one_of("task", cfg["task"], TASKS)
    targets = [] if cfg["task"] == "reconstruct" else _targets(defect)
    return Job(
        model=cfg["model"]["name"],
        height=cfg["resolution"]["height"],
        width=cfg["resolution"]["width"],
        source=defect["source"],
        targets=tuple(targets),
        original=defect["original"] or cfg["task"] != "edit",
        inversion=inversion_settings(cfg["inversion"], cfg["rli"], cfg["attention"], runtime["seed"]),
        edit=EditSettings(**cfg["edit"]),
        cache=Path(runtime["cache"]),
        batch_size=cfg["inversion"]["batch_size"],
        target_batch=runtime["target_batch"],
        memory=Memory(runtime["memory"], runtime["memory_gb"], runtime["checkpointing"], runtime["vae_tiling"]),
        variants=Variants(**known("dataset.variants", cfg["dataset"]["variants"], Variants)),
        selection=_selection(cfg["dataset"]) if cfg["export"] else None,
        # Which of several GPUs it is makes no difference: parts may each have their own.
        weights=f"{cfg['model']['weights']} {cfg['model']['vae']} {str(runtime['device']).partition(':')[0]} "
        f"{runtime['dtype']}",
    )


def inversion_settings(
    inversion: Mapping[str, Any], rli: Mapping[str, Any], attention: Mapping[str, Any], seed: int
) -> InversionSettings:
    """The groups inversion, rli and attention. A setting of another method or solver than the chosen ones is not used,
    so that a sweep over methods may set it. Raises RLIError."""
    method = named_class("inversion", inversion["method"], INVERTERS)
    solver = named_class("inversion.solver", inversion["solver"], SOLVERS)
    kinds = (InversionSettings, method, solver, *INVERTERS.values(), *SOLVERS.values())
    for key in {*inversion} - {field.name for kind in kinds for field in fields(kind)} - {"batch_size"}:
        raise RLIError(f"inversion.{key} is not a setting")

    def own(record: type) -> dict[str, Any]:
        names = {field.name for field in fields(record)} - {"method", "solver", "seed", "hooks"}
        return {name: value for name, value in inversion.items() if name in names and value is not None}

    nested = {"solver": solver(**own(solver))} if "solver" in {field.name for field in fields(method)} else {}
    return InversionSettings(
        method(**own(method), **nested), hooks=attention_hooks(rli, attention), seed=seed, **own(InversionSettings)
    )


def attention_hooks(rli: Mapping[str, Any], attention: Mapping[str, Any]) -> tuple[AttentionHook, ...]:
    """The groups rli and attention: Residual Linear Interpolation unless it is off, and a further hook where one is
    named. Raises RLIError."""
    one_of("rli", rli["location"], (*LOCATIONS, "off"))
    hooks: list[AttentionHook] = [] if rli["location"] == "off" else [RLI(rli["alpha"], rli["location"])]
    if attention["hook"] is not None:
        settings = {name: value for name, value in attention.items() if name != "hook"}
        hook = named_class("attention.hook", attention["hook"], {})
        hooks.append(hook(**known("attention", settings, hook)))
    return tuple(hooks)


def named_class(key: str, name: Any, classes: Mapping[str, type]) -> Any:
    """One of the classes by its short name, or any frozen dataclass by its dotted one, such as
    my_package.my_file.MyMethod. Raises RLIError."""
    if name in classes:
        return classes[name]
    module, _, own = str(name).rpartition(".")
    if not module:
        short = f"one of {', '.join(classes)}, or " if classes else ""
        raise RLIError(f"{key}={name}: unknown value; expected {short}a dotted name")
    try:
        found = getattr(importlib.import_module(module), own)
    except (ImportError, AttributeError) as error:
        raise RLIError(f"{key}={name} cannot be imported: {error}") from None
    if not is_dataclass(found):
        raise RLIError(f"{key}={name} is no dataclass")
    return found


def _targets(defect: Mapping[str, Any]) -> list[Target]:
    targets = [Target(name, prompt) for name, prompt in defect["all"].items()]
    if defect["name"]:
        if not defect["target"]:
            raise RLIError(
                'defect=custom needs defect.target: the prompt that is wanted, such as "photo of a crack hole image"'
            )
        targets.append(Target(defect["name"], defect["target"], defect["source_word"], defect["target_word"]))
    return targets


def _selection(dataset: Mapping[str, Any]) -> Selection:
    gate = Gate(**known("dataset.gate", dataset["gate"], Gate))
    return Selection(gate, dataset["tries"], dataset["threshold"], dataset["smallest"])


def known(group: str, values: Any, record: type) -> dict[str, Any]:
    """A group's values, all of them settings of the record. Raises RLIError."""
    if not isinstance(values, Mapping):
        raise RLIError(f"{group}={values} must be a group of settings")
    for name in {*values} - {field.name for field in fields(record)}:
        raise RLIError(f"{group}.{name} is not a setting")
    return dict(values)


def wanted(cfg: Mapping[str, Any]) -> Dataset | None:
    """The data set that is asked for; None where none is. Raises RLIError."""
    if not cfg["export"]:
        return None
    if cfg["task"] == "edit" and not (cfg["defect"]["all"] or cfg["defect"]["name"]):
        raise RLIError("export needs a defect to edit to, or task=reconstruct")
    formats = cfg["export"] if isinstance(cfg["export"], list) else [cfg["export"]]
    dataset = {name: value for name, value in cfg["dataset"].items() if name not in SELECTION}
    review = dataset.pop("review")
    try:
        return Dataset(
            formats=tuple(formats),
            reconstructions=cfg["task"] != "edit",
            edits=cfg["task"] != "reconstruct",
            relabel=cfg["relabel"],
            review=read_review(review) if review else {},
            **known("dataset", dataset, Dataset),
        )
    except SettingError as error:
        raise error.renamed("export" if error.name == "formats" else f"dataset.{error.name}") from None


def sources(cfg: Mapping[str, Any], job: Job) -> PhotoSource:
    """The photographs; a single one is read at once, so that a bad file is refused before a model is loaded."""
    data = dict(cfg["data"])
    try:
        found = photos(data.pop("kind"), data.pop("path"), **data)
    except SettingError as error:
        raise error.renamed(f"data.{error.name}") from None
    first = [*islice(found, 2)]
    if len(first) == 1:
        first[0].read(job.height, job.width)
        first[0].region(job.height, job.width)
    return found


def maker_of(cfg: Mapping[str, Any], job: Job) -> Maker:
    runtime, where = cfg["runtime"], cfg["model"]
    return Maker(job, where["weights"], where["vae"], runtime["device"], runtime["dtype"], runtime["compile"])


def card_of(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a data set's card tells of the settings: not where things lie, or how many work at once."""
    names = ("task", "relabel", "resolution", "defect", "inversion", "rli", "edit", "dataset")
    return {"model": cfg["model"]["name"], **{name: cfg[name] for name in names}, "seed": cfg["runtime"]["seed"]}


def check(cfg: Mapping[str, Any], job: Job) -> None:
    """Raises RLIError for what cannot be, before a model is loaded."""
    runtime = cfg["runtime"]
    pick_dtype(runtime["dtype"], pick_device(runtime["device"]))
    for name, value in (("runtime.compile", runtime["compile"]), *((key, cfg[key]) for key in SWITCHES)):
        if not isinstance(value, bool):
            raise RLIError(f"{name}={value} is not known: choose true or false")
    whole("report.edits", cfg["report"]["edits"], 1, 1_000_000)
    within("report.floor_db", cfg["report"]["floor_db"], 0, 100)
    check_weights(job.model, cfg["model"]["weights"])


def dataset_folder(cfg: Mapping[str, Any]) -> str:
    """Where a data set's files go unless something else is said: it follows from what its pictures depend on."""
    told = {name: value for name, value in cfg.items() if name not in FREE}
    told["dataset"] = {name: cfg["dataset"][name] for name in SELECTION}
    told["runtime"] = {name: cfg["runtime"][name] for name in ("seed", "dtype")}
    told["data"] = {name: value for name, value in cfg["data"].items() if name != "limit"}
    told["inversion"] = {name: value for name, value in cfg["inversion"].items() if name != "batch_size"}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
    name = Path(cfg["data"]["path"] or cfg["data"]["kind"]).resolve().stem
    return f"outputs/datasets/{name}-{digest}"
