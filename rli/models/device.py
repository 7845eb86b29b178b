"""Which device and which precision a model works in, and how exactly a device repeats itself."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic
from torch import nn

from rli.errors import SettingError, one_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str) -> torch.device:
    """The device to work on.

    Args:
        device: auto is CUDA where there is a GPU, and the CPU elsewhere; or cpu, cuda, cuda:N.

    Returns:
        The device.

    Raises:
        SettingError: The name is unknown, or CUDA is asked for and absent.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise SettingError("device", device, "unknown value; expected auto, cpu, cuda or cuda:N") from None
    if chosen.type not in ("cpu", "cuda"):
        raise SettingError("device", device, "not supported; expected auto, cpu, cuda or cuda:N")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise SettingError("device", device, "no CUDA device is available; use cpu")
    return chosen


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The precision to work in.

    Args:
        dtype: auto is bfloat16 on CUDA and float32 on a CPU; or float32, bfloat16, float16.
        device: Where the model works.

    Returns:
        The dtype of the UNet and the text encoders.

    Raises:
        SettingError: The name is unknown, or it is float16 on a CPU.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    one_of("dtype", dtype, ("auto", *DTYPES))
    if dtype == "float16" and device.type == "cpu":
        raise SettingError("dtype", dtype, "needs CUDA; use float32 or bfloat16 on a CPU")
    return DTYPES[dtype]


def drawback(dtype: torch.dtype, device: torch.device) -> str | None:
    """What speaks against a precision on this device, in one line; None where nothing does.

    PyTorch computes bfloat16 with AVX-512 and AMX; where an x86 processor has neither, it is emulated.
    """
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    if device.type != "cpu" or dtype != torch.bfloat16 or not is_x86:
        return None
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        return None
    return (
        "bfloat16 takes more than ten times as long as float32 on this processor, which has no AVX-512: use "
        "runtime.dtype=float32 where memory allows it"
    )


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Within the scope CUDA repeats itself bit for bit, on the same card with the same versions.

    Without it, backward passes of attention and of convolutions may add in any order. A CPU repeats itself anyway. The
    settings are PyTorch's and hold for the whole process; they are put back afterwards. To be entered before the
    process's first matrix product on CUDA, which is when PyTorch looks at cuBLAS's workspace; it raises RuntimeError at
    the next one otherwise.
    """
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    memory: Any = torch.utils.deterministic
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, fill = torch.backends.cudnn.benchmark, memory.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        memory.fill_uninitialized_memory = False  # takes time, and nothing here reads such memory
        yield
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        torch.backends.cudnn.benchmark = benchmark
        memory.fill_uninitialized_memory = fill


@contextmanager
def visiting(part: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Has the part on the device within the scope, and afterwards where it was."""
    home = next(part.parameters()).device
    try:
        yield part.to(device)
    finally:
        part.to(home)


def moved(part: nn.Module, device: torch.device) -> nn.Module:
    """The part on the device; it is only moved if it is elsewhere, because a move visits every weight."""
    at = next(part.parameters()).device
    return part if at.type == device.type and device.index in (None, at.index) else part.to(device)
