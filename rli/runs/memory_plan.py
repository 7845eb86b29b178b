"""Memory savings: which are turned on before a run so that it fits, and which one more when memory runs out."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import psutil
import torch

from rli.errors import RLIError, SettingError, one_of
from rli.method.inversion.settings import InversionSettings
from rli.models.diffusion import TILE, Model, arrange
from rli.runs.memory_estimate import Footprint, measure, weight_bytes

Result = TypeVar("Result")

# The work takes this share more than its footprint: the convolutions' workspaces and the allocator's gaps. On a CPU up
# to 0.3 was measured, and more for a small VAE's decoding, which `Footprint.fixed` covers.
MARGIN = 0.3
# Such as “CUDA error: out of memory”, CUDA_ERROR_OUT_OF_MEMORY, hipErrorOutOfMemory, cudaErrorMemoryAllocation,
# CUDNN_STATUS_ALLOC_FAILED, miopenStatusAllocFailed, and “DefaultCPUAllocator: can't allocate memory”.
_OUT_OF_MEMORY = re.compile(
    r"out[ _]?of[ _]?memory|alloc_?failed|errormemoryallocation|can(no|')t allocate memory|not enough memory", re.I
)
INVERTING, EDITING = "inverting", "editing"
# The parts of a plan that save memory in each stage, in the order in which they are turned on: first what costs least
# time. Tiles come last, because they alone change pixels.
FALLBACKS = {
    INVERTING: ("encoders_on_device", "checkpointing", "photos", "offload", "vae_tiling"),
    EDITING: ("encoders_on_device", "targets", "offload", "vae_tiling"),
}


class OutOfMemoryError(RLIError):
    """Memory ran out with all memory savings on; the message names the stage."""


@dataclass(frozen=True)
class Memory:
    """What the user wants of memory. Raises SettingError."""

    # auto: the savings that the free memory asks for; low: all of them; high: none.
    mode: str = "auto"
    # GB (2^30 bytes) that may be used; None: what the device has free, and no limit on a CPU.
    limit: float | None = None
    # Recompute activations in the optimization; encode and decode in tiles. auto leaves it to the plan, True and False
    # hold whatever the plan says.
    checkpointing: bool | str = "auto"
    vae_tiling: bool | str = "auto"

    def __post_init__(self) -> None:
        one_of("mode", self.mode, ("auto", "low", "high"))
        is_number = isinstance(self.limit, (int, float)) and not isinstance(self.limit, bool)
        if self.limit is not None and not (is_number and 0 < self.limit < float("inf")):
            raise SettingError("limit", self.limit, "out of range; expected a number above 0, or null")
        for name in ("checkpointing", "vae_tiling"):
            value = getattr(self, name)
            if value != "auto" and not isinstance(value, bool):
                raise SettingError(name, value, "unknown value; expected one of auto, true, false")


@dataclass(frozen=True)
class Plan:
    """Which memory savings are on."""

    # Photographs inverted together, and targets edited together, at most.
    photos: int
    targets: int
    # Whether the text encoders are on the device; else on the CPU.
    encoders_on_device: bool = True
    # Whether the optimization recomputes activations.
    checkpointing: bool = False
    # Whether UNet and VAE are on the device one at a time.
    offload: bool = False
    # Whether the VAE works in tiles.
    vae_tiling: bool = False


def estimate(footprint: Footprint, plan: Plan, stage: str) -> int:
    """The memory that a stage needs under a plan.

    Args:
        footprint: Of the model at the job's size.
        plan: Which memory savings are on.
        stage: INVERTING or EDITING.

    Returns:
        Peak bytes: the weights on the device, and the largest of text encoding, the UNet's work and the VAE's.
    """
    if stage == INVERTING:
        unet = plan.photos * footprint.optimize[plan.checkpointing]
        # Encoded together; decoded (in edits, and in crops that are smaller than a picture) one by one.
        vae = plan.photos * footprint.encode[plan.vae_tiling]
    else:
        # Rows: the sources', and two for each target; the footprint's call had three.
        unet = footprint.edit * (min(plan.photos, plan.targets) + 2 * plan.targets) // 3
        vae = footprint.decode[plan.vae_tiling] + 2 * plan.targets * footprint.image
    encoders = footprint.encoders if plan.encoders_on_device else 0
    visitor = 0 if plan.encoders_on_device else footprint.encoder
    unet, vae = int(unet * (1 + MARGIN)), int(vae * (1 + MARGIN))
    if plan.offload:
        peak = max(visitor, footprint.unet + unet, footprint.vae + vae)
    else:
        peak = footprint.unet + footprint.vae + max(visitor, unet, vae)
    return encoders + peak + footprint.fixed


def next_fallback(plan: Plan, stage: str, fixed: frozenset[str] = frozenset()) -> Plan | None:
    """The plan with one more memory saving on for a stage, or None where all are.

    Args:
        plan: Which memory savings are on.
        stage: INVERTING or EDITING.
        fixed: The parts of the plan that may not change.
    """
    for name in FALLBACKS[stage]:
        value = getattr(plan, name)
        saving = max(1, value // 2) if name in ("photos", "targets") else name != "encoders_on_device"
        if name not in fixed and value != saving:
            return replace(plan, **{name: saving})
    return None


def fallbacks(plan: Plan, stage: str, fixed: frozenset[str] = frozenset()) -> tuple[Plan, ...]:
    """A plan and its fallbacks, each with one memory saving more.

    Args:
        plan: Where it begins.
        stage: INVERTING or EDITING.
        fixed: The parts of the plan that may not change.

    Returns:
        The plan, then each next fallback, up to the plan with all savings on.
    """
    plans = [plan]
    while following := next_fallback(plans[-1], stage, fixed):
        plans.append(following)
    return tuple(plans)


def choose(footprint: Footprint, plan: Plan, budget: int | None, fixed: frozenset[str] = frozenset()) -> Plan:
    """The plan with as few memory savings more as the budget asks for.

    Args:
        footprint: Of the model at the job's size.
        plan: The savings that are on in any case.
        budget: Bytes; None is no limit.
        fixed: The parts of the plan that may not change.

    Returns:
        For each stage the first fallback that fits; the last one where none does.
    """
    for stage in FALLBACKS:
        plans = fallbacks(plan, stage, fixed)
        plan = next((p for p in plans if budget is None or estimate(footprint, p, stage) <= budget), plans[-1])
    return plan


def budget(model: Model, limit: float | None) -> int | None:
    """How many bytes may be taken.

    Args:
        model: On the device that counts.
        limit: GB (2^30 bytes) at most, or None.

    Returns:
        On CUDA, for the model and its work: what is free, at most the limit less what the process holds, and what the
        model itself holds there. Elsewhere, for the work: the limit less what the process holds, the model with it;
        None without a limit.
    """
    limit = None if limit is None else int(limit * 2**30)
    if model.device.type != "cuda":
        return None if limit is None else limit - psutil.Process().memory_info().rss
    release(model.device)  # what only the allocator keeps would not be free
    free, held = torch.cuda.mem_get_info(model.device)[0], torch.cuda.memory_allocated(model.device)
    parts = (model.unet, model.vae, *model.text_encoders)
    own = sum(weight_bytes(part) for part in parts if next(part.parameters()).device.type != "cpu")
    return own + (free if limit is None else min(free, limit - held))


@dataclass
class MemoryManager:
    """Arranges the model by the plan in use for each piece of work; turns on more savings where memory runs out."""

    model: Model
    plan: Plan
    # The parts of the plan that may not change.
    fixed: frozenset[str]

    def run_with_oom_retry(self, stage: str, work: Callable[[Model, Plan], Result]) -> Result:
        """Does a piece of work; where memory runs out, turns on one more saving and does it again.

        Args:
            stage: INVERTING or EDITING.
            work: Called with the arranged model and the plan.

        Returns:
            What work returns.

        Raises:
            OutOfMemoryError: Memory ran out with every saving on.
        """
        while True:
            try:
                self.model = arranged(self.model, self.plan)
                return work(self.model, self.plan)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            # Here the error is gone, and with its traceback what the failed attempt held.
            release(self.model.device)
            plan = next_fallback(self.plan, stage, self.fixed)
            if plan is None:
                raise OutOfMemoryError(
                    f"{stage}: out of memory with all memory savings on; choose a smaller resolution or a larger device"
                )
            more = described(self.plan, plan)
            print(f"memory: out of memory while {stage}; turned on {more}, and trying again", file=sys.stderr)
            self.plan = plan


def memory_manager(
    model: Model,
    memory: Memory,
    height: int,
    width: int,
    settings: InversionSettings,
    photos: int,
    targets: int,
    by_example: bool = False,
) -> MemoryManager:
    """Chooses a plan for a job, and says on stderr which memory savings it turns on.

    Args:
        model: The model; it is not moved yet.
        memory: What the user wants.
        height, width: Pixels of the photographs.
        settings: Of the inversion.
        photos, targets: Photographs inverted and targets edited together, at most.
        by_example: Whether each target has an example.

    Returns:
        The manager of the model's memory.
    """
    generous = Plan(max(1, photos), max(1, targets))
    generous, fixed = _with_user_choices(generous, model, memory, height, width)
    if not settings.method.backward_passes:
        fixed |= {"checkpointing"}  # there is no graph
    plan = generous
    if memory.mode == "low":
        plan = fallbacks(fallbacks(plan, INVERTING, fixed)[-1], EDITING, fixed)[-1]
    elif memory.mode == "auto" and (room := budget(model, memory.limit)) is not None:
        footprint = measure(model, height, width, settings, by_example=by_example)
        plan = choose(footprint, plan, room, fixed)
        most = max(estimate(footprint, plan, stage) for stage in FALLBACKS)
        if most > room:
            print(f"memory: warning: {_shortage(model.device, most, room)}", file=sys.stderr)
    if plan != generous:
        print(f"memory: {memory.mode} turned on: {described(generous, plan)}", file=sys.stderr)
    return MemoryManager(model, plan, fixed)


def arranged(model: Model, plan: Plan) -> Model:
    """The model as the plan has it."""
    return arrange(
        model,
        checkpointing=plan.checkpointing,
        vae_tiling=plan.vae_tiling,
        encoders_on_device=plan.encoders_on_device,
        offload=plan.offload,
    )


def described(before: Plan, after: Plan) -> str:
    """The savings that are on in the second plan and not in the first, in words."""
    words = {
        "encoders_on_device": "the text encoders on the CPU",
        "checkpointing": "gradient checkpointing",
        "photos": f"{after.photos} photographs together" if after.photos > 1 else "photographs one by one",
        "targets": f"{after.targets} targets together" if after.targets > 1 else "targets one by one",
        "offload": "UNet and VAE on the device in turn",
        "vae_tiling": "the VAE in tiles, which may show seams",
    }
    return ", ".join(text for name, text in words.items() if getattr(before, name) != getattr(after, name))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out.

    PyTorch has a type for its own allocator's failures. Those of the driver and of the libraries below (cuBLAS, cuDNN,
    cuFFT and so on, and the same of ROCm) come as other RuntimeErrors and are known by their words, and so are a CPU's.
    """
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or bool(_OUT_OF_MEMORY.search(str(error)))


def _shortage(device: torch.device, most: int, room: int) -> str:
    """What is needed and what there is, in words; in bytes, as `estimate` and `budget` have them."""
    need, free = f"about {most / 2**30:.2f} GB", f"{max(0, room) / 2**30:.2f} GB"
    if device.type == "cuda":
        return f"even with all memory savings on, model and work need {need}, and {free} are free"
    return (
        f"even with all memory savings on, the work needs {need} beside what the process holds, and {free} are left "
        "of the limit"
    )


def release(device: torch.device) -> None:
    """Gives back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _with_user_choices(
    plan: Plan, model: Model, memory: Memory, height: int, width: int
) -> tuple[Plan, frozenset[str]]:
    """The plan with the user's own choices, and the names of its parts that may not change."""
    own = {key: getattr(memory, key) for key in ("checkpointing", "vae_tiling") if getattr(memory, key) != "auto"}
    fixed = set(own)
    if model.device.type != "cuda":
        fixed |= {"encoders_on_device", "offload"}  # there is nowhere else to go
    if max(height, width) <= TILE * model.pixels_per_latent:
        fixed.add("vae_tiling")  # one tile is the picture
    return replace(plan, **own), frozenset(fixed)
