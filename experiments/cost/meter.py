"""What a computation spends: seconds, UNet batch rows forward and backward, and peak memory, phase by phase."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass
class Spent:
    """One phase. seconds by the clock and of the processor (threads summed; what other jobs delay counts in the first
    alone); forwards and backwards in batch rows, so that a call with a batch of 4 is 4; peak_gb in 2^30 bytes."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    forwards: int = 0
    backwards: int = 0
    peak_gb: float = 0.0


@dataclass
class Meter:
    """A clock with one hand: a phase within another pauses the outer one."""

    device: torch.device
    phases: dict[str, Spent] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _began: tuple[float, float] = (0.0, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._lap()
        self._open.append(name)
        try:
            yield
        finally:
            self._lap()
            self._open.pop()

    def progress(self, names: Callable[[str], str]) -> Callable[[Iterable, str], Iterator]:
        """A progress display for rli's stages that shows nothing and opens the phase that `names` gives the label."""

        def watched(items: Iterable, label: str) -> Iterator:
            with self.phase(names(label)):
                yield from items

        return watched

    @contextmanager
    def watching(self, unet: nn.Module) -> Iterator[None]:
        """Within the scope the UNet's rows are counted in the phase that is open."""

        def forward(_module: nn.Module, args: tuple, out: tuple[Tensor]) -> None:
            if self._open:
                self._spent().forwards += len(args[0])
                if out[0].requires_grad:
                    out[0].register_hook(backward)

        def backward(grad: Tensor) -> None:
            self._spent().backwards += len(grad)

        handle = unet.register_forward_hook(forward)
        try:
            yield
        finally:
            handle.remove()

    def _spent(self) -> Spent:
        return self.phases.setdefault(self._open[-1], Spent())

    def _lap(self) -> None:
        """What passed since the last lap belongs to the innermost open phase."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        if self._open:
            spent = self._spent()
            spent.seconds += time.perf_counter() - self._began[0]
            spent.cpu_seconds += time.process_time() - self._began[1]
            spent.peak_gb = max(spent.peak_gb, peak_gb(self.device))
        reset_peak(self.device)
        self._began = time.perf_counter(), time.process_time()


def reset_peak(device: torch.device) -> None:
    """Start a new peak: of the device's allocator, or on Linux of this process after it has returned what it freed."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
        Path("/proc/self/clear_refs").write_text("5")


def peak_gb(device: torch.device) -> float:
    """The peak since the last reset; NaN where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform != "linux":
        return float("nan")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
