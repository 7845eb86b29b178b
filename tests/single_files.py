"""Models and LoRAs written as people have them: one file, in the names of the first implementations and of trainers.

Written from the module structure of both implementations, and not with the library that reads such files back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rli.models.parts import Parts

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "group_norm": "norm"}
OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "layer_norm": "ln_",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def unet_name(name: str, config: Mapping) -> str:
    """A layer of diffusers' UNet as the first implementation calls it."""
    for own, other in OUTSIDE.items():
        if name == own or name.startswith(f"{own}."):
            return other + name.removeprefix(own)
    layers = config["layers_per_block"]
    place, part, number, inner = re.fullmatch(r"(\w+_blocks\.\d+|mid_block)\.(\w+)\.(\d+)\.?(.*)", name).groups()
    inner = re.sub(rf"^({'|'.join(RESNET)})", lambda found: RESNET[found[1]], inner) if part == "resnets" else inner
    if place == "mid_block":
        block = f"middle_block.{1 if part == 'attentions' else 2 * int(number)}"
        return f"{block}.{inner}"
    side, level = place.split(".")
    if side == "down_blocks":
        first = 1 + int(level) * (layers + 1)
        if part == "downsamplers":
            return f"input_blocks.{first + layers}.0.op{inner.removeprefix('conv')}"
        return f"input_blocks.{first + int(number)}.{int(part == 'attentions')}.{inner}"
    first = int(level) * (layers + 1)
    if part == "upsamplers":
        behind = 2 if "CrossAttn" in config["up_block_types"][int(level)] else 1
        return f"output_blocks.{first + layers}.{behind}.{inner}"
    return f"output_blocks.{first + int(number)}.{int(part == 'attentions')}.{inner}"


def vae_name(name: str, config: Mapping) -> str:
    """A layer of diffusers' VAE as the first implementation calls it."""
    last = len(config["block_out_channels"]) - 1
    name = re.sub(r"encoder\.down_blocks\.(\d+)", r"encoder.down.\1", name)
    name = re.sub(r"decoder\.up_blocks\.(\d+)", lambda found: f"decoder.up.{last - int(found[1])}", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace(".resnets.", ".block.")
    name = name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if "mid.attn_1" in name:
        name = re.sub(rf"({'|'.join(map(re.escape, VAE_ATTENTION))})", lambda found: VAE_ATTENTION[found[1]], name)
    return name


def unet_tensors(unet: nn.Module) -> dict[str, Tensor]:
    return {f"model.diffusion_model.{unet_name(name, unet.config)}": v for name, v in unet.state_dict().items()}


def vae_tensors(vae: nn.Module, prefix: str = "first_stage_model.") -> dict[str, Tensor]:
    """The first implementation's attention is made of convolutions of one pixel."""
    named = {vae_name(name, vae.config): value for name, value in vae.state_dict().items()}
    return {
        prefix + name: value[..., None, None] if "mid.attn_1" in name and value.dim() == 2 else value
        for name, value in named.items()
    }


def clip_tensors(encoder: nn.Module, prefix: str) -> dict[str, Tensor]:
    """OpenAI's encoder, as transformers named it before 5.6; with the positions' numbers that older files have."""
    named = {f"text_model.{name.removeprefix('text_model.')}": v for name, v in encoder.state_dict().items()}
    numbers = {f"{prefix}text_model.embeddings.position_ids": torch.arange(77)[None]}
    return {**{prefix + name: value for name, value in named.items()}, **numbers}


def open_clip_tensors(encoder: nn.Module, prefix: str) -> dict[str, Tensor]:
    """OpenCLIP's encoder: queries, keys and values in one matrix, the projection transposed."""
    state = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
    out = {"logit_scale": torch.tensor(1.0)}
    if "text_projection.weight" in state:
        out["text_projection"] = state.pop("text_projection.weight").T
    for kind in ("weight", "bias"):
        for k in range(encoder.config.num_hidden_layers):
            three = [state.pop(f"encoder.layers.{k}.self_attn.{one}_proj.{kind}") for one in "qkv"]
            out[f"transformer.resblocks.{k}.attn.in_proj_{kind}"] = torch.cat(three)
    for name, value in state.items():
        for own, other in OPEN_CLIP.items():
            name = name.replace(own, other)
        out[name] = value
    return {prefix + name: value for name, value in out.items()}


def write(file: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None, **metadata: str) -> Path:
    """A safetensors file, in another precision where one is named."""
    cast = {n: v.to(dtype) if dtype and v.is_floating_point() else v for n, v in tensors.items()}
    save_file({name: value.contiguous().clone() for name, value in cast.items()}, file, metadata or None)
    return file


def sdxl_tensors(parts: Parts) -> dict[str, Tensor]:
    """A whole model of SDXL's architecture."""
    first, second = parts.text_encoders
    return {
        **unet_tensors(parts.unet),
        **vae_tensors(parts.vae),
        **clip_tensors(first, "conditioner.embedders.0.transformer."),
        **open_clip_tensors(second, "conditioner.embedders.1.model."),
    }


# --- LoRAs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Matrices:
    """One layer's: (out,r) and (r,in), with their convolution's kernel where the layer has one."""

    up: Tensor
    down: Tensor
    alpha: float

    def change(self, weight: Tensor) -> Tensor:
        """What they add to the layer's weight at strength 1."""
        return (self.alpha / len(self.down)) * (self.up.flatten(1) @ self.down.flatten(1)).reshape(weight.shape)


def drawn(module: nn.Module, pattern: str, rank: int = 3, seed: int = 0, alpha: float = 1.5) -> dict[str, Matrices]:
    """Matrices for the layers whose names match."""
    return dict(_drawn(module, pattern, rank, torch.Generator().manual_seed(seed), alpha))


def _drawn(
    module: nn.Module, pattern: str, rank: int, generator: torch.Generator, alpha: float
) -> Iterator[tuple[str, Matrices]]:
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and re.search(pattern, name):
            out, *inner = layer.weight.shape
            ones = [1] * (len(inner) - 1)
            up, down = (torch.randn(s, generator=generator) for s in ((out, rank, *ones), (rank, *inner)))
            yield name, Matrices(up, down, alpha)


def kohya(part: str, layers: Mapping[str, Matrices]) -> dict[str, Tensor]:
    """As kohya-ss names them: lora_unet, lora_te1 …"""
    out = {}
    for name, one in layers.items():
        key = f"{part}_{name.replace('.', '_')}"
        out |= {f"{key}.lora_up.weight": one.up, f"{key}.lora_down.weight": one.down}
        out |= {f"{key}.alpha": torch.tensor(one.alpha)}
    return out


def peft(part: str, layers: Mapping[str, Matrices]) -> dict[str, Tensor]:
    """As diffusers saves them today; alpha is in the header, or is the rank."""
    pairs = ((f"{part}.{name}", one) for name, one in layers.items())
    return {f"{key}.lora_{kind}.weight": m for key, one in pairs for kind, m in (("A", one.down), ("B", one.up))}
