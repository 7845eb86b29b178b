"""What a job needs is known beforehand, memory savings change no picture, and running out of memory ends no run."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from builders import SOURCE, job, photographs, targets
from torch import nn

from rli.errors import RLIError
from rli.method import editing, inversion
from rli.method.attention.install import install
from rli.method.inversion.direct import Direct
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import InversionSettings
from rli.method.solvers.gauss_newton import GaussNewton
from rli.models import text
from rli.models import vae as codec
from rli.models.diffusion import Model, arrange
from rli.models.loading import random_model
from rli.models.noise_schedule import Step
from rli.runs import memory_plan
from rli.runs.memory_estimate import Footprint, Live, measure, weight_bytes
from rli.runs.memory_plan import (
    EDITING,
    FALLBACKS,
    INVERTING,
    Memory,
    Plan,
    choose,
    estimate,
    fallbacks,
    memory_manager,
    next_fallback,
)
from rli.runs.peak_memory import peak_memory_gb, reset_peak_memory
from rli.runs.runner import Runner
from rli.store.failures import Failure
from rli.store.records import PhotoResult

pytestmark = pytest.mark.integration

TARGETS = targets("rust", "dent", "wear", "hole")
SETTINGS = InversionSettings(NullText(GaussNewton(inner_steps=1)), steps=2)
GENEROUS = Plan(photos=8, targets=8)
# About what SDXL takes at 1024 pixels in bfloat16, in MB.
FOOTPRINT = Footprint(4900, 320, 1550, 1320, (5000, 520), 470, (2600, 690), (3070, 820), 12)


@pytest.fixture
def model(tiny):
    """The tiny model, put back as it was."""
    yield tiny
    arrange(tiny, checkpointing=False, vae_tiling=False, offload=False)


@pytest.fixture(scope="module")
def footprints(tiny):
    """The tiny model's, by the photographs' side."""
    return {side: measure(tiny, side, side, SETTINGS) for side in (64, 256)}


@pytest.fixture
def task(tmp_path):
    """A job, with changes, that edits to the targets together."""
    common = {"targets": TARGETS, "original": False, "inversion": SETTINGS, "target_batch": 4}
    return lambda cache="cache", **changes: job(tmp_path / cache, **{**common, **changes})


def exhausts(monkeypatch, part: nn.Module, when) -> None:
    """part.forward says that memory ran out wherever when(count of the call, its batch rows)."""
    plain, calls = part.forward, []

    def forward(sample, *args, **kwargs):
        calls.append(1)
        if when(len(calls), len(sample)):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(sample, *args, **kwargs)

    monkeypatch.setattr(part, "forward", forward)


@pytest.mark.parametrize("stage", FALLBACKS)
def test_every_fallback_turns_one_saving_more_on_and_needs_no_more(stage):
    plans = fallbacks(GENEROUS, stage)
    needs = [estimate(FOOTPRINT, plan, stage) for plan in plans]
    assert all(a >= b for a, b in pairwise(needs))
    assert needs[-1] < 0.6 * needs[0]
    for before, after in pairwise(plans):
        assert sum(getattr(before, f.name) != getattr(after, f.name) for f in fields(Plan)) == 1
        assert memory_plan.described(before, after)
    assert not any(plan.vae_tiling for plan in plans[:-1]) and plans[-1].vae_tiling
    assert next_fallback(plans[-1], stage) is None


def test_the_first_fallback_that_fits_is_chosen():
    assert choose(FOOTPRINT, GENEROUS, None) == GENEROUS
    assert choose(FOOTPRINT, GENEROUS, 10**9) == GENEROUS
    most = choose(FOOTPRINT, GENEROUS, 1)
    assert all(next_fallback(most, stage) is None for stage in FALLBACKS)
    plans = fallbacks(Plan(8, 1), INVERTING)
    for room in (46_000, 15_000, 12_000):
        k = plans.index(choose(FOOTPRINT, Plan(8, 1), room))
        assert k > 0
        assert [estimate(FOOTPRINT, plan, INVERTING) <= room for plan in plans[: k + 1]] == [False] * k + [True]


def test_what_the_user_fixed_stays():
    fixed = frozenset({"checkpointing", "vae_tiling"})
    most = choose(FOOTPRINT, GENEROUS, 1, fixed)
    assert not most.checkpointing and not most.vae_tiling
    assert most.photos == most.targets == 1 and most.offload


def saved_bytes(model: Model, side: int) -> int:
    """What one prediction's graph holds beside weights, counted while it is built."""
    known, held = {p.untyped_storage().data_ptr() for p in model.unet.parameters()}, {}
    cond = text.encode_prompts(model, [SOURCE], (side, side))
    cond = replace(cond, tokens=cond.tokens.requires_grad_())

    def pack(value):
        if value.untyped_storage().data_ptr() not in known:
            held[value.untyped_storage().data_ptr()] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        model.predict(torch.randn(1, 4, side // 8, side // 8), Step(0, 2, 500, 480, 500), cond, "test")
    return sum(value.untyped_storage().nbytes() for value in held.values())


@pytest.mark.parametrize("side", [64, 256])
def test_the_footprint_of_a_graph_is_what_a_real_one_saves(model, footprints, side):
    footprint = footprints[side]
    plain = saved_bytes(model, side)
    assert footprint.optimize[0] == pytest.approx(plain, rel=0.2)
    model.unet.enable_gradient_checkpointing()
    assert saved_bytes(model, side) < footprint.optimize[1] < footprint.optimize[0] / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_footprint_is_the_real_peak(footprints, dtype):
    model, step = random_model("tiny", dtype=dtype), Step(0, 2, 500, 480, 500)
    footprint = footprints[256] if dtype == torch.float32 else measure(model, 256, 256, SETTINGS)
    for saving in (False, True):
        arrange(model, checkpointing=saving, vae_tiling=False, offload=False)
        cond = text.encode_prompts(model, [SOURCE], (256, 256))
        tokens = cond.tokens.requires_grad_()
        with Live(model.unet.parameters()) as live, install(model.unet, SETTINGS.hooks, (32, 32)):
            out = model.predict(torch.randn(1, 4, 32, 32), step, replace(cond, tokens=tokens), "test")
            torch.autograd.grad(out, tokens, torch.ones_like(out))
        assert footprint.optimize[saving] == pytest.approx(live.peak, rel=0.05)


def test_measuring_a_footprint_touches_nothing_and_tiles_are_counted(model, photo):
    before = [p.clone() for p in model.unet.parameters()]
    footprint = measure(model, 768, 128, SETTINGS)
    assert all(torch.equal(a, b) for a, b in zip(before, model.unet.parameters(), strict=True))
    assert not model.unet.is_gradient_checkpointing
    latent = torch.randn(1, 4, 96, 16)
    for tiling in (False, True):
        arrange(model, checkpointing=False, vae_tiling=tiling, offload=False)
        with Live(model.vae.parameters()) as live:
            codec.decode(model, latent)
        assert live.peak == pytest.approx(footprint.decode[tiling], rel=0.2)
    assert footprint.decode[True] < footprint.decode[False]


def test_an_edit_s_footprint_is_as_large_as_it_is(model, footprints, photo):
    inverted = inversion.invert(model, photo, SOURCE, SETTINGS)
    known = [*model.unet.parameters(), *model.vae.parameters()]
    with Live([*known, *(p for e in model.text_encoders for p in e.parameters())]) as live:
        editing.edit(model, inverted, TARGETS)
    assert live.peak <= estimate(footprints[64], Plan(1, 4), EDITING)


def test_every_fallback_gives_the_same_reconstruction_and_edits(model, photo):
    def pictures(plan: Plan) -> list[torch.Tensor]:
        arranged = memory_plan.arranged(model, plan)
        done = inversion.invert(arranged, photo, SOURCE, SETTINGS)
        edits = editing.edit(arranged, done, TARGETS, batch=plan.targets)
        return [editing.reconstruct(arranged, done), *(e.image for e in edits)]

    plain = pictures(Plan(1, 4))
    for plan in {*fallbacks(Plan(1, 4), INVERTING), *fallbacks(Plan(1, 4), EDITING)}:
        for one, other in zip(plain, pictures(plan), strict=True):
            # Rows of another batch size are multiplied in another order: rounding only.
            assert torch.allclose(one, other, atol=1e-4), plan


class Luggage(nn.Linear):
    """A part that notes where it is sent instead of going there."""

    def __init__(self, name: str, trips: list) -> None:
        super().__init__(1, 1)
        self.name, self.trips, self.place = name, trips, torch.device("cpu")

    def parameters(self, recurse: bool = True):
        yield type("Weight", (), {"device": self.place})()

    def to(self, device):
        self.trips.append((self.name, device.type))
        self.place = device
        return self


def test_offloading_keeps_one_large_part_on_the_device_at_a_time(tiny):
    trips = []
    unet, vae = Luggage("unet", trips), Luggage("vae", trips)
    moving = replace(tiny, unet=unet, vae=vae, device=torch.device("cuda"), offload=True)
    for part in (vae, unet, unet, vae):
        assert moving.ready(part) is part
    moving.make_room_for(tiny.text_encoders[0])
    assert trips == [
        ("vae", "cuda"), ("vae", "cpu"), ("unet", "cuda"), ("unet", "cpu"), ("vae", "cuda"), ("vae", "cpu"),
    ]  # fmt: skip
    trips.clear()
    assert replace(moving, offload=False).ready(unet) is unet
    assert not trips


def same(a: PhotoResult, b: PhotoResult, levels: int) -> None:
    assert a.name == b.name and a.edits.keys() == b.edits.keys()
    pairs = [(a.reconstruction, b.reconstruction), *((a.edits[d].image, b.edits[d].image) for d in a.edits)]
    for one, other in pairs:
        assert np.abs(one.astype(int) - other.astype(int)).max() <= levels


def test_running_out_while_inverting_saves_more_and_changes_nothing(model, photo, task, monkeypatch, capsys, tmp_path):
    plain = list(Runner(task("plain"), model).results(photographs(photo, 2)))
    capsys.readouterr()
    exhausts(monkeypatch, model.unet, lambda call, rows: call == 4)
    got = list(Runner(task(), model).results(photographs(photo, 2)))
    for one, other in zip(plain, got, strict=True):
        same(one, other, 0)  # checkpointing computes the same activations again
    assert capsys.readouterr().err == (
        "memory: out of memory while inverting; turned on gradient checkpointing, and trying again\n"
    )
    assert model.unet.is_gradient_checkpointing


def test_running_out_while_editing_does_it_again_with_fewer_targets(model, photo, task, monkeypatch, capsys, tmp_path):
    plain = list(Runner(task("plain"), model).results(photographs(photo, 2)))
    capsys.readouterr()
    exhausts(monkeypatch, model.unet, lambda call, rows: rows > 5)
    got = list(Runner(task(), model).results(photographs(photo, 2)))
    for one, other in zip(plain, got, strict=True):
        same(one, other, 1)  # a batch of another size is summed in another order
    # Once: the second photograph goes on with what the first one found.
    assert (
        capsys.readouterr().err
        == "memory: out of memory while editing; turned on 2 targets together, and trying again\n"
    )


def test_photographs_that_do_not_fit_together_are_inverted_apart(model, photo, task, monkeypatch, capsys, tmp_path):
    plain = list(Runner(task("plain", targets=TARGETS[:1]), model).results(photographs(photo, 4)))
    capsys.readouterr()
    together = task(batch_size=4, targets=TARGETS[:1], memory=Memory(checkpointing=False))
    exhausts(monkeypatch, model.unet, lambda call, rows: rows > 3)
    got = list(Runner(together, model).results(photographs(photo, 4)))
    for one, other in zip(plain, got, strict=True):
        same(one, other, 1)  # a batch of another size is summed in another order
    assert capsys.readouterr().err == (
        "memory: out of memory while inverting; turned on 2 photographs together, and trying again\n"
        "memory: out of memory while editing; turned on 2 targets together, and trying again\n"
        "memory: out of memory while editing; turned on targets one by one, and trying again\n"
    )


@pytest.mark.parametrize("stage", FALLBACKS)
def test_nothing_left_to_save_is_one_failure_and_the_rest_go_on(model, photo, task, monkeypatch, capsys, stage):
    settings = task(targets=TARGETS[:1], memory=Memory("low"))
    if stage == EDITING:  # inverted and kept beforehand
        list(Runner(settings, model).results(photographs(photo, 1)))
    capsys.readouterr()
    with monkeypatch.context() as patch:
        exhausts(patch, model.unet, lambda call, rows: call == 1)
        first, second = Runner(settings, model).results(photographs(photo, 2))
    assert isinstance(first, Failure) and isinstance(second, PhotoResult)
    assert first.reason.startswith(f"{stage}: out of memory with all memory savings on") and "\n" not in first.reason


def accelerator_error(message: str) -> RuntimeError:
    """As the driver's errors come, in the type that newer releases of PyTorch have for them."""
    return getattr(torch, "AcceleratorError", RuntimeError)(message)


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("not enough memory: you tried to allocate"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (accelerator_error("CUDA error: out of memory"), True),
        (RuntimeError("CUDA driver error: CUDA_ERROR_OUT_OF_MEMORY"), True),
        (RuntimeError("cudaErrorMemoryAllocation"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("nvrtc: error: NVRTC_ERROR_OUT_OF_MEMORY"), True),
        (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"), True),
        (RuntimeError("HIP error: hipErrorOutOfMemory"), True),
        (RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("miopenStatusAllocFailed"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"), True),
        (RuntimeError("shapes do not fit"), False),
        (RuntimeError("shapes do not fit: CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("shapes do not fit: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("shapes do not fit: CUBLAS_STATUS_INVALID_VALUE"), False),
    ],
)
def test_only_want_of_memory_is_tried_again(model, error, is_memory, capsys):
    keeper, tries = memory_plan.MemoryManager(model, Plan(1, 2), frozenset()), []

    def work(model, plan):
        tries.append(plan.encoders_on_device)
        if len(tries) == 1:
            raise error
        return "done"

    if is_memory:
        assert keeper.run_with_oom_retry(EDITING, work) == "done"
        assert tries == [True, False]
    else:
        with pytest.raises(RuntimeError, match="shapes"):
            keeper.run_with_oom_retry(EDITING, work)


def test_a_real_allocation_that_fails_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory_plan.is_out_of_memory(caught.value)


def test_auto_looks_at_what_is_left_and_says_what_it_saves(model, footprints, capsys, monkeypatch):
    choice = {"height": 64, "width": 64, "settings": SETTINGS, "photos": 4, "targets": 8}
    assert memory_manager(model, Memory(), **choice).plan == Plan(4, 8)
    assert memory_manager(model, Memory("high"), **choice).plan == Plan(4, 8)
    assert capsys.readouterr().err == ""
    low = memory_manager(model, Memory("low"), **choice)
    assert low.plan == Plan(1, 1, checkpointing=True)
    assert low.run_with_oom_retry(INVERTING, lambda model, plan: model.unet.is_gradient_checkpointing)
    footprint = footprints[64]
    room = estimate(footprint, Plan(2, 8, checkpointing=True), INVERTING)
    monkeypatch.setattr(memory_plan, "budget", lambda model, limit: room)
    capsys.readouterr()
    kept = memory_manager(model, Memory(limit=1.0), **choice)
    assert estimate(footprint, kept.plan, INVERTING) <= room < estimate(footprint, Plan(4, 8), INVERTING)
    assert capsys.readouterr().err.startswith("memory: auto turned on: gradient checkpointing")
    monkeypatch.setattr(memory_plan, "measure", lambda *_, **__: footprint)
    monkeypatch.setattr(memory_plan, "budget", lambda model, limit: 0)
    assert memory_manager(model, Memory(limit=1.0), **choice).plan == Plan(1, 1, checkpointing=True)
    assert capsys.readouterr().err.startswith(
        "memory: warning: even with all memory savings on, the work needs about 0.10 GB beside what the process holds, "
        "and 0.00 GB are left of the limit\n"
    )
    assert memory_manager(model, Memory("low", checkpointing=False), **choice).plan == Plan(1, 1)
    direct = choice | {"settings": InversionSettings(Direct())}  # nothing is optimized: there is no graph
    assert memory_manager(model, Memory("low"), **direct).plan == Plan(1, 1)


def test_on_cuda_need_and_room_have_the_model_in_them(model, capsys, monkeypatch):
    on_cuda = replace(model, device=torch.device("cuda"))
    monkeypatch.setattr(
        memory_plan, "measure", lambda *_, **__: Footprint(4 * 2**30, 0, 0, 0, (0, 0), 0, (0, 0), (0, 0), 0)
    )
    monkeypatch.setattr(memory_plan, "budget", lambda model, limit: 3 * 2**30)
    memory_manager(on_cuda, Memory(), 1024, 1024, SETTINGS, 1, 1)
    assert capsys.readouterr().err.startswith(
        "memory: warning: even with all memory savings on, model and work need about 4.00 GB, and 3.00 GB are free\n"
    )


def test_each_photograph_on_cuda_has_a_peak_of_its_own(model, photo, task, monkeypatch):
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(device.type))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 2**30 * len(calls))
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    reset_peak_memory(cuda)
    assert (calls, peak_memory_gb(cuda)) == (["cuda"], 1.0)
    reset_peak_memory(cpu)
    assert calls == ["cuda"]
    # The runner begins a peak before each photograph.
    monkeypatch.setattr("rli.runs.runner.reset_peak_memory", lambda device: reset_peak_memory(cuda))
    monkeypatch.setattr("rli.runs.measure.peak_memory_gb", lambda device: peak_memory_gb(cuda))
    results = Runner(task(targets=TARGETS[:1]), model).results(photographs(photo, 2))
    assert [{row.peak_memory_gb for row in result.rows} for result in results] == [{2.0}, {3.0}]


def test_a_cpu_s_peak_is_the_process_s_and_never_falls():
    cpu, more = torch.device("cpu"), torch.ones(2**28, dtype=torch.uint8)
    at_most = peak_memory_gb(cpu)
    assert at_most > more.nbytes / 2**30
    del more
    reset_peak_memory(cpu)
    assert peak_memory_gb(cpu) >= at_most


def test_a_cpu_s_budget_is_the_limit_less_what_the_process_holds(tiny):
    assert memory_plan.budget(tiny, None) is None
    before = memory_plan.budget(tiny, 1024)
    assert before < 2**40 - sum(map(weight_bytes, (tiny.unet, tiny.vae, *tiny.text_encoders)))
    more = torch.ones(2**28, dtype=torch.uint8)
    assert before - memory_plan.budget(tiny, 1024) == pytest.approx(more.nbytes, rel=0.1)
    assert memory_plan.budget(tiny, 1e-3) < 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_cuda_device_s_budget_is_what_is_free_and_the_plan_is_kept_there(photo):
    model = random_model("tiny", device="cuda")
    assert 0 < memory_plan.budget(model, None) <= torch.cuda.get_device_properties(0).total_memory
    assert memory_plan.budget(model, 0.5) <= 2**29
    kept = memory_manager(model, Memory("low"), 64, 64, SETTINGS, 1, 1)

    def places(model, plan):
        inversion.invert(model, photo, SOURCE, SETTINGS)
        return model.unet.device.type, model.vae.device.type, model.text_encoders[0].device.type

    assert kept.run_with_oom_retry(INVERTING, places) in (("cuda", "cpu", "cpu"), ("cpu", "cuda", "cpu"))


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ({"mode": "middle"}, "mode=middle: unknown value; expected one of auto, low, high"),
        ({"limit": -1}, "limit=-1: out of range"),
        ({"limit": 0}, "limit=0: out of range"),
        ({"limit": float("nan")}, "limit=nan: out of range"),
        ({"limit": "8GB"}, "limit=8GB: out of range"),
        ({"checkpointing": "often"}, "checkpointing=often: unknown value"),
        ({"vae_tiling": 1}, "vae_tiling=1: unknown value"),
    ],
)
def test_bad_values_are_refused_in_one_line(bad, line):
    with pytest.raises(RLIError, match=line) as error:
        Memory(**bad)
    assert "\n" not in str(error.value)
