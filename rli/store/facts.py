"""A record's plain values, and what they must be; what is not so raises KeyError, TypeError or ValueError."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from rli.method.records import EditSettings
from rli.photos.windows import Size, View, Window
from rli.store.results import EditRecord, ExampleUsed


def facts_of(edited: EditRecord) -> dict[str, Any]:
    """An edit's plain values: what `edit_record` reads."""
    settings = asdict(edited.settings)
    return {
        "label": edited.label,
        "settings": settings,
        "scores": edited.scores,
        "reason": edited.reason,
        "remains": edited.remains,
        "example": asdict(edited.example) if edited.example else None,
    }


def edit_record(facts: Mapping[str, Any]) -> EditRecord:
    """An edit of its plain values."""
    return EditRecord(
        label=text(facts["label"]),
        settings=EditSettings(**facts["settings"]),
        scores=each(number, facts["scores"]),
        reason=None if facts["reason"] is None else text(facts["reason"]),
        remains=None if facts["remains"] is None else number(facts["remains"]),
        example=ExampleUsed(**each(text, facts["example"])) if facts.get("example") else None,
    )


def view_of(facts: Mapping[str, Any]) -> View:
    """Where a window lies."""
    window, place = (Window(**each(number, facts[name])) for name in ("window", "place"))
    return View(window, place, size_of(facts["size"]), bool(facts["mirrors"]))


def size_of(values: Any) -> Size:
    """A height and a width."""
    height, width = values
    return int(height), int(width)


def text(value: Any) -> str:
    """The value. Raises TypeError where it is no text."""
    if not isinstance(value, str):
        raise TypeError("expected text")
    return value


def number(value: Any) -> float:
    """The value. Raises TypeError where it is no number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError("expected a number")
    return value


def each(check: Callable[[Any], Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, each checked."""
    return {name: check(value) for name, value in values.items()}
