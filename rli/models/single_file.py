"""A whole model in one safetensors file, as trainers, Civitai and ComfyUI have it: recognised, checked and loaded.

Such files name tensors as the first implementations did (Rombach et al. 2022, Podell et al. 2023), and say nothing of
configurations, vocabularies and noise schedules: those are the base model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rli.errors import shortened
from rli.models.base_models import BASE_MODELS, BaseModel
from rli.models.checkpoint import Header, Origin, check_kinds, check_not_distilled, read_header, read_json
from rli.models.clip_vocabulary import END, clip_tokenizer
from rli.models.parts import Parts
from rli.models.soundness import check_finite, check_report

# What the names of a part's tensors begin with.
UNET, VAE = "model.diffusion_model.", "first_stage_model."
FIRST = f"{UNET}input_blocks.0.0.weight"
# Channels of the UNet's input by which models of other uses are known: a mask, a picture or both beside the latent.
CHANNELS = {9: "an inpainting model", 8: "an InstructPix2Pix model", 7: "an upscaler"}
# What else people give, by a piece of its tensors' names; the first that is found counts.
OTHERS = {
    "lora_": "a LoRA: model.lora takes it",
    "hada_w1": "a LoHa, which is not supported",
    "lokr_w1": "a LoKr, which is not supported",
    "control_model.": "a ControlNet",
    "controlnet_": "a ControlNet",
    "image_proj.": "an IP-Adapter",
    "joint_blocks.": "a Stable Diffusion 3 model",
    "double_blocks.": "a Flux model",
    "emb_params": "a textual inversion",
    "clip_g": "a textual inversion",
    "down_blocks.0.resnets.": "a part of a diffusers folder: give the folder",
    "decoder.conv_in.": "a VAE: model.vae takes it",
}


@dataclass(frozen=True)
class Layout:
    """How one kind of model names the tensors of its text encoders."""

    # As people call it.
    words: str
    # What the names of each encoder's tensors begin with.
    encoders: tuple[str, ...]


# OpenAI's encoders are named as transformers has them (transformer.text_model.), OpenCLIP's in its own way (model.).
LAYOUTS = {
    "sdxl": Layout("SDXL", ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")),
    "sd1": Layout("Stable Diffusion 1", ("cond_stage_model.transformer.",)),
    "sd2": Layout("Stable Diffusion 2", ("cond_stage_model.model.",)),
}
REFINER = "conditioner.embedders.0.model."


def layout_of(header: Header, origin: Origin) -> str:
    """Which of LAYOUTS a file has.

    Args:
        header: The file's.
        origin: Where it comes from, for messages.

    Raises:
        RLIError: It has none of them; the message says what it is, where that can be told.
    """
    names = header.shapes
    if FIRST not in names:
        other = next((words for mark, words in OTHERS.items() if any(mark in name for name in names)), None)
        raise origin.error(f"it is {other}" if other else "it holds no model that is known")
    taken = header.shapes[FIRST][1] if len(header.shapes[FIRST]) > 1 else 0
    if taken in CHANNELS:
        raise origin.error(f"it is {CHANNELS[taken]}, whose UNet has {taken} input channels; give the base model")
    for kind, layout in LAYOUTS.items():
        if all(any(name.startswith(prefix) for name in names) for prefix in layout.encoders):
            return kind
    if any(name.startswith(REFINER) for name in names):
        raise origin.error("it is SDXL's refiner; give the base model")
    raise origin.error("it holds a UNet without its text encoders: a checkpoint with all parts is needed")


def check_single_file(file: Path, name: str, origin: Origin, *, has_vae: bool = False) -> None:
    """Whether a file is of the wanted kind, and whole, as far as its header tells.

    Args:
        file: The file.
        name: The base model's.
        origin: Where it comes from, for messages.
        has_vae: Whether a VAE comes from elsewhere, so that the file needs none.

    Raises:
        RLIError: It is not.
    """
    header, base = read_header(file, origin), BASE_MODELS[name]
    kind = layout_of(header, origin)
    if kind != base.layout:
        fitting = " or ".join(other for other, one in BASE_MODELS.items() if one.layout == kind and other != "mini")
        wanted = LAYOUTS[base.layout].words
        raise origin.error(f"it is {LAYOUTS[kind].words}, and {name} is {wanted}; choose model={fitting}")
    parts = (UNET, VAE, *LAYOUTS[kind].encoders)
    check_kinds({name: value for name, value in header.kinds.items() if name.startswith(parts)}, origin)
    if not has_vae and not any(name.startswith(VAE) for name in header.shapes):
        raise origin.error("it holds no VAE; give one with model.vae")
    title = " ".join(header.metadata.get(f"modelspec.{key}", "") for key in ("title", "architecture"))
    check_not_distilled({"_name_or_path": title}, {}, origin)


def load_single_file(file: Path, base: BaseModel, dtype: torch.dtype, vae: Any, origin: Origin) -> Parts:
    """The parts of a model in one file that `check_single_file` let pass.

    Args:
        file: The file.
        base: The model that it is one of.
        dtype: Of the UNet and the text encoders; the VAE is float32.
        vae: A VAE from elsewhere, or None for the file's own.
        origin: Where it comes from, for messages.

    Raises:
        RLIError: A tensor is missing, not finite or of another shape.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
    from safetensors.torch import load_file

    tensors, folder = load_file(file), base.configuration
    own = {name: value for name, value in tensors.items() if name.startswith(UNET)}
    config = read_json(folder / "unet" / "config.json", origin)
    converted = convert_ldm_unet_checkpoint(own, config)
    known = {id(value) for value in converted.values()}
    if unknown := [name for name, value in own.items() if id(value) not in known]:
        words = LAYOUTS[base.layout].words
        raise origin.error(f"has an unknown tensor {shortened(unknown[0])}: its UNet is another one than {words}'s")
    encoders = tuple(
        _encoder(tensors, prefix, folder / f"text_encoder{suffix}", origin.of(f"text_encoder{suffix}")).to(dtype)
        for prefix, suffix in zip(LAYOUTS[base.layout].encoders, ("", "_2"), strict=False)
    )
    return Parts(
        architecture=base.architecture,
        unet=_filled(_unet(config), converted, origin.of("unet")).to(dtype),
        vae=_vae(tensors, folder / "vae", origin.of("vae")) if vae is None else vae,
        tokenizers=tuple(tokenizer_of(folder / f"tokenizer{suffix}", origin) for suffix in ("", "_2")[: len(encoders)]),
        text_encoders=encoders,
        scheduler=_scheduler(read_json(folder / "scheduler" / "scheduler_config.json", origin), file, origin),
    )


