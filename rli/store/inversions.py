"""The cache of inversions: a safetensors file for each, named by a hash of everything that it depends on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rli.files import write_whole
from rli.keys import key_of, plain
from rli.method.inversion.settings import InversionSettings
from rli.method.records import Inversion, NullEmbeddings
from rli.models.diffusion import Model

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
    """The inversion of this prompt and these settings in the file; None when there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["inversion"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if facts["prompt"] != prompt or facts["settings"] != plain(settings):
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
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        return None


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
        "prompt": inversion.prompt,
        "settings": plain(inversion.settings),
        "losses": inversion.losses,
        "seconds": inversion.seconds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save({k: v.contiguous() for k, v in tensors.items()}, {"inversion": json.dumps(facts)}))


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
        with FileLock(path.with_suffix(".lock")):
            found = read(path, prompt, settings)
            if found is None:
                found = make()
                write(path, found)
    return found
