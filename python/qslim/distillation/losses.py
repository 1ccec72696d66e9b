# SPDX-License-Identifier: Apache-2.0
"""Distances between tensors of a static program, to be minimized: PaddleSlim's losses of distillation.

Tensors of a legacy program are given by name, such as ``merge`` makes them ("teacher_fc_0.tmp_0"); in PIR,
where names mean nothing, and in either IR, by the Variable or value itself. The formulas stand with the
distillers of ``qslim.compressor.distillation``.
Source: paddleslim 2.6.0, dist/single_distiller.py (signatures).
"""

from __future__ import annotations

from typing import Any, Callable

from qslim.compressor.distillation import FSPDistiller, L2Distiller, SoftLabelDistiller
from qslim.paddle import framework
from qslim.quant.options import choose

__all__ = ["fsp", "l2", "loss", "soft_label"]


def l2(teacher_var_name: Any, student_var_name: Any, program: Any = None) -> Any:
    """Return the mean squared difference of two tensors of one shape.

    Parameters
    ----------
    teacher_var_name, student_var_name : str, or Variable or value
    program : paddle.static.Program, default: the main program of the guard

    Returns
    -------
    A tensor of one element of `program`.

    Raises
    ------
    ValueError : the program has no such tensor; the nearest is named.

    Examples
    --------
    >>> import paddle
    >>> import qslim as slim
    >>> paddle.enable_static()
    >>> main, startup = paddle.static.Program(), paddle.static.Program()
    >>> with paddle.static.program_guard(main, startup):
    ...     x = paddle.static.data("x", [None, 4])
    ...     distance = slim.dist.l2(paddle.nn.Linear(4, 2)(x), paddle.nn.Linear(4, 2)(x))
    >>> list(distance.shape)
    []
    >>> paddle.disable_static()
    """
    return _distance(L2Distiller("", ""), [student_var_name], [teacher_var_name], program)


def soft_label(
    teacher_var_name: Any,
    student_var_name: Any,
    program: Any = None,
    teacher_temperature: float = 1.0,
    student_temperature: float = 1.0,
) -> Any:
    """Return the cross entropy of the student's softmax against the teacher's; the rest is as for ``l2``.

    Parameters
    ----------
    teacher_temperature, student_temperature : float > 0; what the tensors, logits, are divided by
    """
    distiller = SoftLabelDistiller("", "", student_temperature, teacher_temperature)
    return _distance(distiller, [student_var_name], [teacher_var_name], program)


def fsp(
    teacher_var1_name: Any,
    teacher_var2_name: Any,
    student_var1_name: Any,
    student_var2_name: Any,
    program: Any = None,
) -> Any:
    """Return the mean squared difference of the FSP matrices of two pairs of maps [N, C, H, W].

    The maps of a pair have one height and width, both pairs the same channels. The rest is as for ``l2``.
    """
    distiller = FSPDistiller([["", ""]], [["", ""]])
    students, teachers = [student_var1_name, student_var2_name], [teacher_var1_name, teacher_var2_name]
    return _distance(distiller, students, teachers, program)


def loss(loss_func: Callable[..., Any], program: Any = None, **kwargs: Any) -> Any:
    """Return ``loss_func(**kwargs)`` with each name of a tensor replaced by the tensor.

    Parameters
    ----------
    loss_func : callable; builds operators of the program
    program, and names among `kwargs` : as for ``l2``
    """
    if not callable(loss_func):
        raise ValueError(f"loss: loss_func: expected a function, got {loss_func!r}")
    program = _program(program)
    found = {
        key: _tensor(program, value) if isinstance(value, str) else value for key, value in kwargs.items()
    }
    with framework.paddle_module().static.program_guard(program):
        return loss_func(**found)


def _distance(distiller: Any, students: list[Any], teachers: list[Any], program: Any) -> Any:
    program = _program(program)
    ours, theirs = [[_tensor(program, name) for name in names] for names in (students, teachers)]
    for mine, other, name in zip(ours, theirs, students):
        if not isinstance(distiller, FSPDistiller) and list(mine.shape)[1:] != list(other.shape)[1:]:
            raise ValueError(
                f"the student's tensor {name!r} has shape {list(mine.shape)}, the teacher's "
                f"{list(other.shape)}; choose tensors of one shape"
            )
    with framework.paddle_module().static.program_guard(program):
        return distiller.distance(ours, theirs)


def _program(program: Any) -> Any:
    return framework.paddle_module().static.default_main_program() if program is None else program


def _tensor(program: Any, target: Any) -> Any:
    """Return the Variable or value that `target` is or names."""
    if not isinstance(target, str):
        return target
    if framework.is_pir_program(program):
        raise ValueError(
            f"{target!r}: a PIR program knows no names; give the value itself, or start the process with "
            "FLAGS_enable_pir_api=0"
        )
    block = program.global_block()
    return block.var(choose("a tensor of the program", target, block.vars))
