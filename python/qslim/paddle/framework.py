# SPDX-License-Identifier: Apache-2.0
"""The one place that imports Paddle for importers and exporters, its modes, and its private names.

Paddle is a process with global switches: dygraph or static, PIR or legacy IR, a current scope. Each helper
here changes one of them for a block and puts it back, whatever happens inside.

What is no public name of Paddle's stands here and nowhere else, each behind a function. All were seen on
Paddle 3.0.0, 3.1.1, 3.2.2 and 3.3.1, but where a docstring says otherwise.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "capture_fallback",
    "data_feeder",
    "dygraph",
    "dygraph_inside_a_trace",
    "eval_frame_setter",
    "executor",
    "forget_captures",
    "forget_failed_traces",
    "global_store",
    "ir_mapping",
    "is_legacy_program",
    "is_pir_program",
    "is_pir_value",
    "legacy_core",
    "legacy_ir",
    "legacy_operator",
    "load_vars",
    "make_trainable",
    "memory_of",
    "name_new_tensors",
    "operators",
    "paddle_module",
    "parameter_class",
    "pir_core",
    "pir_ir",
    "pir_parameter",
    "quiet",
    "save_vars",
    "static_function_class",
    "static_mode",
    "translated_to_pir",
]


def paddle_module() -> Any:
    """Return the ``paddle`` module, or one sentence that says how to get it."""
    try:
        import paddle
    except ImportError as error:
        raise ImportError(
            "this part of qslim works on Paddle models and needs PaddlePaddle: pip install 'qslim[paddle]'"
        ) from error
    return paddle


@contextlib.contextmanager
def static_mode() -> Iterator[Any]:
    """Enter static-graph mode with a scope of its own, which is yielded; put all back afterwards."""
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
    """Enter dygraph mode for a block or a function.

    In static mode Layers cannot list their parameters, and reading a tensor's values crashes.
    """
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
    """Enter Paddle's legacy IR, also in a process where PIR is on."""
    with paddle_module().pir_utils.OldIrGuard():
        yield


@contextlib.contextmanager
def pir_ir() -> Iterator[None]:
    """Enter PIR, also in a process that was started with FLAGS_enable_pir_api=0."""
    paddle = paddle_module()
    if paddle.get_flags("FLAGS_enable_pir_api")["FLAGS_enable_pir_api"]:
        yield
        return
    with paddle.pir_utils.IrGuard():
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Paddle's own deprecation warnings off the user's screen; they speak of our calls, not theirs."""
    logs = [
        logging.getLogger(f"paddle.static.{name}") for name in ("io", "pir_io")
    ]  # warn of loads by directory
    levels = [log.level for log in logs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for log in logs:
            log.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for log, level in zip(logs, levels):
                log.setLevel(level)


def static_function_class() -> Any:
    """Return the class of a function that ``paddle.jit.to_static`` has decorated (Paddle 3.0 to 3.3.1)."""
    from paddle.jit.dy2static.program_translator import StaticFunction

    return StaticFunction


@contextlib.contextmanager
def dygraph_inside_a_trace() -> Iterator[None]:
    """Run a block of code in dygraph while paddle.jit traces: tensors have values there."""
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


def capture_fallback() -> tuple[Callable[..., None], dict[str, Any]]:
    """Return the function that keeps its caller out of captured bytecode, and the arguments to call it with.

    It must be called from the function itself that is to run as Python. Before 3.1 it cannot hold for what
    that function calls.
    """
    from paddle.jit.sot.psdb import fallback

    holds_below = "recursive" in inspect.signature(fallback).parameters
    return fallback, {"recursive": True} if holds_below else {}


def eval_frame_setter() -> Callable[[Any], Any]:
    """Return the function that sets the hook capturing bytecode (None runs code as Python)."""
    setter: Callable[[Any], Any] = paddle_module().framework.core.set_eval_frame
    return setter


def memory_of(tensor: Any) -> NDArray[Any]:
    """Return a dense CPU tensor as an array over its own memory, to read and to write.

    Before 3.3 ``np.from_dlpack`` gives an array that cannot be written to; it is made anew at its address.
    """
    array = np.from_dlpack(tensor)
    if array.flags.writeable or not array.size or not array.flags.c_contiguous:
        return array
    buffer: Any = (ctypes.c_char * array.nbytes).from_address(array.__array_interface__["data"][0])
    buffer.owner = array  # which keeps the memory
    return np.frombuffer(buffer, array.dtype).reshape(array.shape)


def operators() -> Any:
    """Return Paddle's operators as functions (``paddle._C_ops``), for what has no public one."""
    return paddle_module()._C_ops


