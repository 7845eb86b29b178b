"""What the tests share: no network, a tiny model of SDXL's architecture, photographs, what the reference code gave."""

import logging
from collections.abc import Iterator
from pathlib import Path

import network
import numpy as np
import pytest
import torch

from rli.models.diffusion import Model
from rli.models.loading import random_model
from rli.models.mini.surfaces import UNSEEN, surface
from rli.runs import stages
from rli.runs.model_spec import ModelSpec


@pytest.fixture(scope="session", autouse=True)
def network_log(tmp_path_factory) -> Iterator[Path]:
    """Guards this process and its children; the file in which they note what they tried.

    In torch's folder lies a file in the place of VGG-16's weights, which nobody takes for them and nobody looks for
    elsewhere: without it every command would ask the network for LPIPS's backbone. Child processes have one thread.
    """
    folder = tmp_path_factory.mktemp("session")
    weights = folder / "torch" / "hub" / "checkpoints" / "vgg16-397923af.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"no weights")
    log = folder / "network.log"
    with pytest.MonkeyPatch.context() as patch:
        own = {"TORCH_HOME": str(folder / "torch"), "OMP_NUM_THREADS": "1"}
        for name, value in {**network.surroundings(log), **own}.items():
            patch.setenv(name, value)
        network.install()
        yield log


@pytest.fixture(autouse=True)
def no_network(network_log) -> Iterator[None]:
    """Fails a test that reached for the network, also where the code took it for a machine without one."""
    yield
    if tried := network.take(network_log):
        pytest.fail("reached for the network:\n" + "\n".join(tried))


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
