"""Loading a base model: from a hub, from a local folder, or with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rli.errors import RLIError
from rli.models.architecture import Architecture
from rli.models.base_models import base_model
from rli.models.device import pick_device, pick_dtype
from rli.models.diffusion import Model, arrange
from rli.models.noise_schedule import cumulative_alphas
from rli.models.parts import Parts, fingerprint
from rli.models.random import random_parts


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
    weights = weights or base.weights
    if weights == "random":
        if name != "sdxl":
            raise RLIError(f"model.weights=random exists for model=sdxl only, not for model={name}")
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
        RLIError: where the weights predict something else than noise or velocity.
    """
    for part in (parts.unet, parts.vae, *parts.text_encoders):
        part.eval().requires_grad_(False)
    schedule = parts.scheduler
    abar = cumulative_alphas(
        schedule.get("beta_start", 0.00085),
        schedule.get("beta_end", 0.012),
        schedule.get("beta_schedule", "scaled_linear"),
        schedule.get("num_train_timesteps", 1000),
    )
    prediction = schedule.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise RLIError(f"the weights predict “{prediction}”; only epsilon and v_prediction are supported")
    model = Model(
        name=name,
        architecture=parts.architecture,
        unet=parts.unet,
        vae=parts.vae.float(),
        tokenizers=parts.tokenizers,
        text_encoders=parts.text_encoders,
        abar=abar,
        prediction=prediction,
        fingerprint=fingerprint(parts),
        device=device,
    )
    return arrange(model, checkpointing=checkpointing, vae_tiling=vae_tiling, offload=offload)


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
        raise RLIError(f"model.weights={weights} is not a diffusers folder: it has no model_index.json")
    try:
        kind = json.loads(index.read_text())["_class_name"]
    except (ValueError, KeyError, TypeError):
        raise RLIError(f"model.weights={weights}: model_index.json cannot be read") from None
    if kind != base.architecture.pipeline:
        raise RLIError(f"model.weights={weights} holds a {kind}; model={name} needs a {base.architecture.pipeline}")


def load_parts(name: str, weights: str, dtype: torch.dtype) -> Parts:
    """The parts of a diffusers pipeline; half-precision files where the model is used in half precision."""
    check_weights(name, weights)
    architecture, local = base_model(name).architecture, _looks_local(weights)
    variants = [None] if local or dtype == torch.float32 else ["fp16", None]
    source = str(Path(weights).expanduser()) if local else weights
    loaders = [partial(_pipeline, architecture, source, dtype, variant) for variant in variants]
    pipe = _first(loaders, f"model.weights={weights}")
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
        scheduler=dict(pipe.scheduler.config),
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

    return _first(
        [lambda: diffusers.AutoencoderKL.from_pretrained(weights, use_safetensors=True)], f"model.vae={weights}"
    )


def _looks_local(weights: str) -> bool:
    """A hub id is “owner/name” and no more; everything else, and whatever exists, is a folder."""
    return Path(weights).expanduser().exists() or weights.startswith((".", "/", "~")) or weights.count("/") != 1


def _first(loaders: Sequence[Callable[[], Any]], what: str) -> Any:
    """What the first loader that succeeds gives; RLIError in one line, with the first one's reason, when none does."""
    reason: Exception | None = None
    for loader in loaders:
        try:
            with _quietly():
                return loader()
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            reason = reason or error
    line = " ".join(str(reason).split())[:200]
    raise RLIError(
        f"{what} cannot be loaded: give a local diffusers folder with safetensors, or a hub id that this machine can "
        f"reach ({line})"
    )


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
