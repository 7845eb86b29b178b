"""The records that pass between the stages of the method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from rli.errors import one_of, whole, within
from rli.models.conditioning import Conditioning


@dataclass(frozen=True)
class NullEmbeddings:
    """One null conditioning for each move, noisiest first: tokens (T,B,S,D), pooled (T,B,P) or None."""

    tokens: Tensor
    pooled: Tensor | None

    def at(self, index: int, time_ids: Tensor | None) -> Conditioning:
        """The null conditioning of one move, B rows."""
        return Conditioning(self.tokens[index], None if self.pooled is None else self.pooled[index], time_ids)

    def photo(self, b: int) -> NullEmbeddings:
        """One photograph's, B=1, on the CPU."""
        return self.map(lambda value: value[:, b : b + 1].cpu().contiguous())

    def map(self, change: Callable[[Tensor], Tensor]) -> NullEmbeddings:
        return NullEmbeddings(change(self.tokens), None if self.pooled is None else change(self.pooled))


# What each solver of the null embedding optimization takes where nothing else is asked for.
SOLVERS = {"gauss_newton": {"inner_steps": 2, "start": "source"}, "adam": {"inner_steps": 10, "start": "empty"}}


@dataclass(frozen=True)
class InversionSettings:
    """How a photograph is inverted; together with photo, prompt and model this is the cache's key.

    method: null_text (null embedding optimization), direct (the recorded difference is added back on the source
    branch), negative_prompt (null = source prompt) or ddim (null = empty prompt).
    steps: T, 1…1000. guidance: w >= 1. alignment: aligned, or the reference code's levels.
    solver: of null_text, gauss_newton or adam (the paper's). inner_steps: its iterations a step at most, and start: the
    prompt whose embedding the first step starts from, source or empty; None is the solver's own (SOLVERS).
    gauss_newton: cg_steps conjugate-gradient steps an iteration; stop_db: PSNR against the VAE round trip at which the
    last step stops (59 is the rounding of 8-bit pixels), slack_db less at the first and evenly between.
    adam: learning_rate at the noisiest step; early_stop: loss under which a step ends (grows by 2e-5 a step; 0: never).
    encode: the VAE posterior's mean, or a sample of it drawn with `seed`. residual: after null_text, what it could not
    reach is added back on the source branch. alpha, location: Residual Linear Interpolation.
    time_ids: size tells SDXL the real size, reference always 1024.
    """

    method: str = "null_text"
    steps: int = 50
    guidance: float = 5.0
    solver: str = "gauss_newton"
    inner_steps: int | None = None
    start: str | None = None
    cg_steps: int = 1
    stop_db: float = 59.0
    slack_db: float = 50.0
    learning_rate: float = 1e-2
    early_stop: float = 1e-5
    alignment: str = "aligned"
    encode: str = "mean"
    seed: int = 33
    residual: bool = False
    alpha: float = 0.1
    location: str = "up"
    time_ids: str = "size"

    def __post_init__(self) -> None:
        one_of("inversion", self.method, ("null_text", "direct", "negative_prompt", "ddim"))
        one_of("inversion.alignment", self.alignment, ("aligned", "reference"))
        one_of("inversion.encode", self.encode, ("mean", "sample"))
        one_of("rli", self.location, ("up", "mid", "down", "off"))
        one_of("inversion.time_ids", self.time_ids, ("size", "reference"))
        whole("inversion.steps", self.steps, 1, 1000)
        one_of("inversion.solver", self.solver, tuple(SOLVERS))
        if self.start is not None:
            one_of("inversion.start", self.start, ("source", "empty"))
        if self.inner_steps is not None:
            whole("inversion.inner_steps", self.inner_steps, 0, 10_000)
        whole("inversion.cg_steps", self.cg_steps, 1, 100)
        within("inversion.stop_db", self.stop_db, 0, 200)
        within("inversion.slack_db", self.slack_db, 0, 200)
        whole("runtime.seed", self.seed, 0, 2**63 - 1)
        within("inversion.guidance", self.guidance, 1, 100)
        within("inversion.learning_rate", self.learning_rate, 0, 100)
        within("inversion.early_stop", self.early_stop, 0, math.inf)
        within("rli.alpha", self.alpha, 0, 1)

    def chosen(self) -> InversionSettings:
        """The same with the solver's own values where None was."""
        own = SOLVERS[self.solver].items()
        return replace(self, **{name: value for name, value in own if getattr(self, name) is None})


@dataclass(frozen=True)
class EditSettings:
    """How prompt-to-prompt edits (Hertz et al. 2022); the defaults are the paper's table settings.

    method: refine or replace. eq: factor on the changed word's attention maps, >= 0. cross, replace: shares in [0,1] of
    the steps with cross-attention and self-attention injection. local_blend: keep everything outside the changed
    words' maps. threshold: share of a map's maximum above which it belongs to the mask, in (0,1).
    convention: standard, or the reference code's (its alignment quirks, cross counted in fiftieths of the steps).
    """

    method: str = "refine"
    eq: float = 2.0
    cross: float = 1.0
    replace: float = 0.8
    local_blend: bool = True
    threshold: float = 0.3
    convention: str = "standard"

    def __post_init__(self) -> None:
        one_of("edit", self.method, ("refine", "replace"))
        one_of("edit.convention", self.convention, ("standard", "reference"))
        within("edit.eq", self.eq, 0, 1000)
        within("edit.cross", self.cross, 0, 1)
        within("edit.replace", self.replace, 0, 1)
        within("edit.threshold", self.threshold, 0, 1)


@dataclass(frozen=True)
class Inversion:
    """Everything that the edits of one photograph need, and nothing that depends on an edit.

    latent (1,C,h,w): the encoded photograph. walk (T+1,C,h,w): the source branch, noisiest first; its last entry is the
    reconstruction's latent. nulls: one for each move, B=1. prompt: the source prompt. losses: for each move the loss at
    its start and after each inner iteration. seconds: what making it took (kept when it comes from the cache).
    """

    prompt: str
    settings: InversionSettings
    latent: Tensor
    walk: Tensor
    nulls: NullEmbeddings
    losses: tuple[tuple[float, ...], ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True)
class Target:
    """One wanted defect: the name of its row, its prompt, and the changed words (found from the prompts when None)."""

    name: str
    prompt: str
    source_word: str | None = None
    target_word: str | None = None


@dataclass(frozen=True)
class TokenMap:
    """Mean cross-attention of one word of a prompt: map (h,w) float32 >= 0."""

    word: str
    map: np.ndarray


@dataclass(frozen=True)
class Edit:
    """One edited photograph: image (1,3,H,W) in [-1,1]; mask (H,W) bool, where the target may differ from the source;
    maps of the target prompt's words; source_maps of the source prompt's."""

    target: Target
    image: Tensor
    mask: np.ndarray
    maps: tuple[TokenMap, ...] = ()
    source_maps: tuple[TokenMap, ...] = ()
