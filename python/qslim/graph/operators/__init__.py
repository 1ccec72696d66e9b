# SPDX-License-Identifier: Apache-2.0
"""One record for each operator of a Graph: ONNX's definitions in NumPy, written to be read, and their rules.

``OPERATORS[op_type]`` is an ``Operator``; its ``compute(attributes, inputs)`` returns the outputs. Sums run
in float64 and are rounded once, so that they are the reference for any order of summation in float32; +, -,
*, / and comparisons run in the dtype of their operands. Source: onnx/docs/Operators.md (opset 21).

``FAMILIES`` sorts them. Importers, pruning rules, the engine's functions and the tests have files of these
names.
"""

from __future__ import annotations

from qslim.graph.operators.elementwise import ELEMENTWISE
from qslim.graph.operators.logic import LOGIC
from qslim.graph.operators.movement import MOVEMENT
from qslim.graph.operators.normalization import NORMALIZATION
from qslim.graph.operators.operator import Array, Attributes, Movement, Operator, OperatorFunction, Shape
from qslim.graph.operators.products import PRODUCTS
from qslim.graph.operators.recurrent import RECURRENT
from qslim.graph.operators.reductions import REDUCTIONS
from qslim.graph.operators.selection import SELECTION
from qslim.graph.operators.shapes import SHAPES
from qslim.graph.operators.windows import WINDOWS

__all__ = [
    "FAMILIES",
    "OPERATORS",
    "Array",
    "Attributes",
    "Movement",
    "Operator",
    "OperatorFunction",
    "Shape",
    "family_of",
]

FAMILIES: dict[str, dict[str, Operator]] = {
    "elementwise": ELEMENTWISE,
    "logic": LOGIC,
    "movement": MOVEMENT,
    "normalization": NORMALIZATION,
    "products": PRODUCTS,
    "recurrent": RECURRENT,
    "reductions": REDUCTIONS,
    "selection": SELECTION,
    "shapes": SHAPES,
    "windows": WINDOWS,
}

OPERATORS: dict[str, Operator] = {name: row for family in FAMILIES.values() for name, row in family.items()}


def family_of(op_type: str) -> str:
    """Return the name of the family that operator `op_type` is in."""
    return next(family for family, rows in FAMILIES.items() if op_type in rows)
