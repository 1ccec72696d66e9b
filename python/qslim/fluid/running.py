# SPDX-License-Identifier: Apache-2.0
"""Programs, places, scopes and executors by fluid's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

from qslim.fluid.mode import static_paddle
from qslim.paddle import framework

__all__ = [
    "CPUPlace",
    "CUDAPlace",
    "DataFeeder",
    "Executor",
    "ParamAttr",
    "Program",
    "Scope",
    "data",
    "default_main_program",
    "default_startup_program",
    "global_scope",
    "is_compiled_with_cuda",
    "name_scope",
    "program_guard",
    "scope_guard",
    "steps_by_itself",
]


def Program() -> Any:
    """Return an empty program."""
    return static_paddle().static.Program()


def Scope() -> Any:
    """Return an empty scope."""
    return static_paddle().static.Scope()


def CPUPlace() -> Any:
    """Return the CPU."""
    return static_paddle().CPUPlace()


def CUDAPlace(device_id: int = 0) -> Any:
    """Return a GPU.

    Raises
    ------
    RuntimeError : this Paddle is built for the CPU.
    """
    paddle = static_paddle()
    if not paddle.is_compiled_with_cuda():
        raise RuntimeError(
            f"fluid.CUDAPlace({device_id}): this Paddle is built for the CPU; use fluid.CPUPlace() "
            "(compress.py: --use_gpu False), or install paddlepaddle-gpu"
        )
    return paddle.CUDAPlace(device_id)


def is_compiled_with_cuda() -> bool:
    """Return True if this Paddle can use GPUs."""
    return bool(static_paddle().is_compiled_with_cuda())


def default_main_program() -> Any:
    """Return the program that layers are added to."""
    return static_paddle().static.default_main_program()


def default_startup_program() -> Any:
    """Return the program that starts parameters."""
    return static_paddle().static.default_startup_program()


def program_guard(main_program: Any, startup_program: Any = None) -> Any:
    """Return a context in which layers are added to `main_program`."""
    return static_paddle().static.program_guard(main_program, startup_program)


def name_scope(prefix: Optional[str] = None) -> Any:
    """Return a context that gives operators a scope of names."""
    return static_paddle().static.name_scope(prefix)


def global_scope() -> Any:
    """Return the scope that executors use by default."""
    return static_paddle().static.global_scope()


def scope_guard(scope: Any) -> Any:
    """Return a context in which executors use `scope`."""
    return static_paddle().static.scope_guard(scope)


def data(name: str, shape: Sequence[Optional[int]], dtype: str = "float32", lod_level: int = 0) -> Any:
    """Return a Variable to feed, of the whole `shape`; ``layers.data`` adds the batch."""
    return static_paddle().static.data(
        name, [None if n in (None, -1) else n for n in shape], dtype, lod_level
    )


def DataFeeder(feed_list: Sequence[Any], place: Any, program: Any = None) -> Any:
    """Return an object whose ``feed(samples)`` makes a feed of a list of samples, each in feed order."""
    static_paddle()
    return framework.data_feeder(feed_list, place, program)


def ParamAttr(
    name: Optional[str] = None,
    initializer: Any = None,
    learning_rate: float = 1.0,
    regularizer: Any = None,
    trainable: bool = True,
    do_model_average: bool = False,
) -> Any:
    """Return the attributes of a parameter."""
    return static_paddle().ParamAttr(
        name, initializer, learning_rate, regularizer, trainable, do_model_average
    )


def steps_by_itself(scheduler: Any) -> Any:
    """Mark `scheduler`, made by a fluid function, as one that ``Executor.run`` steps; return it."""
    scheduler._qslim_fluid = True
    return scheduler


class Executor:
    """An executor that moves a program's learning rate on by itself, as fluid's schedules did.

    In fluid a schedule was operators of the program; in Paddle 3 it is an object that somebody has to step.
    """

    def __init__(self, place: Any = None) -> None:
        static_paddle()
        self._executor = framework.executor(place)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def run(self, program: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Run `program`, ``default_main_program()`` by default; see ``paddle.static.Executor.run``."""
        chosen = default_main_program() if program is None else program
        results = self._executor.run(chosen, *args, **kwargs)
        source = getattr(chosen, "_program", None) or chosen
        scheduler = getattr(source, "lr_scheduler", None)
        if scheduler is not None and getattr(scheduler, "_qslim_fluid", False):
            scheduler.step()
        return results
