"""The frozen diffusion model behind one face: SDXL and Stable Diffusion 1 and 2, from a hub, a folder, or random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rli.errors import NonFiniteError, RLIError
from rli.models.conditioning import Conditioning
from rli.models.loading import FAMILIES, Parts, fingerprint, load_parts, load_vae
from rli.models.noise import Step, cumulative_alphas
from rli.models.random import random_parts

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Latents a side of a VAE tile: the size the VAE was trained at, so that a photo of just that size is never cut.
TILE = 64


@dataclass(frozen=True)
class Model:
    """Frozen parts and the face that every stage uses. Weights never collect gradients.

    The UNet computes in `dtype`; the VAE always in float32, because SDXL's overflows in float16 and loses detail in
    bfloat16. Text encoders visit the device to encode, and rest where they are. abar: cumulative alphas by level.
    offload: UNet and VAE are on the device in turn, each moved when it is first called after the other.
    """

    name: str
    unet: nn.Module
    vae: nn.Module
    tokenizers: tuple
    text_encoders: tuple[nn.Module, ...]
    abar: tuple[float, ...]
    prediction: str
    fingerprint: str
    device: torch.device
    offload: bool = False

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @property
    def is_sdxl(self) -> bool:
        return len(self.text_encoders) == 2

    def predict(
        self, latent: Tensor, step: Step, text: Conditioning, phase: str, control: object | None = None
    ) -> Tensor:
        """Noise prediction eps (B,C,h,w) float32 for a latent at level step.start, told timestep step.timestep.

        Models that predict v are converted: eps = sqrt(abar)·v + sqrt(1-abar)·z (Salimans and Ho 2022). Raises
        NonFiniteError, naming phase and step, when the UNet's output is not finite.
        """
        extra = {"text_embeds": text.pooled.to(self.dtype), "time_ids": text.time_ids} if self.is_sdxl else None
        out = self.ready(self.unet)(
            latent.to(self.dtype),
            step.timestep,
            encoder_hidden_states=text.tokens.to(self.dtype),
            added_cond_kwargs=extra,
            cross_attention_kwargs={"control": control} if control is not None else None,
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
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.vae.use_tiling and max(pixels) > TILE * factor

    def ready(self, part: nn.Module) -> nn.Module:
        """The UNet or the VAE, on the device."""
        self.make_room_for(part)
        return _moved(part, self.device) if self.offload else part

    def make_room_for(self, part: nn.Module) -> None:
        """With offload, what of UNet and VAE is not the part leaves the device."""
        for other in (self.unet, self.vae) if self.offload else ():
            if other is not part:
                _moved(other, torch.device("cpu"))


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
    """Load a model: name is a key of FAMILIES; weights a hub id, a local diffusers folder, or "random" (SDXL's shapes
    with random weights: for measuring time and memory); vae an optional replacement, likewise.

    device auto is CUDA where there is one; dtype auto is bfloat16 there and float32 on a CPU. checkpointing trades time
    for memory in the optimization; vae_tiling encodes and decodes in overlapping tiles; offload keeps UNet and VAE on
    the CPU until they are called, and then one at a time on the device. Raises RLIError when the weights are not to be
    had or are of another kind.
    """
    if name not in FAMILIES:
        raise RLIError(f"model={name} is not known: choose one of {', '.join(FAMILIES)}")
    family, device = FAMILIES[name], pick_device(device)
    dtype = pick_dtype(dtype, device)
    weights = weights or family.weights
    if weights == "random":
        if name != "sdxl":
            raise RLIError(f"model.weights=random exists for model=sdxl only, not for model={name}")
        parts = random_parts("sdxl", dtype)
    else:
        parts = load_parts(name, family, weights, dtype)
    if vae is not None:
        parts = replace(parts, vae=load_vae(vae))
    return assemble(name, parts, device, checkpointing=checkpointing, vae_tiling=vae_tiling, offload=offload)


def assemble(
    name: str,
    parts: Parts,
    device: torch.device,
    *,
    checkpointing: bool = False,
    vae_tiling: bool = False,
    offload: bool = False,
) -> Model:
    """Freeze the parts, read the noise schedule from the scheduler's settings, and put UNet and VAE on the device."""
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


def arrange(
    model: Model, *, checkpointing: bool, vae_tiling: bool, offload: bool, encoders_on_device: bool = False
) -> Model:
    """The model with its parts set and placed: where UNet, VAE and text encoders rest, and what they hold at work."""
    set_checkpointing(model.unet, checkpointing)
    model.vae.use_tiling = vae_tiling
    factor = 2 ** (len(model.vae.config.block_out_channels) - 1)
    model.vae.tile_sample_min_size, model.vae.tile_latent_min_size = TILE * factor, TILE
    cpu = torch.device("cpu")
    for encoder in model.text_encoders:
        _moved(encoder, model.device if encoders_on_device else cpu)
    model = replace(model, offload=offload)
    if offload:
        model.make_room_for(model.unet)
    else:
        _moved(model.unet, model.device)
        _moved(model.vae, model.device)
    return model


def compiled(model: Model, backend: str = "inductor") -> Model:
    """The model with the UNet's transformer blocks compiled by torch.compile, one for all of a kind and for every batch
    size. The first calls wait for the compiler."""
    model.unet.compile_repeated_blocks(backend=backend, dynamic=True)
    return model


def set_checkpointing(unet: nn.Module, on: bool) -> None:
    """Whether the UNet's backward pass computes activations again instead of keeping them."""
    if on:
        unet.enable_gradient_checkpointing()
    else:
        unet.disable_gradient_checkpointing()


def random_model(
    shape: str, *, dtype: torch.dtype = torch.float32, device: str = "cpu", checkpointing: bool = False
) -> Model:
    """A frozen model of the named shape (random_model.SHAPES) with random weights."""
    return assemble(shape, random_parts(shape, dtype), torch.device(device), checkpointing=checkpointing)


def pick_device(device: str) -> torch.device:
    """auto is CUDA where there is one, else the CPU. Raises RLIError where CUDA is asked for and absent."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise RLIError(f"runtime.device={device} is not a device: use auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise RLIError(f"runtime.device={device}: no CUDA device is available; use runtime=cpu")
    return chosen


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """auto is bfloat16 on CUDA and float32 on a CPU. Raises RLIError for float16 on a CPU."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in DTYPES:
        raise RLIError(f"runtime.dtype={dtype} is not known: choose one of auto, {', '.join(DTYPES)}")
    if dtype == "float16" and device.type == "cpu":
        raise RLIError("runtime.dtype=float16 needs CUDA: use float32 or bfloat16 on a CPU")
    return DTYPES[dtype]


@contextmanager
def visiting(part: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """The part on the device for the length of the scope, then back where it rests."""
    home = next(part.parameters()).device
    try:
        yield part.to(device)
    finally:
        part.to(home)


def _moved(part: nn.Module, device: torch.device) -> nn.Module:
    """The part on the device; looked at first, because a move visits every weight even where there is nothing to do."""
    at = next(part.parameters()).device
    return part if at.type == device.type and device.index in (None, at.index) else part.to(device)
