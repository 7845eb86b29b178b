"""Which model a run loads, and how."""

from __future__ import annotations

from dataclasses import dataclass

from rli.models.device import pick_device, pick_dtype
from rli.models.diffusion import Model, compiled
from rli.models.loading import check_weights, load
from rli.models.quantized import check_quantization, parse_quantization
from rli.runs.groups import keyed

# The keys of arguments that the group `runtime` does not hold.
KEYS = {"name": "model", **{name: f"model.{name}" for name in ("weights", "vae", "lora", "prediction", "quantize")}}


@dataclass(frozen=True)
class ModelSpec:
    """Which model is loaded, and how: plain values, so that another process can load the same."""

    # One of rli.models.base_models.BASE_MODELS.
    name: str
    # A hub id, a local diffusers folder or a file, and a replacement for the VAE, likewise; None is the model's own.
    weights: str | None = None
    vae: str | None = None
    # Files of LoRAs that are added to the weights, each as file or file:strength.
    lora: tuple[str, ...] = ()
    # What the UNet predicts, epsilon or v_prediction; None is what the weights say.
    prediction: str | None = None
    # Parts whose weights are rounded to fewer bits, such as unet:int8.
    quantize: tuple[str, ...] = ()
    # auto, cpu, cuda or cuda:N; auto, float32, bfloat16 or float16.
    device: str = "auto"
    dtype: str = "auto"
    # Whether torch.compile compiles the UNet's transformer blocks.
    compile: bool = False

    def check(self) -> None:
        """Raises RLIError, with the keys of the configuration, for what can be refused before anything is loaded."""
        with keyed("runtime", KEYS):
            device = pick_device(self.device)
            pick_dtype(self.dtype, device)
            check_quantization(parse_quantization(self.quantize), device)
            check_weights(self.name, self.weights, vae=self.vae, lora=self.lora, prediction=self.prediction)

    def load(self) -> Model:
        """The model, not placed on the device yet: the memory plan comes first. Raises RLIError, with the keys."""
        with keyed("runtime", KEYS):
            model = load(
                self.name,
                self.weights,
                vae=self.vae,
                lora=self.lora,
                prediction=self.prediction,
                quantize=self.quantize,
                device=self.device,
                dtype=self.dtype,
                offload=True,
            )
        return compiled(model) if self.compile else model
