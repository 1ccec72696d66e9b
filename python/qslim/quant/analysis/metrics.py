# SPDX-License-Identifier: Apache-2.0
"""Metrics that users measure, checked, and the fewest steps that let one reach its target."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Callable, Optional

from qslim.importers.paddle import ModelFiles, load_program

__all__ = ["ProgramMetric", "checked_metric", "fewest", "is_number", "program_metric"]

# PaddleSlim's form: executor, program, names of the feeds, fetch targets.
ProgramMetric = Callable[[Any, Any, list[str], list[Any]], float]


def program_metric(eval_function: Optional[ProgramMetric], files: ModelFiles, place: Any = None) -> Any:
    """Return what `eval_function` returns of the Paddle model in `files`, at `place` (default: the CPU)."""
    assert eval_function is not None
    if files.program.endswith(".onnx"):
        raise ValueError(
            "a function of (executor, program, feed names, fetch targets) takes Paddle models; for an ONNX "
            "file give one of a network, which is called with arrays"
        )
    program = load_program(files, place)
    with program.active():
        return eval_function(
            program.executor, program.program, list(program.feed_names), list(program.fetches)
        )


def checked_metric(
    measure: Callable[[], Any], what: str, kept: str = "", argument: str = "eval_function"
) -> float:
    """Return the number that `measure`, which calls an eval_function, returns.

    Parameters
    ----------
    what : the network that is measured, for messages: "the float model"
    kept : added to messages, for example where earlier results are
    argument : what the user called the function

    Raises
    ------
    ValueError : it raised, or returned no finite number.
    """
    try:
        metric = measure()
    except Exception as error:
        raise ValueError(f"{argument} raised {type(error).__name__} with {what}: {error}{kept}") from error
    if not is_number(metric):
        raise ValueError(f"{argument}: expected a finite number with {what}, got {metric!r}{kept}")
    return float(metric)


def is_number(value: Any) -> bool:
    """Return True if `value` is a finite number, or an array of one."""
    with contextlib.suppress(TypeError, ValueError):
        return math.isfinite(float(value))
    return False


def fewest(most: int, reaches: Callable[[int], bool]) -> Optional[int]:
    """Return the least count up to `most` that reaches the target, None if none does.

    0, 1, 2, 4, ... are tried, then the interval that is left is halved: what one count reaches every larger
    one is taken to reach.
    """
    low, high = -1, 0  # low does not reach it
    while not reaches(high):
        if high == most:
            return None
        low, high = high, min(most, max(1, 2 * high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high
