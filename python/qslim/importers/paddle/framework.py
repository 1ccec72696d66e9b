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

__all__ = ["executor", "legacy_ir", "paddle_module", "pir_ir", "quiet", "static_mode"]


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


def executor(place: Any = None) -> Any:
    """A static-graph executor for `place`, the CPU by default."""
    paddle = paddle_module()
    return paddle.static.Executor(paddle.CPUPlace() if place is None else place)
