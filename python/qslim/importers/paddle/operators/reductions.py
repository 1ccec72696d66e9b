# SPDX-License-Identifier: Apache-2.0
"""Rows of normalizations and of operators that take axes together."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name

__all__ = ["REDUCTIONS"]


def _batch_norm(op: SourceOp) -> Optional[ConvertedOp]:
    if op.attributes.get("data_format", "NCHW") not in ("NCHW", "NCL", "NC", "NCDHW"):
        return None
    if not (op.attributes["is_test"] or op.attributes["use_global_stats"]):
        return None
    x, mean, variance, scale, offset = op.inputs[:5]
    moments = op.constant(1)
    if (not scale or not offset) and moments is None:
        return None
    if moments is not None:
        scale = scale or op.new_constant(np.ones(moments.shape, np.float32))
        offset = offset or op.new_constant(np.zeros(moments.shape, np.float32))
    inputs = [x, scale, offset, mean, variance]
    return ConvertedOp(
        "BatchNormalization", inputs, {"epsilon": float(op.attributes["epsilon"])}, keeps_first_output=True
    )


def _layer_norm(op: SourceOp) -> Optional[ConvertedOp]:
    shape, axis = op.shape(0), int(op.attributes["begin_norm_axis"])
    if shape is None or None in shape[axis:]:
        return None
    extents = tuple(extent for extent in shape[axis:] if extent is not None)
    names = []
    for name, default in zip(op.inputs[1:3], (1, 0)):
        if not name:
            name = op.new_constant(np.full(extents, default, np.float32))
        elif len(extents) > 1:
            name = op.before("Reshape", [name, op.new_ints(extents)], shape=extents)
        names.append(name)
    attributes = {"axis": axis - len(shape), "epsilon": float(op.attributes["epsilon"])}
    return ConvertedOp("LayerNormalization", [op.inputs[0], *names], attributes, keeps_first_output=True)


def _norm_of_channels(op: SourceOp, op_type: str, **attributes: int) -> Optional[ConvertedOp]:
    shape = op.shape(0)
    if shape is None or shape[1] is None or op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    names = [
        name or op.new_constant(np.full(shape[1], default, np.float32))
        for name, default in zip(op.inputs[1:3], (1, 0))
    ]
    return ConvertedOp(
        op_type,
        [op.inputs[0], *names],
        {"epsilon": float(op.attributes["epsilon"]), **attributes},
        keeps_first_output=True,
    )


def _instance_norm(op: SourceOp) -> Optional[ConvertedOp]:
    return _norm_of_channels(op, "InstanceNormalization")


def _group_norm(op: SourceOp) -> Optional[ConvertedOp]:
    return _norm_of_channels(op, "GroupNormalization", num_groups=int(op.attributes["groups"]))


def _softmax(op: SourceOp) -> Optional[ConvertedOp]:
    return ConvertedOp("Softmax", op.inputs, {"axis": int(op.attributes["axis"])})


def _log_softmax(op: SourceOp) -> Optional[ConvertedOp]:
    axis = int(op.attributes["axis"])
    return ConvertedOp("Log", [op.before("Softmax", op.inputs, op.dtype(0), op.shape(0), axis=axis)])


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
    """amax and amin, whose axes are an attribute."""

    def converter(op: SourceOp) -> ConvertedOp:
        axes = [int(axis) for axis in op.attributes["axis"]]
        inputs = [op.inputs[0], op.new_ints(axes)] if axes else op.inputs[:1]
        return ConvertedOp(op_type, inputs, {"keepdims": int(op.attributes["keepdim"])})

    return converter


def _log_sum_exp(op: SourceOp) -> Optional[ConvertedOp]:
    """The largest element is taken out first, so that no exponential overflows."""
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
    """(sum of |x|^p)^(1/p); the largest or least |x| for an infinite p."""
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


REDUCTIONS: dict[str, Converter] = {
    "amax": _extremum("ReduceMax"),
    "amin": _extremum("ReduceMin"),
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "log_softmax": _log_softmax,
    "logsumexp": _log_sum_exp,
    "max": _reduce("ReduceMax"),
    "mean": _reduce("ReduceMean"),
    "min": _reduce("ReduceMin"),
    "p_norm": _p_norm,
    "prod": _reduce("ReduceProd"),
    "softmax": _softmax,
    "sum": _reduce("ReduceSum"),
    "sync_batch_norm": _batch_norm,
}
