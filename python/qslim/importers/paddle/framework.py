# SPDX-License-Identifier: Apache-2.0
"""The one place that imports Paddle for importers and exporters, and the modes it may be in.

Paddle is a process with global switches: dygraph or static, PIR or legacy IR, a current scope. Each helper
here changes one of them for a block and puts it back, whatever happens inside.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = [
    "dygraph",
    "dygraph_inside_a_trace",
    "executor",
    "forget_captures",
    "forget_failed_traces",
    "legacy_ir",
    "paddle_module",
    "pir_ir",
    "quiet",
    "static_function_class",
    "static_mode",
]


def paddle_module() -> Any:
    """The ``paddle`` module, or one sentence that says how to get it."""
    try:
        import paddle
    except ImportError as error:
        raise ImportError(
            "this part of qslim works on Paddle models and needs PaddlePaddle: pip install 'qslim[paddle]'"
        ) from error
    return paddle


@contextlib.contextmanager
def static_mode() -> Iterator[Any]:
    """Static-graph mode with a scope of its own; yields that scope. Afterwards all is as it was."""
    paddle = paddle_module()
    was_dygraph = paddle.in_dynamic_mode()
    paddle.enable_static()
    try:
        scope = paddle.static.Scope()
        with paddle.static.scope_guard(scope):
            yield scope
    finally:
        if was_dygraph:
            paddle.disable_static()


@contextlib.contextmanager
def dygraph() -> Iterator[None]:
    """Dygraph for a block or a function; in static mode Layers cannot list their parameters, and reading a
    tensor's values crashes."""
    paddle = paddle_module()
    was_dygraph = paddle.in_dynamic_mode()
    paddle.disable_static()
    try:
        yield
    finally:
        if not was_dygraph:
            paddle.enable_static()


@contextlib.contextmanager
def legacy_ir() -> Iterator[None]:
    """Paddle's legacy IR, also in a process where PIR is on."""
    with paddle_module().pir_utils.OldIrGuard():
        yield


@contextlib.contextmanager
def pir_ir() -> Iterator[None]:
    """PIR, also in a process that was started with FLAGS_enable_pir_api=0."""
    paddle = paddle_module()
    if paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]:
        yield
        return
    with paddle.pir_utils.IrGuard():
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Paddle's own deprecation warnings off the user's screen; they speak of our calls, not theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def static_function_class() -> Any:
    """The class of what ``paddle.jit.to_static`` makes of a function (Paddle 3.0 to 3.3.1)."""
    from paddle.jit.dy2static.program_translator import StaticFunction

    return StaticFunction


@contextlib.contextmanager
def dygraph_inside_a_trace() -> Iterator[None]:
    """Dygraph for a block of code that runs while paddle.jit traces: tensors have values there."""
    from paddle.base.dygraph import base  # Paddle 3.0 to 3.3.1

    with base.to_static_mode_guard(False), base.guard():
        yield


def forget_failed_traces() -> None:
    """Drop what Paddle keeps of traces that an error ended.

    It stands under the address of a program that is gone; where the next program gets the same one, Paddle
    reads the dead program's values and crashes (3.3.1). Not for use inside a trace that goes on.
    """
    try:
        from paddle.jit.dy2static import parameter_recorder
    except ImportError:  # before 3.1
        return
    recorders = (
        getattr(parameter_recorder, "_global_parameter_recorder", None),
        getattr(parameter_recorder, "_global_inplace_map", None),
    )
    for recorder in recorders:
        for name in ("params_dict", "tensor2value"):
            getattr(recorder, name, {}).clear()


def forget_captures() -> None:
    """Let what ``paddle.jit.to_static`` captured from bytecode be captured anew.

    Its guards look at a layer's identity and its parameters, not at its class: a layer that was quantized
    since would run as the float one that it was (3.3.1).
    """
    try:
        from paddle.jit.sot.opcode_translator.executor.executor_cache import OpcodeExecutorCache
    except ImportError:
        return
    OpcodeExecutorCache().clear()


def executor(place: Any = None) -> Any:
    """A static-graph executor for `place`, the CPU by default."""
    paddle = paddle_module()
    return paddle.static.Executor(paddle.CPUPlace() if place is None else place)
