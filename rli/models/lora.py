"""LoRAs (Hu et al. 2022, arXiv:2106.09685), added to a model's weights before anything is measured or inverted.

A LoRA holds for some layers two thin matrices, `up` (out,r) and `down` (r,in), and a number alpha; the layer's weight
becomes W + strength·alpha/r·up·down. What is added once costs nothing afterwards, and the fingerprint of the weights,
which names cached inversions, knows of it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rli.errors import SettingError, shortened
from rli.models.checkpoint import Header, Origin, check_kinds, read_header
from rli.models.parts import Parts

# How the trainers kohya-ss and its followers begin names, for each part.
KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}
# Pieces of tensors' names that tell of adapters which are no plain LoRA.
OTHERS = {
    "dora_scale": "a DoRA",
    "lora_magnitude_vector": "a DoRA",
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "lora_mid": "a LoCon with three matrices",
    "oft_": "an OFT",
    "diff_b": "a LoRA that changes biases",
}
# What diffusers and peft, and older files, call the matrices.
SUFFIX = re.compile(r"(?:[._]lora(?:_linear_layer)?)?\.(?:lora_)?(?:(down|A)|(up|B))(?:\.default)?\.weight\Z")
# In older files the layers of attention have the names of the classes that once held their LoRAs.
OLD_NAMES = {
    "unet": {"to_out": "to_out_0"},
    "text": {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"},
}
# A factor, and the matrices up (out,r) and down (r,in).
Term = tuple[float, Tensor, Tensor]
# What peft writes into a file's header beside the matrices; where alpha is of each layer, or another rule holds.
PEFT = "lora_adapter_metadata"
PEFT_OTHERS = ("alpha_pattern", "use_rslora", "use_dora")


@dataclass(frozen=True)
class Lora:
    """A file with a LoRA, and how strongly it is added. Raises SettingError."""

    file: Path
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not -100 <= self.strength <= 100:
            raise SettingError("lora", str(self), "the strength is out of range; expected a number from -100 to 100")

    def __str__(self) -> str:
        """As results name it, wherever it lies."""
        return f"{self.file.name}:{self.strength:g}"

    @property
    def origin(self) -> Origin:
        """For messages."""
        return Origin("lora", str(self.file))


@dataclass
class _Layer:
    """What a LoRA holds for one layer."""

    down: Tensor | None = None
    up: Tensor | None = None
    alpha: float | None = None


def parse_lora(text: str) -> Lora:
    """A LoRA as it is typed: parts.safetensors, or parts.safetensors:0.8 for a strength of 0.8. Raises SettingError."""
    file, colon, strength = text.rpartition(":")
    try:
        return Lora(Path(file).expanduser(), float(strength)) if colon else Lora(Path(text).expanduser())
    except ValueError as error:
        if isinstance(error, SettingError):
            raise
        return Lora(Path(text).expanduser())  # the colon is part of the name


def check_lora(lora: Lora) -> None:
    """Whether a file holds a LoRA, as far as its header tells. Raises RLIError where it does not."""
    if not lora.file.is_file():
        raise lora.origin.error("there is no such file")
    header = read_header(lora.file, lora.origin)
    check_kinds({name: kind for name, kind in header.kinds.items() if not name.endswith(".alpha")}, lora.origin)
    for mark, words in OTHERS.items():
        if any(mark in name for name in header.shapes):
            raise lora.origin.error(f"it is {words}, and only LoRAs of two matrices are supported")
    if not any(name.endswith((".lora_down.weight", ".lora_A.weight", ".down.weight")) for name in header.shapes):
        raise lora.origin.error("it holds no LoRA")
    _factors(header, lora.origin)


@torch.no_grad()
def fuse(parts: Parts, loras: Sequence[Lora]) -> None:
    """Adds LoRAs to the weights of the UNet and the text encoders, in float32 and rounded once.

    Args:
        parts: Their weights are changed.
        loras: Any number of them.

    Raises:
        RLIError: A file holds no LoRA, or one of another kind of model.
    """
    changes: dict[Tensor, list[Term]] = defaultdict(list)
    for lora in loras:
        check_lora(lora)
        for weight, term in _terms(parts, lora):
            changes[weight].append(term)
    for weight, terms in changes.items():
        value = weight.flatten(1).float()
        for factor, up, down in terms:
            value = value.addmm(up.float(), down.float(), alpha=factor)
        weight.copy_(value.reshape(weight.shape))


def _terms(parts: Parts, lora: Lora) -> Iterator[tuple[Tensor, Term]]:
    """For each layer of a LoRA its weight, and what is added to it. Raises RLIError."""
    from safetensors.torch import load_file

    header = read_header(lora.file, lora.origin)
    factors = _factors(header, lora.origin)
    weights = {part: _weights(module) for part, module in _modules(parts).items()}
    for (part, name), layer in _layers(load_file(lora.file), parts, lora.origin).items():
        shown = f"{part} {shortened(name)}"
        if layer.up is None or layer.down is None:
            raise lora.origin.error(f"has one matrix of two for {shown}: it is damaged")
        weight = weights.get(part, {}).get(name)
        up, down = layer.up.flatten(1), layer.down.flatten(1)
        if weight is None:
            raise lora.origin.error(f"has {shown}, which this model lacks: it was made for another kind of model")
        if (len(up), down.shape[1]) != (len(weight), weight[0].numel()) or up.shape[1] != len(down):
            raise lora.origin.error(f"does not fit {shown}: it was made for another kind of model")
        if not (up.isfinite().all() and down.isfinite().all()):
            raise lora.origin.error(f"has values that are not finite for {shown}")
        scale = factors[part] if layer.alpha is None else layer.alpha / len(down)
        yield weight, (lora.strength * scale, up, down)


def _layers(tensors: Mapping[str, Tensor], parts: Parts, origin: Origin) -> dict[tuple[str, str], _Layer]:
    """The layers of a LoRA by part and flat name, in which every separator is “_”. Raises RLIError."""
    found: dict[tuple[str, str], _Layer] = defaultdict(_Layer)
    for name, value in _as_diffusers(tensors, parts).items():
        is_alpha = name.endswith(".alpha")
        suffix = None if is_alpha else SUFFIX.search(name)
        part, _, inner = name.partition(".")
        if part.startswith("lora_"):
            start = next((start for start in KOHYA if part.startswith(start)), "")
            part, inner = KOHYA.get(start, ""), f"{part.removeprefix(start)}.{inner}"
        if part not in _modules(parts) or not (is_alpha or suffix):
            raise origin.error(f"has {shortened(name)}, which is no part of a LoRA of this model")
        stem = inner.removesuffix(".alpha") if suffix is None else inner.removesuffix(suffix[0])
        layer = found[part, _flat(stem, part)]
        if suffix is None:
            layer.alpha = float(value)
        elif suffix[1]:
            layer.down = value
        else:
            layer.up = value
    return found


def _as_diffusers(tensors: Mapping[str, Tensor], parts: Parts) -> dict[str, Tensor]:
    """With the UNet's blocks counted as diffusers does; SDXL's trainers count them as its first implementation."""
    from diffusers import StableDiffusionXLPipeline

    if not any("_input_blocks_" in n or "_output_blocks_" in n or "_middle_block_" in n for n in tensors):
        return {**tensors}
    scaled = _without_alphas(tensors)
    named, _ = StableDiffusionXLPipeline.lora_state_dict(scaled, unet_config=parts.unet.config)
    return {**named}


def _without_alphas(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same LoRA with alpha/r in its upper matrices, in float32."""
    scaled = {name: value for name, value in tensors.items() if not name.endswith(".alpha")}
    for name, alpha in tensors.items():
        stem = name.removesuffix(".alpha")
        up, down = f"{stem}.lora_up.weight", f"{stem}.lora_down.weight"
        if stem != name and up in scaled and down in scaled:
            scaled[up] = scaled[up].float() * (float(alpha) / len(scaled[down]))
    return scaled


