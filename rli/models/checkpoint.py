"""A diffusers folder, looked at before it is loaded: whether it is the kind that is wanted, and whole.

Libraries fill what is missing with random weights, cast what is not a weight, and warn. Here it is an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rli.errors import RLIError, SettingError, shortened, shown
from rli.files import look_at
from rli.models.architecture import Architecture

INDEX = "model_index.json"
# The most bytes of a JSON file, of a safetensors file's header, and of a number in a part's configuration.
MOST_JSON, MOST_HEADER, MOST_NUMBER = 2**26, 10**8, 10**6
# The classes that a part may be of, and how a part's weights are called.
CLASSES = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
WEIGHTS = ("F64", "F32", "F16", "BF16")
# Endings of files that hold pickles.
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
# Models that are taken for base models by mistake, by their pipeline's or their own class.
OTHERS = {
    "StableDiffusionXLImg2ImgPipeline": "the refiner",
    "StableDiffusionXLInpaintPipeline": "an inpainting model",
    "StableDiffusionInpaintPipeline": "an inpainting model",
    "ControlNetModel": "a ControlNet",
    "LatentConsistencyModelPipeline": "a distilled model",
}
# Names of models that were distilled to few steps without guidance.
DISTILLED = re.compile(r"(?:sdxl|sd|xl)[-_]?(?:turbo|lightning)|hyper[-_]?sd|lcm", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, for messages: the argument that names it, its value, and a part of it."""

    name: str
    value: str
    part: str = ""

    def of(self, part: str) -> Origin:
        """A part of the same model."""
        return replace(self, part=part)

    def error(self, problem: str) -> SettingError:
        """What is wrong with it."""
        return SettingError(self.name, self.value, f"{self.part} {problem}".strip())


def part_names(architecture: Architecture) -> Iterator[tuple[str, str]]:
    """Each part with weights or a vocabulary: its folder's name, and which of CLASSES it is."""
    yield "unet", "unet"
    yield "vae", "vae"
    for suffix in ("", "_2")[: architecture.encoders]:
        yield f"text_encoder{suffix}", "text_encoder"
        yield f"tokenizer{suffix}", "tokenizer"


def read_index(folder: Path, origin: Origin) -> dict[str, Any]:
    """A pipeline's model_index.json.

    Args:
        folder: The diffusers folder.
        origin: Where it comes from, for messages.

    Raises:
        RLIError: The folder is none; the message says what it is, where that can be told.
    """
    if not folder.exists():
        raise origin.error(f"there is no such file or folder; a diffusers folder has a {INDEX}")
    if not (folder / INDEX).is_file():
        raise origin.error(f"not a diffusers folder, because it has no {INDEX}{_what_else(folder)}")
    return read_json(folder / INDEX, origin)


def _what_else(folder: Path) -> str:
    try:
        kind = read_json(folder / "config.json", Origin("", "")).get("_class_name")
    except (RLIError, OSError):
        return " (it holds a LoRA)" if (folder / "pytorch_lora_weights.safetensors").is_file() else ""
    return f" (it holds {OTHERS.get(str(kind), f'a {shortened(kind)}')} alone)" if kind else ""


def read_json(file: Path, origin: Origin) -> dict[str, Any]:
    """A JSON file that holds an object. Raises RLIError where it does not."""
    try:
        look_at(file, MOST_JSON)
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise origin.error(f"{_place(file)} is missing") from None
    except (ValueError, RecursionError, OSError):  # RLIError is a ValueError: it is no file that could be read
        raise origin.error(f"{_place(file)} cannot be read") from None
    if not isinstance(value, dict):
        raise origin.error(f"{_place(file)} cannot be read: it holds no settings")
    return value


def check_index(index: Mapping[str, Any], architecture: Architecture, origin: Origin, name: str) -> None:
    """Whether a pipeline's index is of the wanted kind.

    Args:
        index: Of model_index.json.
        architecture: What is wanted.
        origin: Where it comes from, for messages.
        name: The base model's.

    Raises:
        RLIError: It is of another kind.
    """
    kind = index.get("_class_name")
    if not isinstance(kind, str):
        raise origin.error(f"{INDEX} cannot be read: it names no pipeline")
    if kind != architecture.pipeline:
        other = f", {OTHERS[kind]}" if kind in OTHERS else ""
        needs = f"{name} needs a {architecture.pipeline}; choose another model or other weights"
        raise origin.error(f"holds a {shortened(kind)}{other}, and {needs}")
    for part, group in part_names(architecture):
        own = _class_in(index, part)
        if own is None:
            refiner = ": it is SDXL's refiner" if part == "text_encoder" and architecture.encoders == 2 else ""
            raise origin.error(f"has no {part}{refiner}, and {name} needs one; choose another model or other weights")
        if own not in CLASSES[group]:
            raise origin.error(f"its {part} is a {shortened(own)}; expected one of {', '.join(CLASSES[group])}")


def _class_in(index: Mapping[str, Any], part: str) -> str | None:
    entry = index.get(part)
    return str(entry[1]) if isinstance(entry, list) and len(entry) == 2 and entry[1] else None


def check_not_distilled(index: Mapping[str, Any], scheduler: Mapping[str, Any], origin: Origin) -> None:
    """Raises RLIError for a model that was distilled to few steps: it cannot be inverted."""
    names = (origin.value.rpartition("/")[2], index.get("_name_or_path", ""))
    few_steps = (
        scheduler.get("_class_name") == "EulerAncestralDiscreteScheduler"
        and scheduler.get("timestep_spacing") == "trailing"
    )
    if few_steps or scheduler.get("_class_name") == "LCMScheduler" or any(DISTILLED.search(str(n)) for n in names):
        raise origin.error(
            "it is a turbo model, distilled to few steps without guidance; give the model that it was made from"
        )


