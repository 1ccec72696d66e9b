# SPDX-License-Identifier: Apache-2.0
"""Operators on [N, H, W, C] as operators on [N, C, H, W] between two Transposes."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["channels_first"]

# Operators with a data_format whose first operand and first result are the only ones that it concerns.
_OPERATORS = {
    "batch_norm", "bicubic_interp", "bilinear_interp", "channel_shuffle", "conv2d", "conv2d_transpose",
    "conv3d", "depthwise_conv2d", "depthwise_conv2d_transpose", "group_norm", "instance_norm",
    "linear_interp", "nearest_interp", "pad3d", "pixel_shuffle", "pixel_unshuffle", "pool2d", "pool3d",
    "prelu", "sync_batch_norm", "trilinear_interp",
}  # fmt: skip


def channels_first(op: SourceOp, converter: Converter) -> Optional[ConvertedOp]:
    """Convert `op` by `converter`, whichever axis its channels lie on."""
    rank = op.rank(0) if op.inputs and op.inputs[0] in op.graph.tensors else None
    if (
        not str(op.attributes.get("data_format", "")).endswith("C")
        or op.name not in _OPERATORS
        or rank is None
    ):
        return converter(op)
    if rank <= 2:
        return converter(replace(op, attributes={**op.attributes, "data_format": "NCHW"}))
    first = [0, rank - 1, *range(1, rank - 1)]
    last = [0, *range(2, rank), 1]

    def turned(shape: Optional[tuple[Optional[int], ...]]) -> Optional[tuple[Optional[int], ...]]:
        return shape if shape is None or len(shape) != rank else tuple(shape[axis] for axis in first)

    x = op.before("Transpose", op.inputs[:1], op.dtype(0), turned(op.shape(0)), perm=first)
    inner = replace(
        op,
        inputs=[x, *op.inputs[1:]],
        operands=[x, *op.operands[1:]],
        output_shapes=[turned(shape) for shape in op.output_shapes[:1]] + op.output_shapes[1:],
        attributes={**op.attributes, "data_format": "NCDHW" if "3d" in op.name else "NCHW"},
    )
    converted = converter(inner)
    if converted is None:
        return None
    y = op.before(
        converted.op_type, converted.inputs, op.dtype(0), inner.output_shapes[0], **converted.attributes
    )
    return ConvertedOp("Transpose", [y], {"perm": last}, keeps_first_output=converted.keeps_first_output)
