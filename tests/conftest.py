"""What the tests share: a tiny model of SDXL's architecture, photographs of it, and the reference's stored numbers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rli.models.diffusion import Model
from rli.models.loading import random_model
from rli.models.mini.surfaces import UNSEEN, surface


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
