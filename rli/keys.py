"""Keys of stored results: hashes of everything that a result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any

# Metadata of a record's field that came when results had been kept without it: at its default, under which nothing
# changes, it is left out of keys, so that they stay what they were.
LATER = {"later": True}


def key_of(*facts: Any, data: bytes = b"") -> str:
    """A hash of plain values, records of such, and bytes.

    A record's class is part of the hash, so that two methods without settings have different keys.
    """
    digest = hashlib.sha256(json.dumps(plain(facts), sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()[:32]


def counts(field: Field[Any], value: Any) -> bool:
    """Whether a record's field belongs to its key: see LATER."""
    return not (field.metadata.get("later") and value == field.default)


def plain(value: Any) -> Any:
    """Records, mappings and sequences as JSON knows them; a record says its class, and a path is text."""
    if is_dataclass(value) and not isinstance(value, type):
        facts = {f.name: plain(getattr(value, f.name)) for f in fields(value) if counts(f, getattr(value, f.name))}
        return {"class": type(value).__name__, **facts}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