def legacy_core() -> Any:
    """Return the module with ProgramDesc and VarDesc of the legacy IR."""
    return paddle_module().base.core


def legacy_operator(block: Any, desc: Any) -> Any:
    """Return the Operator of a legacy block for a description."""
    return paddle_module().base.framework.Operator(block, desc)


def parameter_class() -> Any:
    """Return the class of a legacy program's parameters."""
    return paddle_module().base.framework.Parameter


def is_legacy_program(program: Any) -> bool:
    return isinstance(program, paddle_module().base.framework.Program)


def is_pir_program(program: Any) -> bool:
    return isinstance(program, pir_core().Program)


def is_pir_value(value: Any) -> bool:
    return isinstance(value, paddle_module().pir.Value)


def pir_core() -> Any:
    """Return the module with types and insertion points of PIR (``paddle.base.libpaddle.pir``)."""
    return paddle_module().base.libpaddle.pir


def ir_mapping() -> Any:
    """Return an empty mapping, which ``Program.clone`` fills with each value's copy."""
    return paddle_module().pir.IrMapping()


def translated_to_pir(desc: Any) -> tuple[Any, dict[str, Any]]:
    """Return a legacy program's description in PIR, and its variables' values by name."""
    program, variables = paddle_module().pir.translate_to_pir_with_param_map(desc)
    return program, variables


def pir_parameter(name: str, dtype: str, shape: list[int]) -> Any:
    """Return a new parameter of the program whose guard is active, which nobody trains."""
    paddle = paddle_module()
    return paddle.pir.core.create_parameter(
        dtype, shape, name=name, initializer=paddle.nn.initializer.Constant(0), trainable=False
    )


def global_store() -> Any:
    """Return the key-value store of the process group, on rank 0's machine."""
    return paddle_module().base.core.create_or_get_global_tcp_store()


def executor(place: Any = None) -> Any:
    """Return a static-graph executor for `place`, the CPU by default."""
    paddle = paddle_module()
    return paddle.static.Executor(paddle.CPUPlace() if place is None else place)


def data_feeder(feed_list: Any, place: Any, program: Any) -> Any:
    """Return Paddle's DataFeeder of a legacy program, which makes feeds of lists of samples."""
    return paddle_module().base.DataFeeder(feed_list, place, program)


def load_vars(executor: Any, directory: str, program: Any, variables: Any, predicate: Any, name: Any) -> None:
    """Load variables of a legacy program from files of their own, or from the file `name`."""
    from paddle.static import io

    io.load_vars(executor, directory, program, variables, predicate, name)


def save_vars(executor: Any, directory: str, program: Any, variables: Any, predicate: Any, name: Any) -> None:
    """Save variables of a legacy program to files of their own, or to the file `name`."""
    from paddle.static import io

    io.save_vars(executor, directory, program, variables, predicate, name)


def make_trainable(block: Any, name: str) -> None:
    """Let the variable `name` of a legacy block be a parameter; a loaded program has none."""
    variable = block.var(name)
    parameter = parameter_class()(block, variable.shape, variable.dtype, name=name, trainable=True)
    parameter.stop_gradient = False
    block.vars[name] = parameter


def name_new_tensors(program: Any, prefix: str) -> None:
    """Let names of new tensors in a legacy program begin with `prefix`.

    A loaded program counts from 0, and has tensors of these names.
    """
    program._name_generator = paddle_module().base.unique_name.UniqueNameGenerator(prefix)
