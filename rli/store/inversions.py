"""The cache of inversions: a safetensors file for each, named by a hash of everything that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from rli.files import write_whole
from rli.method.records import Inversion, InversionSettings, NullEmbeddings
from rli.models.diffusion import Model

# Part of every key: raise it when the same settings come to mean another result.
VERSION = 2


def key(model: Model, image: Tensor, prompt: str, settings: InversionSettings) -> str:
    """The name of an inversion in the cache.

    Args:
        model: Its weights count, its precision, its kind of device, and whether its VAE cuts this size into tiles.
        image: (1,3,H,W), the photograph.
        prompt: The source prompt.
        settings: Of the inversion.

    Returns:
        32 hexadecimal digits.
    """
    facts = [
        VERSION,
        prompt,
        asdict(settings.chosen()),
        model.fingerprint,
        str(model.dtype),
        model.device.type,
        list(image.shape),
        model.tiles(tuple(image.shape[-2:])),
    ]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def path_of(folder: Path, name: str) -> Path:
    """The file of the inversion with this key."""
    return folder / f"{name}.safetensors"


def read(path: Path) -> Inversion | None:
    """The inversion in a file; None where there is no file, or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["inversion"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return Inversion(
            prompt=facts["prompt"],
            settings=InversionSettings(**facts["settings"]),
            latent=tensors["latent"],
            walk=tensors["walk"],
            nulls=NullEmbeddings(tensors["null_tokens"], tensors.get("null_pooled")),
            losses=tuple(map(tuple, facts["losses"])),
            seconds=facts["seconds"],
        )
    except (SafetensorError, KeyError, TypeError, ValueError, OSError):
        return None


def write(path: Path, inversion: Inversion) -> None:
    """Writes an inversion, whole or not at all."""
    tensors = {"latent": inversion.latent, "walk": inversion.walk, "null_tokens": inversion.nulls.tokens}
    if inversion.nulls.pooled is not None:
        tensors["null_pooled"] = inversion.nulls.pooled
    facts = {
        "prompt": inversion.prompt,
        "settings": asdict(inversion.settings),
        "losses": inversion.losses,
        "seconds": inversion.seconds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save({k: v.contiguous() for k, v in tensors.items()}, {"inversion": json.dumps(facts)}))


def get(folder: Path, name: str, make: Callable[[], Inversion]) -> Inversion:
    """The inversion from the cache, or made now and kept.

    Of parallel jobs that want the same inversion, the first makes it and the others wait. The lock is the operating
    system's, so that a job that dies releases it.

    Args:
        folder: Of the cache.
        name: The inversion's key.
        make: Makes the inversion.
    """
    path = path_of(folder, name)
    found = read(path)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = read(path)
            if found is None:
                found = make()
                write(path, found)
    return found
