"""Loading a base model: from a hub, from a local folder or file, or with random weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rli.errors import RLIError, SettingError, one_of, shortened
from rli.models.architecture import Architecture
from rli.models.base_models import base_model
from rli.models.checkpoint import (
    INDEX,
    STEMS,
    Origin,
    check_config,
    check_index,
    check_not_distilled,
    check_parts,
    part_names,
    read_index,
    read_json,
    weight_variant,
)
from rli.models.device import drawback, pick_device, pick_dtype
from rli.models.diffusion import Model, arrange
from rli.models.lora import check_lora, fuse, parse_lora
from rli.models.noise_schedule import PREDICTIONS, read_schedule
from rli.models.parts import Parts, fingerprint
from rli.models.quantized import Quantization, check_quantization, parse_quantization, quantize_parts
from rli.models.random import random_parts
from rli.models.single_file import check_single_file, load_single_file, load_vae_file, tokenizer_of
from rli.models.soundness import check_finite, check_fit, check_parts_fit, check_report


def load(
    name: str = "sdxl",
    weights: str | None = None,
    *,
    vae: str | None = None,
    lora: Sequence[str] = (),
    prediction: str | None = None,
    quantize: Sequence[str] = (),
    device: str = "auto",
    dtype: str = "auto",
    checkpointing: bool = False,
    vae_tiling: bool = False,
    offload: bool = False,
) -> Model:
    """Load a base model.

    Args:
        name: one of `base_models.BASE_MODELS`.
        weights: a hub id, a local diffusers folder, a safetensors file with the whole model, or "random" (SDXL's shapes
            with random weights, for measuring time and memory); None is the base model's own place.
        vae: a replacement for the VAE, likewise.
        lora: files of LoRAs that are added to the weights, each with its strength where that is not 1, such as
            parts.safetensors:0.8.
        prediction: what the UNet predicts, epsilon or v_prediction, where the weights do not say it; None is what
            they say.
        quantize: parts whose weights are rounded to fewer bits, such as unet:int8; int8 is of the UNet and the text
            encoders.
        device: auto is CUDA where there is one; or cpu, cuda, cuda:N.
        dtype: of the UNet and the text encoders; auto is bfloat16 on CUDA and float32 on a CPU.
        checkpointing: computes activations again in the optimization's backward passes, which takes time and saves
            memory.
        vae_tiling: encodes and decodes in overlapping tiles.
        offload: keeps UNet and VAE on the CPU until they are called, and then one at a time on the device.

    Raises:
        RLIError: where the weights are not to be had or are of another kind.
    """
    base, placed = base_model(name), pick_device(device)
    precision = pick_dtype(dtype, placed)
    if (line := drawback(precision, placed)) is not None:
        print(f"warning: {line}", file=sys.stderr)
    rounded = parse_quantization(quantize)
    check_quantization(rounded, placed)
    weights = weights or base.weights
    if weights == "random":
        if name != "sdxl":
            raise SettingError("weights", weights, f"exists for sdxl only, not for {name}")
        parts = random_parts("sdxl", precision, device=placed)
    else:
        parts = load_parts(name, weights, precision, None if vae is None else load_vae(vae, name))
    if prediction is not None:
        parts = replace(parts, scheduler={**parts.scheduler, "prediction_type": prediction})
    added = tuple(map(parse_lora, lora))
    fuse(parts, added)
    options = {"checkpointing": checkpointing, "vae_tiling": vae_tiling, "offload": offload}
    model = assemble(name, parts, placed, rounded, **options)
    return replace(model, lora=tuple(map(str, added)))


def random_model(
    shape: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu", checkpointing: bool = False
) -> Model:
    """A frozen model of the named shape (`random.SHAPES`) with random weights."""
    return assemble(shape, random_parts(shape, dtype), torch.device(device), checkpointing=checkpointing)


def assemble(
    name: str,
    parts: Parts,
    device: torch.device,
    rounded: Sequence[Quantization] = (),
    *,
    checkpointing: bool = False,
    vae_tiling: bool = False,
    offload: bool = False,
) -> Model:
    """Round the parts and freeze them, read the noise schedule, and put UNet and VAE on the device.

    Raises:
        RLIError: for a noise schedule, a prediction or latents that are not supported, and for parts that do not fit.
    """
    quantized = tuple(map(str, rounded))
    own = fingerprint(parts, quantized)  # of the weights as they were
    quantize_parts(parts, rounded, device)
    for part in (parts.unet, parts.vae, *parts.text_encoders):
        part.eval().requires_grad_(False)
    schedule = read_schedule(parts.scheduler)
    check_fit(parts.unet, parts.vae)
    model = Model(
        name=name,
        architecture=parts.architecture,
        unet=parts.unet,
        vae=parts.vae.float(),
        tokenizers=parts.tokenizers,
        text_encoders=parts.text_encoders,
        abar=schedule.abar,
        prediction=schedule.prediction,
        fingerprint=own,
        device=device,
        quantized=quantized,
    )
    return arrange(model, checkpointing=checkpointing, vae_tiling=vae_tiling, offload=offload)


def check_weights(
    name: str, weights: str | None, *, vae: str | None = None, lora: Sequence[str] = (), prediction: str | None = None
) -> None:
    """What can be said of a model before anything is loaded; the arguments are those of `load`.

    Raises:
        RLIError: for a local file or folder that is of the wrong kind, or not whole.
    """
    base = base_model(name)
    weights = weights or base.weights
    if weights != "random" and _looks_local(weights):
        _check_local(Path(weights).expanduser(), name, weights, has_vae=vae is not None)
    for one in lora:
        check_lora(parse_lora(one))
    if prediction is not None:
        one_of("prediction", prediction, PREDICTIONS)


def _check_local(place: Path, name: str, weights: str, *, has_vae: bool = False) -> None:
    if place.is_file():
        check_single_file(place, name, Origin("weights", weights), has_vae=has_vae)
    else:
        _check_folder(place, name, weights)


def _check_folder(folder: Path, name: str, weights: str) -> None:
    base, origin = base_model(name), Origin("weights", weights)
    index = read_index(folder, origin)
    check_index(index, base.architecture, origin, name)
    check_parts(folder, base.architecture, origin)
    if weights != base.weights:  # a base model of this name is what it is meant to be
        check_not_distilled(index, read_json(folder / "scheduler" / "scheduler_config.json", origin), origin)


def load_parts(name: str, weights: str, dtype: torch.dtype, vae: Any = None) -> Parts:
    """The parts of a model in a single file, or of a diffusers pipeline; half-precision files of the hub where the
    model is used in half precision.

    Args:
        name, weights: As of `load`.
        dtype: Of the UNet and the text encoders.
        vae: A VAE from elsewhere in the place of the model's own.

    Raises:
        RLIError: The weights are not to be had, of another kind, damaged, or do not fit each other.
    """
    origin, local = Origin("weights", weights), _looks_local(weights)
    place = Path(weights).expanduser() if local else _fetched(name, weights, dtype)
    _check_local(place, name, weights, has_vae=vae is not None)
    if place.is_file():
        parts = _first([partial(load_single_file, place, base_model(name), dtype, vae, origin)], origin)
    else:
        parts = _folder_parts(name, place, dtype, origin, half=not local and dtype != torch.float32)
        parts = parts if vae is None else replace(parts, vae=vae)
    check_parts_fit(parts, origin)
    return parts


def _folder_parts(name: str, folder: Path, dtype: torch.dtype, origin: Origin, *, half: bool) -> Parts:
    """Of a diffusers folder."""
    architecture = base_model(name).architecture
    pipe = _first([partial(_pipeline, architecture, folder, dtype, origin, half)], origin)
    tokenizers, encoders = [pipe.tokenizer], [pipe.text_encoder]
    if architecture.encoders == 2:
        tokenizers.append(pipe.tokenizer_2)
        encoders.append(pipe.text_encoder_2)
    return Parts(
        architecture=architecture,
        unet=pipe.unet,
        vae=pipe.vae,
        tokenizers=tuple(tokenizers),
        text_encoders=tuple(encoders),
        # Its class says what the configuration alone does not.
        scheduler={**pipe.scheduler.config, "_class_name": type(pipe.scheduler).__name__},
    )


def tokenizer_at_hand(name: str, weights: str | None) -> Any:
    """The tokenizer of a model that lies on this machine, without the model; None where there is none.

    Args:
        name: As of `load`.
        weights: As of `load`.
    """
    from huggingface_hub import try_to_load_from_cache
    from transformers import CLIPTokenizer

    source = weights or base_model(name).weights
    try:
        if (place := Path(source).expanduser()).is_file():
            return tokenizer_of(base_model(name).configuration / "tokenizer", Origin("weights", source))
        if _looks_local(source):
            folder = place / "tokenizer"
        # Looked up here: given a hub id, CLIPTokenizer asks the hub even where it is told to take local files only.
        elif isinstance(kept := try_to_load_from_cache(source, "tokenizer/tokenizer_config.json"), str):
            folder = Path(kept).parent
        else:
            return None
        # Where there is no folder it would make a tokenizer that knows two tokens.
        with quietly():
            return CLIPTokenizer.from_pretrained(folder, local_files_only=True) if folder.is_dir() else None
    except Exception:  # loading the model will say what is wrong
        return None


def _fetched(name: str, weights: str, dtype: torch.dtype) -> Path:
    """The folder of a pipeline from the hub; its index is looked at first, for the rest is gigabytes."""
    import diffusers

    architecture, origin = base_model(name).architecture, Origin("weights", weights)
    pipeline = getattr(diffusers, architecture.pipeline)
    index = _first([lambda: pipeline.load_config(weights)], origin)
    check_index(index, architecture, origin, name)
    if weights != base_model(name).weights:
        check_not_distilled(index, {}, origin)
    variants = [None] if dtype == torch.float32 else ["fp16", None]
    options = {"use_safetensors": True, **architecture.options}
    return Path(_first([partial(pipeline.download, weights, variant=one, **options) for one in variants], origin))


def _pipeline(architecture: Architecture, folder: Path, dtype: torch.dtype, origin: Origin, half: bool) -> Any:
    import diffusers
    import transformers

    index, parts = read_json(folder / INDEX, origin), {}
    for part, group in part_names(architecture):
        kind = index[part][1]
        if group == "tokenizer":
            parts[part] = transformers.CLIPTokenizer.from_pretrained(folder, subfolder=part, local_files_only=True)
            continue
        make = getattr(transformers if group == "text_encoder" else diffusers, kind)
        # The VAE in float32 from the start: rounded to bfloat16 its weights would stay rounded.
        precision = torch.float32 if group == "vae" else dtype
        variant = weight_variant(folder / part, STEMS[group], origin, half=half)
        parts[part] = _part(make, folder, origin.of(part), subfolder=part, dtype=precision, variant=variant)
    return getattr(diffusers, architecture.pipeline).from_pretrained(folder, **parts, **architecture.options)


def _part(make: Any, source: str | Path, origin: Origin, **options: Any) -> Any:
    """A part with all of its weights, and with no others."""
    part, report = make.from_pretrained(source, use_safetensors=True, output_loading_info=True, **options)
    check_report(report, origin)
    check_finite(part, origin)
    return part


def load_vae(weights: str, name: str) -> Any:
    """A VAE from a hub, a local folder or a file. Raises RLIError where it cannot be loaded.

    Args:
        weights: Where it is.
        name: The base model that it is for, whose configuration a file's VAE has.
    """
    import diffusers

    origin, options, source = Origin("vae", weights), {}, weights
    if _looks_local(weights):
        folder = Path(weights).expanduser()
        if folder.is_file():
            return _first([partial(load_vae_file, folder, base_model(name), origin)], origin)
        if not folder.is_dir():
            raise origin.error("there is no such file or folder")
        check_config(folder, "vae", origin)
        options, source = {"variant": weight_variant(folder, STEMS["vae"], origin, half=False)}, str(folder)
    return _first([partial(_part, diffusers.AutoencoderKL, source, origin, **options)], origin)


def _looks_local(weights: str) -> bool:
    """A hub id is “owner/name” and no more; everything else, and whatever exists, is a folder or a file."""
    return Path(weights).expanduser().exists() or weights.startswith((".", "/", "~")) or weights.count("/") != 1


def _first(loaders: Sequence[Callable[[], Any]], origin: Origin) -> Any:
    """What the first loader that succeeds gives; SettingError with the first one's reason when none does."""
    reason: Exception | None = None
    for loader in loaders:
        try:
            with quietly():
                return loader()
        except (MemoryError, RLIError):
            raise
        except Exception as error:  # libraries meet damaged files with errors of every type
            reason = reason or error
    line = shortened(" ".join(str(reason).split()) or type(reason).__name__, 200)
    expected = "a local diffusers folder or file with safetensors, or a hub id that this machine can reach"
    raise origin.error(f"cannot be loaded; expected {expected} ({line})")


@contextmanager
def quietly() -> Iterator[None]:
    """Without the libraries' bars over a second's loading and their advice; downloads keep their own bar."""
    import diffusers
    import transformers

    before = [(library.utils.logging, library.utils.logging.get_verbosity()) for library in (diffusers, transformers)]
    try:
        for logging, _ in before:
            logging.set_verbosity_error()
            logging.disable_progress_bar()
        yield
    finally:
        for logging, verbosity in before:
            logging.set_verbosity(verbosity)
            logging.enable_progress_bar()
