# SPDX-License-Identifier: Apache-2.0
"""Paddle's operators (PIR names) as ONNX operators: one row each.

An operator without a row, or one whose attributes ONNX cannot express, keeps its name and raw attributes in
the domain "paddle". A row lies in the family of the ONNX operator that computes its result.
Sources: paddle/phi/ops/yaml/ops.yaml (operands and attributes), onnx/docs/Operators.md (opset 21).
"""

from __future__ import annotations

from qslim.importers.paddle.operators.elementwise import ELEMENTWISE
from qslim.importers.paddle.operators.layouts import channels_first
from qslim.importers.paddle.operators.logic import LOGIC
from qslim.importers.paddle.operators.movement import MOVEMENT
from qslim.importers.paddle.operators.normalization import NORMALIZATION
from qslim.importers.paddle.operators.products import PRODUCTS
from qslim.importers.paddle.operators.recurrent import RECURRENT
from qslim.importers.paddle.operators.reductions import REDUCTIONS
from qslim.importers.paddle.operators.selection import SELECTION
from qslim.importers.paddle.operators.shapes import SHAPES
from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp
from qslim.importers.paddle.operators.windows import WINDOWS

__all__ = ["FAMILIES", "ConvertedOp", "SourceOp", "convert"]

# By the families of qslim.graph.operators.
FAMILIES: dict[str, dict[str, Converter]] = {
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
_CONVERTERS = {name: row for rows in FAMILIES.values() for name, row in rows.items()}


def convert(op: SourceOp) -> list[ConvertedOp]:
    """Return the operators for `op`, its own last; or `op` itself in the domain "paddle"."""
    converter = _CONVERTERS.get(op.name)
    converted = channels_first(op, converter) if converter is not None else None
    if converted is not None and (op.has_one_result or not converted.keeps_first_output):
        return [*op.preceding, converted]
    for preceding in op.preceding:  # a row that gave up half-way
        for name in preceding.outputs:
            del op.graph.tensors[name]
    kept = ConvertedOp(op.name, op.inputs, op.attributes, "paddle")
    if converter is not None:
        kept.note = _open_extents(op)
    return [kept]


def _open_extents(op: SourceOp) -> str:
    """Say what to do about operands whose extents are open, the batch apart; empty if there are none."""
    for name in filter(None, op.inputs):
        shape = op.graph.tensors[name].shape
        if shape is not None and None in shape[1:]:
            extents = ", ".join("?" if extent is None else str(extent) for extent in shape)
            return f"its input has shape [{extents}]: fix all extents but the batch in the input_spec"
    return ""
