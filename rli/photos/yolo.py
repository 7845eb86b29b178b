"""YOLO: part.txt with a line for each defect, "class x y width height" or "class x y x y x y …", in shares of the
sides. It lies beside the photograph or in labels/ beside images/, and the classes' names in a file there or above."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from rli.errors import RLIError, shown
from rli.photos.conventions import label_of
from rli.photos.markings import Marking, Outline, box

# How many folders above a label file its classes' names are looked for, its own included.
LEVELS = 4
MOST_CLASSES = 100_000
NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names")


def markings(file: Path, names: Sequence[str]) -> tuple[Marking, ...] | None:
    """What a YOLO label file marks.

    Args:
        file: A text file.
        names: The classes' names; those that are missing are "".

    Returns:
        A marking for each line; None where it is no such file.

    Raises:
        OSError: It cannot be read.
    """
    found = []
    try:
        for text in file.read_text(encoding="utf-8-sig").splitlines():
            if text.strip():
                found.append(_marking(file, [float(word) for word in text.split()], names))
    except ValueError:
        return None
    return tuple(found)


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the classes that the label files in a folder number, from NAME_FILES in it or above; none where
    there is no such file.

    Raises:
        RLIError: A YAML file is there, but cannot be read.
    """
    for place in islice((folder, *folder.absolute().parents), LEVELS):
        for name in NAME_FILES:
            if (file := place / name).is_file() and (names := _names_in(file)):
                return names
    return ()


def _marking(file: Path, line: Sequence[float], names: Sequence[str]) -> Marking:
    number, *values = line
    if not 0 <= number < MOST_CLASSES or number != int(number) or not all(-0.01 <= value <= 1.01 for value in values):
        raise ValueError("no class, or no shares")
    label = label_of(names[int(number)]) if int(number) < len(names) else ""
    if len(values) in (4, 5):  # of a prediction the fifth is how sure it is
        x, y, width, height = values[:4]
        return box(file, label, (x - width / 2, y - height / 2, x + width / 2, y + height / 2), (1, 1))
    if len(values) < 6 or len(values) % 2:
        raise ValueError("no polygon")
    return Outline(file, label, tuple(zip(values[::2], values[1::2], strict=True)), (1, 1))


def _names_in(file: Path) -> tuple[str, ...]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix in (".txt", ".names"):
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        return _listed(yaml.safe_load(text))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RLIError(f"{shown(file)}: the classes' names cannot be read: {shown(error)[:120]}") from None


def _listed(told: Any) -> tuple[str, ...]:
    """`names` of a YAML file, a list or a mapping from numbers."""
    names = told.get("names") if isinstance(told, dict) else None
    if isinstance(names, dict) and all(isinstance(key, int) and 0 <= key < MOST_CLASSES for key in names):
        return tuple(str(names.get(k, "")) for k in range(max(names, default=-1) + 1))
    return tuple(map(str, names)) if isinstance(names, list) else ()
