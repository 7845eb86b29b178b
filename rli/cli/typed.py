"""Arguments as they are typed, made into what Hydra's grammar reads as the same.

Hydra reads 7, 1e3, 2024_01_15 and true as numbers and truths, and a comma, a bracket or a colon as grammar. Where a
setting is a text, what was typed is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.override_parser.types import Quote, QuotedString

from rli.errors import SettingError
from rli.package_files import resource_folder

MULTIRUN = ("-m", "--multirun")
# The settings that are free texts: prompts, names, paths. Those that take one of a few words are as Hydra reads them.
TEXTS = {
    *("defect.name", "defect.source", "defect.target", "defect.source_word", "defect.target_word"),
    *("defect.good_source", "defect.good_target", "defect.prompts", "placement.part"),
    *("data.path", "data.mask_path", "data.truth_path"),
    *("model.weights", "model.vae", "model.resolutions", "runtime.cache", "runtime.address", "runtime.device"),
    *("tracking.project", "tracking.group"),
    *("dataset.split", "dataset.group", "dataset.review", "dataset.title", "dataset.about", "dataset.licence"),
    *("shard", "out"),
}
# A text, unless it is a list.
TEXTS_OR_LISTS = {"dataset.classes", "model.lora", "model.quantize"}
# Below these every key is a text.
TEXT_GROUPS = ("defect.all.",)
# Groups of which several options may be taken together, in Hydra's way: group=[one,other].
SEVERAL = ("experiment", "sweep")
# What is quoted already, by the rules of Hydra.
QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
# In a sweep's values these are grammar: lists, functions, quotes.
GRAMMAR = re.compile(r"""['"\[\](){}]""")


def as_hydra_reads(arguments: Sequence[str]) -> list[str]:
    """A command's arguments for Hydra.

    A text is quoted where it is not. In a multirun a comma separates values; where one value holds it, the user quotes.
    null stays null, and so does ${…}, which takes another setting's value.

    Raises:
        SettingError: A group of which one option is taken is given a list.
    """
    for argument in arguments:
        _check_option(argument)
    sweep = [argument for argument in arguments if argument in MULTIRUN]
    # Hydra reads no settings after a flag that comes between settings.
    return [*sweep, *(quoted(argument, bool(sweep)) for argument in arguments if argument not in MULTIRUN)]


def quoted(argument: str, is_sweep: bool = False) -> str:
    """One argument; see `as_hydra_reads`.

    A group's option must be a string too, and Hydra reads digits as a number: resolution=512,1024 becomes
    resolution="512","1024".
    """
    key, is_override, value = argument.partition("=")
    name = key.lstrip("+")
    if not is_override:
        return argument
    if name == "resolution":
        return f"{key}=" + ",".join(f'"{option}"' if option.isdigit() else option for option in value.split(","))
    is_text = name in TEXTS or name.startswith(TEXT_GROUPS) or (name in TEXTS_OR_LISTS and not value.startswith("["))
    if not is_text:
        return argument
    if is_sweep and GRAMMAR.search(value):
        return argument
    return f"{key}=" + ",".join(map(_text, value.split(",") if is_sweep else [value]))


def _check_option(argument: str) -> None:
    """Hydra would lay the options of a list over each other, so that the last one holds."""
    name, _, value = argument.partition("=")
    if value.startswith("[") and name not in SEVERAL and (resource_folder("conf") / name).is_dir():
        ways = f"-m {name}={value.strip('[]')} makes a run of each"
        if name == "resolution":
            ways += "; resolution.height=… resolution.width=… give a size"
        raise SettingError(name, value, f"a list, where one option is expected; {ways}")


def _text(value: str) -> str:
    if value == "null" or QUOTED.fullmatch(value):
        return value
    return QuotedString(value, Quote.single).with_quotes()
