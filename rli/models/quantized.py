"""Weights in 8 or 4 bits, for devices with less memory; results change a little.

The linear layers of a part are rounded once, after LoRAs were added to their weights, and compute in the model's
precision as before. The libraries' own functions do it on the loaded model: the settings that diffusers and
transformers have for them act while a folder is read, where no LoRA is added yet and a single file is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from rli.errors import SettingError
from rli.models.parts import Parts


@dataclass(frozen=True)
class Kind:
    """A way of rounding weights."""

    # What must be installed for it.
    library: str
    # Types of devices that it is for.
    devices: tuple[str, ...]
    # Rounds the linear layers of a module, and leaves them where they are; it may compute on the device.
    apply: Callable[[nn.Module, torch.device], None]


def to_int8(part: nn.Module, device: torch.device) -> None:
    """Eight bits and a scale for each output, by torchao."""
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(part, Int8WeightOnlyConfig(set_inductor_config=False))  # which would hold for the whole process


def to_nf4(part: nn.Module, device: torch.device) -> None:
    """Four bits for normally distributed weights and a scale for each 64 of them, by bitsandbytes (Dettmers et al.
    2023, arXiv:2305.14314, section 3)."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for parent, name, layer in _linear_layers(part):
        sizes = layer.in_features, layer.out_features, layer.bias is not None
        packed = Linear4bit(*sizes, compute_dtype=layer.weight.dtype, quant_type="nf4", device="meta")
        packed.weight = Params4bit(layer.weight.data, quant_type="nf4", module=packed)
        packed.bias = layer.bias
        setattr(parent, name, packed.train(layer.training).to(device).to(layer.weight.device))


KINDS = {
    "int8": Kind("torchao", ("cpu", "cuda"), to_int8),
    # On a CPU bitsandbytes packs weights for inference, and gradients are lost from then on.
    "nf4": Kind("bitsandbytes", ("cuda",), to_nf4),
}
PARTS = ("unet", "text_encoders")


@dataclass(frozen=True)
class Quantization:
    """Which part of a model has its weights rounded, one of PARTS, and how, one of KINDS."""

    part: str
    kind: str

    def __str__(self) -> str:
        return f"{self.part}:{self.kind}"


def parse_quantization(texts: Sequence[str]) -> tuple[Quantization, ...]:
    """What is to be rounded.

    Args:
        texts: As they are typed: int8 is of all PARTS, unet:int8 of one.

    Returns:
        At most one for each part, in the order of PARTS.

    Raises:
        SettingError: A part or a kind is unknown, or a part is given twice.
    """
    kinds: dict[str, str] = {}
    for text in texts:
        named, colon, kind = text.rpartition(":")
        for part in (named,) if colon else PARTS:
            if part not in PARTS or kind not in KINDS:
                known = ", ".join((*KINDS, *(f"{name}:{way}" for name in PARTS for way in KINDS)))
                raise SettingError("quantize", text, f"unknown value; expected one of {known}")
            if part in kinds:
                raise SettingError("quantize", text, f"the {part} would be rounded twice")
            kinds[part] = kind
    return tuple(Quantization(part, kinds[part]) for part in PARTS if part in kinds)


def check_quantization(chosen: Sequence[Quantization], device: torch.device) -> None:
    """Raises SettingError where a device cannot do it, or a library is missing."""
    for one in chosen:
        kind = KINDS[one.kind]
        if device.type not in kind.devices:
            others = " or ".join(name for name, other in KINDS.items() if device.type in other.devices)
            raise SettingError("quantize", str(one), f"needs CUDA; use {others} on a {device.type.upper()}")
        if find_spec(kind.library) is None:
            raise SettingError("quantize", str(one), f'needs the library {kind.library}: pip install "rli[quantize]"')


def quantize_parts(parts: Parts, chosen: Sequence[Quantization], device: torch.device) -> None:
    """Rounds the weights of linear layers.

    Args:
        parts: A model's; they are changed, and stay where they are.
        chosen: Which parts, and how.
        device: What the model will work on.
    """
    modules = {"unet": (parts.unet,), "text_encoders": parts.text_encoders}
    for one in chosen:
        for module in modules[one.part]:
            KINDS[one.kind].apply(module, device)


def stored(weight: Tensor) -> Iterator[Tensor]:
    """The tensors that a weight is kept in: itself, or where it is rounded its numbers and their scales."""
    if not is_traceable_wrapper_subclass(weight):
        yield weight
        return
    for name in weight.__tensor_flatten__()[0]:
        yield from stored(getattr(weight, name))


@contextmanager
def unpacked(part: nn.Module) -> Iterator[None]:
    """Within the scope layers in 4 bits are plain ones on the meta device: their own cannot work on shapes alone.

    What they do takes as much, for of its weight a layer in 4 bits keeps nothing for the backward pass but the packed
    one; left out is that one layer's weight is there whole for a moment.
    """
    packed = [held for held in _linear_layers(part) if getattr(held[2].weight, "quant_state", None) is not None]
    for parent, name, layer in packed:
        sizes = layer.in_features, layer.out_features, layer.bias is not None
        setattr(parent, name, nn.Linear(*sizes, device="meta", dtype=layer.compute_dtype))
    try:
        yield
    finally:
        for parent, name, layer in packed:
            setattr(parent, name, layer)


def _linear_layers(part: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Each with the module that holds it, and its name there."""
    held = [(parent, name, child) for parent in part.modules() for name, child in parent.named_children()]
    return [(parent, name, child) for parent, name, child in held if isinstance(child, nn.Linear)]
