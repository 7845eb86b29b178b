"""Prompts that depend on what a photograph shows: by class and category, from one small file."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from rli.errors import RLIError, SettingError, shortened, shown
from rli.files import look_at
from rli.method.prompts import check_prompt, check_target, tokenize
from rli.method.records import Target
from rli.photos.photo import GOOD, Photo

SUFFIXES = (".yaml", ".yml", ".csv")
COLUMNS = ("class", "category", "source", "name", "target")
KEYS = ("source", "targets")
# Bytes of a file of prompts: more is another file.
MOST_BYTES = 1_000_000
# Characters of a class's name that a prompt takes.
MOST_CHARACTERS = 40
# What stands for a photograph's class where nobody knows it.
UNKNOWN = "defect"


@dataclass(frozen=True)
class Prompts:
    """What describes a photograph, and what is wanted of it."""

    # The source prompt.
    source: str
    # The wanted defects with their target prompts.
    targets: tuple[Target, ...]

    def of(self, photo: Photo) -> Prompts:
        """The same with what the photograph says itself: a source prompt, the one target that it wants (under the first
        one's name), and its class and category for {label} and {category}."""
        targets = self.targets
        if photo.target_prompt and targets:
            targets = (Target(targets[0].name, photo.target_prompt),)
        return Prompts(photo.source_prompt or self.source, targets)._filled(photo)

    def _filled(self, photo: Photo) -> Prompts:
        values = {"{label}": _name(photo.label) or UNKNOWN, "{category}": _name(photo.category)}

        def fill(prompt: str) -> str:
            for name, value in values.items():
                prompt = prompt.replace(name, value)
            return prompt

        return Prompts(fill(self.source), tuple(replace(one, prompt=fill(one.prompt)) for one in self.targets))

    def check(self, method: str, *, by_words: bool = True) -> None:
        """Raises RLIError where an edit by `method` (refine or replace) is not possible with these prompts; where an
        example says what is wanted (`by_words` false), they need not differ."""
        check_prompt(self.source)
        for target in self.targets:
            check_target(self.source, target, method, by_words=by_words)

    def check_length(self, tokenizer: Any) -> None:
        """Raises RLIError where a prompt is longer than the text encoder of this tokenizer reads."""
        for prompt in (self.source, *(target.prompt for target in self.targets)):
            tokenize(tokenizer, prompt)


def found(by_class: Mapping[str, Prompts], photo: Photo) -> Prompts | None:
    """A photograph's own prompts: those of category/class, category/* or class, whichever comes first; None where
    there are none."""
    keys = (f"{photo.category}/{photo.label}", f"{photo.category}/*", photo.label)
    return next((by_class[key] for key in keys if key in by_class), None)


def read_prompts(path: Path, default: Prompts) -> dict[str, Prompts]:
    """The prompts in a YAML or CSV file, by class, category/class or category/*.

    Args:
        path: YAML has a group for each class, with `source` and `targets` (names with prompts). CSV has the columns
            COLUMNS, a row for each target; an empty category or class is any.
        default: What holds where a class has no source, or no targets.

    Raises:
        SettingError: The file is not there, or has another suffix.
        RLIError: It cannot be read, or does not hold prompts.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError("prompts", shown(path), f"expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise SettingError("prompts", shown(path), "there is no such file")
    text = _text(path)
    groups = _csv_groups(path, text) if path.suffix.lower() == ".csv" else _yaml_groups(path, text)
    return {key: _prompts(path, key, group, default) for key, group in groups}


def _text(path: Path) -> str:
    if look_at(path).st_size > MOST_BYTES:
        raise RLIError(f"{shown(path)}: prompts fit into {MOST_BYTES // 1000} kB, and this file is larger")
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RLIError(f"{shown(path)} cannot be read as text: {shown(error)[:120]}") from None


def _yaml_groups(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        held = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise RLIError(f"{shown(path)} cannot be read as YAML: {shown(reason)[:160]}") from None
    if not isinstance(held, dict) or not held:
        raise RLIError(f"{shown(path)}: expected a group of prompts for each class")
    yield from held.items()


def _csv_groups(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ()) and name != "category"]
        if missing:
            raise RLIError(f"{shown(path)}: there is no column {missing[0]}; expected {', '.join(COLUMNS)}")
        groups: dict[str, dict[str, Any]] = {}
        for row in rows:
            cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
            label = cells["class"] or "*"
            group = groups.setdefault(f"{cells['category']}/{label}" if cells["category"] else label, {})
            if cells["source"]:
                group["source"] = cells["source"]
            if cells["target"]:
                group.setdefault("targets", {})[cells["name"] or label] = cells["target"]
    except csv.Error as error:
        raise RLIError(f"{shown(path)} cannot be read as CSV: {shown(error)[:120]}") from None
    yield from groups.items()


def _prompts(path: Path, key: Any, group: Any, default: Prompts) -> Prompts:
    where = f"{shown(path)}: “{shortened(key)}”"
    if not isinstance(key, str) or not isinstance(group, dict) or not set(group) <= set(KEYS):
        raise RLIError(f"{where}: expected a group of {' and '.join(KEYS)}")
    source, targets = group.get("source", default.source), group.get("targets")
    if not isinstance(source, str) or not (targets is None or isinstance(targets, dict)):
        raise RLIError(f"{where}: expected source as text, and targets as names with prompts")
    if targets is None:
        return Prompts(source, default.targets)
    if not all(isinstance(name, str) and isinstance(prompt, str) and prompt for name, prompt in targets.items()):
        raise RLIError(f"{where}: expected targets as names with prompts")
    return Prompts(source, tuple(Target(name, prompt) for name, prompt in targets.items()))


def _words(text: str) -> str:
    """The words of a text with one space between: MT_Crack becomes MT Crack."""
    return " ".join(re.sub(r"[\W_]+", " ", text).split())


def _name(of_class: str) -> str:
    """A class's name as it stands in a prompt."""
    return _words(of_class)[:MOST_CHARACTERS].rstrip()


def without_prompts(by_class: Mapping[str, Prompts], photos: Iterable[Photo]) -> list[str]:
    """The classes among the photographs for which there are no prompts of their own, each once, in order."""
    return list(dict.fromkeys(photo.label or UNKNOWN for photo in photos if found(by_class, photo) is None))


def asked_again(photos: Iterable[Photo], prompts_of: Callable[[Photo], Prompts]) -> tuple[str, str] | None:
    """The first photograph's own defect that a prompt of another still asks for: the other's name and the class."""
    pairs = (
        (target.name, photo.label)
        for photo in photos
        for target in (prompts_of(photo).targets if photo.label not in ("", GOOD, UNKNOWN) else ())
        if target.name != photo.label and _holds(target.prompt, photo.label)
    )
    return next(pairs, None)


def _holds(prompt: str, name: str) -> bool:
    """Whether a prompt has a class's name in it, as whole words in any case."""
    return f" {_words(name)} ".casefold() in f" {_words(prompt)} ".casefold()
