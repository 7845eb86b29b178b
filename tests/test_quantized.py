"""Weights in fewer bits: rounded once, after LoRAs; named in every key; and gradients still go through them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import single_files
import torch
from builders import SOURCE
from command import QUICK, run
from simulated_cuda import simulated_cuda
from single_files import drawn, kohya
from torch import Tensor, nn

from rli.errors import SettingError
from rli.method import editing, inversion
from rli.method.attention.install import install
from rli.method.inversion.direct import Direct
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.solvers.gauss_newton import GaussNewton
from rli.models import loading, quantized
from rli.models.diffusion import Model, arrange
from rli.models.loading import assemble
from rli.models.lora import fuse, parse_lora
from rli.models.noise_schedule import Step
from rli.models.quantized import KINDS, Kind, check_quantization, parse_quantization, stored
from rli.models.random import random_parts
from rli.models.text import encode_prompts
from rli.runs.memory_estimate import Live, measure
from rli.store.inversions import key

pytestmark = pytest.mark.integration

SETTINGS = InversionSettings(NullText(GaussNewton(inner_steps=1, cg_steps=2)), steps=2)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def rounded(weight: Tensor) -> Tensor:
    """To 255 numbers a row."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    return (weight / scale).round() * scale


def round_linear(part: nn.Module, device: torch.device) -> None:
    for layer in part.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data = rounded(layer.weight.data)


@pytest.fixture
def own_int8(monkeypatch):
    """int8 without a library: plain weights with values that eight bits can say."""
    monkeypatch.setitem(KINDS, "int8", Kind("torch", ("cpu", "cuda"), round_linear))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ([], []),
        (["int8"], ["unet:int8", "text_encoders:int8"]),
        (["text_encoders:nf4"], ["text_encoders:nf4"]),
        (["text_encoders:nf4", "unet:int8"], ["unet:int8", "text_encoders:nf4"]),
    ],
)
def test_one_word_is_of_both_parts(typed, meant):
    assert [*map(str, parse_quantization(typed))] == meant


@pytest.mark.parametrize("typed", [["int4"], ["vae:int8"], ["unet:"], ["unet"], ["int8", "unet:nf4"]])
def test_what_is_unknown_or_said_twice_is_refused(typed):
    with pytest.raises(SettingError, match=r"^quantize="):
        parse_quantization(typed)


def test_what_cannot_be_is_refused_in_one_line(monkeypatch):
    told = run(*QUICK, "model.quantize=nf4").error
    assert told == "error: model.quantize=unet:nf4: needs CUDA; use int8 on a CPU"
    monkeypatch.setattr(quantized, "find_spec", lambda name: None)
    told = run(*QUICK, "model.quantize=[unet:int8]").error
    assert told == 'error: model.quantize=unet:int8: needs the library torchao: pip install "rli[quantize]"'
    with pytest.raises(SettingError, match="needs the library bitsandbytes"):
        check_quantization(parse_quantization(["nf4"]), CUDA)


def test_weights_are_rounded_with_their_loras_and_the_model_is_another(own_int8, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "load_parts", lambda *given: random_parts("tiny", torch.float32))
    parts = random_parts("tiny", torch.float32)
    lora = str(single_files.write(tmp_path / "a.safetensors", kohya("lora_unet", drawn(parts.unet, r"attn\d\.to_q$"))))
    fuse(parts, [parse_lora(lora)])
    small = loading.load("mini", lora=[lora], quantize=["unet:int8"], device="cpu")
    after = small.unet.state_dict()
    for name, layer in parts.unet.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            wanted = rounded(layer.weight) if isinstance(layer, nn.Linear) else layer.weight
            assert torch.equal(after[f"{name}.weight"], wanted), name
    for before, encoder in zip(parts.text_encoders, small.text_encoders, strict=True):
        assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in before.state_dict().items())
    whole = assemble("mini", parts, CPU)
    assert (small.quantized, whole.quantized) == (("unet:int8",), ())
    assert key(small, photo, SOURCE, SETTINGS) != key(whole, photo, SOURCE, SETTINGS)


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    pytest.importorskip(KINDS[request.param].library)
    return request.param


