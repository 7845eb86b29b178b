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


@contextmanager
def shortcuts() -> Iterator[None]:
    """Within the scope a configuration is composed once, and the miniature that we ship is loaded once in a process.

    Hydra composes a command's configuration a first time to learn whether it is a sweep, where no flag says so.
    """
    get_mode, load = Hydra.get_mode, ModelSpec.load

    def mode(hydra: Hydra, config_name: str | None, overrides: list[str]) -> object:
        return get_mode(hydra, config_name, overrides) if any(map(SETS_MODE.match, overrides)) else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hydra, "get_mode", mode)
        if load is LOAD:  # no test has put something else in its place
            patch.setattr(ModelSpec, "load", lambda spec: _shipped(spec) if _is_shipped(spec) else load(spec))
        yield


LOAD = ModelSpec.load


def _is_shipped(spec: ModelSpec) -> bool:
    """Nothing is added to it, which could change between two commands."""
    return spec == ModelSpec("mini", device=spec.device, dtype=spec.dtype)


@cache
def _shipped(spec: ModelSpec) -> Model:
    return LOAD(spec)