def check_parts(folder: Path, architecture: Architecture, origin: Origin) -> None:
    """Whether the folder of each part has what is needed, as far as the files' heads tell.

    Raises:
        RLIError: A file is missing, damaged, or of another kind.
    """
    for part, group in part_names(architecture):
        if group in STEMS:
            check_config(folder / part, group, origin.of(part))
            weight_variant(folder / part, STEMS[group], origin, half=False)
    _check_scheduler(read_json(folder / "scheduler" / "scheduler_config.json", origin), origin)
    unet, vae = (read_json(folder / part / "config.json", origin) for part in ("unet", "vae"))
    channels, latent = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if channels != latent:
        kind = "an inpainting UNet" if channels == 9 else "another UNet"
        raise origin.error(f"holds {kind}: its UNet has {shortened(channels)} input channels, its VAE {latent}")


def _check_scheduler(config: Mapping[str, Any], origin: Origin) -> None:
    """Without its own settings a library would take its defaults; what they may be is checked where they are read."""
    if "Scheduler" not in str(config.get("_class_name")):
        raise origin.error("scheduler/scheduler_config.json cannot be read: it names no scheduler")


def check_config(folder: Path, group: str, origin: Origin) -> None:
    """Whether a part's configuration is of the wanted kind, with numbers that can be. Raises RLIError."""
    config = read_json(folder / "config.json", origin)
    kind = config.get("_class_name", CLASSES[group][0])
    if kind not in CLASSES[group]:
        raise origin.error(f"is {OTHERS.get(str(kind), f'a {shortened(kind)}')}; expected {CLASSES[group][0]}")
    for key, value in config.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > MOST_NUMBER:
                raise origin.error(f"{shortened(key)}={shortened(number)} in its config.json cannot be")
    if group == "vae":
        scale = config.get("scaling_factor", 0.18215)
        if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < float("inf"):
            raise origin.error(f"scaling_factor={shortened(scale)} in its config.json cannot be")


def weight_variant(folder: Path, stem: str, origin: Origin, *, half: bool) -> str | None:
    """Which variant of a part's weights is there, with its files' headers checked.

    Args:
        folder: The part's.
        stem: How its weights are called.
        origin: Where it comes from, for messages.
        half: Whether fp16 files go before the others, where both are there.

    Returns:
        None for plain files; else the variant's name, such as fp16.

    Raises:
        RLIError: There are no safetensors files, or one of them is damaged.
    """
    pattern = re.compile(re.escape(stem) + r"(?:\.([\w-]+?))?(?:-\d+-of-\d+)?\.safetensors")
    found: dict[str | None, list[Path]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        if match := pattern.fullmatch(file.name):
            found.setdefault(match[1], []).append(file)
    for variant in ("fp16", None) if half else (None, "fp16"):
        if variant in found:
            for file in found[variant]:
                check_header(file, origin)
            return variant
    others = sorted(
        file.name for file in folder.glob("*") if file.suffix in (".bin", ".ckpt", ".msgpack", ".safetensors")
    )
    there = f" (only {shortened(', '.join(others))})" if others else ""
    raise origin.error(f"{_place(folder / stem)}.safetensors is missing{there}")


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself before its tensors."""

    # Each tensor's shape and its type, such as F16, by its name.
    shapes: Mapping[str, tuple[int, ...]]
    kinds: Mapping[str, str]
    # Free texts, such as who trained it.
    metadata: Mapping[str, str]


def read_header(file: Path, origin: Origin) -> Header:
    """A safetensors file's header, from which it is known whether the file is whole.

    Args:
        file: The file.
        origin: Where it comes from, for messages; its part is the file.

    Raises:
        RLIError: It is damaged, or no such file.
    """
    size = look_at(file).st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        if start == b"version ":
            raise origin.error("is a pointer of Git LFS: fetch the file itself with git lfs pull")
        if file.suffix in PICKLES:
            raise origin.error("is a pickle, which may run anything: save it as safetensors")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(MOST_HEADER, size - 8):
            raise origin.error("is damaged: it is no safetensors file, or was cut off")
        try:
            header = json.loads(stream.read(length))
            metadata = header.pop("__metadata__", {})
            end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            kinds = {name: entry["dtype"] for name, entry in header.items()}
            shapes = {name: tuple(map(int, entry["shape"])) for name, entry in header.items()}
            texts = {str(name): str(text) for name, text in metadata.items()}
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError):
            raise origin.error("is damaged: its header cannot be read") from None
    if end + 8 + length != size:
        raise origin.error(f"is damaged: it has {size} bytes where its header says {shortened(end + 8 + length)}")
    return Header(shapes, kinds, texts)


def check_header(file: Path, origin: Origin) -> None:
    """Whether a part's safetensors file is whole, as its header tells, and holds floating-point weights. Raises
    RLIError."""
    at = origin.of(_place(file))
    check_kinds(read_header(file, at).kinds, at)


def check_kinds(kinds: Mapping[str, str], origin: Origin) -> None:
    """Raises RLIError where one of these tensors is no weight."""
    for name, kind in kinds.items():
        # Older text encoders keep their positions' numbers, which are no weights.
        if kind not in WEIGHTS and not name.endswith("position_ids"):
            raise origin.error(f"has {shortened(name)} of type {shortened(kind)}; weights are floating-point numbers")


def _place(file: Path) -> str:
    """A file with its part's folder."""
    return shown(file.name if file.name == INDEX else f"{file.parent.name}/{file.name}")
