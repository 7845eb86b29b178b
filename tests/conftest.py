"""What the tests share: no network, a tiny model of SDXL's architecture, photographs, what the reference code gave."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from network_fixtures import network_log as network_log
from network_fixtures import no_network as no_network

from rli.models.diffusion import Model
from rli.models.loading import random_model
from rli.models.mini.surfaces import UNSEEN, surface
from rli.runs import stages
from rli.runs.model_spec import ModelSpec


@pytest.fixture(autouse=True)
def no_log_left_open() -> Iterator[None]:
    """A run in this process gives the root logger a file in its own folder; once that is removed, the next line that
    any library logs would fail in some later test."""
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler) is logging.FileHandler]:
        root.removeHandler(handler)
        handler.close()


@pytest.fixture
def no_model(monkeypatch) -> None:
    """Fails a test that loads a model where none is needed."""
    monkeypatch.setattr(ModelSpec, "load", lambda spec: pytest.fail("a model is loaded"))


@pytest.fixture
def inversions(monkeypatch) -> list[int]:
    """Grows by a number for each call of the inversion: how many photographs were inverted together."""
    calls, invert = [], stages.invert_batch
    monkeypatch.setattr(
        stages, "invert_batch", lambda model, images, *a: calls.append(len(images)) or invert(model, images, *a)
    )
    return calls


@pytest.fixture(scope="session")
def tiny() -> Model:
    """Random weights, SDXL's architecture; latents of an eighth of the photograph's side."""
    return random_model("tiny")


@pytest.fixture(scope="session")
def photo() -> torch.Tensor:
    """(1,3,64,64): a cracked surface."""
    image = surface(UNSEEN + 1, ("crack",), 64, 64).image
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder with what the reference code gives; the test skips where it is not at hand."""
    folder = Path(__file__).parents[2] / "shared" / "reference_fixture"
    if not folder.is_dir():
        pytest.skip("shared/reference_fixture is not here")
    return folder


def relative(a, b) -> float:
    """Norm of the difference over the norm of b."""
    a, b = torch.as_tensor(np.asarray(a)).double(), torch.as_tensor(np.asarray(b)).double()
    return float((a - b).norm() / b.norm())
