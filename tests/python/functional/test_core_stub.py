# SPDX-License-Identifier: Apache-2.0
"""_core.pyi has the names, arguments and defaults of the module, and everything there has a docstring."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Union

import pytest

import qslim
from qslim import _core

STUB = ast.parse(Path(qslim.__file__).with_name("_core.pyi").read_text())
Function = ast.FunctionDef
Scope = Union[ast.Module, ast.ClassDef]


def public_names(scope: Any) -> set[str]:
    return {name for name in vars(scope) if not name.startswith("_")}


def stub_names(scope: Scope) -> set[str]:
    names = {node.name for node in scope.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return {name for name in names if not name.startswith("_")}


def stub_functions(scope: Scope, name: str) -> list[Function]:
    """Return the declaration of `name`, or all of its overloads."""
    return [node for node in scope.body if isinstance(node, ast.FunctionDef) and node.name == name]


def stub_class(name: str) -> ast.ClassDef:
    (found,) = (node for node in STUB.body if isinstance(node, ast.ClassDef) and node.name == name)
    return found


def is_property(function: Function) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in function.decorator_list)


def bound_function(docstring: str) -> Function:
    """Parse the signature that pybind11 writes on a docstring's first line."""
    (parsed,) = ast.parse(f"def {docstring.splitlines()[0]}: ...").body
    assert isinstance(parsed, ast.FunctionDef)
    return parsed


def argument_names(function: Function) -> list[str]:
    return [argument.arg for argument in function.args.args]


def defaults(function: Function) -> dict[str, object]:
    count = len(function.args.defaults)
    names = argument_names(function)[-count:] if count else []
    return {name: ast.literal_eval(node) for name, node in zip(names, function.args.defaults)}


FUNCTIONS = sorted(name for name in public_names(_core) if not isinstance(getattr(_core, name), type))
CLASSES = sorted(name for name in public_names(_core) if isinstance(getattr(_core, name), type))
MEMBERS = [
    (kind, name)
    for kind in CLASSES
    if not issubclass(getattr(_core, kind), Exception)
    for name in ["__init__", *sorted(public_names(getattr(_core, kind)))]
]


def check_arguments(bound: Function, declared: list[Function]) -> None:
    for function in declared:
        assert argument_names(function) == argument_names(bound)
        stated = defaults(function)
        assert stated.items() <= defaults(bound).items()
    # Overloads may leave a default out, one of them states it.
    assert {name for function in declared for name in defaults(function)} == set(defaults(bound))


def check_prose(docstring: str, has_signature: bool) -> None:
    lines = docstring.splitlines()[2 if has_signature else 0 :]
    assert lines
    assert lines[0].strip()
    assert docstring.rstrip().endswith((".", ")"))


def test_names() -> None:
    assert stub_names(STUB) == public_names(_core)
    for name in CLASSES:
        assert stub_names(stub_class(name)) == public_names(getattr(_core, name)), name
    assert isinstance(_core.__version__, str)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    docstring = getattr(_core, name).__doc__
    check_arguments(bound_function(docstring), stub_functions(STUB, name))
    check_prose(docstring, has_signature=True)


@pytest.mark.parametrize("name", CLASSES)
def test_class(name: str) -> None:
    check_prose(getattr(_core, name).__doc__, has_signature=False)


@pytest.mark.parametrize(("kind", "name"), MEMBERS, ids=[".".join(member) for member in MEMBERS])
def test_member(kind: str, name: str) -> None:
    member = vars(getattr(_core, kind))[name]
    declared = stub_functions(stub_class(kind), name)
    assert isinstance(member, property) == all(is_property(function) for function in declared)
    if isinstance(member, property):
        check_prose(member.__doc__ or "", has_signature=False)
    else:
        docstring = getattr(getattr(_core, kind), name).__doc__
        check_arguments(bound_function(docstring), declared)
        check_prose(docstring, has_signature=True)
