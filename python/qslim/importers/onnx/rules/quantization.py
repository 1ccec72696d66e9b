# SPDX-License-Identifier: Apache-2.0
"""Rules for quantizing operators: they become QuantizeLinear and DequantizeLinear around operators in float.

``quantizers.read_quantizers`` then makes annotations of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.rules.products import convolve
from qslim.importers.onnx.rules.rule import Rule, refuse_unless

__all__ = ["QUANTIZATION"]


def _linear(builder: Builder, node: OnnxNode) -> None:
    """Keep the operator for ``read_quantizers``, with constants for its scale and zero point."""
    values = [builder.value(name) for name in node.inputs[1:3] if name]
    is_known = all(value is not None for value in values)
    if refuse_unless(is_known, builder, node, "a computed scale or zero point is not there"):
        return
    axis, block = (int(node.attributes.get(name, value)) for name, value in (("axis", 1), ("block_size", 0)))
    attributes: dict[str, Any] = {"axis": axis, **({"block_size": block} if block else {})}
    if node.op_type == "DequantizeLinear":
        builder.emit(node.op_type, node.inputs, node.outputs, dtype="float32", **attributes)
        return
    inputs = list(node.inputs)
    if not node.input(2):
        numbers = {3: np.int8, 5: np.int16, 4: np.uint16}
        dtype = numbers.get(int(node.attributes.get("output_dtype", 2)), np.uint8)
        inputs = [*inputs[:2], builder.constant(np.zeros(np.asarray(values[0]).shape, dtype))]
    builder.emit(node.op_type, inputs, node.outputs, dtype=builder.dtype(inputs[2]), **attributes)


def _dequantize(builder: Builder, operands: list[str], axis: int = 1) -> str:
    """Dequantize integers, with their scale and zero point."""
    shape = builder.graph.tensors[operands[0]].shape
    return builder.emit("DequantizeLinear", operands, dtype="float32", shape=shape, axis=axis)


def _quantize(builder: Builder, x: str, scale: str, zero_point: str, outputs: list[str]) -> None:
    dtype = builder.dtype(zero_point)
    builder.emit("QuantizeLinear", [x, scale, zero_point], outputs, dtype=dtype, axis=1)


def _all_known(builder: Builder, node: OnnxNode, indices: tuple[int, ...]) -> bool:
    is_known = all(builder.value(node.inputs[index]) is not None for index in indices)
    return not refuse_unless(is_known, builder, node, "computed scales or zero points are not there")


def _qlinear_conv(builder: Builder, node: OnnxNode) -> None:
    """x, its scale and zero point, w, its own, those of y, and a bias in steps of both scales' product."""
    if not _all_known(builder, node, (1, 2, 4, 5, 6, 7)):
        return
    inputs = node.inputs
    operands = [_dequantize(builder, inputs[0:3]), _dequantize(builder, inputs[3:6], axis=0)]
    bias = builder.value(node.input(8))
    if bias is not None:
        steps = np.float64(builder.value(inputs[1])) * np.float64(builder.value(inputs[4]))
        with np.errstate(over="ignore"):
            operands.append(builder.constant((bias * steps.reshape(-1)).astype(np.float32)))
    result = convolve(builder, node, operands, None)
    if result is not None:
        _quantize(builder, result, inputs[6], inputs[7], node.outputs)


def _qlinear_matmul(builder: Builder, node: OnnxNode) -> None:
    if not _all_known(builder, node, (1, 2, 4, 5, 6, 7)):
        return
    inputs = node.inputs
    b_rank = builder.rank(inputs[3])
    axis = -1 if b_rank is None else b_rank - 1
    operands = [_dequantize(builder, inputs[0:3]), _dequantize(builder, inputs[3:6], axis=axis)]
    _quantize(builder, builder.emit("MatMul", operands), inputs[6], inputs[7], node.outputs)


QUANTIZATION: dict[str, Rule] = {
    "DequantizeLinear": _linear,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _linear,
}
