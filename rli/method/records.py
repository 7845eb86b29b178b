"""The records that pass between the stages of the method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from rli.errors import one_of, within
from rli.keys import LATER
from rli.models.conditioning import Conditioning

if TYPE_CHECKING:
    from rli.method.inversion.settings import InversionSettings


@dataclass(frozen=True)
class NullEmbeddings:
    """One null embedding for each move, noisiest first, of B photographs."""

    # (T,B,S,D).
    tokens: Tensor
    # (T,B,P), None where the model has none.
    pooled: Tensor | None

    def at(self, index: int, time_ids: Tensor | None) -> Conditioning:
        """The null embedding of one move, B rows."""
        return Conditioning(self.tokens[index], None if self.pooled is None else self.pooled[index], time_ids)

    def photo(self, b: int) -> NullEmbeddings:
        """One photograph's, B=1, on the CPU."""
        return self.map(lambda value: value[:, b : b + 1].cpu().contiguous())

    def map(self, change: Callable[[Tensor], Tensor]) -> NullEmbeddings:
        """The same with every tensor changed."""
        return NullEmbeddings(change(self.tokens), None if self.pooled is None else change(self.pooled))


@dataclass(frozen=True)
class Inversion:
    """Everything that the edits of one photograph need, and nothing that depends on an edit."""

    # The source prompt.
    prompt: str
    settings: InversionSettings
    # The encoded photograph (1,C,h,w).
    latent: Tensor
    # The source branch (T+1,C,h,w), noisiest first; its last latent is the reconstruction's.
    source_latents: Tensor
    # One for each move, B=1.
    nulls: NullEmbeddings
    # For each move that was optimized its loss at the start and after each iteration.
    losses: tuple[tuple[float, ...], ...] = ()
    # What making it took; kept when it comes from the cache.
    seconds: float = 0.0


@dataclass(frozen=True)
class Target:
    """A wanted defect."""

    # Of its row and its files.
    name: str
    # The target prompt.
    prompt: str
    # The words that change, found from the two prompts where None.
    source_word: str | None = None
    target_word: str | None = None


@dataclass(frozen=True)
class EditSettings:
    """How prompt-to-prompt edits (Hertz et al. 2022); the defaults are the settings of the paper's table.

    Raises RLIError for a value out of range.
    """

    # refine: words may differ in number; replace: the same number of words in both prompts.
    method: str = "refine"
    # Factor ≥ 0 on the changed words' attention maps.
    eq: float = 2.0
    # Shares in [0,1] of the steps with injection in cross-attention and in self-attention.
    cross: float = 1.0
    replace: float = 0.8
    # Keep everything outside the blend mask.
    local_blend: bool = True
    # Share in [0,1] of a map's maximum above which a position belongs to the blend mask.
    threshold: float = 0.3
    # How attention's maps are brought to the blend mask's size: bicubic gives contours, nearest the maps' own squares.
    # The reference code's convention is always nearest.
    interpolation: str = "bicubic"
    # Where the mask comes from, if no region is given: edit, the maps of source and target while the edit is sampled;
    # photograph, the source's maps before it begins.
    mask_from: str = field(default="edit", metadata=LATER)
    # Share in [0,1] of fresh noise in the region at the start of sampling: 0 keeps the photograph's own, as the paper
    # does; 1 forgets what was there.
    fresh: float = 0.0
    # By example: how much of the example is taken over, in [0,1], 0 for nothing; and the share in [0,1] of the steps
    # with its attention and colours.
    example_strength: float = field(default=1.0, metadata=LATER)
    example_steps: float = field(default=1.0, metadata=LATER)
    # The example's colours: own, as they are; contrast, as they differ from those around it; auto, contrast between
    # grey photographs, whose exposures differ, and else own.
    example_colours: str = field(default="auto", metadata=LATER)
    # standard, or the reference code's: its alignment of prompts, and cross counted in fiftieths of the steps.
    convention: str = "standard"

    def __post_init__(self) -> None:
        one_of("method", self.method, ("refine", "replace"))
        one_of("interpolation", self.interpolation, ("bicubic", "nearest"))
        one_of("mask_from", self.mask_from, ("edit", "photograph"))
        one_of("convention", self.convention, ("standard", "reference"))
        within("eq", self.eq, 0, 1000)
        within("cross", self.cross, 0, 1)
        within("replace", self.replace, 0, 1)
        within("threshold", self.threshold, 0, 1)
        within("fresh", self.fresh, 0, 1)
        one_of("example_colours", self.example_colours, ("auto", "own", "contrast"))
        within("example_strength", self.example_strength, 0, 1)
        within("example_steps", self.example_steps, 0, 1)

    @property
    def map_interpolation(self) -> str:
        """How attention's maps are brought to another size."""
        return self.interpolation if self.convention == "standard" else "nearest"


@dataclass(frozen=True)
class TokenMap:
    """Where one word of a prompt looked."""

    word: str
    # Mean cross-attention (h,w) float32 ≥ 0.
    map: np.ndarray


@dataclass(frozen=True)
class Edit:
    """One edited photograph."""

    target: Target
    # (1,3,H,W) in [-1,1].
    image: Tensor
    # The blend mask (H,W) bool: where the edit may differ from the reconstruction. Without local blend and region the
    # edit is free, and it is where attention looked.
    mask: np.ndarray
    # Of the target prompt's words, and of the source prompt's.
    maps: tuple[TokenMap, ...] = ()
    source_maps: tuple[TokenMap, ...] = ()
