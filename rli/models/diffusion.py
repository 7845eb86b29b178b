"""The frozen diffusion model behind one interface."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rli.errors import NonFiniteError
from rli.models.architecture import Architecture
from rli.models.conditioning import Conditioning
from rli.models.device import moved
from rli.models.noise_schedule import Step

# Latents a side of a VAE tile: the size the VAE was trained at, so that a photo of just that size is never cut.
TILE = 64
# More than a whole run makes torch.compile compile a block: an inversion and its edits of a tiny model took 27.
KINDS = 64


@dataclass(frozen=True)
class Model:
    """Frozen parts, and the interface that every stage uses. Weights never collect gradients."""

    name: str
    architecture: Architecture
    # Computes in `dtype`. (Any: diffusers' classes carry a configuration and switches that nn.Module does not know.)
    unet: Any
    # Always float32: SDXL's overflows in float16 and loses detail in bfloat16.
    vae: Any
    tokenizers: tuple[Any, ...]
    # Go to the device to encode, and come back afterwards.
    text_encoders: tuple[nn.Module, ...]
    # Cumulative alphas by noise level.
    abar: tuple[float, ...]
    # What the UNet predicts: epsilon or v_prediction.
    prediction: str
    # Of weights, vocabularies and schedule: `parts.fingerprint`.
    fingerprint: str
    device: torch.device
    # UNet and VAE are on the device in turn, each moved when it is first called after the other.
    offload: bool = False
    # The LoRAs that were added to the weights, each as file:strength, for whoever asks how a picture was made.
    lora: tuple[str, ...] = ()
    # The parts whose weights are rounded, each as part:kind.
    quantized: tuple[str, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.unet.dtype
        return dtype

    @property
    def pixels_per_latent(self) -> int:
        """Pixels a side of one latent position."""
        return 1 << (len(self.vae.config.block_out_channels) - 1)

    def predict(
        self, latent: Tensor, step: Step, text: Conditioning, phase: str, hooks: tuple[object, ...] = ()
    ) -> Tensor:
        """Predict the noise in a latent.

        Args:
            latent: (B,C,h,w) float32 at level step.start.
            step: its timestep is given to the UNet.
            text: B rows.
            phase: what is being done, for an error's message.
            hooks: attention hooks of this call alone; needs `attention.install`.

        Returns:
            eps (B,C,h,w) float32. A model that predicts v is converted: eps = sqrt(abar)·v + sqrt(1-abar)·z (Salimans
            and Ho 2022).

        Raises:
            NonFiniteError: where the UNet's output is not finite; it names phase and step.
        """
        out: Tensor = self.ready(self.unet)(
            latent.to(self.dtype),
            step.timestep,
            encoder_hidden_states=text.tokens.to(self.dtype),
            added_cond_kwargs=text.added(self.dtype),
            cross_attention_kwargs={"hooks": hooks} if hooks else None,
            return_dict=False,
        )[0].float()
        if not torch.isfinite(out).all():
            raise NonFiniteError(
                f"{phase}: the UNet's output is not finite at step {step.index} (timestep {step.timestep}); "
                "use runtime.dtype=float32 or bfloat16"
            )
        if self.prediction == "v_prediction":
            abar = self.abar[step.start]
            out = abar**0.5 * out + (1 - abar) ** 0.5 * latent
        return out

    def tiles(self, pixels: tuple[int, int]) -> bool:
        """Whether the VAE takes a picture of this (height, width) in tiles, which changes what comes out."""
        return bool(self.vae.use_tiling) and max(pixels) > TILE * self.pixels_per_latent

    def ready(self, part: Any) -> Any:
        """The UNet or the VAE, on the device."""
        self.make_room_for(part)
        return moved(part, self.device) if self.offload else part

    def make_room_for(self, part: nn.Module) -> None:
        """With offload, moves every other part (UNet, VAE) off the device."""
        for other in (self.unet, self.vae) if self.offload else ():
            if other is not part:
                moved(other, torch.device("cpu"))


def arrange(
    model: Model, *, checkpointing: bool, vae_tiling: bool, offload: bool, encoders_on_device: bool = False
) -> Model:
    """Sets and places the parts of a model.

    Args:
        model: The model; its parts are changed.
        checkpointing: Whether the UNet's backward pass computes activations again instead of keeping them.
        vae_tiling: Whether the VAE works in overlapping tiles.
        offload: Whether UNet and VAE are on the device only in turn; otherwise both stay there.
        encoders_on_device: Whether the text encoders are on the device, or on the CPU.

    Returns:
        The model with these settings.
    """
    set_checkpointing(model.unet, checkpointing)
    model.vae.use_tiling = vae_tiling
    model.vae.tile_sample_min_size, model.vae.tile_latent_min_size = TILE * model.pixels_per_latent, TILE
    cpu = torch.device("cpu")
    for encoder in model.text_encoders:
        moved(encoder, model.device if encoders_on_device else cpu)
    model = replace(model, offload=offload)
    if offload:
        model.make_room_for(model.unet)
    else:
        moved(model.unet, model.device)
        moved(model.vae, model.device)
    return model


def compiled(model: Model, backend: str = "inductor") -> Model:
    """Compiles the UNet's transformer blocks by torch.compile. The first calls wait for the compiler.

    Blocks of one part and width of the UNet share what is compiled. It is compiled anew with gradients, for another
    number of rows and for each way of injecting: more often than PyTorch allows by default, which computes the rest
    uncompiled, so that its limit is raised for the process.

    Args:
        model: The model; its UNet is changed.
        backend: The compiler, as torch.compile names it.

    Returns:
        The model.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, KINDS)
    model.unet.compile_repeated_blocks(backend=backend, dynamic=True)
    return model


def set_checkpointing(unet: Any, on: bool) -> None:
    """Sets whether the UNet's backward pass computes activations again instead of keeping them."""
    if on:
        unet.enable_gradient_checkpointing()
    else:
        unet.disable_gradient_checkpointing()
