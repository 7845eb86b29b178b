"""Peak memory of each stage, found by running it on PyTorch's meta device, where tensors have shapes but no data."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.checkpoint import checkpoint

from rli.method.attention.install import SMALL_SIDE, AttentionHook, install
from rli.method.attention.prompt_to_prompt import MapStore, PromptToPrompt, map_size
from rli.method.inversion.settings import InversionSettings
from rli.models.diffusion import TILE, Model, set_checkpointing
from rli.models.quantized import stored, unpacked

# Kernels' rearranged weights and small pools, whatever the size of the picture: 0.1 GB on a CPU.
FIXED_BYTES = 2**30 // 10


@dataclass(frozen=True)
class Footprint:
    """Bytes that a model takes at a size. Weights are 0 where they are not moved between devices."""

    # Weights: of the UNet, the VAE, all text encoders, and the largest text encoder.
    unet: int
    vae: int
    encoders: int
    encoder: int
    # One photograph's optimization, plain and with gradient checkpointing.
    optimize: tuple[int, int]
    # One target's UNet call.
    edit: int
    # Encoding and decoding one photograph, whole and in tiles.
    encode: tuple[int, int]
    decode: tuple[int, int]
    # One picture in float32.
    image: int
    # What libraries hold beside all tensors.
    fixed: int = 0


def measure(
    model: Model, height: int, width: int, settings: InversionSettings, *, by_example: bool = False
) -> Footprint:
    """The footprint of every stage.

    Args:
        model: The model. Its weights count on CUDA alone; elsewhere the process holds them in any case.
        height, width: Pixels of the photographs.
        settings: Of the inversion.
        by_example: Whether each target has an example, which is a further row of the UNet's calls.

    Returns:
        The bytes that each stage needs.
    """
    factor = model.pixels_per_latent
    latent, rows = (height // factor, width // factor), 4 if by_example else 3
    tile = min(latent[0], TILE), min(latent[1], TILE)
    image, moves = 12 * height * width, model.device.type == "cuda"
    encoders = [weight_bytes(encoder) for encoder in model.text_encoders] if moves else [0]

    def vae(method: str, size: tuple[int, int]) -> int:
        shape = (1, 3, size[0] * factor, size[1] * factor) if method == "encode" else (1, _channels(model), *size)
        return _peak(model, model.vae, lambda vae: getattr(vae, method)(torch.empty(shape, device="meta")))

    def tiled(method: str) -> int:
        # Tiles overlap by a quarter, so that they hold 16/9 of the picture; they are joined in rows, then those.
        return vae(method, tile) + (0 if tile == latent else 4 * image)

    with install(model.unet, settings.hooks, latent):
        backward = settings.method.backward_passes
        plain, saving = (_optimization(model, latent, backward, checkpointing) for checkpointing in (False, True))
        edit = _peak(
            model, model.unet, lambda unet: _call(model, unet, latent, rows, hooks=(_injection(model, latent),))
        )
    return Footprint(
        unet=weight_bytes(model.unet) if moves else 0,
        vae=weight_bytes(model.vae) if moves else 0,
        encoders=sum(encoders),
        encoder=max(encoders),
        optimize=(plain, saving),
        edit=edit,
        encode=(vae("encode", latent), tiled("encode")),
        decode=(vae("decode", latent), tiled("decode")),
        image=image,
        fixed=FIXED_BYTES,
    )


def weight_bytes(part: nn.Module) -> int:
    """Bytes of a part's parameters and buffers."""
    return sum(value.nbytes for weight in part.state_dict().values() for value in stored(weight))


class Live(TorchDispatchMode):
    """Counts within its scope the bytes of storages that are alive, and their `peak`; those given are not counted."""

    def __init__(self, ignored: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known = {value.untyped_storage()._cdata for value in ignored}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in tree_iter(out):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


class _Attention(TorchFunctionMode):
    """Attention on the meta device in the form that `install.attend` gives it on the `real` one; left to itself, it
    would form every map."""

    def __init__(self, real: torch.device) -> None:
        super().__init__()
        self.real = real

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        q, k, v = args[:3]
        if self.real.type == "cpu" and q.dtype != torch.float32 and k.shape[2] <= SMALL_SIDE**2:
            return (q * kwargs["scale"] @ k.transpose(-1, -2)).softmax(-1) @ v
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, scale=kwargs.get("scale"))[0]


