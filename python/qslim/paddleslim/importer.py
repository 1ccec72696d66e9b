# SPDX-License-Identifier: Apache-2.0
"""The importer that answers for ``paddleslim``, in this process and in those that it starts.

It answers for ``paddle.fluid`` as well, which Paddle 3 no longer has and scripts of that era import.

Each module of the table in modules.py becomes a module object whose names are looked up in qslim when they
are used, so importing one costs nothing and a script without Paddle runs as far as it needs none.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any, Optional

from qslim import __version__
from qslim.paddleslim.modules import MODULES
from qslim.paddleslim.refusals import refusal

__all__ = ["install", "uninstall"]

_ROOT = "paddleslim"
_ROOTS = (_ROOT, "paddle.fluid")
# The release whose calls qslim takes; PEP 440 compares a local version as its public part.
_VERSION = f"2.6.0+qslim.{__version__}"
_HERE = os.path.dirname(os.path.abspath(__file__))
_CHILDREN = os.path.join(_HERE, "children")


def install() -> None:
    """Make ``import paddleslim`` mean qslim, here and in child processes. Again changes nothing.

    Raises
    ------
    RuntimeError : another ``paddleslim`` has been imported already.

    Examples
    --------
    >>> from qslim.paddleslim import install, uninstall
    >>> install()
    >>> import paddleslim.quant
    >>> import qslim.quant
    >>> paddleslim.quant.quant_post_static is qslim.quant.quant_post_static
    True
    >>> uninstall()
    """
    present = sys.modules.get(_ROOT)
    if present is not None and not isinstance(present, _Module):
        raise RuntimeError(
            f"paddleslim is already imported, from {getattr(present, '__file__', 'an unknown place')}: "
            "call qslim.paddleslim.install() before the first import of paddleslim"
        )
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if _CHILDREN not in sys.path:
        sys.path.insert(
            1, _CHILDREN
        )  # multiprocessing's "spawn" gives its children this path, not PYTHONPATH
        _set_python_path([_CHILDREN, *_python_path()])


def uninstall() -> None:
    """Undo ``install``. Names that were imported from ``paddleslim`` keep working."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    for name in [name for name, module in sys.modules.items() if isinstance(module, _Module)]:
        del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if entry != _CHILDREN]
    _set_python_path([entry for entry in _python_path() if entry != _CHILDREN])


def _python_path() -> list[str]:
    path = os.environ.get("PYTHONPATH")
    return path.split(os.pathsep) if path else []


def _set_python_path(entries: Sequence[str]) -> None:
    if entries:
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)
    else:
        os.environ.pop("PYTHONPATH", None)


class _Module(ModuleType):
    """One of PaddleSlim's modules; its names live in qslim."""

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return sorted(_names(self.__name__))
        if not name.startswith("__"):
            if name in MODULES[self.__name__].names:
                return _resolve(self.__name__, name)
            module_name = f"{self.__name__}.{name}"
            if module_name in MODULES:
                return importlib.import_module(module_name)
            if name in _names(self.__name__):
                return _resolve(self.__name__, name)
            raise AttributeError(_no_such_name(self.__name__, name))
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        # Python sets a submodule on its package; ``paddleslim.analysis.flops`` is the function all the same.
        if not (isinstance(value, _Module) and name in MODULES[self.__name__].names):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        submodules = (name.rpartition(".")[2] for name in _submodules(self.__name__))
        return sorted({*super().__dir__(), *submodules, *_names(self.__name__)})


class _Finder(MetaPathFinder, Loader):
    """Finds the roots and everything below them, so that no other finder is asked."""

    def find_spec(
        self, fullname: str, path: Optional[Sequence[str]], target: Optional[ModuleType] = None
    ) -> Optional[ModuleSpec]:
        if not f"{fullname}.".startswith(tuple(f"{root}." for root in _ROOTS)):
            return None
        if fullname not in MODULES:
            # Without `name`: ``from paddleslim import X`` drops the message of an error that bears it.
            parent, _, name = fullname.rpartition(".")
            raise ModuleNotFoundError(_no_such_name(parent, name))
        # Every module is a package: what a package lacks is asked for here, so the error can say more.
        return spec_from_loader(fullname, self, origin=os.path.join(_HERE, "modules.py"), is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name, f"PaddleSlim's module {spec.name}, by qslim.")

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = os.path.join(_HERE, "modules.py")
        if module.__name__ == _ROOT:
            module.__dict__["__version__"] = _VERSION
        if module.__name__ == "paddleslim.models":  # scripts choose one by models.__dict__[name]
            module.__dict__.update(
                {name: _resolve(module.__name__, name) for name in _names(module.__name__)}
            )


def _submodules(module_name: str) -> Iterator[str]:
    """Return the full names of the modules directly in `module_name`."""
    return (name for name in MODULES if name.rpartition(".")[0] == module_name)


def _names(module_name: str) -> set[str]:
    """Return the names that `module_name` offers, its submodules apart."""
    module = MODULES[module_name]
    return {*module.names, *(name for source in module.sources for name in _public(source))}


def _public(source: str) -> Sequence[str]:
    names: Sequence[str] = importlib.import_module(source).__all__
    return names


def _resolve(module_name: str, name: str) -> Any:
    module = MODULES[module_name]
    if name in module.names:
        source, _, attribute = module.names[name].partition(":")
    else:
        source, attribute = next(source for source in module.sources if name in _public(source)), name
    return getattr(importlib.import_module(source), attribute)


def _no_such_name(module_name: str, name: str) -> str:
    """Return the message about a name or submodule that qslim does not have."""
    reason = refusal(f"{module_name}.{name}".partition(".")[2])
    if reason is not None:
        return f"{module_name}.{name} is not offered: {reason}"
    here = {*_names_or_none(module_name), *(each.rpartition(".")[2] for each in _submodules(module_name))}
    elsewhere = [f"{each}.{name}" for each in MODULES if name in _names_or_none(each)]
    near = [f"{module_name}.{each}" for each in difflib.get_close_matches(name, sorted(here), 2)]
    nearest = " or ".join(elsewhere[:1] or near)
    hint = f"; the nearest is {nearest}" if nearest else ""
    root = next(each for each in _ROOTS if f"{module_name}.".startswith(f"{each}."))
    known = {each for each in MODULES if each.startswith(root) and each.count(".") - root.count(".") < 2}
    modules = known | {*_submodules(module_name)}
    return (
        f"{module_name}.{name}: qslim stands in for {root} here and has nothing of that name{hint}. "
        f"It has {', '.join(sorted(modules))}"
    )


def _names_or_none(module_name: str) -> set[str]:
    """Return `_names`, as far as what is installed lets them be known."""
    try:
        return _names(module_name)
    except ImportError:
        return set()
