# SPDX-License-Identifier: Apache-2.0
"""Prepare a Layer for Paddle's tracing, and restore it afterwards.

Tracing runs ``forward`` on symbols. What a network stores in its attributes is symbols then; what a hook
computes before ``forward`` (weight_norm, spectral_norm) would not be stored at all, and is computed before;
what ``paddle.jit.to_static`` has made of ``forward`` names the inputs in its own way, and is undone.
"""

from __future__ import annotations

import contextlib
import types
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from qslim.paddle import framework

__all__ = [
    "declared_spec",
    "forget_programs",
    "kept_attributes",
    "ready_to_trace",
    "refresh_computed_weights",
    "undecorated",
]

# Attributes of attributes of attributes.
_DEPTH = 4


@contextlib.contextmanager
def ready_to_trace(layer: Any) -> Iterator[None]:
    """Undo decorations and settle computed weights of `layer` for the block; restore all afterwards."""
    refresh_computed_weights(layer)
    framework.forget_failed_traces()
    with undecorated(layer):
        for sub in layer.sublayers(include_self=True):
            for key in _computing_hooks(sub):
                del sub._forward_pre_hooks[key]
        yield


@contextlib.contextmanager
def undecorated(layer: Any) -> Iterator[None]:
    """Take ``paddle.jit.to_static`` off `layer` for the block; restore it and all attributes afterwards."""
    with kept_attributes(layer):
        for sub in layer.sublayers(include_self=True):
            for name, static in _static_functions(sub).items():
                sub.__dict__[name] = static.dygraph_function
        yield


def declared_spec(layer: Any) -> Optional[Sequence[Any]]:
    """Return the `input_spec` that ``paddle.jit.to_static(layer, input_spec=...)`` was given, if it was."""
    static = _static_functions(layer).get("forward")
    return None if static is None else getattr(static, "_input_spec", None)


def refresh_computed_weights(layer: Any) -> None:
    """Let the hooks that compute weights before a forward pass compute them from the parameters as they are.

    Such a weight is of the parameters that the last forward pass saw: after an optimizer's step it is old.
    """
    paddle = framework.paddle_module()
    for sub in layer.sublayers(include_self=True):
        was_training = sub.training
        sub.training = False  # a power iteration belongs to training
        try:
            with paddle.no_grad():
                for hook in _computing_hooks(sub).values():
                    hook(sub, ())
        finally:
            sub.training = was_training


def _computing_hooks(layer: Any) -> dict[Any, Any]:
    """Return the pre-forward hooks of `layer` that compute weights, such as weight_norm's."""
    return {
        key: hook
        for key, hook in layer._forward_pre_hooks.items()
        if hasattr(hook, "compute_weight") and isinstance(getattr(hook, "name", None), str)
    }


def forget_programs(layer: Any) -> None:
    """Let ``paddle.jit.to_static`` trace `layer` anew, which has become another network."""
    framework.forget_captures()
    for sub in layer.sublayers(include_self=True):
        for static in _static_functions(sub).values():
            cache = getattr(static, "_program_cache", None)
            if cache is not None:
                cache.clear()


def _static_functions(layer: Any) -> dict[str, Any]:
    """Return the methods of `layer` that ``paddle.jit.to_static`` decorated, on it or on its class."""
    kind = framework.static_function_class()
    names = [
        name for cls in type(layer).__mro__ for name, value in vars(cls).items() if isinstance(value, kind)
    ]
    names += [name for name, value in layer.__dict__.items() if isinstance(value, kind)]
    found = {name: getattr(layer, name) for name in names}
    return {name: value for name, value in found.items() if isinstance(value, kind) and not value.is_property}


@contextlib.contextmanager
def kept_attributes(layer: Any) -> Iterator[None]:
    """Put the attributes of `layer` and its sub-layers back after the block, also after an error.

    Lists, dicts and objects among them get their contents back; what is in tensors is not looked at.
    """
    kept = _Kept()
    for sub in layer.sublayers(include_self=True):
        kept.add(sub.__dict__, _DEPTH)
    try:
        yield
    finally:
        kept.put_back()


class _Kept:
    """Copies of containers and what they were copied from."""

    def __init__(self) -> None:
        self._copies: list[tuple[Any, Any]] = []
        self._seen: set[int] = set()

    def add(self, container: Any, depth: int) -> None:
        if id(container) in self._seen:
            return
        self._seen.add(id(container))
        self._copies.append((container, container.copy()))
        if depth:
            for value in container.values() if isinstance(container, dict) else container:
                inner = _container_of(value)
                if inner is not None:
                    self.add(inner, depth - 1)

    def put_back(self) -> None:
        for container, copy in self._copies:
            if isinstance(container, dict):
                if list(map(id, container.values())) != list(map(id, copy.values())) or [*container] != [
                    *copy
                ]:
                    container.clear()
                    container.update(copy)
            elif isinstance(container, set):
                if container != copy:
                    container.clear()
                    container.update(copy)
            elif list(map(id, container)) != list(map(id, copy)):
                container.clear()
                container.extend(copy)


def _container_of(value: Any) -> Optional[Any]:
    """Return `value` if it is a container, an object's attributes, or None if tracing cannot change it."""
    if isinstance(value, (dict, list, set, deque)):
        return value
    kinds = (type, types.ModuleType, types.FunctionType, types.MethodType, framework.static_function_class())
    if isinstance(value, kinds) or type(value).__module__.split(".")[0] in ("builtins", "numpy"):
        return None
    attributes = getattr(value, "__dict__", None)
    return attributes if isinstance(attributes, dict) else None
