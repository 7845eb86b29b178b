"""Memory by choice, and by itself: what is spared so that a job fits, and what more where it does not fit after all."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import psutil
import torch

from rli.errors import RLIError, one_of
from rli.method.inversion.settings import InversionSettings
from rli.models.diffusion import TILE, Model, arrange
from rli.runs.footprint import Need, measure, seeks, weights

Result = TypeVar("Result")

# What is computed takes this share more than was rehearsed: the convolutions' workspaces and the allocator's gaps. On a
# CPU up to 0.3 was measured, and more for a small VAE's decoding, which `Need.aside` covers.
MARGIN = 0.3
INVERTING, EDITING = "inverting", "editing"
# What a stage can spare, in the order in which it is given up: first what costs least time. Tiles come last, because
# they alone change pixels.
SPARES = {
    INVERTING: ("encoders_on_device", "checkpointing", "photos", "offload", "vae_tiling"),
    EDITING: ("encoders_on_device", "targets", "offload", "vae_tiling"),
}


class NoRoomError(RLIError):
    """Memory ran out with everything spared; the message names the stage."""


@dataclass(frozen=True)
class Memory:
    """What the user wants: mode auto (spare what the free memory asks for), low (everything) or high (nothing).

    limit: GB (2^30 bytes) that may be used, None: what the device has free; on a CPU no limit. checkpointing and
    vae_tiling: auto, or True or False whatever the plan. Raises RLIError.
    """

    mode: str = "auto"
    limit: float | None = None
    checkpointing: bool | str = "auto"
    vae_tiling: bool | str = "auto"

    def __post_init__(self) -> None:
        one_of("runtime.memory", self.mode, ("auto", "low", "high"))
        number = isinstance(self.limit, (int, float)) and not isinstance(self.limit, bool)
        if self.limit is not None and not (number and 0 < self.limit < float("inf")):
            raise RLIError(f"runtime.memory_gb={self.limit} is out of range: it must be a number above 0, or null")
        for key in ("checkpointing", "vae_tiling"):
            value = getattr(self, key)
            if value != "auto" and not isinstance(value, bool):
                raise RLIError(f"runtime.{key}={value} is not known: choose one of auto, true, false")


@dataclass(frozen=True)
class Plan:
    """How memory is spared: gradient checkpointing in the optimization; text encoders on the device or the CPU; targets
    edited and photographs inverted together; UNet and VAE on the device one at a time; the VAE in tiles."""

    photos: int
    targets: int
    encoders_on_device: bool = True
    checkpointing: bool = False
    offload: bool = False
    vae_tiling: bool = False


def estimate(need: Need, plan: Plan, stage: str) -> int:
    """Peak bytes of a stage: weights that are on the device, and the largest of text encoding, the UNet's work and the
    VAE's."""
    if stage == INVERTING:
        unet = plan.photos * need.optimize[plan.checkpointing]
        # Encoded together; decoded (in edits, and in crops that are smaller than a picture) one by one.
        vae = plan.photos * need.encode[plan.vae_tiling]
    else:
        # Rows: the sources', and two for each target; the rehearsed call had three.
        unet = need.edit * (min(plan.photos, plan.targets) + 2 * plan.targets) // 3
        vae = need.decode[plan.vae_tiling] + 2 * plan.targets * need.image
    encoders = need.encoders if plan.encoders_on_device else 0
    visitor = 0 if plan.encoders_on_device else need.encoder
    unet, vae = int(unet * (1 + MARGIN)), int(vae * (1 + MARGIN))
    if plan.offload:
        peak = max(visitor, need.unet + unet, need.vae + vae)
    else:
        peak = need.unet + need.vae + max(visitor, unet, vae)
    return encoders + peak + need.aside


