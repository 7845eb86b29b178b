"""The classes of a data set in the order of their numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from rli.errors import SettingError, shown
from rli.files import look_at
from rli.photos.photo import GOOD

SUFFIXES = (".txt", ".yaml", ".yml")
# What some exports write before the first defect; it has no number of its own here.
BACKGROUND = "background"
MOST_BYTES = 2**20


def fixed_classes(setting: Sequence[str] | str) -> tuple[str, ...]:
    """Classes whose numbers are given.

    Args:
        setting: Names in the order of their numbers; or a file of them: a line each, or YAML as an earlier export's
            data.yaml has it (a list, or names by number, alone or as `names`). A first `background` is left out.

    Returns:
        The names, exactly as they are written: in YAML no, 1e3 and null are names too.

    Raises:
        SettingError: The file is missing or is something else, or a name is `good`, which is the lack of a defect.
    """
    names = _read(Path(setting).expanduser()) if isinstance(setting, str) else tuple(setting)
    names = names[1:] if names[:1] == (BACKGROUND,) else names
    if GOOD in names:
        raise SettingError("classes", GOOD, "the class of photographs without a defect has no number; leave it out")
    return names


def in_order(labels: Collection[str], fixed: Sequence[str]) -> list[str]:
    """All classes in the order of their numbers: those that are fixed, then the others by name."""
    return [*fixed, *sorted({*labels} - {GOOD, *fixed})]


def _read(path: Path) -> tuple[str, ...]:
    if path.suffix.lower() not in SUFFIXES:
        raise SettingError("classes", shown(path), f"expected names, or a file that ends in {', '.join(SUFFIXES)}")
    try:
        look_at(path, MOST_BYTES)
        text = path.read_text(encoding="utf-8-sig")
        # Without types: what YAML takes for a truth, a number or nothing is a name here.
        told = text.splitlines() if path.suffix.lower() == ".txt" else yaml.load(text, yaml.BaseLoader)
    except FileNotFoundError:
        raise SettingError("classes", shown(path), "there is no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        problem = f"it cannot be read as names in UTF-8 ({shown(' '.join(str(error).split()))[:120]})"
        raise SettingError("classes", shown(path), problem) from None
    names = _names(told.get("names", told) if isinstance(told, dict) else told)
    if not names:
        raise SettingError("classes", shown(path), "expected names, or names by their numbers from 0 without a gap")
    return names


def _names(told: Any) -> tuple[str, ...]:
    """The names of a list, or of a mapping from numbers; none where it is anything else."""
    if isinstance(told, dict):
        numbers = [str(k) for k in range(len(told))]
        told = [told[number] for number in numbers] if set(numbers) == set(told) else []
    if not isinstance(told, list) or not all(isinstance(name, str) for name in told):
        return ()
    return tuple(name for name in told if name)
