"""Parts of SDXL's architecture with random weights: for measuring time and memory, and for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rli.models.parts import Parts
from rli.models.sdxl import SDXL

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Shape:
    """The sizes that set SDXL (Podell et al. 2023, section 2.1, and its configuration) apart from others."""

    channels: tuple[int, ...]
    transformers: tuple[int, ...]
    heads: tuple[int, ...]
    layers: int
    text: tuple[tuple[int, int, int], ...]
    vae: tuple[int, ...]
    time_channels: int


# text: (width, layers, heads) of the two encoders.
SHAPES = {
    "sdxl": Shape(
        (320, 640, 1280), (1, 2, 10), (5, 10, 20), 2, ((768, 12, 12), (1280, 32, 20)), (128, 256, 512, 512), 256
    ),
    "tiny": Shape((32, 32, 64), (1, 1, 1), (1, 2, 4), 1, ((32, 2, 2), (32, 2, 2)), (32, 32, 32, 32), 16),
    "midsize": Shape((96, 192, 384), (1, 1, 2), (3, 6, 12), 2, ((128, 2, 4), (192, 2, 6)), (32, 64, 96, 96), 64),
}


def random_parts(shape: str, dtype: torch.dtype, seed: int = 0, device: torch.device = CPU) -> Parts:
    """The parts of a model with random weights, and with the miniature's tokenizers.

    Args:
        shape: One of SHAPES.
        dtype: Of the UNet and the text encoders; the VAE is float32.
        seed: Of the weights.
        device: Where they are drawn: the CPU's are the same on every machine; a GPU draws SDXL's in a second.

    Returns:
        The parts, on that device.
    """
    from rli.models.mini.tokenizer import tokenizers

    size, pair, generator = SHAPES[shape], tokenizers(), torch.Generator(device).manual_seed(seed)
    unet, vae = _filled(_unet(size), dtype, generator), _filled(_vae(size), torch.float32, generator)
    with device:
        encoders = tuple(_drawn(encoder.to(dtype), generator) for encoder in _text_encoders(size, pair[0]))
    return Parts(
        architecture=SDXL,
        unet=unet,
        vae=vae,
        tokenizers=pair,
        text_encoders=encoders,
        scheduler={
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": "epsilon",
        },
    )


def _unet(size: Shape) -> Any:
    """On the meta device."""
    from diffusers import UNet2DConditionModel

    (width, _, _), (width_2, _, _) = size.text
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=128,
            block_out_channels=size.channels,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=size.transformers,
            attention_head_dim=size.heads,
            layers_per_block=size.layers,
            cross_attention_dim=width + width_2,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=size.time_channels,
            projection_class_embeddings_input_dim=width_2 + 6 * size.time_channels,
        )


def _vae(size: Shape) -> Any:
    """On the meta device."""
    from diffusers import AutoencoderKL

    with torch.device("meta"):
        return AutoencoderKL(
            block_out_channels=size.vae,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            latent_channels=4,
            scaling_factor=0.13025,
            sample_size=1024,
        )


def _text_encoders(size: Shape, tokenizer: Any) -> Iterator[Any]:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kinds = (CLIPTextModel, "quick_gelu"), (CLIPTextModelWithProjection, "gelu")
    for (encoder, activation), (width, layers, heads) in zip(kinds, size.text, strict=True):
        yield encoder(
            CLIPTextConfig(
                vocab_size=49408,
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                projection_dim=width,
                hidden_act=activation,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )


def _filled(module: nn.Module, dtype: torch.dtype, generator: torch.Generator) -> nn.Module:
    """Memory for a module made on the meta device, in its own dtype at once: float32 would take twice SDXL's size."""
    return _drawn(module.to(dtype).to_empty(device=generator.device), generator)


@torch.no_grad()
def _drawn(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """Weights normal with variance 1/fan-in, so that activations neither vanish nor overflow; gains 1, biases 0."""
    for name, value in module.named_parameters():
        if value.dim() > 1:
            value.normal_(0, value[0].numel() ** -0.5, generator=generator)
        else:
            value.fill_(1.0 if name.endswith("weight") else 0.0)
    return module
