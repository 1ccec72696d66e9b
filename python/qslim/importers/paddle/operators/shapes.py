# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that describe shapes, or make tensors of a given shape."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name

__all__ = ["SHAPES"]

# ONNX's numbers of the types that a Cast makes here.
_CODES = {"bool": 9, "float32": 1, "int32": 6, "int64": 7}


def _arange(op: SourceOp) -> Optional[ConvertedOp]:
    values = [op.constant(index) for index in range(3)]
    dtype = dtype_name(op.attributes["dtype"])
    if dtype not in _CODES:
        return None
    if all(value is not None for value in values):
        names = [op.new_constant(np.asarray(v.reshape(()), dtype)) for v in values if v is not None]
        return ConvertedOp("Range", names)
    bounds = [op.scalar(index) for index in range(3)]
    if None in bounds:
        return None
    counted = op.before("Range", [bound for bound in bounds if bound], "int64", (None,))
    return ConvertedOp("Cast", [counted], {"to": _CODES[dtype]})


def _eye(op: SourceOp) -> Optional[ConvertedOp]:
    rows, columns, dtype = op.known_ints(0), op.known_ints(1), dtype_name(op.attributes["dtype"])
    if rows is None or columns is None:
        return _open_eye(op, dtype)
    width = columns[0] if columns[0] > 0 else rows[0]
    return ConvertedOp("Identity", [op.new_constant(np.eye(rows[0], width, dtype=dtype))])


def _open_eye(op: SourceOp, dtype: str) -> Optional[ConvertedOp]:
    height, known = op.scalar(0), op.known_ints(1)
    width = height if known is not None and known[0] < 0 else op.scalar(1)
    if height is None or width is None or dtype not in _CODES:
        return None
    lines = [op.unsqueezed(op.places(extent), axis) for extent, axis in ((height, 1), (width, 0))]
    return ConvertedOp("Cast", [op.before("Equal", lines, "bool", (None, None))], {"to": _CODES[dtype]})


def _full_like(op: SourceOp) -> Optional[ConvertedOp]:
    value, dtype = op.constant(1), dtype_name(op.attributes["dtype"])
    if value is None:
        return None
    dtype = op.dtype(0) if dtype == "undefined" else dtype
    shape = op.before("Shape", op.inputs[:1], "int64", (op.rank(0),))
    return ConvertedOp("Expand", [op.new_constant(np.asarray(value.reshape(()), dtype)), shape])


def _full_batch_size_like(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert to a constant that has one extent of the operand."""
    dtype = dtype_name(op.attributes["dtype"])
    extents, rank = [int(extent) for extent in op.attributes["shape"]], op.rank(0)
    if dtype not in ("float32", "int32", "int64") or rank is None:
        return None
    at, axis = int(op.attributes["output_dim_idx"]), int(op.attributes["input_dim_idx"])
    shape = op.before("Shape", op.inputs[:1], "int64", (rank,))
    batch = op.before("Gather", [shape, op.new_ints([axis])], "int64", (1,), axis=0)
    parts = [op.new_ints(extents[:at])] if at else []
    parts.append(batch)
    if extents[at + 1 :]:
        parts.append(op.new_ints(extents[at + 1 :]))
    whole = op.before("Concat", parts, "int64", (len(extents),), axis=0)
    return ConvertedOp("Expand", [op.new_constant(np.asarray(op.attributes["value"], dtype)), whole])


def _full_with_tensor(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert to a constant of a computed shape."""
    value, shape, dtype = op.constant(0), op.int_vector(1), dtype_name(op.attributes["dtype"])
    if value is None or shape is None or dtype not in ("float32", "int32", "int64"):
        return None
    return ConvertedOp("Expand", [op.new_constant(np.asarray(value.reshape(()), dtype)), shape])


def _linspace(op: SourceOp) -> Optional[ConvertedOp]:
    start, stop, count = (op.constant(index) for index in range(3))
    if start is None or stop is None or count is None:
        return None
    values = np.linspace(start.reshape(()), stop.reshape(()), int(count.reshape(())))
    return ConvertedOp("Identity", [op.new_constant(values.astype(dtype_name(op.attributes["dtype"])))])


def _numel(op: SourceOp) -> Optional[ConvertedOp]:
    rank = op.rank(0)
    if rank is None:
        return None
    shape = op.before("Shape", op.inputs[:1], "int64", (rank,))
    return ConvertedOp("ReduceProd", [shape], {"keepdims": 0})


def _shape(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert `shape`, which counts in int32, and `shape64`, which counts in int64 as ONNX does."""
    if op.name == "shape64":
        return ConvertedOp("Shape", op.inputs)
    return ConvertedOp("Cast", [op.before("Shape", op.inputs, "int64", (op.rank(0),))], {"to": 6})


SHAPES: dict[str, Converter] = {
    "arange": _arange,
    "eye": _eye,
    "full_batch_size_like": _full_batch_size_like,
    "full_like": _full_like,
    "full_with_tensor": _full_with_tensor,
    "linspace": _linspace,
    "numel": _numel,
    "shape": _shape,
    "shape64": _shape,
}
