# SPDX-License-Identifier: Apache-2.0
"""Rules for convolutions and matrix products."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.rules.rule import Rule, refuse_unless, same

__all__ = ["PRODUCTS", "as_image", "from_image", "image_attributes"]


def image_attributes(attributes: dict[str, Any], rank: int) -> dict[str, Any]:
    """Return the attributes of windows for an image; a line becomes one of height 1."""
    names = {
        "kernel_shape": 1,
        "strides": 1,
        "dilations": 1,
        "output_padding": 0,
        "pads": 0,
        "output_shape": 1,
    }
    result = dict(attributes)
    for name, fill in names.items():
        value = attributes.get(name)
        if value is None:
            continue
        if rank == 1:
            value = [fill, value[0], fill, value[1]] if name == "pads" else [fill, *value]
        result[name] = [int(each) for each in value]
    return result


def as_image(builder: Builder, name: str, rank: int) -> str:
    """Return `name` with an axis of height 1 in front of the columns of a line."""
    if rank != 1:
        return name
    value = builder.value(name)
    if value is not None:
        return builder.constant(np.expand_dims(value, 2))
    return builder.emit("Unsqueeze", [name, builder.constant([2], dtype=np.int64)])


def from_image(builder: Builder, name: str, rank: int, outputs: list[str]) -> None:
    """Give `outputs` the value of the image `name`, without the axis of ``as_image``."""
    assert rank == 1
    builder.emit("Squeeze", [name, builder.constant([2], dtype=np.int64)], outputs)


def _window_rank(builder: Builder, node: OnnxNode, operands: list[str]) -> Optional[int]:
    """Return the number of axes that a kernel moves along."""
    rank = builder.rank(operands[1])
    rank = builder.rank(operands[0]) if rank is None else rank
    if rank is None:
        kernel = node.attributes.get("kernel_shape")
        return None if kernel is None else len(kernel)
    return rank - 2


def convolve(
    builder: Builder, node: OnnxNode, inputs: list[str], outputs: Optional[list[str]]
) -> Optional[str]:
    """Add a convolution of a line or an image; None if it cannot be."""
    rank = _window_rank(builder, node, inputs)
    if refuse_unless(rank in (1, 2), builder, node, f"along {rank} axes is not there"):
        return None
    assert rank is not None
    attributes = image_attributes(node.attributes, rank)
    attributes.pop("kernel_shape", None)
    if attributes.get("auto_pad") == "NOTSET":
        del attributes["auto_pad"]
    operands = [as_image(builder, inputs[0], rank), as_image(builder, inputs[1], rank), *inputs[2:]]
    if rank == 2:
        return builder.emit(node.op_type.replace("QLinear", ""), operands, outputs, **attributes)
    result = builder.emit(node.op_type.replace("QLinear", ""), operands, **attributes)
    axes = builder.constant([2], dtype=np.int64)
    return builder.emit("Squeeze", [result, axes], outputs)


def _conv(builder: Builder, node: OnnxNode) -> None:
    convolve(builder, node, [name for name in node.inputs if name], node.outputs)


def _conv_transpose(builder: Builder, node: OnnxNode) -> None:
    """``output_shape`` and automatic pads become pads, where the extents are known."""
    attributes = dict(node.attributes)
    is_automatic = attributes.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    if "output_shape" in attributes or is_automatic:
        pads = _pads_of_transposed(builder, node)
        if refuse_unless(pads is not None, builder, node, "output_shape needs known extents"):
            return
        upper = attributes.pop("auto_pad", "NOTSET")
        attributes.pop("output_shape", None)
        attributes["pads"] = pads
        del upper
    plain = OnnxNode(node.op_type, node.inputs, node.outputs, attributes, node.name)
    convolve(builder, plain, [name for name in node.inputs if name], node.outputs)


def _pads_of_transposed(builder: Builder, node: OnnxNode) -> Optional[list[int]]:
    """Return the pads that ONNX's definition takes from output_shape or auto_pad."""
    x, w = (builder.graph.tensors[name].shape for name in node.inputs[:2])
    if x is None or w is None or None in x[2:] or None in w[2:]:
        return None
    count, attributes = len(x) - 2, node.attributes
    ones = [1] * count
    strides, dilations = (attributes.get(name, ones) for name in ("strides", "dilations"))
    extra = attributes.get("output_padding", [0] * count)
    wanted = attributes.get("output_shape") or [int(x[2 + i] or 0) * strides[i] for i in range(count)]
    begins, ends = [], []
    for i in range(count):
        whole = strides[i] * (int(x[2 + i] or 0) - 1) + extra[i] + (int(w[2 + i] or 0) - 1) * dilations[i] + 1
        total = whole - int(wanted[i])
        if total < 0:
            return None
        is_upper = attributes.get("auto_pad") == "SAME_UPPER"
        begin = total // 2 if is_upper else total - total // 2
        begins.append(begin)
        ends.append(total - begin)
    return begins + ends


def _gemm(builder: Builder, node: OnnxNode) -> None:
    """alpha * A' * B' + beta * C; with anything special as a product and a sum."""
    a, b, c = node.inputs[0], node.inputs[1], node.input(2)
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    flips_a, flips_b = (bool(node.attributes.get(name, 0)) for name in ("transA", "transB"))
    is_plain = alpha == beta == 1 and not flips_a and builder.value(b) is not None
    if is_plain and (not c or builder.value(c) is not None):
        builder.emit("Gemm", [a, b, *([c] if c else [])], node.outputs, transB=int(flips_b))
        return
    a = builder.emit("Transpose", [a], perm=[1, 0]) if flips_a else a
    b = builder.emit("Transpose", [b], perm=[1, 0]) if flips_b else b
    steps = [("MatMul", b)]
    if alpha != 1:
        steps.append(("Mul", builder.number(a, alpha)))
    if c and beta != 0:
        steps.append(("Add", c if beta == 1 else builder.emit("Mul", [c, builder.number(c, beta)])))
    for index, (op_type, operand) in enumerate(steps):
        a = builder.emit(op_type, [a, operand], node.outputs if index == len(steps) - 1 else None)


PRODUCTS: dict[str, Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": same,
}
