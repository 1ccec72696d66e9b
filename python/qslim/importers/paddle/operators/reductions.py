# SPDX-License-Identifier: Apache-2.0
"""Rows of matrix products, normalizations and operators along axes."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name

__all__ = ["REDUCTIONS"]


def _matmul(op: SourceOp) -> Optional[ConvertedOp]:
    names = list(op.inputs)
    for index, attribute in enumerate(("transpose_x", "transpose_y")):
        if not op.attributes.get(attribute, False):
            continue
        shape = op.shape(index)
        if shape is None:
            return None
        if len(shape) > 1:
            perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
            turned = tuple(shape[axis] for axis in perm)
            names[index] = op.before("Transpose", [names[index]], op.dtype(index), turned, perm=perm)
    return ConvertedOp("MatMul", names)


def _batch_norm(op: SourceOp) -> Optional[ConvertedOp]:
    if op.attributes.get("data_format", "NCHW") not in ("NCHW", "NCL", "NC"):
        return None
    if not (op.attributes["is_test"] or op.attributes["use_global_stats"]):
        return None
    x, mean, variance, scale, offset = op.inputs[:5]
    if not scale or not offset:
        return None
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


def _topk(op: SourceOp) -> Optional[ConvertedOp]:
    k = op.int_vector(1)
    if k is None:
        return None
    attributes = {"axis": int(op.attributes["axis"]), "largest": int(op.attributes["largest"]), "sorted": 1}
    return ConvertedOp("TopK", [op.inputs[0], k], attributes)


def _argmax(op: SourceOp) -> Optional[ConvertedOp]:
    axis = op.known_ints(1)
    if axis is None or op.attributes["flatten"] or dtype_name(op.attributes["dtype"]) != "int64":
        return None
    return ConvertedOp("ArgMax", op.inputs[:1], {"axis": axis[0], "keepdims": int(op.attributes["keepdims"])})


REDUCTIONS: dict[str, Converter] = {
    "argmax": _argmax,
    "batch_norm": _batch_norm,
    "bmm": _matmul,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "log_softmax": _log_softmax,
    "matmul": _matmul,
    "max": _reduce("ReduceMax"),
    "mean": _reduce("ReduceMean"),
    "min": _reduce("ReduceMin"),
    "prod": _reduce("ReduceProd"),
    "softmax": _softmax,
    "sum": _reduce("ReduceSum"),
    "sync_batch_norm": _batch_norm,
    "topk": _topk,
}
