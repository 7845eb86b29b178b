"""The miniature's parts, all of them classes that SDXL itself is made of, and the folder they are exported to.

Sizes: pictures (B, 3, H, W) in [-1, 1]; latents (B, 16, H/8, W/8); text (B, 77, 64 + 96); pooled text (B, 96).
"""

from __future__ import annotations

import os
import pathlib
import tempfile

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from rli.models.mini.tokenizer import BOS, EOS, LENGTH, SIZE, tokenizers

LATENT_CHANNELS = 16
AUTOENCODER_WIDTHS = (24, 48, 64, 96)
SCALING = 0.13025  # SDXL's own; the trained autoencoder is rescaled to it


def autoencoder() -> AutoencoderKL:
    """With fresh weights: SDXL's class and factor 8, with 16 instead of 4 channels in a latent."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=AUTOENCODER_WIDTHS,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=256,
        scaling_factor=SCALING,
        force_upcast=False,
    )


def unet() -> UNet2DConditionModel:
    """With fresh weights: SDXL's blocks, each as narrow and as short as still learns the task.

    Unlike SDXL's it looks at the words at the latents' own resolution too, without self-attention there: its maps of
    words, and so the masks of edits, are twice as fine.
    """
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        only_cross_attention=(True, False, False),
        attention_head_dim=(2, 3, 4),  # diffusers' old name: these are numbers of heads
        transformer_layers_per_block=1,
        norm_num_groups=8,
        use_linear_projection=True,
        cross_attention_dim=160,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=96 + 6 * 16,
    )


def text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    """With fresh weights: SDXL's pair, of which the second gives the pooled text."""
    shared = {
        "vocab_size": SIZE,
        "max_position_embeddings": LENGTH,
        "bos_token_id": BOS,
        "eos_token_id": EOS,  # the pooled vector is read at this token
        "pad_token_id": EOS,
    }
    first = CLIPTextConfig(
        hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2, projection_dim=64, **shared
    )
    second = CLIPTextConfig(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=3,
        num_attention_heads=3,
        projection_dim=96,
        hidden_act="gelu",
        **shared,
    )
    return CLIPTextModel(first), CLIPTextModelWithProjection(second)


class Denoiser(nn.Module):
    """What is trained together: the UNet and both text encoders.

    tokens: (2, B, 77) ids, one row per tokenizer; size: the picture's (height, width). Returns the noise,
    (B, 16, h, w).
    """

    def __init__(self) -> None:
        super().__init__()
        self.unet = unet()
        self.first, self.second = text_encoders()

    def encode(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """SDXL's way: the last hidden state but one of both encoders, and the second's pooled projection."""
        first = self.first(tokens[0], output_hidden_states=True)
        second = self.second(tokens[1], output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1), second.text_embeds

    def forward(
        self, latents: torch.Tensor, timesteps: torch.Tensor, tokens: torch.Tensor, size: tuple[int, int]
    ) -> torch.Tensor:
        words, pooled = self.encode(tokens)
        ids = torch.tensor([[*size, 0, 0, *size]], dtype=latents.dtype, device=latents.device)
        extra = {"text_embeds": pooled, "time_ids": ids.expand(len(latents), -1)}
        return self.unet(latents, timesteps, words, added_cond_kwargs=extra).sample


def scheduler() -> DDIMScheduler:
    """SDXL's noise schedule."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=0,
        timestep_spacing="leading",
        prediction_type="epsilon",
    )


def pipeline(denoiser: Denoiser, vae: AutoencoderKL) -> StableDiffusionXLPipeline:
    """The parts as SDXL's own pipeline. An empty prompt is encoded like any other, as it was in training."""
    first, second = tokenizers()
    pipe = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=denoiser.first,
        text_encoder_2=denoiser.second,
        tokenizer=first,
        tokenizer_2=second,
        unet=denoiser.unet,
        scheduler=scheduler(),
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def export(denoiser: Denoiser, vae: AutoencoderKL, folder: pathlib.Path) -> None:
    """Write a float16 folder for StableDiffusionXLPipeline.from_pretrained, each file whole; other files stay."""
    folder.mkdir(parents=True, exist_ok=True)
    copies = Denoiser(), autoencoder()
    copies[0].load_state_dict(denoiser.state_dict())
    copies[1].load_state_dict(vae.state_dict())
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as scratch:
        pipeline(copies[0].half(), copies[1].half()).save_pretrained(scratch)
        for config in pathlib.Path(scratch).glob("text_encoder*/config.json"):  # else transformers alone loads float16
            config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))
        for file in sorted(path for path in pathlib.Path(scratch).rglob("*") if path.is_file()):
            target = folder / file.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
