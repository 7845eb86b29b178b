"""Every stage on a CUDA device, bit for bit as on the CPU, and planted mistakes that are found: without a GPU."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from simulated_cuda import CPU, CUDA, DeviceError, place, simulated_cuda

from rli.method import editing, inversion
from rli.method.example import Example
from rli.method.inversion.base import Inverter
from rli.method.inversion.ddim import Ddim
from rli.method.inversion.direct import Direct
from rli.method.inversion.negative_prompt import NegativePrompt
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.inversion.virtual import Virtual
from rli.method.recognition import Recognition, competing, prediction_errors
from rli.method.records import EditSettings
from rli.method.solvers.adam import Adam
from rli.method.solvers.gauss_newton import GaussNewton
from rli.method.solvers.lbfgs import Lbfgs
from rli.models.diffusion import Model, arrange
from rli.models.loading import random_model

pytestmark = pytest.mark.integration

SOURCE, TARGETS = "photo of a crack defect image", ["photo of a crack rust image", "photo of a crack dent image"]
GAUSS_NEWTON = NullText(GaussNewton(inner_steps=1, cg_steps=2))


@dataclass(frozen=True)
class Work:
    """Two photographs inverted and edited together, one of them inside a given region."""

    method: Inverter = GAUSS_NEWTON
    dtype: str = "float32"
    steps: int = 2
    # Of InversionSettings, of EditSettings and of `arrange`.
    inverting: dict[str, Any] = field(default_factory=dict)
    editing: dict[str, Any] = field(default_factory=dict)
    placing: dict[str, Any] = field(default_factory=dict)
    # Whether each is the other's example, inside the given region.
    by_example: bool = False


WORKS = {
    # The blend mask first acts in the second of three steps.
    "Gauss-Newton": Work(NullText(GaussNewton(inner_steps=2, cg_steps=2)), steps=3),
    "L-BFGS": Work(NullText(Lbfgs(inner_steps=3, stop_db=200.0, slack_db=0.0))),
    "Adam": Work(NullText(Adam(inner_steps=2))),
    "residual, offload": Work(
        NullText(GaussNewton(inner_steps=1, cg_steps=2), residual=True), steps=3, placing={"offload": True}
    ),
    "direct": Work(Direct()),
    "negative prompt": Work(NegativePrompt()),
    "ddim": Work(Ddim()),
    "virtual": Work(Virtual()),
    "the reference's conventions": Work(
        NullText(Adam(inner_steps=1)),
        inverting={"alignment": "reference", "time_ids": "reference"},
        editing={"convention": "reference"},
    ),
    "a sampled latent, tiles": Work(
        Direct(), inverting={"encode": "sample"}, editing={"method": "replace"}, placing={"vae_tiling": True}
    ),
    "no attention hooks, no local blend": Work(Direct(), inverting={"hooks": ()}, editing={"local_blend": False}),
    "checkpointing, text encoders on the device": Work(placing={"checkpointing": True, "encoders_on_device": True}),
    "everything spared": Work(
        placing={"checkpointing": True, "offload": True, "vae_tiling": True, "encoders_on_device": False}
    ),
    "bfloat16": Work(dtype="bfloat16"),
    "bfloat16 with everything spared": Work(
        NullText(Adam(inner_steps=1)),
        dtype="bfloat16",
        placing={"checkpointing": True, "offload": True, "vae_tiling": True, "encoders_on_device": False},
    ),
    "float16": Work(dtype="float16"),
    "by example": Work(Direct(), editing={"fresh": 0.5}, placing={"offload": True}, by_example=True),
    "by example in bfloat16": Work(Direct(), dtype="bfloat16", editing={"replace": 0.0}, by_example=True),
}


class Models:
    """The tiny model of each precision on the CPU and on the simulated device, each made once."""

    def __init__(self) -> None:
        self.made: dict[tuple[str, str], Model] = {}

    def get(self, device: str, dtype: str) -> Model:
        if (device, dtype) not in self.made:
            with simulated_cuda() if device == "cuda" else nullcontext():
                model = random_model("tiny", dtype=getattr(torch, dtype), device=device)
            self.made[device, dtype] = model
        return self.made[device, dtype]


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture(autouse=True)
def alike(monkeypatch):
    """The same kernels on both devices (a CPU has one of its own for small maps in half precision), and tiles smaller
    than the photographs."""
    monkeypatch.setattr("rli.method.attention.install.SMALL_SIDE", 0)
    monkeypatch.setattr("rli.models.diffusion.TILE", 4)


def carried_out(model: Model, work: Work, photo: torch.Tensor, device: torch.device) -> list[torch.Tensor]:
    """Everything that comes of it; checks that the UNet, the VAE and the text encoders worked on the device."""
    placing = {"checkpointing": False, "vae_tiling": False, "offload": False, **work.placing}
    model = arrange(model, **placing)
    seen: set[torch.device] = set()
    parts = (model.unet, model.vae.encoder, model.vae.decoder, *model.text_encoders)
    hooks = [part.register_forward_pre_hook(lambda _, given: seen.add(place(given[0]))) for part in parts]
    region = np.zeros((64, 64), bool)
    region[8:40, 16:48] = True
    try:
        settings = InversionSettings(work.method, steps=work.steps, **work.inverting)
        done = inversion.invert_batch(model, torch.cat([photo, photo.flip(3)]), SOURCE, settings)
        masks: dict[str, Any] = {"masks": [region, None]}
        if work.by_example:
            looks = [Example(one, region.T, editing.reconstruct(model, one)) for one in reversed(done)]
            masks = {"masks": [region, region], "examples": [[look] * len(TARGETS) for look in looks]}
        edits = editing.edit_batch(model, done, TARGETS, EditSettings(**work.editing), batch=3, **masks)
        among = competing(model, TARGETS, (64, 64))
        errors = prediction_errors(model, edits[0][0].image, among.text, region, Recognition((0.5,)))
        out = [editing.vae_round_trip(model, done[0]), torch.tensor(errors)]
    finally:
        for hook in hooks:
            hook.remove()
    assert seen == {device}
    for one in done:
        out += [one.latent, one.source_latents, one.nulls.tokens, one.nulls.pooled, torch.tensor(sum(one.losses, ()))]
    for edit in (edit for both in edits for edit in both):
        out += [edit.image, torch.from_numpy(edit.mask)]
        out += [torch.from_numpy(word.map) for word in (*edit.maps, *edit.source_maps)]
    return out


@pytest.mark.parametrize("name", WORKS)
def test_a_cuda_device_gives_the_cpu_s_results_bit_for_bit(name, models, photo):
    work = WORKS[name]
    expected = carried_out(models.get("cpu", work.dtype), work, photo, CPU)
    with simulated_cuda():
        found = carried_out(models.get("cuda", work.dtype), work, photo, CUDA)
    assert len(found) == len(expected) > 20
    for one, other in zip(found, expected, strict=True):
        assert place(one) == CPU  # what leaves a stage is not on the device
        assert one.dtype == other.dtype and torch.equal(one, other)


def test_offload_keeps_one_part_on_the_device(models, photo):
    with simulated_cuda():
        model = arrange(models.get("cuda", "float32"), checkpointing=False, vae_tiling=False, offload=True)
        model.ready(model.unet)

        def places() -> list[str]:
            parts = (model.unet, model.vae, *model.text_encoders)
            return [{place(value).type for value in part.parameters()}.pop() for part in parts]

        assert places() == ["cuda", "cpu", "cpu", "cpu"]
        model.ready(model.vae)
        assert places() == ["cpu", "cuda", "cpu", "cpu"]
        model.make_room_for(model.text_encoders[0])
        assert places() == ["cpu"] * 4


# Mistakes: what is patched, and what it becomes, given what it was.
Mistake = Callable[[Callable[..., Any]], Callable[..., Any]]


def left_behind(original: Callable[..., Any]) -> Callable[..., Any]:
    """Its result is on the CPU."""
    return lambda *args, **kwargs: _to_cpu(original(*args, **kwargs))


def given_from_the_cpu(*positions: int) -> Mistake:
    """Some of its arguments come from the CPU."""

    def mistaken(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return original(*(_to_cpu(v) if k in positions else v for k, v in enumerate(args)), **kwargs)

        return call

    return mistaken


def _to_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, torch.Tensor) else value.map(lambda part: part.cpu())


def stays(_: Callable[..., Any]) -> Callable[..., Any]:
    """Nothing is moved: what was given is what comes back."""
    return lambda this, *args: this


def visits_nowhere(_: Callable[..., Any]) -> Callable[..., Any]:
    @contextmanager
    def visiting(part: Any, device: Any) -> Any:
        yield part

    return visiting


def readies_nothing(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda model, part: part


def draws_with_the_cpu_s_generator(_: Callable[..., Any]) -> Callable[..., Any]:
    def encode(model: Model, images: torch.Tensor, how: str, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(len(images), 4, 8, 8, generator=generator, device=model.device)

    return encode


def straight_to_numpy(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda store, *rest: store.total.numpy()


def times_of_the_cpu(original: Callable[..., Any]) -> Callable[..., Any]:
    def added(self: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        told = original(self, dtype)
        return {**told, "time_ids": told["time_ids"].cpu()}

    return added


def weighed_on_the_cpu(_: Callable[..., Any]) -> Callable[..., Any]:
    return lambda null, text, guidance: torch.lerp(null, text, torch.tensor([guidance]))


MISTAKES: dict[str, tuple[str, Mistake]] = {
    "encoded photographs": ("rli.models.vae.encode", left_behind),
    "the generator of a sampled latent": ("rli.models.vae.encode", draws_with_the_cpu_s_generator),
    "latents for the VAE": ("rli.models.vae.LatentScaling.to_vae", left_behind),
    "the decoder's gain": ("rli.models.vae.gain", left_behind),
    "a text encoder that stays": ("rli.models.text.visiting", visits_nowhere),
    "encoded prompts": ("rli.method.inversion.encode_prompts", left_behind),
    "the size that the UNet is told": ("rli.models.conditioning.Conditioning.added", times_of_the_cpu),
    "one move": ("rli.method.inversion.base.move", left_behind),
    "guidance": ("rli.method.inversion.null_text.guide", weighed_on_the_cpu),
    "a hook in attention": ("rli.method.attention.rli.RLI.output", given_from_the_cpu(1)),
    "rows of the inner problem": ("rli.method.solvers.base.LeastSquares.all_rows", left_behind),
    "what a prediction lacks": ("rli.method.solvers.base.LeastSquares.error", left_behind),
    "the tolerance": ("rli.method.solvers.gauss_newton.GaussNewton.tolerance", left_behind),
    "rows of the null embeddings": ("rli.models.conditioning.Conditioning.put", given_from_the_cpu(1)),
    "null embeddings of an edit": ("rli.method.records.NullEmbeddings.at", left_behind),
    "the alignment of tokens": ("rli.method.prompts.TokenAlignment.to", stays),
    "injected maps": ("rli.method.attention.prompt_to_prompt.inject", given_from_the_cpu(0)),
    "watched maps": ("rli.method.attention.prompt_to_prompt.MapStore.add", given_from_the_cpu(1)),
    "the blend mask": ("rli.method.blend.local_blend_mask", left_behind),
    "a mask for a file": ("rli.method.editing.blend_masks", straight_to_numpy),
    "offload": ("rli.models.diffusion.Model.ready", readies_nothing),
}
# The blend mask first acts in the second of three steps.
SMALL = Work(NullText(GaussNewton(inner_steps=1, cg_steps=1)), steps=3, placing={"offload": True})


@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found(name, models, photo, monkeypatch):
    target, mistake = MISTAKES[name]
    monkeypatch.setattr(target, mistake(pkgutil.resolve_name(target)))
    with simulated_cuda(), pytest.raises((DeviceError, TypeError), match=r"device|convert cuda"):
        carried_out(models.get("cuda", "float32"), SMALL, photo, CUDA)


def test_a_model_that_never_left_the_cpu_is_found(models, photo):
    """Nothing mixes then, but nothing works on the device either."""
    left = replace(models.get("cuda", "float32"), device=CPU)
    with simulated_cuda(), pytest.raises(AssertionError):
        carried_out(left, Work(Direct()), photo, CUDA)


# Whether CUDA refuses a call, of a tensor x (3,4) that is there and one y of the same shape that is not.
ROWS = torch.tensor([0, 2])
RULES: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], Any], bool]] = {
    "sum": (lambda x, y: x + y, True),
    "sum in place": (lambda x, y: x.add_(y), True),
    "product with a number": (lambda x, y: x * torch.tensor(2.0), False),
    "product with a number that is there": (lambda x, y: y * x.sum(), True),
    "matrix product": (lambda x, y: x @ y.T, True),
    "linear": (lambda x, y: F.linear(x, y), True),
    "interpolation": (lambda x, y: torch.lerp(x, y, 0.5), True),
    "choice": (lambda x, y: torch.where(y > 0, x, x), True),
    "concatenation": (lambda x, y: torch.cat([x, y]), True),
    "comparison": (lambda x, y: torch.equal(x, y), True),
    "rows by an index": (lambda x, y: x[ROWS], False),
    "rows by a mask": (lambda x, y: x[y[:, 0] > 0], False),
    "rows by an index that is there": (lambda x, y: y[ROWS.to(x.device)], True),
    "rows selected": (lambda x, y: x.index_select(0, ROWS), True),
    "rows copied": (lambda x, y: x.index_copy(0, ROWS, x[:2]), True),
    "rows written by an index": (lambda x, y: x.__setitem__(ROWS, y[:2]), True),
    "rows written by a slice": (lambda x, y: x.__setitem__(slice(0, 2), y[:2]), False),
    "copy": (lambda x, y: x.copy_(y), False),
    "embedding": (lambda x, y: F.embedding(ROWS, x), True),
    "convolution": (lambda x, y: F.conv2d(x[None, None], y[None, None]), True),
    "attention": (lambda x, y: F.scaled_dot_product_attention(x[None], y[None], y[None]), True),
    "noise with the CPU's generator": (lambda x, y: x.clone().normal_(generator=torch.Generator()), True),
    "to numpy": (lambda x, y: x.numpy(), True),
    "to numpy, implicitly": (lambda x, y: np.asarray(x), True),
    "a branch on values": (lambda x, y: bool((x > 0).any()), False),
    "rows that are not 0": (lambda x, y: x[x[:, 0].nonzero()[:, 0]], False),
    "a number of it": (lambda x, y: y * float(x[0, 0]), False),
}
DEVICES: dict[str, Callable[[], AbstractContextManager[None]]] = {"simulated": simulated_cuda}
if torch.cuda.is_available():
    DEVICES["real"] = nullcontext


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("rule", RULES)
def test_calls_are_refused_where_cuda_refuses_them(rule, device):
    call, refused = RULES[rule]
    here = torch.arange(12.0).reshape(3, 4) - 5
    with DEVICES[device]():
        there = here.to("cuda")
        if refused:
            with pytest.raises((RuntimeError, TypeError)):
                call(there, here)
        else:
            call(there, here)


def test_marks_go_where_values_go():
    with simulated_cuda():
        x = torch.arange(6.0).reshape(2, 3).cuda()
        there = [
            x[0],
            x.T,
            x.double(),
            x.new_ones(2),
            torch.zeros_like(x),
            torch.zeros(2, device="cuda"),
            x.split(1)[1],
        ]
        assert {value.device for value in there} == {torch.device("cuda", 0)}
        assert all(value.is_cuda for value in there)
        here = [x.cpu(), x.to("cpu"), torch.zeros_like(x, device="cpu"), torch.tensor([float(x[0, 0])]), torch.zeros(2)]
        assert {value.device for value in here} == {torch.device("cpu")}
        assert x.to("cuda") is x
        weight = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((weight * x).sum(), weight)
        assert gradient.is_cuda and torch.equal(gradient, x)
        layer = torch.nn.Linear(3, 3).to("cuda")
        assert layer.weight.is_cuda and layer(x).is_cuda
        with pytest.raises(DeviceError, match="on different devices"):
            torch.autograd.grad(layer(x), layer.weight, torch.ones(2, 3))
    assert x.cpu().tolist() == [[0, 1, 2], [3, 4, 5]]
