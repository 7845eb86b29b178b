"""What could not be done, as a run's folder keeps it: photographs, and jobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from rli.cells import as_written
from rli.files import write_whole
from rli.store.paths import inside

STATUS = "status.json"


@dataclass(frozen=True)
class Failure:
    """A photograph, or a sweep's job, that could not be done."""

    name: str
    # Why, in one line.
    reason: str
    # What tells a job from the others; "" for a photograph.
    settings: str = ""
    # Whether it would fail again, because its files decide it. What may pass, such as a lack of memory, is tried again
    # by the next run.
    is_lasting: bool = True


def failure_path(folder: Path, name: str) -> Path:
    """Where a run's folder keeps why a photograph could not be done."""
    return inside(folder, f"records/{name}.failed.json")


def write_failure(folder: Path, failure: Failure, key: str) -> None:
    """Notes that a photograph could not be done by a job of this key, and why, beside the records of those that
    could."""
    facts = {"key": key, "reason": failure.reason, "lasting": failure.is_lasting}
    write_whole(failure_path(folder, failure.name), json.dumps({**facts, "sha256": _digest(facts)}))


def read_failure(folder: Path, name: str, key: str) -> Failure | None:
    """Why a job of this key could not do a photograph; None where no such failure was noted, or the note is damaged."""
    facts = _read_json(failure_path(folder, name))
    if (
        facts.pop("sha256", None) != _digest(facts)
        or facts.get("key") != key
        or not isinstance(facts.get("reason"), str)
    ):
        return None
    return Failure(name, facts["reason"], is_lasting=facts.get("lasting") is not False)


def _digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_failures(folder: Path) -> list[Failure]:
    """What a run's failed.csv lists; nothing where there is none.

    Raises:
        ValueError: It is damaged.
    """
    path = inside(folder, "failed.csv")
    if not path.is_file():
        return []
    lines = pd.read_csv(path, dtype="str", keep_default_na=False).map(as_written)
    if not {"name", "reason"} <= {*lines.columns}:
        raise ValueError("its columns are missing")
    return [Failure(name, reason) for name, reason in zip(lines["name"], lines["reason"], strict=True)]


def write_status(folder: Path, reason: str | None = None) -> None:
    """Notes how a job ended: done, or failed with its reason."""
    write_whole(folder / STATUS, json.dumps({"status": "failed" if reason else "done", "reason": reason}))


def read_status(folder: Path) -> str | None:
    """Why the job failed, also where it never said so; None where it is done."""
    facts = _read_json(inside(folder, STATUS))
    reason = facts.get("reason", "")
    if reason is None or (isinstance(reason, str) and reason):
        return reason
    return "it was stopped before its end, or is still running"


def _read_json(path: Path) -> dict[str, Any]:
    """A file's record; an empty one where there is none or it is damaged."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
