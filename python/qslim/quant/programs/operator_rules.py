# SPDX-License-Identifier: Apache-2.0
"""Rules for a static program: operators that are skipped, and tensors that cannot be negative."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from qslim.analysis.model_graph import graph_of
from qslim.graph.passes import non_negative_tensors
from qslim.importers.paddle import UnsupportedModelError
from qslim.importers.paddle.pir_walk import walk_program
from qslim.quant.op_types import all_op_types, pir_names

__all__ = ["PIR_NAMES", "never_negative", "never_negative_values", "skips"]

# Legacy operators to their PIR names, where those are one.
PIR_NAMES = {name: names.pop() for name in all_op_types() for names in [pir_names([name])] if len(names) == 1}
PIR_NAMES.update({"mul": "matmul", "matmul": "matmul", "matmul_v2": "matmul"})
PIR_NAMES.update({"conv2d_transpose": "conv2d_transpose"})


def skips(patterns: Sequence[str], place: str, names: Iterable[str]) -> bool:
    """Return True if an operator at `place`, a name scope or layer path, that reads `names` is skipped."""
    read = set(names)
    return any(pattern in place or pattern in read for pattern in patterns)


def never_negative(program: Any) -> set[str]:
    """Return the names of `program`'s tensors whose values are >= 0 for every input."""
    try:
        # A parameter may become negative in training, whatever it is now.
        return non_negative_tensors(graph_of(program, None, None, "quant_aware", parameter_value=-1.0).graph)
    except UnsupportedModelError:  # control flow: nothing is known, and signed integers are right everywhere
        return set()


def never_negative_values(program: Any) -> set[int]:
    """Return the ids of a PIR program's values that cannot be negative."""
    shapes = {
        op.attrs()["parameter_name"]: tuple(op.result(0).shape)
        for op in program.global_block().ops
        if op.name() == "builtin.parameter"
    }
    try:
        # A parameter may become negative in training, whatever it is now.
        walked = walk_program(program, {}, lambda name: np.broadcast_to(np.float32(-1), shapes[name]))
    except UnsupportedModelError:
        return set()
    for node in walked.graph.nodes:
        if node.source_op == "dropout":  # of training; evaluation has to come to the same parameters
            node.op_type, node.domain = "Identity", ""
    known = non_negative_tensors(walked.graph)
    return {identity for identity, name in walked.names.items() if isinstance(name, str) and name in known}