class _Bound(nn.Module):
    """Any work with a part as a module's forward: only there can weights be exchanged for shapes."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, work: Callable[[nn.Module], object]) -> object:
        return work(self.part)


@torch.no_grad()
def _peak(model: Model, part: nn.Module, work: Callable[[nn.Module], object]) -> int:
    """Peak bytes of work(part) beside the part's weights, which are stood in for by shapes."""
    with unpacked(part):
        bound = _Bound(part)
        shapes = {name: value.to("meta") for name, value in bound.state_dict().items()}
        with Live(chain.from_iterable(map(stored, shapes.values()))) as live, _Attention(model.device):
            torch.func.functional_call(bound, shapes, (work,))
    return live.peak


def _optimization(model: Model, latent: tuple[int, int], backward: int, checkpointing: bool) -> int:
    """One photograph's graph, forward and back; more than one conjugate-gradient step keeps it beside a forward.
    Without any: the forward alone."""

    def work(unet: nn.Module) -> None:
        with torch.set_grad_enabled(backward > 0):
            tokens = _tokens(model, 1).requires_grad_(backward > 0)
            out = _call(model, unet, latent, 1, tokens)
        if backward > 1:
            _call(model, unet, latent, 1)
        if backward:
            torch.autograd.grad(out, tokens, torch.empty_like(out))

    with _checkpointing(model, checkpointing):
        return _peak(model, model.unet, work)


def _call(
    model: Model,
    unet: nn.Module,
    latent: tuple[int, int],
    rows: int,
    tokens: Tensor | None = None,
    hooks: tuple[AttentionHook, ...] = (),
) -> Tensor:
    """One UNet call of shapes alone."""
    text = model.architecture.blank(unet.config, model.tokenizers[0].model_max_length, rows, model.dtype)
    return unet(
        _shape(model, rows, _channels(model), *latent),
        500,
        encoder_hidden_states=text.tokens if tokens is None else tokens,
        added_cond_kwargs=text.added(model.dtype),
        cross_attention_kwargs={"hooks": hooks} if hooks else None,
        return_dict=False,
    )[0]


def _injection(model: Model, latent: tuple[int, int]) -> PromptToPrompt:
    """Prompt-to-prompt of one target that injects everything."""
    length = model.tokenizers[0].model_max_length
    row = torch.empty(1, length, device="meta")
    return PromptToPrompt(
        sources=1,
        source_of=torch.empty(1, dtype=torch.long, device="meta"),
        mapper=torch.empty(1, length, length, device="meta"),
        keep_own_map=row,
        equalizer=row,
        inject_cross=True,
        inject_self=True,
        store=MapStore(map_size(model.unet, latent)),
    )


def _tokens(model: Model, rows: int) -> Tensor:
    return _shape(model, rows, model.tokenizers[0].model_max_length, model.unet.config.cross_attention_dim)


def _shape(model: Model, *sizes: int) -> Tensor:
    return torch.empty(sizes, dtype=model.dtype, device="meta")


def _channels(model: Model) -> int:
    return model.unet.config.in_channels


@contextmanager
def _checkpointing(model: Model, on: bool) -> Iterator[None]:
    """Gradient checkpointing within the scope, as before afterwards.

    The recomputation happens in the backward pass, which the modes around it do not reach: it brings its own.
    """

    def recomputed(module: nn.Module, *args) -> Tensor:
        def on_shapes(*args):
            with _Attention(model.device):
                return module(*args)

        return checkpoint(on_shapes, *args, use_reentrant=False, preserve_rng_state=False)

    before = model.unet.is_gradient_checkpointing
    set_checkpointing(model.unet, False)
    if on:
        model.unet.enable_gradient_checkpointing(recomputed)
    try:
        yield
    finally:
        set_checkpointing(model.unet, before)
