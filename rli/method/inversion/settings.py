"""How photographs are inverted: what all methods share, and which one it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from rli.errors import one_of, whole, within
from rli.method.attention.install import AttentionHook
from rli.method.attention.rli import RLI
from rli.method.inversion.base import Inverter
from rli.method.inversion.ddim import Ddim
from rli.method.inversion.direct import Direct
from rli.method.inversion.negative_prompt import NegativePrompt
from rli.method.inversion.null_text import NullText
from rli.method.inversion.virtual import Virtual
from rli.method.sampler import ALIGNMENTS

# The methods that have a short name.
INVERTERS: dict[str, type[Inverter]] = {
    "null_text": NullText,
    "direct": Direct,
    "negative_prompt": NegativePrompt,
    "ddim": Ddim,
    "virtual": Virtual,
}


@dataclass(frozen=True)
class InversionSettings:
    """Together with photograph, prompt and model this is what an inversion depends on, and so the cache's key.

    Raises RLIError for a value out of range.
    """

    # The method, with its own settings.
    method: Inverter = field(default_factory=NullText)
    # T, 1…1000.
    steps: int = 50
    # Guidance scale w ≥ 1 of sampling, in the inversion and in edits.
    guidance: float = 5.0
    # aligned, or reference: the reference code's noise levels.
    alignment: str = "aligned"
    # Of the VAE's posterior: its mean, or a sample drawn with `seed`.
    encode: str = "mean"
    seed: int = 33
    # SDXL's size conditioning: size is the real one, reference always 1024.
    time_ids: str = "size"
    # Attention hooks of every call, in the inversion and in edits.
    hooks: tuple[AttentionHook, ...] = (RLI(),)

    def __post_init__(self) -> None:
        one_of("alignment", self.alignment, ALIGNMENTS)
        one_of("encode", self.encode, ("mean", "sample"))
        one_of("time_ids", self.time_ids, ("size", "reference"))
        whole("steps", self.steps, 1, 1000)
        whole("seed", self.seed, 0, 2**63 - 1)
        within("guidance", self.guidance, 1, 100)

    @property
    def alpha(self) -> float:
        """Strength of Residual Linear Interpolation; 0 without it."""
        return next((hook.alpha for hook in self.hooks if isinstance(hook, RLI)), 0.0)
