"""Every test's guard against the network (see network.py), without which none is run."""

from collections.abc import Iterator
from pathlib import Path

import network
import pytest


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
