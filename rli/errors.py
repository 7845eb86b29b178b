"""Errors that a user can correct, each on one line, and the checks that raise them."""

from __future__ import annotations

from collections.abc import Sequence

# The most characters of a value that a message shows.
SHOWN = 80


def shown(text: object) -> str:
    """A path or a message on one line that can be written anywhere: what is not printable is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def shortened(text: object, most: int = SHOWN) -> str:
    """As `shown`, cut to a length at which a message is still read."""
    line = shown(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


class RLIError(ValueError):
    """A bad value, file or combination. The message is one line: what is wrong, and what to do."""


class NonFiniteError(RLIError):
    """NaN or infinity came out of the model; the message names the phase and the step."""


class PassingError(RLIError):
    """The system failed, and may not the next time: a file could not be reached or read, or there was no memory."""


class SettingError(RLIError):
    """An argument has a value that is not possible: `name=value: problem`.

    The library names its own argument; where the command's setting has another name, the error is
    raised again `renamed`.
    """

    def __init__(self, name: str, value: object, problem: str) -> None:
        super().__init__(name, value, problem)  # all three, so that the error can be sent to another process
        self.name, self.value, self.problem = name, value, problem

    def __str__(self) -> str:
        return f"{self.name}={shortened(self.value)}: {self.problem}"

    def renamed(self, name: str) -> SettingError:
        """The same error about a setting of another name."""
        return SettingError(name, self.value, self.problem)


def one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    """Raises SettingError unless the value is one of those allowed."""
    if value not in allowed:
        raise SettingError(name, value, f"unknown value; expected one of {', '.join(allowed)}")


def within(name: str, value: float, low: float, high: float) -> None:
    """Raises SettingError unless the value is a number from low to high."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise SettingError(name, value, f"out of range; expected a number from {low} to {high}")


def whole(name: str, value: int, low: int, high: int) -> None:
    """Raises SettingError unless the value is a whole number from low to high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SettingError(name, value, f"out of range; expected a whole number from {low} to {high}")


def true_or_false(name: str, value: bool) -> None:
    """Raises SettingError unless the value is True or False."""
    if not isinstance(value, bool):
        raise SettingError(name, value, "unknown value; expected true or false")
