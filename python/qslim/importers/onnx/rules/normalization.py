# SPDX-License-Identifier: Apache-2.0
"""Rules for normalizations and softmax."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.rules.rule import Rule, only_first_output, refuse_unless

__all__ = ["NORMALIZATION"]


def _batch_normalization(builder: Builder, node: OnnxNode) -> None:
    if only_first_output(builder, node, node.extra_outputs(), "statistics of training"):
        return
    trains = node.attributes.get("training_mode", 0) or not node.attributes.get("spatial", 1)
    if refuse_unless(not trains, builder, node, "training mode is not there"):
        return
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    builder.emit("BatchNormalization", node.inputs, node.outputs[:1], epsilon=epsilon)


def _layer_normalization(builder: Builder, node: OnnxNode) -> None:
    axis, epsilon = int(node.attributes.get("axis", -1)), float(node.attributes.get("epsilon", 1e-5))
    if node.extra_outputs() and not _statistics(builder, node, axis, epsilon):
        return
    builder.emit("LayerNormalization", node.inputs, node.outputs[:1], axis=axis, epsilon=epsilon)


def _axes_from(builder: Builder, x: str, axis: int) -> Optional[str]:
    """Return a constant of the axes from `axis` on; None if their number is unknown."""
    rank = builder.rank(x)
    if rank is None and axis != -1:
        return None
    first = -1 if rank is None else axis % rank
    return builder.constant([first] if rank is None else list(range(first, rank)), dtype=np.int64)


def _statistics(builder: Builder, node: OnnxNode, axis: int, epsilon: float) -> bool:
    """Add mean and inverse deviation, the further outputs; False if that cannot be."""
    x, outputs = node.inputs[0], [*node.outputs, "", ""]
    axes = _axes_from(builder, x, axis)
    if refuse_unless(axes is not None, builder, node, "statistics of a tensor of unknown rank are not there"):
        return False
    assert axes is not None
    mean = builder.emit("ReduceMean", [x, axes], [outputs[1]] if outputs[1] else None, keepdims=1)
    if outputs[2]:
        centred = builder.emit("Sub", [x, mean])
        squares = builder.emit("ReduceMean", [builder.emit("Mul", [centred, centred]), axes], keepdims=1)
        root = builder.emit("Sqrt", [builder.emit("Add", [squares, builder.number(x, epsilon)])])
        builder.emit("Reciprocal", [root], [outputs[2]])
    return True


def _rms_normalization(builder: Builder, node: OnnxNode) -> None:
    x, scale = node.inputs
    axis, epsilon = int(node.attributes.get("axis", -1)), float(node.attributes.get("epsilon", 1e-5))
    axes = _axes_from(builder, x, axis)
    if refuse_unless(axes is not None, builder, node, "of a tensor of unknown rank is not there"):
        return
    assert axes is not None
    squares = builder.emit("ReduceMean", [builder.emit("Mul", [x, x]), axes], keepdims=1)
    root = builder.emit("Sqrt", [builder.emit("Add", [squares, builder.number(x, epsilon)])])
    builder.emit("Mul", [builder.emit("Div", [x, root]), scale], node.outputs)


def _group_normalization(builder: Builder, node: OnnxNode) -> None:
    """Before opset 21 scale and offset are those of groups."""
    inputs, groups = list(node.inputs), int(node.attributes["num_groups"])
    if builder.opset < 21:
        shape = builder.graph.tensors[inputs[0]].shape
        values = [builder.value(name) for name in inputs[1:3]]
        channels = shape[1] if shape is not None and len(shape) > 1 else None
        is_known = channels is not None and all(value is not None for value in values)
        if refuse_unless(is_known, builder, node, "computed scales of groups are not there"):
            return
        for index, value in enumerate(values, 1):
            assert value is not None
            inputs[index] = builder.constant(np.repeat(value, int(channels or 0) // groups))
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    builder.emit("GroupNormalization", inputs, node.outputs, num_groups=groups, epsilon=epsilon)


def _instance_normalization(builder: Builder, node: OnnxNode) -> None:
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    builder.emit("InstanceNormalization", node.inputs, node.outputs, epsilon=epsilon)


def _lp_normalization(builder: Builder, node: OnnxNode) -> None:
    (x,) = node.inputs
    axes = builder.constant([int(node.attributes.get("axis", -1))], dtype=np.int64)
    if int(node.attributes.get("p", 2)) == 1:
        norm = builder.emit("ReduceSum", [builder.emit("Abs", [x]), axes], keepdims=1)
    else:
        squares = builder.emit("ReduceSum", [builder.emit("Mul", [x, x]), axes], keepdims=1)
        norm = builder.emit("Sqrt", [squares])
    is_zero = builder.emit("Equal", [norm, builder.number(x, 0)], dtype="bool")
    divisor = builder.emit("Where", [is_zero, builder.number(x, 1), norm], dtype=builder.dtype(x))
    builder.emit("Div", [x, divisor], node.outputs)


def _mean_variance(builder: Builder, node: OnnxNode) -> None:
    (x,) = node.inputs
    axes = builder.constant(node.attributes.get("axes", [0, 2, 3]), dtype=np.int64)
    centred = builder.emit("Sub", [x, builder.emit("ReduceMean", [x, axes], keepdims=1)])
    squares = builder.emit("ReduceMean", [builder.emit("Mul", [centred, centred]), axes], keepdims=1)
    deviation = builder.emit("Add", [builder.emit("Sqrt", [squares]), builder.number(x, 1e-9)])
    builder.emit("Div", [centred, deviation], node.outputs)


def _last_axis(builder: Builder, node: OnnxNode) -> Optional[int]:
    """Return the axis of a softmax along one axis; None if it is along all from there on, flattened."""
    axis, rank = node.attributes.get("axis"), builder.rank(node.inputs[0])
    if builder.opset >= 13:
        return -1 if axis is None else int(axis)
    first = 1 if axis is None else int(axis)
    return -1 if rank is not None and first % rank == rank - 1 else None


def _softmax(builder: Builder, node: OnnxNode) -> None:
    _along(builder, node, lambda x, outputs: builder.emit("Softmax", [x], outputs, axis=_axis(builder, node)))


def _axis(builder: Builder, node: OnnxNode) -> int:
    axis = _last_axis(builder, node)
    return -1 if axis is None else axis


def _log_softmax(builder: Builder, node: OnnxNode) -> None:
    """x - max - log(sum(exp(x - max)))."""

    def compute(x: str, outputs: Optional[list[str]]) -> str:
        axes = builder.constant([_axis(builder, node)], dtype=np.int64)
        centred = builder.emit("Sub", [x, builder.emit("ReduceMax", [x, axes], keepdims=1)])
        total = builder.emit("ReduceSum", [builder.emit("Exp", [centred]), axes], keepdims=1)
        return builder.emit("Sub", [centred, builder.emit("Log", [total])], outputs)

    _along(builder, node, compute)


def _along(builder: Builder, node: OnnxNode, compute: object) -> None:
    """Apply `compute` along one axis, or before opset 13 to the matrix that the axis makes of the tensor."""
    assert callable(compute)
    x = node.inputs[0]
    if _last_axis(builder, node) is not None:
        compute(x, node.outputs)
        return
    first = int(node.attributes.get("axis", 1))
    matrix = builder.emit("Flatten", [x], axis=first)
    shape = builder.emit("Shape", [x], dtype="int64")
    builder.emit("Reshape", [compute(matrix, None), shape], node.outputs, allowzero=1)


NORMALIZATION: dict[str, Rule] = {
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _log_softmax,
    "LpNormalization": _lp_normalization,
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms_normalization,
    "Softmax": _softmax,
}
