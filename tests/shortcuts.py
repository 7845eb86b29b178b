"""What commands in this process do not do anew each time: half of a small one's time, and nothing that it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from hydra._internal.hydra import Hydra

from rli.models.diffusion import Model
from rli.runs.model_spec import ModelSpec

# Settings that may say whether a command is a sweep.
SETS_MODE = re.compile(r"[+~]*(experiment|sweep|hydra\.mode)\b")
LOAD = ModelSpec.load


@cache
def shipped(spec: ModelSpec) -> Model:
    """The miniature as we ship it. A run places it anew, whatever the one before did with it."""
    return LOAD(spec)


def load(spec: ModelSpec) -> Model:
    """Weights of a test's own may change from one command to the next; they are read each time."""
    return shipped(spec) if spec == ModelSpec("mini", device=spec.device, dtype=spec.dtype) else LOAD(spec)


@contextmanager
def shortcuts() -> Iterator[None]:
    """Within the scope a configuration is composed once, and the miniature is loaded once in a process.

    Hydra composes a command's configuration a first time to learn whether it is a sweep, where no flag says so. What a
    test has put in the place of `ModelSpec.load` stays.
    """
    get_mode = Hydra.get_mode

    def mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> object:
        return get_mode(hydra, config_name, overrides) if any(map(SETS_MODE.match, overrides)) else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", mode)
        if ModelSpec.load is LOAD:
            patch.setattr(ModelSpec, "load", load)
        yield
