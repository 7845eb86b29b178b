"""Which device and which precision a model works in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
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
