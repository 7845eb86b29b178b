"""Turns a run's configuration (plain nested values by name) into checked records.

A mistake ends here, in one line that names the key, before a model is loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rli.errors import RLIError, whole, within
from rli.method.attention.install import AttentionHook
from rli.method.attention.rli import RLI
from rli.method.inversion.settings import INVERTERS, InversionSettings
from rli.method.recognition import Recognition
from rli.method.records import Target
from rli.method.solvers import SOLVERS
from rli.models.lora import parse_lora
from rli.models.quantized import parse_quantization
from rli.photos.placement_settings import PLACEMENTS, Placement
from rli.photos.sources import READERS, Photo, PhotoSource, photos
from rli.photos.windows import WindowSettings
from rli.runs.class_prompts import Prompts, read_prompts
from rli.runs.edit_settings import SMALL, edit_of, example_settings, examples_of
from rli.runs.groups import build, keyed, listed, named_class
from rli.runs.job import Job, Selection
from rli.runs.memory_plan import Memory
from rli.runs.model_spec import KEYS, ModelSpec
from rli.runs.quality_gate import Gate
from rli.runs.schema import check_settings
from rli.runs.shards import Shard
from rli.runs.variants import Variants

if TYPE_CHECKING:
    from rli.datasets.dataset import Dataset

# The keys of dataset that say which edits there are and which are good enough: pictures depend on these alone.
SELECTION_KEYS = ("gate", "max_retries", "threshold", "smallest", "gap", "variants")
# The groups and keys that a data set's pictures do not depend on.
NOT_IN_PICTURES = ("export", "shard", "dry_run", "retry_failed", "relabel", "report", "tracking", "recognition")
# What a data set's card says of the settings: not where things lie, or how many work at once.
ON_CARD = ("task", "relabel", "resolution", "window", "placement", "defect", "inversion", "rli", "edit", "dataset")


@dataclass(frozen=True)
class RayCluster:
    """The Ray cluster that does the work. Raises SettingError."""

    # Of a running cluster ("auto", "ray://host:10001", "host:6379"); None starts one on this machine.
    address: str | None = None
    # How many workers; None is one for each GPU, or for each pair of CPUs.
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None:
            whole("workers", self.workers, 1, 100_000)


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run is asked for, checked."""

    job: Job
    model: ModelSpec
    source: PhotoSource
    # The data set to write; None without export.
    dataset: Dataset | None
    shard: Shard
    # Where all shards' files go.
    out: Path
    # The Ray cluster that does the work; None is this process.
    cluster: RayCluster | None
    # Whether to estimate the run instead of doing it; whether to try photographs again that failed.
    dry_run: bool
    retry_failed: bool
    # Of the page and the tracker: edits shown at most, and the background PSNR of a good setting in dB.
    edits_shown: int
    floor_db: float
    # The configuration as it was given.
    settings: Mapping[str, Any]


def read_config(cfg: Mapping[str, Any]) -> RunConfig:
    """The configuration as checked records.

    Args:
        cfg: What conf/config.yaml composes to, as plain values.

    Returns:
        The records. A single photograph is read at once, so that a bad file is refused before a model is loaded.

    Raises:
        RLIError: A value is not possible; the message is one line that names the key.
    """
    check_settings(cfg)
    job, runtime, report = job_of(cfg), cfg["runtime"], cfg["report"]
    dataset, shard = _dataset(cfg), Shard.parse(cfg["shard"])
    whole("report.edits", report["edits"], 1, 1_000_000)
    within("report.floor_db", report["floor_db"], 0, 100)
    cluster = {name: runtime[name] for name in ("address", "workers")}
    return RunConfig(
        job=job,
        model=_model(cfg),
        source=_photo_source(cfg, job),
        dataset=dataset,
        shard=shard,
        out=Path(cfg["out"]),
        cluster=build(RayCluster, "runtime", cluster) if runtime["kind"] == "ray" else None,
        dry_run=cfg["dry_run"],
        retry_failed=cfg["retry_failed"],
        edits_shown=report["edits"],
        floor_db=report["floor_db"],
        settings=cfg,
    )


def job_of(cfg: Mapping[str, Any]) -> Job:
    """What is done to every photograph, as a checked record. Raises RLIError."""
    defect, runtime, size = cfg["defect"], cfg["runtime"], cfg["resolution"]
    keys = {
        "count": "dataset.variants.count",
        "height": "resolution.height",
        "width": "resolution.width",
        "target_batch": "runtime.target_batch",
    }
    selection = _selection(cfg["dataset"])
    with keyed("inversion", {**KEYS, **keys}):
        return Job(
            model=cfg["model"]["name"],
            height=size["height"],
            width=size["width"],
            source=defect["source"],
            targets=_targets(cfg),
            original=defect["original"] or cfg["task"] != "edit",
            inversion=_inversion(cfg),
            edit=edit_of(cfg),
            cache=Path(runtime["cache"]),
            batch_size=cfg["inversion"]["batch_size"],
            target_batch=runtime["target_batch"],
            memory=_memory(runtime),
            window=build(WindowSettings, "window", cfg["window"]),
            good=_good_prompts(cfg),
            by_class=_class_prompts(cfg),
            variants=build(Variants, "dataset.variants", cfg["dataset"]["variants"]),
            selection=selection if cfg["export"] else None,
            recognition=_recognition(cfg["recognition"]),
            examples=examples_of(cfg, _every_photo(cfg)),
            weights=_weights(cfg["model"], runtime),
        )


