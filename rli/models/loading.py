"""Loading a base model: from a hub, from a local folder, or with random weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rli.errors import RLIError, SettingError
from rli.models.architecture import Architecture
from rli.models.base_models import base_model
from rli.models.device import drawback, pick_device, pick_dtype
from rli.models.diffusion import Model, arrange
from rli.models.noise_schedule import read_schedule
from rli.models.parts import Parts, fingerprint
from rli.models.random import random_parts
from rli.models.vae import latent_scaling


def load(
    name: str = "sdxl",
    weights: str | None = None,
    *,
    vae: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    checkpointing: bool = False,
    vae_tiling: bool = False,
    offload: bool = False,
) -> Model:
    """Load a base model.

    Args:
        name: one of `base_models.BASE_MODELS`.
        weights: a hub id, a local diffusers folder, or "random" (SDXL's shapes with random weights, for measuring time
            and memory); None is the base model's own place.
        vae: a replacement for the VAE, likewise.
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
    weights = weights or base.weights
    if weights == "random":
        if name != "sdxl":
            raise SettingError("weights", weights, f"exists for sdxl only, not for {name}")
        parts = random_parts("sdxl", precision)
    else:
        parts = load_parts(name, weights, precision)
    if vae is not None:
        parts = replace(parts, vae=load_vae(vae))
    return assemble(name, parts, placed, checkpointing=checkpointing, vae_tiling=vae_tiling, offload=offload)


def random_model(
    shape: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu", checkpointing: bool = False
) -> Model:
    """A frozen model of the named shape (`random.SHAPES`) with random weights."""
    return assemble(shape, random_parts(shape, dtype), torch.device(device), checkpointing=checkpointing)


def assemble(
    name: str,
    parts: Parts,
    device: torch.device,
    *,
    checkpointing: bool = False,
    vae_tiling: bool = False,
    offload: bool = False,
) -> Model:
    """Freeze the parts, read the noise schedule from the scheduler's settings, and put UNet and VAE on the device.

    Raises:
        RLIError: for a noise schedule, a prediction or latents that are not supported, and for parts that do not fit.
    """
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
        fingerprint=fingerprint(parts),
        device=device,
    )
    return arrange(model, checkpointing=checkpointing, vae_tiling=vae_tiling, offload=offload)


def check_fit(unet: Any, vae: Any) -> None:
    """Whether the UNet works on what this VAE makes. Raises RLIError, also for latents that are scaled in a way of
    their own."""
    kind = type(vae).__name__
    if kind != "AutoencoderKL":
        raise RLIError(f"the VAE is of class {kind}; only AutoencoderKL is supported")
    latent_scaling(vae.config)
    taken, given, made = unet.config.in_channels, unet.config.out_channels, vae.config.latent_channels
    if not taken == given == made:
        raise RLIError(
            f"the UNet takes {taken} channels and predicts {given}, and the VAE makes {made}: only a UNet that "
            "denoises this VAE's latents is supported"
        )


def check_weights(name: str, weights: str | None) -> None:
    """What can be said of weights before anything is loaded.

    Raises:
        RLIError: for a local folder of the wrong kind.
    """
    base = base_model(name)
    weights = weights or base.weights
    if weights == "random" or not _looks_local(weights):
        return
    index = Path(weights).expanduser() / "model_index.json"
    if not index.is_file():
        raise SettingError("weights", weights, "not a diffusers folder, because it has no model_index.json")
    try:
        kind = json.loads(index.read_text())["_class_name"]
    except (ValueError, KeyError, TypeError):
        raise SettingError("weights", weights, "its model_index.json cannot be read") from None
    if kind != base.architecture.pipeline:
        problem = (
            f"holds a {kind}, and {name} needs a {base.architecture.pipeline}; choose another model or other weights"
        )
        raise SettingError("weights", weights, problem)


def load_parts(name: str, weights: str, dtype: torch.dtype) -> Parts:
    """The parts of a diffusers pipeline; half-precision files where the model is used in half precision."""
    check_weights(name, weights)
    architecture, local = base_model(name).architecture, _looks_local(weights)
    variants = [None] if local or dtype == torch.float32 else ["fp16", None]
    source = str(Path(weights).expanduser()) if local else weights
    loaders = [partial(_pipeline, architecture, source, dtype, variant) for variant in variants]
    pipe = _first(loaders, "weights", weights)
    tokenizers, encoders = [pipe.tokenizer], [pipe.text_encoder]
    if hasattr(pipe, "text_encoder_2"):
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


def _pipeline(architecture: Architecture, source: str, dtype: torch.dtype, variant: str | None) -> Any:
    import diffusers

    return getattr(diffusers, architecture.pipeline).from_pretrained(
        source,
        # The VAE in float32 from the start: rounded to bfloat16 its weights would stay rounded.
        dtype={"default": dtype, "vae": torch.float32},
        use_safetensors=True,
        variant=variant,
        **architecture.options,
    )


def load_vae(weights: str) -> Any:
    """A VAE from a hub or a local folder. Raises RLIError where it cannot be loaded."""
    import diffusers

    return _first([lambda: diffusers.AutoencoderKL.from_pretrained(weights, use_safetensors=True)], "vae", weights)


def _looks_local(weights: str) -> bool:
    """A hub id is “owner/name” and no more; everything else, and whatever exists, is a folder."""
    return Path(weights).expanduser().exists() or weights.startswith((".", "/", "~")) or weights.count("/") != 1


def _first(loaders: Sequence[Callable[[], Any]], name: str, value: str) -> Any:
    """What the first loader that succeeds gives; SettingError with the first one's reason when none does."""
    reason: Exception | None = None
    for loader in loaders:
        try:
            with _quietly():
                return loader()
        except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ImportError) as error:
            reason = reason or error
    line = " ".join(str(reason).split())[:200]
    expected = "a local diffusers folder with safetensors, or a hub id that this machine can reach"
    raise SettingError(name, value, f"cannot be loaded; expected {expected} ({line})")


@contextmanager
def _quietly() -> Iterator[None]:
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
