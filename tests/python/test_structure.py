# SPDX-License-Identifier: Apache-2.0
"""Modules import each other in no circle and only downwards; functions and files are short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FUNCTION, LONGEST_FILE = 80, 500
# The packages that each one may import, within functions too; errors and logger are free to all.
MAY_IMPORT = {
    "functional": set(),
    "graph": set(),
    "files": {"graph"},
    "paddle": {"files", "graph"},
    "importers": {"files", "functional", "graph", "paddle"},
    "exporters": {"files", "graph", "paddle"},
    "models": {"paddle"},
    "analysis": {"graph", "importers", "paddle"},
    "runtime": {"exporters", "files", "graph", "importers"},
    "deployment": {"exporters", "files", "graph", "importers", "paddle", "quant", "runtime"},
}


def module_name(path: Path) -> str:
    """Return the dotted name of a file of the package."""
    parts = path.relative_to(ROOT / "python").with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted((ROOT / "python/qslim").rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}


def loaded_at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Return the nodes that run when the module is imported, but for what only type checkers see."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        yield node
        waiting += ast.iter_child_nodes(node)


def imported(nodes: Iterator[ast.AST]) -> set[str]:
    """Return the modules of qslim that the import statements among `nodes` name."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = {f"{node.module}.{alias.name}": node.module or "" for alias in node.names}
            found |= {name if name in FILES else module for name, module in names.items()}
    return found & FILES.keys()


def test_modules_import_each_other_in_no_circle() -> None:
    imports = {name: imported(loaded_at_import(tree)) for name, tree in TREES.items()}
    for name, targets in imports.items():
        for target in list(targets):  # the packages that a module lies in are imported with it
            parts = target.split(".")
            packages = {".".join(parts[:count]) for count in range(2, len(parts))}
            targets |= {package for package in packages if not f"{name}.".startswith(f"{package}.")}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name not in done:
            for target in sorted(imports[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in imports:
        visit(name, ())


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_downwards(package: str) -> None:
    packages = {name.split(".")[1] for name in FILES if name.count(".") > 1}
    for name, tree in TREES.items():
        if name.split(".")[1:2] == [package]:
            found = {target.split(".")[1] for target in imported(ast.walk(tree)) if "." in target} & packages
            assert found <= MAY_IMPORT[package] | {package}, name


def test_functions_and_files_are_short() -> None:
    long = []
    for folder in ("python/qslim", "benchmarks", "notebooks", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            if text.count("\n") > LONGEST_FILE:
                long.append(f"{path}: {text.count(chr(10))} lines")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    lines = (node.end_lineno or 0) - node.lineno + 1
                    if lines > LONGEST_FUNCTION:
                        long.append(f"{path}: {node.name} has {lines} lines")
    assert not long


def test_test_modules_have_names_of_their_own() -> None:
    """pytest imports test modules by their base name: of two with one name it refuses the second."""
    files: dict[str, Path] = {}
    for path in sorted((ROOT / "tests/python").rglob("test_*.py")):
        assert path.name not in files, f"{path} has the name of {files[path.name]}"
        files[path.name] = path
