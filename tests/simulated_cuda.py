"""A CUDA device for machines that have none: values as on the CPU, devices as on CUDA.

Within `simulated_cuda()` tensors can be moved to "cuda". Their values stay in main memory and the CPU's kernels compute
with them, so that results are the CPU's bit for bit, gradients and branches on values included; but they say that they
are on cuda:0, and a call that mixes them with the CPU's is refused where CUDA refuses it.

A mark on each storage says where it is: views, and what autograd saves, share their storage and so its mark. One mode
sees every call of torch from Python; it answers what is asked about devices, makes moves, and marks results. What may
be mixed is PyTorch's own to say: a call that mixes devices is first carried out on shapes and devices alone by its
FakeTensorMode, which misses one rule, of indices.

What it cannot see: calls inside torch's own functions and in backward passes, neither of which choose a device. What it
does not have: generators on CUDA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
# Bytes that the device says are free, of as many.
MEMORY = 80 << 30


class DeviceError(RuntimeError):
    """A call that CUDA would refuse for where its tensors are."""


@contextmanager
def simulated_cuda() -> Iterator[None]:
    """Within the scope there is one CUDA device."""
    answers: dict[str, Callable[..., Any]] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "mem_get_info": lambda device=None: (MEMORY, MEMORY),
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 0,
        "reset_peak_memory_stats": lambda device=None: None,
        "empty_cache": lambda: None,
        "synchronize": lambda device=None: None,
        "get_device_name": lambda device=None: "simulated",
        "is_current_stream_capturing": lambda: False,
    }
    with ExitStack() as scope:
        for name, answer in answers.items():
            scope.enter_context(patch.object(torch.cuda, name, answer))
        # Optimizers ask whether their work is being recorded.
        stream = SimpleNamespace(is_capturing=lambda: False)
        scope.enter_context(patch.object(torch.accelerator, "current_stream", lambda device=None: stream))
        # Checkpointing would compare devices that it noted inside torch, where the mode is off, with those of what it
        # computes again.
        checks = torch.utils.checkpoint._allowed_determinism_checks_to_fns
        scope.enter_context(patch.dict(checks, {"default": checks["none"]}))
        scope.enter_context(_Simulation())
        yield


def place(tensor: Tensor) -> torch.device:
    """Where a tensor is, or says that it is."""
    if tensor.device != CPU:
        return tensor.device
    return CUDA if getattr(tensor.untyped_storage(), "simulated", False) else CPU


def _on_cuda(tensor: Tensor) -> bool:
    return place(tensor) == CUDA


class _Simulation(TorchFunctionMode):
    """In its own methods it is off: there tensors are what they are, on the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in ANSWERS:
            return ANSWERS[func](args[0])
        if func in UNTOUCHED:
            return func(*args, **kwargs)
        if func in MOVES:
            return _moved(func, *args, **kwargs)
        if func in TO_HOST and _on_cuda(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if func is torch.autograd.grad:
            return self.gradients(*args, **kwargs)
        if func is Tensor.backward:
            return self.backward(*args, **kwargs)
        if func is torch.autograd.backward:
            raise NotImplementedError("backward passes of several outputs are not simulated: use Tensor.backward")
        return _called(func, args, kwargs)

    def backward(self, output: Tensor, **options: Any) -> None:
        """Gradients are left where the values are that they belong to."""
        leaves = _leaves(output)
        with ExitStack() as scope:
            scope.enter_context(patch.object(torch._tensor, "has_torch_function_unary", lambda tensor: False))
            scope.enter_context(patch.object(torch.autograd, "has_torch_function", lambda tensors: False))
            scope.enter_context(self)
            output.backward(**options)
        for leaf in leaves:
            if leaf.grad is not None:
                _mark(leaf.grad, _on_cuda(leaf))

    def gradients(self, outputs: Any, inputs: Any, grad_outputs: Any = None, **options: Any) -> tuple[Tensor, ...]:
        """The mode stays on: checkpointing runs parts of the model again in here."""
        if len({place(t) for t in tree_leaves((outputs, grad_outputs)) if isinstance(t, Tensor)}) > 1:
            raise DeviceError("torch.autograd.grad: outputs and their gradients are on different devices")
        with patch.object(torch.autograd, "has_torch_function", lambda tensors: False), self:
            found: tuple[Tensor, ...] = torch.autograd.grad(outputs, inputs, grad_outputs, **options)
        for gradient, value in zip(found, tree_leaves(inputs), strict=True):
            _mark(gradient, _on_cuda(value))
        return found


def _leaves(output: Tensor) -> list[Tensor]:
    """The values that a gradient of this one would be left at."""
    seen, found, waiting = set(), [], [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        waiting += [following for following, _ in node.next_functions]
    return found


# Tensor.device and the like are descriptors, of which the mode sees the getters.
ANSWERS: dict[Any, Callable[[Tensor], Any]] = {
    Tensor.device.__get__: place,
    Tensor.is_cuda.__get__: _on_cuda,
    Tensor.is_cpu.__get__: lambda tensor: place(tensor) == CPU,
    Tensor.get_device: lambda tensor: 0 if _on_cuda(tensor) else -1,
}
UNTOUCHED = {
    Tensor.data.__set__,
    Tensor.untyped_storage,
    torch._C._nn._parse_to,
    torch._has_compatible_shallow_copy_type,
}
MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda, Tensor.type_as}
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
TO_HOST = {Tensor.numpy, Tensor.__array__}


def _moved(func: Any, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Tensor.to and its like: another device is another storage."""
    if args and isinstance(args[0], Tensor):
        args = (place(args[0]), args[0].dtype, *args[1:])
    device = place(tensor)
    if func in (Tensor.cpu, Tensor.cuda):
        device, args, kwargs = (CPU if func is Tensor.cpu else CUDA), (), {}
    func = Tensor.to
    named = [value for value in (*args, *kwargs.values()) if isinstance(value, (str, torch.device))]
    if named:
        device = _device(named[0])
    if device.type not in ("cpu", "cuda"):
        return func(tensor, *args, **kwargs)

    def here(value: Any) -> Any:
        return CPU if isinstance(value, (str, torch.device)) else value

    out = func(tensor, *map(here, args), **{name: here(value) for name, value in kwargs.items()})
    if place(tensor) != device and _same_storage(out, tensor):
        out = out.clone()
    if not _same_storage(out, tensor):
        _mark(out, device == CUDA)
    return out


def _called(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Any other call, and marks on the storages that it made."""
    given = [*_tensors(args), *_tensors(kwargs.values())]
    wanted = None if kwargs.get("device") is None else _device(kwargs["device"])
    simulated = {place(tensor) for tensor in given} - {torch.device("meta")}
    where: Any = wanted or (CUDA if CUDA in simulated else CPU)
    if len(simulated) > 1:
        where = _judged(func, args, kwargs)
    if where == CUDA and (generator := kwargs.get("generator")) is not None:
        raise DeviceError(f"{_name(func)}: expected a generator on device cuda, not on {generator.device}")
    if wanted == CUDA:
        kwargs = {**kwargs, "device": CPU}
    out = func(*args, **kwargs)
    leaves = [out] if isinstance(out, Tensor) else tree_leaves(out)
    places = [where] if isinstance(where, torch.device) else tree_leaves(where)
    for k, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and leaf.device == CPU and not any(_same_storage(leaf, one) for one in given):
            _mark(leaf, places[k if len(places) == len(leaves) else 0] == CUDA)
    return out


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Those among the values and in their lists, as torch's calls take them. (tree_leaves took a third of the time.)"""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


def _judged(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Where each result of a call that mixes devices is. Raises DeviceError where PyTorch refuses the call."""
    if func in INDEXING and place(args[0]) == CPU and any(_is_index_on_cuda(leaf) for leaf in tree_leaves(args[1])):
        raise DeviceError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    with (
        patch.object(torch.cuda, "is_available", lambda: False),  # or the mode would try to open it
        torch.no_grad(),
        FakeTensorMode(shape_env=ShapeEnv()),
    ):

        def imitation(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=place(value))

        try:
            out = func(*tree_map(imitation, args), **tree_map(imitation, kwargs))
        except Exception as error:
            raise DeviceError(f"{_name(func)}: {' '.join(str(error).split())[:300]}") from None
        return tree_map(lambda value: value.device if isinstance(value, Tensor) else CPU, out)


def _is_index_on_cuda(value: Any) -> bool:
    """A whole number is read from wherever it is."""
    return isinstance(value, Tensor) and _on_cuda(value) and (value.dim() > 0 or value.dtype == torch.bool)


def _device(named: Any) -> torch.device:
    device = torch.device(named)
    return CUDA if device.type == "cuda" and device.index is None else device


def _mark(tensor: Tensor, simulated: bool) -> None:
    tensor.untyped_storage().simulated = simulated


def _same_storage(a: Tensor, b: Tensor) -> bool:
    return a.device == b.device and a.untyped_storage()._cdata == b.untyped_storage()._cdata


def _name(func: Any) -> str:
    return getattr(func, "__name__", str(func))
