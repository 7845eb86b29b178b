"""How much memory was in use at most."""

from __future__ import annotations

import sys

import psutil
import torch


def reset_peak_memory(device: torch.device) -> None:
    """Begins a new peak on CUDA. On a CPU the system keeps one for the whole process, which cannot begin anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_gb(device: torch.device) -> float:
    """The peak in GB (2^30 bytes).

    Args:
        device: Where the work is done.

    Returns:
        On CUDA what tensors took at most since the last reset, the model's weights among them. On a CPU the most that
        the process held since it began.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:  # Windows has none
        return psutil.Process().memory_info().peak_wset / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
