# SPDX-License-Identifier: Apache-2.0
"""Settings of a command: a dataclass of sections, filled from a YAML file, ``-o A.b=value`` and flags.

A later source wins: defaults, the file, ``-o``, flags. A key that no section has is an error that names the
nearest one, and so is a value of another type.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any, Optional, TypeVar, Union

from qslim.files.yaml_file import load_yaml, parse_yaml

__all__ = ["arguments_of", "as_mapping", "build", "flags_of", "merged", "setting"]

_T = TypeVar("_T")
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping"}


def setting(help: str, default: Any = MISSING, *, flag: Optional[str] = None, argument: bool = False) -> Any:
    """Return a field of a section; without a `default` it must be given.

    Parameters
    ----------
    help : str
    flag : str, optional
        The option of the command line that sets it ("--data").
    argument : bool
        It may also be given without a flag, by its place.
    """
    return field(default=default, metadata={"help": help, "flag": flag, "argument": argument})


def arguments_of(function: str, without: Sequence[str] = ()) -> Any:
    """Return a section that has the arguments of `function` ("module:name"), which checks them.

    Its value is a dict of all of them, but for those `without`. The module is imported when a command runs.
    """
    return field(default_factory=dict, metadata={"function": function, "without": tuple(without)})


def flags_of(cls: type[Any], path: str = "") -> list[tuple[str, Any, Field[Any]]]:
    """Return (path, type, field) of each setting of `cls` and its sections that has a flag or a place."""
    found = []
    hints = typing.get_type_hints(cls)
    for each in fields(cls):
        where = f"{path}{each.name}"
        if is_dataclass(hints[each.name]):
            found += flags_of(hints[each.name], where + ".")
        elif each.metadata.get("flag") or each.metadata.get("argument"):
            found.append((where, hints[each.name], each))
    return found


def merged(config: Optional[str], overrides: Iterable[str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested mapping that a file, the texts of ``-o`` and the `flags` (path to value) give."""
    values = {} if config is None else load_yaml(config, "-c")
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise ValueError(f"-o: expected SECTION.KEY=VALUE, got {text!r}")
        _set(values, path.strip(), parse_yaml(value, f"-o {path.strip()}: {value!r}"))
    for path, value in flags.items():
        _set(values, path, value)
    return values


def build(cls: type[_T], values: Mapping[str, Any], path: str = "") -> _T:
    """Return a `cls` of `values`.

    Raises
    ------
    ValueError : an unknown key, a missing one, or a value of another type; names its path.
    """
    hints = typing.get_type_hints(cls)
    known = {each.name: each for each in fields(cls)}  # type: ignore[arg-type]
    _check_keys(values, known, path)
    built = {}
    for name, each in known.items():
        where = f"{path}{name}"
        if "function" in each.metadata:
            built[name] = _arguments(each, _section(values, name, where), where)
        elif is_dataclass(hints[name]):
            built[name] = build(typing.cast(Any, hints[name]), _section(values, name, where), where + ".")
        elif name in values:
            built[name] = _checked(values[name], hints[name], where)
        elif each.default is MISSING:
            flag = each.metadata["flag"] or (name.upper() if each.metadata["argument"] else None)
            raise ValueError(f"{where} is missing: give {f'{flag} or ' if flag else ''}-o {where}=...")
    try:
        return cls(**built)
    except ValueError as error:  # of a section's own check, which begins with the name of the setting
        raise ValueError(f"{path}{error}") from error


def as_mapping(value: Any) -> Any:
    """Return settings as nested mappings and lists, for YAML and JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: as_mapping(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: as_mapping(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_mapping(item) for item in value]
    return value


def _set(values: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ValueError(f"-o {path}: {section} is no section, but {inner!r}")
        values = inner
    values[key] = value


def _section(values: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    found = values.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{where}: expected a section of settings, got {found!r}")
    return found


def _check_keys(values: Mapping[str, Any], known: Iterable[str], path: str) -> None:
    names = list(known)
    for key in values:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, 1, 0.5)
            hint = f"did you mean {path}{near[0]}?" if near else f"known are {', '.join(names)}"
            raise ValueError(f"unknown setting {path}{key}: {hint}")


def _arguments(each: Field[Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    module, _, name = each.metadata["function"].partition(":")
    function = getattr(importlib.import_module(module), name)
    parameters = inspect.signature(function).parameters.values()
    values = {p.name: p.default for p in parameters if p.name not in each.metadata["without"]}
    _check_keys(given, values, where + ".")
    return {**values, **given}


def _checked(value: Any, hint: Any, where: str) -> Any:
    """Return `value` if it is of the type `hint`, numbers as floats where these are wanted."""
    origin = typing.get_origin(hint)
    if origin is Union:
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
        return None if value is None else _checked(value, hint, where)
    if origin is list:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where}: expected a list, got {value!r}")
        return [_checked(item, typing.get_args(hint)[0], where) for item in value]
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = origin or hint
    is_bool = isinstance(value, bool)
    if isinstance(value, wanted) and is_bool == (wanted is bool):
        return value
    raise ValueError(f"{where}: expected {_NAMES[wanted]}, got {value!r}")
