"""What is chosen on the page, as arguments of the command: a pure function of the choices."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rli.errors import RLIError
from rli.method.prompts import bare, changed_words
from rli.photos.naming import undevice
from rli.runs.job import RESERVED, Job

# The settings of edits that have a slider, each with its lowest and highest value and its step.
SLIDERS: dict[str, tuple[float, float, float]] = {
    "eq": (0.0, 10.0, 0.5),
    "cross": (0.0, 1.0, 0.05),
    "replace": (0.0, 1.0, 0.05),
    "fresh": (0.0, 1.0, 0.05),
    "threshold": (0.0, 1.0, 0.05),
}
# An edit's name in bytes, and its name where its words give none.
LONGEST_NAME = 40
NAMELESS = "edit"


@dataclass(frozen=True)
class Choices:
    """What is chosen on the page."""

    # The photograph's file.
    photo: Path
    # The mask of what may change; None leaves it to attention.
    region: Path | None
    # The source prompt and the target prompt.
    source: str
    target: str
    # The words that change; "" finds them from the two prompts.
    source_word: str
    target_word: str
    # A value for each of SLIDERS.
    strengths: Mapping[str, float]

    def arguments(self) -> tuple[str, ...]:
        """The choices as they would be typed, without a shell's quotes.

        Raises:
            RLIError: The two prompts are the same.
        """
        own: dict[str, str | None] = {
            "data": "image",
            "data.path": str(self.photo),
            "data.mask_path": str(self.region) if self.region else None,
            "defect": "custom",
            "defect.name": edit_name(self.source, self.target, self.target_word),
            "defect.source": self.source,
            "defect.target": self.target,
            "defect.source_word": self.source_word or None,
            "defect.target_word": self.target_word or None,
            **{f"edit.{name}": f"{value:g}" for name, value in self.strengths.items()},
        }
        return tuple(f"{key}={value}" for key, value in own.items() if value is not None)


# What the page itself chooses, so that the same setting on the command line only says where it starts.
CHOSEN = re.compile(rf"(data|defect|edit\.({'|'.join(SLIDERS)}))(?=[.=]|$)")


def with_choices(given: Iterable[str], choices: Choices) -> tuple[str, ...]:
    """The arguments of a run: those that the page was started with, and what is chosen on it."""
    return (*(argument for argument in given if not CHOSEN.match(argument)), *choices.arguments())


def command_line(arguments: Sequence[str]) -> str:
    """A run's command as it is typed in a shell, an argument a line."""
    return " \\\n    ".join(["rli", *map(shlex.quote, arguments)])


def edit_name(source: str, target: str, target_word: str = "") -> str:
    """What an edit's row and files are called: the words that the target prompt has and the source prompt has not.

    Raises:
        RLIError: The prompts are the same.
    """
    words, (_, new) = target.split(), changed_words(source, target)
    said = target_word.split() if target_word else [words[k] for k in new]
    plain = "_".join(filter(None, (re.sub(r"[^\w-]+", "", bare(word)) for word in said)))
    name = undevice(plain.encode()[:LONGEST_NAME].decode(errors="ignore").strip("_"))
    return name if name and name.casefold() not in RESERVED else NAMELESS


def told_changes(source: str, target: str) -> str:
    """Which words change, as a person reads it; or what is wrong with the prompts."""
    try:
        old, new = changed_words(source, target)
    except RLIError as error:
        return str(error)
    a, b = ([prompt.split()[k] for k in places] for prompt, places in ((source, old), (target, new)))
    return f"{' '.join(a) or '(nothing)'} → {' '.join(b) or '(nothing)'}"


def starting_values(job: Job) -> dict[str, Any]:
    """Where the page starts: the prompts as `source` and `target`, and a value for each of SLIDERS.

    Args:
        job: What the arguments that the page was started with ask for.
    """
    target = job.targets[0].prompt if job.targets else ""
    return {"source": job.source, "target": target, **{name: getattr(job.edit, name) for name in SLIDERS}}