def _flat(name: str, part: str) -> str:
    """A layer's name with every separator as “_”, and as this model calls it."""
    flat = name.replace(".processor", "").replace(".", "_").removeprefix("text_model_")
    for old, new in OLD_NAMES["unet" if part == "unet" else "text"].items():
        if flat.endswith(f"_{old}"):
            return flat.removesuffix(old) + new
    return flat


def _modules(parts: Parts) -> dict[str, Any]:
    encoders = zip(("text_encoder", "text_encoder_2"), parts.text_encoders, strict=False)
    return {"unet": parts.unet, **dict(encoders)}


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights that a LoRA may change, by their layers' flat names."""
    layers = (nn.Linear, nn.Conv2d)
    named = {name: layer.weight for name, layer in module.named_modules() if isinstance(layer, layers)}
    return {name.replace(".", "_").removeprefix("text_model_"): weight for name, weight in named.items()}


def _factors(header: Header, origin: Origin) -> dict[str, float]:
    """For each part alpha/r of the layers that have no alpha of their own: 1, or what peft wrote beside them. Raises
    RLIError."""
    try:
        told = json.loads(header.metadata.get(PEFT, "{}"))
        others = [name for name, value in told.items() if value and name.rpartition(".")[2] in PEFT_OTHERS]
        alphas = {part: float(told.get(f"{part}.lora_alpha", 1)) for part in KOHYA.values()}
        factors = {part: alpha / float(told.get(f"{part}.r", alpha)) for part, alpha in alphas.items()}
    except (ValueError, AttributeError, TypeError, ZeroDivisionError):
        raise origin.error("cannot be read: the settings in its header are damaged") from None
    if others:
        raise origin.error(f"it has {shortened(others[0])}, another scale for some layers, which is not supported")
    return factors
