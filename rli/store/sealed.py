"""Safetensors files that carry a digest of all that they hold: one that was cut short or damaged is not believed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from rli.files import write_whole

# Names of a file's metadata: what it says beside its tensors, as JSON, and the digest.
FACTS, SEAL = "facts", "sha256"


def write_sealed(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Writes tensors and plain values, whole or not at all."""
    held, text = {name: tensor.contiguous() for name, tensor in tensors.items()}, json.dumps(facts)
    seal = _seal(save(held, {FACTS: text}))
    write_whole(path, save(held, {FACTS: text, SEAL: seal}))


def read_sealed(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The plain values and the tensors of a file.

    Args:
        path: Of the file.

    Returns:
        None where there is no such file, or it does not hold what was written.

    Raises:
        OSError: It is there, but cannot be read now.
    """
    if not path.is_file():
        return None
    data = path.read_bytes()
    try:
        metadata = _header(data)["__metadata__"]
        if metadata[SEAL] != _seal(data):
            return None
        facts, tensors = json.loads(metadata[FACTS]), load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (facts, tensors) if isinstance(facts, dict) else None


def _header(data: bytes) -> dict[str, Any]:
    """What a safetensors file begins with: eight bytes of length, and JSON."""
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def _seal(data: bytes) -> str:
    """A digest of a safetensors file: of its tensors' names, types and shapes, of its facts, and of its values."""
    header = _header(data)
    head = json.dumps({**header, "__metadata__": header["__metadata__"][FACTS]}, sort_keys=True).encode()
    return hashlib.sha256(head + data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