def load_vae_file(file: Path, base: BaseModel, origin: Origin) -> Any:
    """A VAE in a file of its own, or the VAE of a whole model's; its tensors may be named in either way.

    Raises:
        RLIError: The file holds none, or not one of the base model's shape.
    """
    from safetensors.torch import load_file

    header = read_header(file, origin)
    if not any("decoder.conv_in." in name for name in header.shapes):
        other = next((words for mark, words in OTHERS.items() if any(mark in name for name in header.shapes)), "no VAE")
        raise origin.error(f"it is {other}")
    return _vae(load_file(file), base.configuration / "vae", origin)


def tokenizer_of(folder: Path, origin: Origin) -> Any:
    """A configuration's tokenizer: the one that it holds, or else CLIP's own. Raises RLIError."""
    from transformers import CLIPTokenizer

    if (folder / "tokenizer.json").is_file():
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    config = read_json(folder / "tokenizer_config.json", origin)
    return clip_tokenizer(config.get("pad_token", END), config.get("model_max_length", 77))


def _unet(config: Mapping[str, Any]) -> nn.Module:
    """As the configuration says, without weights."""
    from diffusers import UNet2DConditionModel

    return _empty(lambda: UNet2DConditionModel.from_config(config))


def _vae(tensors: Mapping[str, Tensor], folder: Path, origin: Origin) -> Any:
    """In float32."""
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    config = read_json(folder / "config.json", origin)
    own = _below(tensors, next((p for p in (VAE, "vae.") if any(n.startswith(p) for n in tensors)), ""))
    named = own if any("down_blocks." in name for name in own) else convert_ldm_vae_checkpoint(own, config)
    return _filled(_empty(lambda: AutoencoderKL.from_config(config)), named, origin).float()


def _encoder(tensors: Mapping[str, Tensor], prefix: str, folder: Path, origin: Origin) -> nn.Module:
    """A text encoder; what the file has beyond it (layers that are not used, positions' numbers) is left out."""
    import transformers
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    config = transformers.CLIPTextConfig.from_pretrained(folder, local_files_only=True)
    make = getattr(transformers, config.architectures[0])
    empty = _empty(lambda: make(config))
    own = _below(tensors, prefix)
    named = convert_open_clip_checkpoint(empty, own, "") if prefix.endswith(".model.") else own
    if not hasattr(empty, "text_model"):  # since 5.6 transformers has it without this wrapper
        named = {name.removeprefix("text_model."): value for name, value in named.items()}
    wanted = empty.state_dict()
    return _filled(empty, {name: value for name, value in named.items() if name in wanted}, origin)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _empty(make: Callable[[], nn.Module]) -> nn.Module:
    """A module whose weights have shapes but no data; its buffers, which no file holds, have theirs."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        return make()


def _filled(part: nn.Module, tensors: Mapping[str, Tensor], origin: Origin) -> nn.Module:
    """The module with these weights, all of them and no others. Raises RLIError."""
    shapes = {name: value.shape for name, value in part.state_dict().items()}
    report = {
        "missing_keys": shapes.keys() - tensors.keys(),
        "unexpected_keys": tensors.keys() - shapes.keys(),
        "mismatched_keys": [n for n, value in tensors.items() if n in shapes and value.shape != shapes[n]],
    }
    check_report(report, origin)
    part.load_state_dict(tensors, assign=True)
    check_finite(part, origin)
    return part


def _scheduler(config: dict[str, Any], file: Path, origin: Origin) -> dict[str, Any]:
    """The base model's noise schedule, with what the file says of its own: trainers leave empty tensors as marks, or
    metadata (Stability AI's modelspec)."""
    header = read_header(file, origin)
    told = header.metadata.get("modelspec.prediction_type", "")
    if "v_pred" in header.shapes or told in ("v", "v_prediction"):
        config = {**config, "prediction_type": "v_prediction"}
    elif told == "epsilon":
        config = {**config, "prediction_type": "epsilon"}
    return {**config, "rescale_betas_zero_snr": True} if "ztsnr" in header.shapes else config
