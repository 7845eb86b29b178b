"""Builds a record from a group of the configuration, and names the group's keys in its errors."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import is_dataclass
from inspect import Parameter, signature
from typing import Any, TypeVar

from rli.errors import RLIError, SettingError, true_or_false

Built = TypeVar("Built")


def build(
    make: Callable[..., Built], group: str, values: Any, keys: Mapping[str, str] | None = None, **given: Any
) -> Built:
    """What a group's values make, with errors that name the group's keys.

    Args:
        make: A dataclass, or a function, whose arguments the group's keys are.
        group: The group's name, such as `dataset.gate`.
        values: The group's values by name.
        keys: For arguments that the group does not hold: the keys that they come from.
        **given: The values of such arguments.

    Returns:
        What `make` returns.

    Raises:
        RLIError: The values are not a group, a key is not an argument, a value is not possible, or an argument that is
            True or False by default is given something else.
    """
    check_names(make, group, values)
    arguments = {**values, **given}
    with keyed(group, keys):
        for name, parameter in signature(make).parameters.items():
            if isinstance(parameter.default, bool) and name in arguments:
                true_or_false(name, arguments[name])
        return make(**arguments)


def check_names(make: Callable[..., Any], group: str, values: Any) -> None:
    """Raises RLIError unless the values are a group of the function's or the dataclass's arguments."""
    if not isinstance(values, Mapping):
        raise SettingError(group, values, "expected a group of settings")
    parameters = signature(make).parameters
    if any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return  # the function checks the names itself
    for name in values:
        if name not in parameters:
            raise RLIError(f"{group}.{name}: unknown setting; expected one of {', '.join(parameters)}")


@contextmanager
def keyed(group: str, keys: Mapping[str, str] | None = None) -> Iterator[None]:
    """Within the scope, an error about an argument becomes one about the key that its value comes from.

    Args:
        group: Where keys are named as the arguments are. A name with a dot is a key already.
        keys: Arguments whose keys have other names.
    """
    try:
        yield
    except SettingError as error:
        if "." in error.name:
            raise
        raise error.renamed((keys or {}).get(error.name, f"{group}.{error.name}")) from None


def named_class(key: str, name: Any, classes: Mapping[str, type]) -> Any:
    """A dataclass by its short name, or by its dotted one, such as my_package.my_file.MyMethod.

    Args:
        key: The setting that names it.
        name: One of the classes' names, or a dotted name.
        classes: Those that have short names.

    Raises:
        SettingError: No dataclass has that name.
    """
    if name in classes:
        return classes[name]
    module, _, own = str(name).rpartition(".")
    if not module:
        short = f"one of {', '.join(classes)}, or " if classes else ""
        raise SettingError(key, name, f"unknown value; expected {short}a dotted name")
    try:
        found = getattr(importlib.import_module(module), own)
    except (ImportError, AttributeError) as error:
        raise SettingError(key, name, f"cannot be imported: {error}") from None
    if not is_dataclass(found):
        raise SettingError(key, name, "not a dataclass")
    return found
