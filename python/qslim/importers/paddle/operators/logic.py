# SPDX-License-Identifier: Apache-2.0
"""Rows of comparisons, logic and choices between elements."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name, renamed

__all__ = ["LOGIC"]


def _not_equal(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Not", [op.before("Equal", op.inputs[:2], "bool")])


def _of_masks(op_type: str) -> Converter:
    """logical_* takes numbers too; bitwise_* are the same on masks alone."""

    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        if op.name.startswith("bitwise") and any(op.dtype(i) != "bool" for i in range(len(op.inputs))):
            return None
        names = [
            name if op.dtype(i) == "bool" else op.before("Cast", [name], "bool", op.shape(i), to=9)
            for i, name in enumerate(op.inputs)
        ]
        return ConvertedOp(op_type, names)

    return converter


def _is_nan(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Not", [op.before("Equal", [op.inputs[0], op.inputs[0]], "bool", op.shape(0))])


def _is_inf(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Equal", [op.like("Abs", op.inputs[:1]), op.number(np.inf)])


def _is_finite(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Less", [op.like("Abs", op.inputs[:1]), op.number(np.inf)])


def _masked_fill(op: SourceOp) -> Optional[ConvertedOp]:
    if op.dtype(2) != op.dtype(0):
        return None
    return ConvertedOp("Where", [op.inputs[1], op.inputs[2], op.inputs[0]])


def _one_hot(op: SourceOp) -> Optional[ConvertedOp]:
    depth, rank = op.known_ints(1), op.rank(0)
    if depth is None or rank is None or op.dtype(0) not in ("int32", "int64"):
        return None
    column = op.before("Unsqueeze", [op.inputs[0], op.new_ints([rank])], op.dtype(0), (None,) * (rank + 1))
    classes = op.new_constant(np.arange(depth[0], dtype=op.dtype(0)))
    return ConvertedOp(
        "Cast", [op.before("Equal", [column, classes], "bool", (None,) * (rank + 1))], {"to": 1}
    )


def _triangle(op: SourceOp) -> Optional[ConvertedOp]:
    """tril and triu: a mask of the last two axes."""
    shape, diagonal = op.shape(0), int(op.attributes["diagonal"])
    if shape is None or len(shape) < 2:
        return None
    if shape[-2] is None or shape[-1] is None:
        rows, columns = (op.unsqueezed(op.places(op.extent(axis)), at) for axis, at in ((-2, 1), (-1, 0)))
        offset = op.integers("Sub", columns, rows, (None, None))
        kept = "LessOrEqual" if op.name == "tril" else "GreaterOrEqual"
        bound = op.new_constant(np.asarray(diagonal, np.int64))
        kept_places = op.before(kept, [offset, bound], "bool", (None, None))
        return ConvertedOp("Where", [kept_places, op.inputs[0], op.number(0)])
    ones = np.ones((shape[-2], shape[-1]), bool)
    mask = np.tril(ones, diagonal) if op.name == "tril" else np.triu(ones, diagonal)
    return ConvertedOp("Where", [op.new_constant(mask), op.inputs[0], op.number(0)])


def _remainder(op: SourceOp) -> ConvertedOp:
    """With the divisor's sign."""
    x, y = op.inputs[:2]
    if op.dtype(0) in ("int32", "int64"):
        return ConvertedOp("Mod", [x, y])
    dtype = op.dtype(0)
    whole = op.before("Floor", [op.before("Div", [x, y], dtype)], dtype)
    return ConvertedOp("Sub", [x, op.before("Mul", [whole, y], dtype)])


def _floor_divide(op: SourceOp) -> ConvertedOp:
    x, y = op.inputs[:2]
    dtype = op.dtype(0)
    if dtype in ("int32", "int64"):  # ONNX rounds towards zero
        return ConvertedOp("Div", [op.before("Sub", [x, op.before("Mod", [x, y], dtype)], dtype), y])
    return ConvertedOp("Floor", [op.before("Div", [x, y], dtype)])


def _sign(op: SourceOp) -> Optional[ConvertedOp]:
    if op.dtype(0) != "float32":
        return None
    x, zero = op.inputs[0], op.number(0)
    sides = [
        op.like("Cast", [op.before(kind, [x, zero], "bool", op.shape(0))], to=1)
        for kind in ("Greater", "Less")
    ]
    return ConvertedOp("Sub", sides)


def _truncate(op: SourceOp) -> ConvertedOp:
    x = op.inputs[0]
    is_negative = op.before("Less", [x, op.number(0)], "bool", op.shape(0))
    return ConvertedOp("Where", [is_negative, op.like("Ceil", [x]), op.like("Floor", [x])])


def _any_or_all(op_type: str) -> Converter:
    """The largest or the least of 0 and 1."""

    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        shape = op.shape(0)
        if shape is None:
            return None
        axes = [int(axis) for axis in op.attributes["axis"]]
        number = op.before("Cast", op.inputs[:1], "float32", shape, to=1)
        operands = [number, op.new_ints(axes)] if axes else [number]
        reduced = op.before(op_type, operands, "float32", keepdims=int(op.attributes["keepdim"]))
        return ConvertedOp("Cast", [reduced], {"to": 9})

    return converter


def _lerp(op: SourceOp) -> ConvertedOp:
    x, y, weight = op.inputs[:3]
    dtype = op.dtype(0)
    way = op.before("Mul", [weight, op.before("Sub", [y, x], dtype)], dtype)
    return ConvertedOp("Add", [x, way])


def _sequence_mask(op: SourceOp) -> Optional[ConvertedOp]:
    longest, rank = op.known_ints(1), op.rank(0)
    target = dtype_name(op.attributes["out_dtype"])
    numbers = {"float32": 1, "int32": 6, "int64": 7, "bool": 9}
    if longest is None or rank is None or longest[0] < 0 or target not in numbers:
        return None
    lengths = op.before("Unsqueeze", [op.inputs[0], op.new_ints([rank])], op.dtype(0), (None,) * (rank + 1))
    places = op.new_constant(np.arange(longest[0], dtype=op.dtype(0)))
    inside = op.before("Less", [places, lengths], "bool", (None,) * (rank + 1))
    return ConvertedOp("Cast", [inside], {"to": numbers[target]})


LOGIC: dict[str, Converter] = {
    "all": _any_or_all("ReduceMin"),
    "any": _any_or_all("ReduceMax"),
    "bitwise_and": _of_masks("And"),
    "bitwise_not": _of_masks("Not"),
    "bitwise_or": _of_masks("Or"),
    "bitwise_xor": _of_masks("Xor"),
    "equal": renamed("Equal"),
    "floor_divide": _floor_divide,
    "greater_equal": renamed("GreaterOrEqual"),
    "greater_than": renamed("Greater"),
    "isfinite": _is_finite,
    "isinf": _is_inf,
    "isnan": _is_nan,
    "lerp": _lerp,
    "less_equal": renamed("LessOrEqual"),
    "less_than": renamed("Less"),
    "logical_and": _of_masks("And"),
    "logical_not": _of_masks("Not"),
    "logical_or": _of_masks("Or"),
    "logical_xor": _of_masks("Xor"),
    "masked_fill": _masked_fill,
    "not_equal": _not_equal,
    "one_hot": _one_hot,
    "remainder": _remainder,
    "sequence_mask": _sequence_mask,
    "sign": _sign,
    "tril": _triangle,
    "triu": _triangle,
    "trunc": _truncate,
    "where": renamed("Where"),
}