@pytest.fixture
def small(kind) -> Model:
    """The tiny model in fewer bits, on the CPU. In training bitsandbytes packs nothing there."""
    model = assemble("tiny", random_parts("tiny", torch.float32), CPU, parse_quantization([kind]))
    for part in (model.unet, *model.text_encoders):
        part.train()
    return model


def gradient(model: Model) -> Tensor:
    """Of a prediction's squares, by the token embeddings."""
    words = encode_prompts(model, [SOURCE], (64, 64))
    tokens = words.tokens.requires_grad_()
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    out = model.predict(latent, Step(0, 2, 500, 480, 500), words, "test")
    return torch.autograd.grad(out.square().mean(), tokens)[0]


def whole_weight(weight: Tensor) -> Tensor:
    """As its numbers and scales say."""
    if hasattr(weight, "dequantize") and not hasattr(weight, "quant_state"):
        return weight.dequantize()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, weight.quant_state)


def test_gradients_go_through_as_through_whole_weights_of_the_same_values(small):
    plain = random_parts("tiny", torch.float32)
    for ours, theirs in ((plain.unet, small.unet), *zip(plain.text_encoders, small.text_encoders, strict=True)):
        for name, layer in ours.named_modules():
            if isinstance(layer, nn.Linear):
                rough = whole_weight(theirs.get_submodule(name).weight).detach()
                assert not torch.equal(rough, layer.weight)
                layer.weight.data = rough
    one, other = gradient(assemble("tiny", plain, CPU)), gradient(small)
    assert torch.allclose(one, other, atol=1e-4 * one.abs().max())


def test_the_estimate_knows_of_smaller_weights_and_of_what_a_graph_keeps(kind, small, tiny):
    footprint, plain = (measure(replace(one, device=CUDA), 64, 64, SETTINGS) for one in (small, tiny))
    layers = [layer for layer in tiny.unet.modules() if isinstance(layer, nn.Linear)]
    whole = sum(layer.weight.nbytes for layer in layers)
    saved = whole * {"int8": 3 / 4, "nf4": 7 / 8}[kind]
    assert 0.9 * saved < plain.unet - footprint.unet < saved
    assert footprint.encoders < plain.encoders
    if kind == "nf4":
        assert footprint.optimize == plain.optimize
    else:  # torchao keeps whole weights for the backward pass
        assert 0.8 * whole < footprint.optimize[0] - plain.optimize[0] <= whole
        assert footprint.optimize[1] < plain.optimize[0]


def test_the_estimate_of_int8_is_the_real_peak():
    pytest.importorskip("torchao")
    model = assemble("tiny", random_parts("tiny", torch.float32), CPU, parse_quantization(["int8"]))
    footprint, words = measure(model, 128, 128, SETTINGS), encode_prompts(model, [SOURCE], (128, 128))
    tokens = words.tokens.requires_grad_()
    with Live([value for weight in model.unet.parameters() for value in stored(weight)]) as live:
        with install(model.unet, SETTINGS.hooks, (16, 16)):
            out = model.predict(torch.randn(1, 4, 16, 16), Step(0, 2, 500, 480, 500), words, "test")
        torch.autograd.grad(out, tokens, torch.ones_like(out))
    assert footprint.optimize[0] == pytest.approx(live.peak, rel=0.05)


def made(model: Model, photo: Tensor, settings: InversionSettings) -> list[Tensor]:
    """A photograph's inversion and an edit."""
    found = inversion.invert(model, photo, SOURCE, settings)
    (edit,) = editing.edit(model, found, ["photo of a crack rust image"])
    return [found.source_latents, found.nulls.tokens, edit.image]


def test_a_quantized_model_works_on_cuda_and_off_it_in_turn(kind, photo):
    """Without gradients for nf4: the simulation does not see into a backward pass of bitsandbytes' own."""
    settings = SETTINGS if kind == "int8" else InversionSettings(Direct(), steps=2)
    with simulated_cuda():
        model = assemble("tiny", random_parts("tiny", torch.float32), CUDA, parse_quantization([kind]))
        there = made(model, photo, settings)
        moving = arrange(model, checkpointing=kind == "int8", vae_tiling=False, offload=True)
        moved = made(moving, photo, settings)
        moving.ready(moving.vae)
        places = {value.device.type for weight in moving.unet.state_dict().values() for value in stored(weight)}
    assert places == {"cpu"}
    for one, other in zip(there, moved, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