def _weights(model: Mapping[str, Any], runtime: Mapping[str, Any]) -> str:
    """What results depend on beside the model's name. Which of several GPUs it is makes no difference: shards may each
    have their own."""
    device = str(runtime["device"]).partition(":")[0]
    own = [*listed(model["lora"]), *([] if model["prediction"] is None else [model["prediction"]])]
    own += map(str, parse_quantization(listed(model["quantize"])))
    return " ".join(map(str, (model["weights"], model["vae"], device, runtime["dtype"], *own)))


def _recognition(group: Mapping[str, Any]) -> Recognition | None:
    """How the model is asked what it recognises; None where it is not."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in group.items()}
    return build(Recognition, "recognition", values) if values.pop("kind") == "on" else None


def _inversion(cfg: Mapping[str, Any]) -> InversionSettings:
    group, keys = cfg["inversion"], {"seed": "runtime.seed", "method": "inversion", "solver": "inversion.solver"}
    method = named_class("inversion", group["method"], INVERTERS)
    solver = named_class("inversion.solver", group["solver"], SOLVERS)

    def own(kind: type) -> dict[str, Any]:
        """The values of its fields; null is its own default."""
        names = {field.name for field in fields(kind)} - {"method", "solver", "seed", "hooks"}
        return {name: value for name, value in group.items() if name in names and value is not None}

    given: dict[str, Any] = {}
    if "solver" in {field.name for field in fields(method)}:
        given["solver"] = build(solver, "inversion", own(solver), keys)
    inverter = build(method, "inversion", own(method), keys, **given)
    shared = {"method": inverter, "hooks": _attention_hooks(cfg), "seed": cfg["runtime"]["seed"]}
    return build(InversionSettings, "inversion", own(InversionSettings), keys, **shared)


def _attention_hooks(cfg: Mapping[str, Any]) -> tuple[AttentionHook, ...]:
    """Residual Linear Interpolation unless it is off, and a further hook where one is named."""
    hooks: list[AttentionHook] = []
    if cfg["rli"].get("location") != "off":  # a setting that was taken out has its default
        hooks.append(build(RLI, "rli", cfg["rli"]))
    if cfg["attention"]["hook"] is not None:
        settings = {name: value for name, value in cfg["attention"].items() if name != "hook"}
        hooks.append(build(named_class("attention.hook", cfg["attention"]["hook"], {}), "attention", settings))
    return tuple(hooks)


def _targets(cfg: Mapping[str, Any]) -> tuple[Target, ...]:
    """The wanted defects. Where an example says what is wanted, the words may stay as they are."""
    defect = cfg["defect"]
    if cfg["task"] == "reconstruct":
        return ()
    targets = [Target(name, prompt) for name, prompt in defect["all"].items()]
    if defect["name"]:
        prompt = defect["target"] or (defect["source"] if example_settings(cfg).are_wanted else None)
        if not prompt:
            raise RLIError(
                'defect=custom needs defect.target, the target prompt, such as "photo of a crack hole image"'
            )
        targets.append(Target(defect["name"], prompt, defect["source_word"], defect["target_word"]))
    return tuple(targets)


def _good_prompts(cfg: Mapping[str, Any]) -> Prompts | None:
    """The prompts of good photographs that get a defect, of which {defect} is the name."""
    source, target = cfg["defect"]["good_source"], cfg["defect"]["good_target"]
    if cfg["placement"]["kind"] == "none" or source is None or target is None:
        return None
    names = (one.name for one in _targets(cfg))
    return Prompts(source, tuple(Target(name, target.replace("{defect}", name)) for name in names))


def _class_prompts(cfg: Mapping[str, Any]) -> dict[str, Prompts]:
    """The prompts that a file says, by class and category."""
    defect = cfg["defect"]
    if defect["prompts"] is None:
        return {}
    with keyed("defect"):
        prompts = read_prompts(Path(defect["prompts"]).expanduser(), Prompts(defect["source"], _targets(cfg)))
    if cfg["task"] == "reconstruct":
        return {name: replace(own, targets=()) for name, own in prompts.items()}
    return prompts


def _placement(group: Mapping[str, Any]) -> Placement | None:
    """Where photographs without a defect get one; None where nowhere."""
    if group["kind"] == "none":
        return None
    kind = PLACEMENTS[group["kind"]]
    names = {field.name for field in fields(kind)}
    return build(kind, "placement", {name: value for name, value in group.items() if name in names})


def _memory(runtime: Mapping[str, Any]) -> Memory:
    values = {name: runtime[name] for name in ("checkpointing", "vae_tiling")}
    keys = {"mode": "runtime.memory", "limit": "runtime.memory_gb"}
    return build(Memory, "runtime", values, keys, mode=runtime["memory"], limit=runtime["memory_gb"])


def _selection(dataset: Mapping[str, Any]) -> Selection:
    gate = build(Gate, "dataset.gate", dataset["gate"])
    values = {name: dataset[name] for name in ("max_retries", "threshold", "smallest", "gap")}
    return build(Selection, "dataset", values, gate=gate)


def _model(cfg: Mapping[str, Any]) -> ModelSpec:
    """The model to load, checked as far as can be before it is."""
    where, values = cfg["model"], {name: cfg["runtime"][name] for name in ("device", "dtype", "compile")}
    given = {name: where[name] for name in ("name", "weights", "vae", "prediction")}
    lists = {name: listed(where[name]) for name in ("lora", "quantize")}
    spec = build(ModelSpec, "runtime", values, KEYS, **lists, **given)
    spec.check()
    return spec


def _dataset(cfg: Mapping[str, Any]) -> Dataset | None:
    """The data set that is asked for; None where none is."""
    if not cfg["export"]:
        return None
    if cfg["task"] == "edit" and not (cfg["defect"]["all"] or cfg["defect"]["name"] or cfg["defect"]["prompts"]):
        raise RLIError(
            "export writes edits, and no defect is chosen; choose one with defect=…, or set task=reconstruct"
        )
    # Here, because a run without a data set need not wait for SciPy and PyArrow.
    from rli.datasets.classes import fixed_classes
    from rli.datasets.dataset import Dataset
    from rli.datasets.review import read_review

    values = {name: value for name, value in cfg["dataset"].items() if name not in SELECTION_KEYS}
    review, classes = values.pop("review"), values.pop("classes")
    with keyed("dataset"):
        fixed = fixed_classes(classes)
    return build(
        Dataset,
        "dataset",
        values,
        {"formats": "export"},
        formats=listed(cfg["export"]),
        reconstructions=cfg["task"] != "edit",
        edits=cfg["task"] != "reconstruct",
        relabel=cfg["relabel"],
        review=read_review(review) if review else {},
        classes=fixed,
    )


def _photo_source(cfg: Mapping[str, Any], job: Job) -> PhotoSource:
    """The photographs; a single one is read at once."""
    source = _photos(cfg)
    if (placement := _placement(cfg["placement"])) is not None:
        source = source.placing(placement, cfg["runtime"]["seed"])
    first = [*islice(source, 2)]
    if len(first) == 1:
        first[0].read(SMALL, SMALL)  # whether it can be read does not depend on the size
        own = None if job.window.paste == "none" else first[0].size()
        first[0].region(*(own or (job.height, job.width)))
    return source


def _every_photo(cfg: Mapping[str, Any]) -> Iterator[Photo]:
    """The data set's photographs, also those that are not edited."""
    yield from _photos(cfg, limit=None, classes=None)


