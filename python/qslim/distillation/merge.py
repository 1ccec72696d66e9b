# SPDX-License-Identifier: Apache-2.0
"""``merge``: a teacher's operators beside the student's, in one legacy program.

Source: paddleslim 2.6.0, dist/single_distiller.py (signature).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qslim.errors import UnsupportedModelError
from qslim.logger import logger
from qslim.paddle import framework
from qslim.quant.options import choose

__all__ = ["merge"]

_ENDS = ("feed", "fetch")


def merge(
    teacher_program: Any,
    student_program: Any,
    data_name_map: Mapping[str, str],
    place: Any,
    scope: Any = None,
    teacher_scope: Any = None,
    name_prefix: str = "teacher_",
    merge_feed: bool = True,
) -> None:
    """Copy the teacher's operators, in their form for evaluation, into the student's program.

    The teacher's tensors are called ``name_prefix`` and their name, and no gradient reaches them. Operators
    that are quantized later leave the teacher out, by the pattern "skip_quant".

    Parameters
    ----------
    teacher_program, student_program : paddle.static.Program of the legacy IR
        The student's is changed in place; the teacher's stays as it is.
    data_name_map : dict of an input of the teacher to the student's tensor that it reads
    place : where the teacher's parameters go
    scope, teacher_scope : paddle.static.Scope
        Default of `scope`: the global one; of `teacher_scope`: `scope`. The teacher's parameters are copied.
    name_prefix : str
    merge_feed : bool; False keeps feed operators of the teacher out of the way, too

    Raises
    ------
    ValueError : a program of PIR, where a teacher is built in the student's program; an input that the
        teacher does not have; a name that both have; control flow. The student's program is as it was.
    """
    del merge_feed  # feeds and fetches are the executor's matter
    for name, program in (("teacher_program", teacher_program), ("student_program", student_program)):
        if not framework.is_legacy_program(program):
            raise ValueError(
                f"merge: {name}: expected a program of the legacy IR, got {type(program).__name__}; start "
                "the process with FLAGS_enable_pir_api=0, or build the teacher in the student's program and "
                "give its values to dist.l2 and dist.soft_label"
            )
    if teacher_program.num_blocks > 1:
        raise UnsupportedModelError("merge: teacher_program: control flow cannot be copied")
    scope = framework.paddle_module().static.global_scope() if scope is None else scope
    with framework.static_mode():
        teacher = teacher_program.clone(for_test=True)
    source, block = teacher.global_block(), student_program.global_block()
    names = _names(source, block, data_name_map, name_prefix)
    values = _parameters(source, teacher_scope or scope)
    for old, new in names.items():
        if old not in data_name_map:
            variable = source.var(old)
            block.create_var(
                name=new,
                shape=variable.shape,
                dtype=variable.dtype,
                persistable=variable.persistable,
                stop_gradient=True,
            )
    for name, value in values.items():
        scope.var(names[name]).get_tensor().set(value, place)
    for op in source.ops:
        if op.type in _ENDS:
            continue
        desc = block.desc.append_op()
        desc.copy_from(op.desc)
        for old in dict.fromkeys(op.input_arg_names):
            desc._rename_input(old, names[old])
        for old in dict.fromkeys(op.output_arg_names):
            desc._rename_output(old, names[old])
        desc._set_attr("op_namescope", "/skip_quant/")
        block.ops.append(framework.legacy_operator(block, desc))
    student_program._sync_with_cpp()


def _names(source: Any, block: Any, data_name_map: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the name in the student's program of each of the teacher's tensors."""
    known = {name: prefix + name for name in source.vars if name not in _ENDS}
    for old, new in data_name_map.items():
        known[choose("merge: data_name_map: an input of the teacher", old, known)] = choose(
            "merge: data_name_map: a tensor of the student", new, block.vars
        )
    written = {name for op in source.ops if op.type not in _ENDS for name in op.output_arg_names}
    read = {name for op in source.ops for name in op.input_arg_names} - written - set(_ENDS)
    for name in sorted(read):
        if name not in data_name_map and not source.var(name).persistable:
            raise ValueError(
                f"merge: data_name_map: say which tensor of the student the teacher's input {name!r} reads"
            )
    for old, new in known.items():
        if old not in data_name_map and new in block.vars:
            raise ValueError(f"merge: the student has a tensor {new!r} already; give another name_prefix")
    return known


def _parameters(source: Any, scope: Any) -> dict[str, Any]:
    """Return what the scope holds of the teacher; the user may load the rest later."""
    found, missing = {}, []
    for name, variable in source.vars.items():
        if not variable.persistable or name in _ENDS:
            continue
        held = scope.find_var(name)
        if held is None or not held.get_tensor()._is_initialized():
            missing.append(name)
        else:
            found[name] = np.array(held.get_tensor())
    if missing:
        logger.warning(
            "merge: the scope has no value of %s and %d more of the teacher's parameters: load the teacher "
            "before, or give them values under their new names",
            min(missing),
            len(missing) - 1,
        )
    return found
