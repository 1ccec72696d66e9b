# SPDX-License-Identifier: Apache-2.0
"""What each operator computes on real values: ONNX's definitions in NumPy, written to be read.

``OPERATORS[op_type](attributes, inputs)`` returns the outputs. Sums run in float64 and are rounded once, so
that they are the reference for any order of summation in float32; +, -, *, / and comparisons run in the dtype
of their operands. Source: onnx/docs/Operators.md (opset 21).
"""

from __future__ import annotations

from qslim.graph.operators.arithmetic import ARITHMETIC
from qslim.graph.operators.recurrent import RECURRENT
from qslim.graph.operators.reductions import REDUCTIONS
from qslim.graph.operators.shapes import SHAPES
from qslim.graph.operators.types import Array, Attributes, OperatorFunction
from qslim.graph.operators.windows import WINDOWS

__all__ = ["OPERATORS", "Array", "Attributes", "OperatorFunction"]

OPERATORS: dict[str, OperatorFunction] = {**ARITHMETIC, **RECURRENT, **REDUCTIONS, **SHAPES, **WINDOWS}