def _photos(cfg: Mapping[str, Any], **changes: Any) -> PhotoSource:
    """The photographs, without places for new defects; with some settings of `photos` changed."""
    reader = named_class("data", cfg["data"]["kind"], READERS)
    settings = {name: value for name, value in cfg["data"].items() if name != "kind"} | changes
    return build(photos, "data", settings, {"kind": "data"}, kind=reader)


def card_settings(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """What a data set's card says of the settings."""
    model = cfg["model"]
    lora = [str(parse_lora(one)) for one in listed(model["lora"])]
    quantized = [*map(str, parse_quantization(listed(model["quantize"])))]
    own = {name: value for name, value in (("lora", lora), ("quantized", quantized)) if value}
    facts = {"model": model["name"], **own}
    said = {**{name: cfg[name] for name in ON_CARD}, "edit": asdict(edit_of(cfg))}
    return {**facts, **said, "seed": cfg["runtime"]["seed"]}


def dataset_folder(cfg: Mapping[str, Any]) -> str:
    """Where a data set's files go unless something else is said: it follows from what its pictures depend on.

    Raises:
        RLIError: The configuration, which has no `out` yet, is not as it must be.
    """
    check_settings({**cfg, "out": ""})
    facts = {name: value for name, value in cfg.items() if name not in NOT_IN_PICTURES}
    facts["dataset"] = {name: cfg["dataset"][name] for name in SELECTION_KEYS}
    facts["runtime"] = {name: cfg["runtime"][name] for name in ("seed", "dtype")}
    facts["data"] = {name: value for name, value in cfg["data"].items() if name != "limit"}
    facts["inversion"] = {name: value for name, value in cfg["inversion"].items() if name != "batch_size"}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    name = Path(cfg["data"]["path"] or cfg["data"]["kind"]).resolve().stem
    return f"outputs/datasets/{name}-{digest}"
