"""What docs/usage.md says of what is reproducible."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rli.method import editing, inversion
from rli.method.attention.install import install
from rli.method.attention.rli import RLI
from rli.method.inversion.settings import InversionSettings
from rli.models import text
from rli.models.device import deterministic
from rli.models.loading import load, random_model
from rli.models.mini.surfaces import UNSEEN, surface
from rli.models.noise_schedule import Step

pytestmark = pytest.mark.integration

SOURCE, TARGET = "photo of a crack defect image", "photo of a crack rust image"
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def printed() -> str:
    """A hash of an inversion and an edit of it."""
    image = torch.from_numpy(surface(UNSEEN, ("crack",), 64, 64).image).permute(2, 0, 1)[None].float() / 127.5 - 1
    model = random_model("tiny")
    done = inversion.invert(model, image, SOURCE, InversionSettings(steps=3))
    edit = editing.edit(model, done, [TARGET])[0]
    found = (done.source_latents, done.nulls.tokens, edit.image)
    return hashlib.sha256(b"".join(value.contiguous().numpy().tobytes() for value in found)).hexdigest()


@pytest.mark.slow
def test_another_process_with_as_many_threads_gives_the_same_bits():
    threads = torch.get_num_threads()
    code = f"import torch, test_reproducible as t; torch.set_num_threads({threads}); print(t.printed())"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert out.stdout.split()[-1] == printed()


def settings() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def test_determinism_is_asked_of_cuda_for_the_length_of_a_scope(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    before = settings()

    def failing() -> None:
        with deterministic(CUDA):
            assert settings() == (True, False, False, False)
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert settings() == before
    with deterministic(CPU):
        assert settings() == before


# What PyTorch has no deterministic kernel for on CUDA, of torch.use_deterministic_algorithms: parts of the names of the
# autograd nodes.
NEVER = (
    *("AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool3D", "Fractional", "MaxUnpool", "ReflectionPad", "GridSampler"),
    *("UpsampleLinear", "UpsampleBilinear", "UpsampleBicubic", "UpsampleTrilinear", "NllLoss", "CtcLoss"),
    *("EmbeddingBag", "PutBackward"),
)


def test_the_gradient_goes_through_nothing_that_has_no_deterministic_kernel(tiny):
    """What else the scope would refuse: PyTorch raises where it meets such an operation."""
    told = text.encode_prompts(tiny, [SOURCE], (64, 64))
    told = replace(told, tokens=told.tokens.clone().requires_grad_())
    with install(tiny.unet, (RLI(),), (8, 8)):
        eps = tiny.predict(torch.zeros(1, 4, 8, 8), Step(0, 2, 500, 500, 0), told, "test")
    names, left = set(), [eps.grad_fn]
    seen = set(left)
    while left:
        node = left.pop()
        names.add(node.name())
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        left += new
    assert any("ScaledDotProduct" in name for name in names) and any("Convolution" in name for name in names)
    assert not [name for name in names for never in NEVER if never in name]


@pytest.mark.parametrize(
    ("machine", "capability", "dtype", "warned"),
    [
        ("x86_64", "AVX2", "bfloat16", True),
        ("AMD64", "DEFAULT", "bfloat16", True),
        ("x86_64", "AVX512", "bfloat16", False),
        ("x86_64", "AVX2", "float32", False),
        ("x86_64", "AVX2", "auto", False),
        ("aarch64", "SVE256", "bfloat16", False),  # not measured
    ],
)
def test_bfloat16_is_warned_of_where_the_processor_emulates_it(machine, capability, dtype, warned, monkeypatch, capsys):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    load("mini", dtype=dtype, device="cpu")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(lines) == warned
    assert all("more than ten times as long as float32" in line for line in lines)
