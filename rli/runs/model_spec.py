"""Which model a run loads, and how."""

from __future__ import annotations

from dataclasses import dataclass

from rli.models.device import pick_device, pick_dtype
from rli.models.diffusion import Model, compiled
from rli.models.loading import check_weights, load
from rli.runs.groups import keyed

# The keys of arguments that the group `runtime` does not hold.
KEYS = {"name": "model", "weights": "model.weights", "vae": "model.vae"}


@dataclass(frozen=True)
class ModelSpec:
    """Which model is loaded, and how: plain values, so that another process can load the same."""

    # One of rli.models.base_models.BASE_MODELS.
    name: str
    # A hub id or a local diffusers folder, and a replacement for the VAE, likewise; None is the model's own.
    weights: str | None = None
    vae: str | None = None
    # auto, cpu, cuda or cuda:N; auto, float32, bfloat16 or float16.
    device: str = "auto"
    dtype: str = "auto"
    # Whether torch.compile compiles the UNet's transformer blocks.
    compile: bool = False

    def check(self) -> None:
        """Raises RLIError, with the keys of the configuration, for what can be refused before anything is loaded."""
        with keyed("runtime", KEYS):
            pick_dtype(self.dtype, pick_device(self.device))
            check_weights(self.name, self.weights)

    def load(self) -> Model:
        """The model, not placed on the device yet: the memory plan comes first. Raises RLIError, with the keys."""
        with keyed("runtime", KEYS):
            model = load(self.name, self.weights, vae=self.vae, device=self.device, dtype=self.dtype, offload=True)
        return compiled(model) if self.compile else model