def eased(plan: Plan, stage: str, fixed: frozenset[str] = frozenset()) -> Plan | None:
    """The plan with one thing more spared for this stage, fixed ones left alone; None when nothing is left."""
    for name in SPARES[stage]:
        value = getattr(plan, name)
        frugal = max(1, value // 2) if name in ("photos", "targets") else name != "encoders_on_device"
        if name not in fixed and value != frugal:
            return replace(plan, **{name: frugal})
    return None


def ladder(plan: Plan, stage: str, fixed: frozenset[str] = frozenset()) -> tuple[Plan, ...]:
    """The plan and its eased ones, down to the most frugal for the stage."""
    rungs = [plan]
    while rung := eased(rungs[-1], stage, fixed):
        rungs.append(rung)
    return tuple(rungs)


def choose(need: Need, plan: Plan, budget: int | None, fixed: frozenset[str] = frozenset()) -> Plan:
    """Of each stage's ladder the first rung that fits the budget in bytes, the last where none does; None: no limit."""
    for stage in SPARES:
        rungs = ladder(plan, stage, fixed)
        plan = next((rung for rung in rungs if budget is None or estimate(need, rung, stage) <= budget), rungs[-1])
    return plan


def budget(model: Model, limit: float | None) -> int | None:
    """Bytes that may be taken. On CUDA, for the model and its work: what is free, at most `limit` GB less what the
    process holds, and what the model itself holds there. Elsewhere, for its work: the limit less what the process
    holds, the model with it; None without a limit."""
    limit = None if limit is None else int(limit * 2**30)
    if model.device.type != "cuda":
        return None if limit is None else limit - psutil.Process().memory_info().rss
    release(model.device)  # what only the allocator keeps would not be free
    free, held = torch.cuda.mem_get_info(model.device)[0], torch.cuda.memory_allocated(model.device)
    parts = (model.unet, model.vae, *model.text_encoders)
    own = sum(weights(part) for part in parts if next(part.parameters()).device.type != "cpu")
    return own + (free if limit is None else min(free, limit - held))


@dataclass
class Keeper:
    """The model and the plan in use, by which it is arranged for every piece of work; `fixed` names what the plan may
    not change."""

    model: Model
    plan: Plan
    fixed: frozenset[str]

    def persist(self, stage: str, work: Callable[[Model, Plan], Result]) -> Result:
        """work(model, plan); where memory runs out, one thing more is spared and it is done again. Raises NoRoomError
        when nothing is left to spare."""
        while True:
            try:
                self.model = arranged(self.model, self.plan)
                return work(self.model, self.plan)
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
            # Here the error is gone, and with its traceback what the failed try held.
            release(self.model.device)
            plan = eased(self.plan, stage, self.fixed)
            if plan is None:
                raise NoRoomError(
                    f"{stage}: out of memory with everything spared: choose a smaller resolution or a larger device"
                )
            print(f"memory: out of memory while {stage}; going on with {described(self.plan, plan)}", file=sys.stderr)
            self.plan = plan


def keep(
    model: Model,
    memory: Memory,
    height: int,
    width: int,
    settings: InversionSettings,
    photos: int,
    targets: int,
) -> Keeper:
    """Choose a plan for at most so many photographs and targets together at this size in pixels, and say on stderr
    what it spares."""
    generous = Plan(max(1, photos), max(1, targets))
    generous, fixed = _wished(generous, model, memory, height, width)
    if not seeks(settings):
        fixed |= {"checkpointing"}  # there is no graph
    plan = generous
    if memory.mode == "low":
        plan = ladder(ladder(plan, INVERTING, fixed)[-1], EDITING, fixed)[-1]
    elif memory.mode == "auto" and (room := budget(model, memory.limit)) is not None:
        need = measure(model, height, width, settings)
        plan = choose(need, plan, room, fixed)
        most = max(estimate(need, plan, stage) for stage in SPARES)
        if most > room:
            print(
                f"memory: warning: about {most / 2**30:.2f} GB more are needed with everything spared, and "
                f"{max(0, room) / 2**30:.2f} GB are free",
                file=sys.stderr,
            )
    if plan != generous:
        print(f"memory: {memory.mode} chose {described(generous, plan)}", file=sys.stderr)
    return Keeper(model, plan, fixed)


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
    """What the second plan spares beyond the first, in words."""
    words = {
        "encoders_on_device": "the text encoders on the CPU",
        "checkpointing": "gradient checkpointing",
        "photos": f"{after.photos} photographs together" if after.photos > 1 else "photographs one by one",
        "targets": f"{after.targets} targets together" if after.targets > 1 else "targets one by one",
        "offload": "UNet and VAE on the device in turn",
        "vae_tiling": "the VAE in tiles, which may show seams",
    }
    return ", ".join(text for name, text in words.items() if getattr(before, name) != getattr(after, name))


def ran_out(error: BaseException) -> bool:
    """Whether it says that memory ran out, on CUDA or on a CPU, where it is a plain RuntimeError."""
    texts = ("DefaultCPUAllocator: can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in texts)


def release(device: torch.device) -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _wished(plan: Plan, model: Model, memory: Memory, height: int, width: int) -> tuple[Plan, frozenset[str]]:
    """The plan with the user's own choices, and the names of what may not be changed."""
    own = {key: getattr(memory, key) for key in ("checkpointing", "vae_tiling") if getattr(memory, key) != "auto"}
    fixed = set(own)
    if model.device.type != "cuda":
        fixed |= {"encoders_on_device", "offload"}  # there is nowhere else to go
    if max(height, width) <= TILE * model.pixels_per_latent:
        fixed.add("vae_tiling")  # one tile is the picture
    return replace(plan, **own), frozenset(fixed)
