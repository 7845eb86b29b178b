"""The cache of inversions: a safetensors file for each, named by a hash of everything that it depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from rli.files import locked
from rli.keys import key_of, plain
from rli.method.inversion.settings import InversionSettings
from rli.method.records import Inversion, NullEmbeddings
from rli.models.diffusion import Model
from rli.store.sealed import read_sealed, write_sealed

# Part of every key: raise it when the same settings give another result.
VERSION = 3


def key(model: Model, image: Tensor, prompt: str, settings: InversionSettings) -> str:
    """The name of an inversion in the cache: a hash of everything that it depends on.

    Args:
        model: its weights count, its precision, its kind of device, and whether its VAE cuts this size into tiles.
        image: the photograph (1,3,H,W).
        prompt: the source prompt.
        settings: of the inversion.

    Returns:
        32 hexadecimal digits.
    """
    size = (image.shape[-2], image.shape[-1])
    facts = (VERSION, prompt, settings, model.fingerprint, model.dtype, model.device.type, size, model.tiles(size))
    return key_of(*facts, data=image.contiguous().numpy().tobytes())


def path_of(folder: Path, name: str) -> Path:
    """The file of the inversion with this key."""
    return folder / f"{name}.safetensors"


def read(path: Path, prompt: str, settings: InversionSettings) -> Inversion | None:
    """The inversion of this prompt and these settings in the file; None when there is none, or it is damaged or
    another's."""
    try:
        found = read_sealed(path)
    except OSError:  # what cannot be read is made again, and the run says why where nothing can be written either
        return None
    if found is None:
        return None
    facts, tensors = found
    wanted = {"key": path.stem, "prompt": prompt, "settings": plain(settings)}
    if any(facts.get(name) != value for name, value in wanted.items()) or not _is_sound(facts, tensors, settings.steps):
        return None
    return Inversion(
        prompt=prompt,
        settings=settings,
        latent=tensors["latent"],
        source_latents=tensors["source_latents"],
        nulls=NullEmbeddings(tensors["null_tokens"], tensors.get("null_pooled")),
        losses=tuple(map(tuple, facts["losses"])),
        seconds=facts["seconds"],
    )


def _is_sound(facts: Mapping[str, Any], tensors: Mapping[str, Tensor], steps: int) -> bool:
    """Whether the parts of a kept inversion have the shapes that belong together, and are finite."""
    try:
        latent, tokens, pooled = tensors["latent"], tensors["null_tokens"], tensors.get("null_pooled")
        shapes = [
            latent.shape == (1, *latent.shape[1:]) and latent.ndim == 4,
            tensors["source_latents"].shape == (steps + 1, *latent.shape[1:]),
            tokens.shape[:2] == (steps, 1) and tokens.ndim == 4,
            pooled is None or (pooled.shape[:2] == (steps, 1) and pooled.ndim == 3),
        ]
        values = [facts["seconds"], *(loss for losses in facts["losses"] for loss in losses)]
    except (KeyError, TypeError):
        return False
    are_numbers = all(isinstance(value, (int, float)) for value in values)
    return all(shapes) and are_numbers and all(t.is_floating_point() and t.isfinite().all() for t in tensors.values())


def write(path: Path, inversion: Inversion) -> None:
    """Writes an inversion, whole or not at all."""
    tensors = {
        "latent": inversion.latent,
        "source_latents": inversion.source_latents,
        "null_tokens": inversion.nulls.tokens,
    }
    if inversion.nulls.pooled is not None:
        tensors["null_pooled"] = inversion.nulls.pooled
    facts = {
        "key": path.stem,
        "prompt": inversion.prompt,
        "settings": plain(inversion.settings),
        "losses": inversion.losses,
        "seconds": inversion.seconds,
    }
    write_sealed(path, tensors, facts)


def get(folder: Path, name: str, prompt: str, settings: InversionSettings, make: Callable[[], Inversion]) -> Inversion:
    """The inversion from the cache, or made now and kept.

    Of parallel jobs that want the same inversion, the first makes it and the others wait. The lock is the operating
    system's, so that a job that dies releases it.

    Args:
        folder: of the cache.
        name: the inversion's key.
        prompt: the source prompt.
        settings: of the inversion.
        make: makes the inversion.
    """
    path = path_of(folder, name)
    found = read(path, prompt, settings)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock")
        with locked(lock, "another process inverts the same photograph"):
            found = read(path, prompt, settings)
            if found is None:
                found = make()
                write(path, found)
            with suppress(OSError):  # Windows removes no file that is open
                lock.unlink()
    return found
