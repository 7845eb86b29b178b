"""Builds a record from a group of the configuration, and names the group's keys in its errors."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from rli.errors import RLIError, SettingError

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
        RLIError: The values are not a group of `make`'s arguments (see `check_group`), or `make` refuses a value.
    """
    check_group(make, group, values, given)
    with keyed(group, keys):
        return make(**{**values, **given})


def check_group(make: Callable[..., Any], group: str, values: Any, given: Iterable[str] = ()) -> None:
    """Whether values are a group of a dataclass's or a function's arguments: names and types.

    Args:
        make: The dataclass or the function; its annotations are the types.
        group: The group's name; "" for the configuration itself.
        values: The group's values by name.
        given: Arguments that come from elsewhere.

    Raises:
        RLIError: The values are no group, a key is not an argument, an argument without a default is missing, or a
            value is of another type.
    """
    if not isinstance(values, Mapping):
        raise SettingError(group, values, "expected a group of settings")
    parameters, types = signature(make).parameters, _types(make)
    takes_all = any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values())  # it looks itself
    for name, value in values.items():
        if name not in parameters and not takes_all:
            raise _unknown(group, name, parameters)
        check_type(_key(group, name), value, types.get(name, Any))
    for name, parameter in parameters.items():
        is_needed = parameter.default is Parameter.empty and parameter.kind is not Parameter.VAR_KEYWORD
        if is_needed and name not in values and name not in given:
            raise RLIError(f"{_key(group, name)}: the setting is missing")


def check_shared(
    makers: Sequence[Callable[..., Any]], group: str, values: Any, others: Iterable[str] = (), *, nullable: bool = False
) -> None:
    """As `check_group`, for a group whose keys are the arguments of several: those that are chosen and those that are
    not.

    Args:
        makers: The dataclasses and functions. A value must be of the type that one of them has for it.
        group: The group's name.
        values: The group's values by name.
        others: Further keys, of any type.
        nullable: Whether null stands for an argument's default.

    Raises:
        RLIError: The values are no group, a key is nobody's argument, or a value is of another type.
    """
    if not isinstance(values, Mapping):
        raise SettingError(group, values, "expected a group of settings")
    known: dict[str, Any] = dict.fromkeys(others, Any)
    for make in makers:
        types = _types(make)
        for name, parameter in signature(make).parameters.items():
            if parameter.kind is Parameter.VAR_KEYWORD:
                continue
            kind = types.get(name, Any)
            known[name] = Union[known[name], kind] if name in known else kind  # noqa: UP007
    for name, value in values.items():
        if name not in known:
            raise _unknown(group, name, known)
        if not (nullable and value is None):
            check_type(_key(group, name), value, known[name])


def check_type(key: str, value: Any, kind: Any) -> None:
    """Whether a plain value is of an annotation's type.

    Args:
        key: The setting's name.
        value: As YAML or the command line has it. Whole numbers are numbers too; neither is true or false.
        kind: A type; None, unions, `Literal`, sequences and mappings of types are understood.

    Raises:
        SettingError: It is not.
    """
    if not _is_of(value, kind):
        problem = f"unknown value; expected {_in_words(kind)}"
        if isinstance(value, bool | int | float) and _is_of("", kind):
            problem += " (in quotes it is text)"
        raise SettingError(key, value, problem)


def _is_of(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(_is_of(value, one) for one in inner)
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            _is_of(name, inner[0]) and _is_of(one, inner[1]) for name, one in value.items()
        )
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, list | tuple) and all(_is_of(one, inner[0]) for one in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is Path:
        return isinstance(value, str | Path)
    # A record is made here, and never what a setting holds.
    return isinstance(value, kind) if kind in (bool, str, NoneType) else False


def _in_words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        *most, last = dict.fromkeys(word for one in inner for word in _in_words(one).split(" or ") if word)
        return f"{', '.join(most)} or {last}" if most else last
    if origin is Literal:
        return f"one of {', '.join(inner)}" if len(inner) > 1 else str(inner[0])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a group of settings" if inner[1] is Any else f"names with {_in_words(inner[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {_in_words(inner[0])}"
    plain: dict[Any, str] = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "a path",
        NoneType: "null",
    }
    return plain.get(kind, "")


def _types(make: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, none where they name what cannot be found: then `make` looks itself."""
    try:
        return get_type_hints(make)
    except NameError:
        return {}


def _unknown(group: str, name: str, known: Iterable[str]) -> RLIError:
    there = f"; expected one of {', '.join(sorted(known))}" if known else ""
    return RLIError(f"{_key(group, name)}: unknown setting{there}")


def _key(group: str, name: str) -> str:
    return f"{group}.{name}" if group else str(name)


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
    if not isinstance(name, str):
        raise SettingError(key, name, "unknown value; expected text")
    if name in classes:
        return classes[name]
    module, _, own = name.rpartition(".")
    if not module:
        short = f"one of {', '.join(classes)}, or " if classes else ""
        raise SettingError(key, name, f"unknown value; expected {short}a dotted name")
    try:
        found = getattr(importlib.import_module(module), own)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SettingError(key, name, f"cannot be imported: {error}") from None
    if not is_dataclass(found):
        raise SettingError(key, name, "not a dataclass")
    return found


def listed(value: Sequence[str] | str) -> tuple[str, ...]:
    """One text, or several."""
    return (value,) if isinstance(value, str) else tuple(value)
