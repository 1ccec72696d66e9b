# SPDX-License-Identifier: Apache-2.0
"""Rows of comparisons, of operators on truth values, and of choices between elements by them."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name, renamed

__all__ = ["COMPARISONS"]


def _not_equal(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("Not", [op.before("Equal", op.inputs[:2], "bool")])


def _of_masks(op_type: str) -> Converter:
    """Make a converter of logical_*, which takes numbers too, or of bitwise_*, the same on masks alone."""

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


def _triangle(op: SourceOp) -> Optional[ConvertedOp]:
    rank = op.rank(0)
    if rank is None or rank < 2:
        return None
    diagonal = op.new_constant(np.asarray(op.attributes["diagonal"], np.int64))
    return ConvertedOp("Trilu", [op.inputs[0], diagonal], {"upper": int(op.name == "triu")})


def _truncate(op: SourceOp) -> ConvertedOp:
    x = op.inputs[0]
    is_negative = op.before("Less", [x, op.number(0)], "bool", op.shape(0))
    return ConvertedOp("Where", [is_negative, op.like("Ceil", [x]), op.like("Floor", [x])])


def _hard_shrink(op: SourceOp) -> ConvertedOp:
    x, threshold = op.inputs[0], op.number(op.attributes["threshold"])
    is_kept = op.before("Greater", [op.like("Abs", [x]), threshold], "bool", op.shape(0))
    return ConvertedOp("Where", [is_kept, x, op.number(0)])


def _thresholded_relu(op: SourceOp) -> ConvertedOp:
    x = op.inputs[0]
    is_kept = op.before("Greater", [x, op.number(op.attributes["threshold"])], "bool", op.shape(0))
    return ConvertedOp("Where", [is_kept, x, op.number(op.attributes.get("value", 0.0))])


COMPARISONS: dict[str, Converter] = {
    "bitwise_and": _of_masks("And"),
    "bitwise_not": _of_masks("Not"),
    "bitwise_or": _of_masks("Or"),
    "bitwise_xor": _of_masks("Xor"),
    "equal": renamed("Equal"),
    "greater_equal": renamed("GreaterOrEqual"),
    "greater_than": renamed("Greater"),
    "hard_shrink": _hard_shrink,
    "hardshrink": _hard_shrink,
    "isfinite": _is_finite,
    "isinf": _is_inf,
    "isnan": _is_nan,
    "less_equal": renamed("LessOrEqual"),
    "less_than": renamed("Less"),
    "logical_and": _of_masks("And"),
    "logical_not": _of_masks("Not"),
    "logical_or": _of_masks("Or"),
    "logical_xor": _of_masks("Xor"),
    "masked_fill": _masked_fill,
    "not_equal": _not_equal,
    "one_hot": _one_hot,
    "sequence_mask": _sequence_mask,
    "thresholded_relu": _thresholded_relu,
    "tril": _triangle,
    "triu": _triangle,
    "trunc": _truncate,
    "where": renamed("Where"),
}
