"""Errors that a user can mend, in one line, and the checks that raise them."""

from __future__ import annotations


class RLIError(ValueError):
    """A bad value, file or combination: one line that says what is wrong and what to do."""


class NonFiniteError(RLIError):
    """NaN or infinity came out of the model; the message names the phase and the step."""


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise RLIError(f"{name}={value} is not known: choose one of {', '.join(allowed)}")


def within(name: str, value: float, low: float, high: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise RLIError(f"{name}={value} is out of range: it must be a number from {low} to {high}")


def whole(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RLIError(f"{name}={value} is out of range: it must be a whole number from {low} to {high}")
