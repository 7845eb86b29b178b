"""How a command reports errors: one line for what the user can correct, a traceback for a bug."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper

from hydra.errors import ConfigCompositionException, OverrideParseException
from omegaconf.errors import GrammarParseError, InterpolationResolutionError, OmegaConfBaseException

from rli.errors import RLIError, shown

# Hydra's own: where it is "1", Hydra lets errors pass instead of printing a page of its own.
HYDRA_FULL_ERROR = "HYDRA_FULL_ERROR"
# Set where the user set Hydra's: show tracebacks. Processes that a launcher starts read it too.
FULL_ERROR = "RLI_FULL_ERROR"


def one_line(error: BaseException) -> str:
    """The message on one line with what to do, without where Hydra looked; the error's type where it has none."""
    # Where Hydra looked; and how to add a key that is none.
    said = str(error).split("Config search path")[0].split("To append to your config use")[0]
    said = " ".join(said.split()) or type(error).__name__
    return shown(said + _hint(error))


def print_error(line: str) -> None:
    """The one line that a bad command ends in, on stderr."""
    print(shown(f"error: {line}"), file=sys.stderr)


def print_on_any_terminal() -> None:
    """From now on what a terminal has no letters for is escaped, where printing it would be an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_mendable(error: BaseException) -> bool:
    """Whether the user can correct it: a bad value, file or combination, a full disk, or too little memory."""
    return isinstance(error, (RLIError, OSError, MemoryError, OmegaConfBaseException))


def status_of(work: Callable[[], object]) -> int:
    """A command's exit status: 0, or 2 after one line where the user can correct what went wrong."""
    try:
        work()
    except Exception as error:
        if not is_mendable(error):
            raise
        print_error(one_line(error))
        return 2
    return 0


def wants_traceback() -> bool:
    """Whether the user asked for tracebacks, by Hydra's HYDRA_FULL_ERROR."""
    return FULL_ERROR in os.environ


def print_traceback_if_due(error: BaseException) -> None:
    """The traceback of the error being handled, where it is a bug or the user asked for it."""
    if not is_mendable(error) or wants_traceback():
        traceback.print_exc()


@contextmanager
def errors_pass_through_hydra() -> Iterator[None]:
    """Within the scope, errors come to the caller instead of to Hydra's own page of them; afterwards as before."""
    before = {name: os.environ.get(name) for name in (HYDRA_FULL_ERROR, FULL_ERROR)}
    if HYDRA_FULL_ERROR in os.environ:
        os.environ[FULL_ERROR] = "1"
    os.environ[HYDRA_FULL_ERROR] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _hint(error: BaseException) -> str:
    """What to do about an error of Hydra's, which does not say it; "" where nothing is known."""
    if isinstance(error, OverrideParseException):
        return """; put a value that holds , : = ( ) [ ] { } or quotes in quotes: 'key="the value"'"""
    if isinstance(error, InterpolationResolutionError | GrammarParseError):
        return r"; ${ takes another setting's value: to mean these two characters, quote them with a backslash: \${"
    if isinstance(error, ConfigCompositionException) and "Could not override" in str(error):
        return "; there is no such setting: --cfg job shows all"
    return ': pip install "rli[sweep]"' if "hydra/launcher/" in str(error) else ""
