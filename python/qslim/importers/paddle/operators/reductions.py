# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that sum or compare along axes."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name

__all__ = ["REDUCTIONS"]


def _reduce(op_type: str) -> Converter:
    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        axes = op.constant(1)
        if axes is None:
            return None
        target = dtype_name(op.attributes.get("dtype", "undefined"))
        if target not in ("undefined", op.dtype(0)):
            return None
        inputs = op.inputs[:2] if axes.size and not op.attributes.get("reduce_all") else op.inputs[:1]
        return ConvertedOp(op_type, inputs, {"keepdims": int(op.attributes["keepdim"])})

    return converter


def _extremum(op_type: str) -> Converter:
    """Make a converter of amax and amin, whose axes are an attribute."""

    def converter(op: SourceOp) -> ConvertedOp:
        axes = [int(axis) for axis in op.attributes["axis"]]
        inputs = [op.inputs[0], op.new_ints(axes)] if axes else op.inputs[:1]
        return ConvertedOp(op_type, inputs, {"keepdims": int(op.attributes["keepdim"])})

    return converter


def _log_sum_exp(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert log(sum(exp(x))); the largest element is taken out first, so that no exponential overflows."""
    rank, dtype = op.rank(0), op.dtype(0)
    if rank is None:
        return None
    axes = [] if op.attributes.get("reduce_all") else [int(axis) for axis in op.attributes["axis"]]
    over = [op.new_ints(axes)] if axes else []
    reduced = (None,) * rank
    largest = op.before("ReduceMax", [op.inputs[0], *over], dtype, reduced, keepdims=1)
    powers = op.like("Exp", [op.like("Sub", [op.inputs[0], largest])])
    total = op.before("ReduceSum", [powers, *over], dtype, reduced, keepdims=1)
    terms = [op.before("Log", [total], dtype, reduced), largest]
    if op.attributes["keepdim"]:
        return ConvertedOp("Add", terms)
    whole = op.before("Add", terms, dtype, reduced)
    return ConvertedOp("Squeeze", [whole, op.new_ints(axes or range(rank))])


def _p_norm(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert (sum of |x|^p)^(1/p), and the largest or least |x| for an infinite p."""
    order, keepdims = float(op.attributes["porder"]), int(op.attributes["keepdim"])
    over = [] if op.attributes.get("asvector") else [op.new_ints([int(op.attributes["axis"])])]
    x, dtype = op.inputs[0], op.dtype(0)
    if order == 0:
        return None
    if order == 2:
        total = op.before("ReduceSum", [op.like("Mul", [x, x]), *over], dtype, keepdims=keepdims)
        return ConvertedOp("Sqrt", [total])
    size = op.like("Abs", [x])
    if order == 1 or np.isinf(order):
        op_type = "ReduceSum" if order == 1 else "ReduceMax" if order > 0 else "ReduceMin"
        return ConvertedOp(op_type, [size, *over], {"keepdims": keepdims})
    powers = op.like("Pow", [size, op.number(order)])
    total = op.before("ReduceSum", [powers, *over], dtype, keepdims=keepdims)
    return ConvertedOp("Pow", [total, op.number(1 / order)])


def _dot(op: SourceOp) -> ConvertedOp:
    products = op.before("Mul", op.inputs[:2], op.dtype(0), op.shape(0))
    return ConvertedOp("ReduceSum", [products, op.new_ints([-1])], {"keepdims": 0})


def _any_or_all(op_type: str) -> Converter:
    """Make a converter of any or all: the largest or the least of 0 and 1."""

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


def _maxout(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert to the largest of each `groups` neighbouring channels."""
    shape, groups = op.shape(0), int(op.attributes["groups"])
    if shape is None:
        return None
    axis = int(op.attributes["axis"]) % len(shape)
    channels = shape[axis]
    if channels is None or None in shape[axis + 1 :] or shape[:axis].count(None) > 1:
        return None
    extents = [-1 if extent is None else extent for extent in shape]
    parted = [*extents[:axis], channels // groups, groups, *extents[axis + 1 :]]
    split = op.before("Reshape", [op.inputs[0], op.new_ints(parted)], op.dtype(0), (None,) * len(parted))
    return ConvertedOp("ReduceMax", [split, op.new_ints([axis + 1])], {"keepdims": 0})


def _cumsum(op: SourceOp) -> Optional[ConvertedOp]:
    axis = op.known_ints(1)
    if axis is None or op.dtype(0) not in ("float32", "int32", "int64"):
        return None
    is_flat = bool(op.attributes.get("flatten"))
    name = op.flat() if is_flat else op.inputs[0]
    attributes = {key: int(op.attributes[key]) for key in ("exclusive", "reverse")}
    where = op.new_constant(np.asarray(0 if is_flat else axis[0], np.int64))
    return ConvertedOp("CumSum", [name, where], attributes)


def _arg_extremum(op: SourceOp) -> Optional[ConvertedOp]:
    axis, rank, target = op.known_ints(1), op.rank(0), dtype_name(op.attributes["dtype"])
    if axis is None or rank is None or target not in ("int64", "int32"):
        return None
    name, shape, keeps = op.inputs[0], op.shape(0), int(op.attributes["keepdims"])
    if op.dtype(0) != "float32":
        name = op.before("Cast", [name], "float32", shape, to=1)
    if op.name == "argmin":
        name = op.before("Neg", [name], "float32", shape)
    is_flat = bool(op.attributes["flatten"])
    if is_flat:
        ones = [1] * (rank - 1) if keeps else []
        name = op.before("Reshape", [name, op.new_ints([*ones, -1])], "float32", (None,) * (len(ones) + 1))
    at = -1 if is_flat else axis[0]
    if target == "int64":
        return ConvertedOp("ArgMax", [name], {"axis": at, "keepdims": keeps})
    return ConvertedOp("Cast", [op.before("ArgMax", [name], "int64", axis=at, keepdims=keeps)], {"to": 6})


REDUCTIONS: dict[str, Converter] = {
    "all": _any_or_all("ReduceMin"),
    "amax": _extremum("ReduceMax"),
    "amin": _extremum("ReduceMin"),
    "any": _any_or_all("ReduceMax"),
    "argmax": _arg_extremum,
    "argmin": _arg_extremum,
    "cumsum": _cumsum,
    "dot": _dot,
    "logsumexp": _log_sum_exp,
    "max": _reduce("ReduceMax"),
    "maxout": _maxout,
    "mean": _reduce("ReduceMean"),
    "min": _reduce("ReduceMin"),
    "p_norm": _p_norm,
    "prod": _reduce("ReduceProd"),
    "sum": _reduce("ReduceSum"),
}
