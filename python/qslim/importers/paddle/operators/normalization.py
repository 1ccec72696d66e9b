# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that scale a tensor by statistics of its own."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["NORMALIZATION"]


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


NORMALIZATION: dict[str, Converter] = {
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "log_softmax": _log_softmax,
    "softmax": _softmax,
    "sync_batch_norm": _batch_norm,
}
