# SPDX-License-Identifier: Apache-2.0
"""Operators on volumes [N, C, D, H, W] as operators on images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable

from qslim.importers.paddle.operators.source_op import SourceOp

__all__ = ["convert_images", "pads_of_volume", "reshaped"]


def reshaped(op: SourceOp, name: str, extents: list[int]) -> str:
    """Reshape tensor `name` to the batch and `extents`; return the name of the result."""
    return op.before("Reshape", [name, op.new_ints([0, *extents])], op.dtype(0), (None, *extents))


def convert_images(
    op: SourceOp, name: str, out: list[int], convert: Callable[[SourceOp], Any], **changes: Any
) -> Any:
    """Convert `op` for the images in tensor `name` by `convert`; return the name of the result, or None."""
    attributes = {**op.attributes, **changes, "data_format": "NCHW"}
    inner = replace(op, inputs=[name], operands=[name], attributes=attributes, output_shapes=[(None, *out)])
    converted = convert(inner)
    if converted is None:
        return None
    return op.before(converted.op_type, converted.inputs, op.dtype(0), (None, *out), **converted.attributes)


def pads_of_volume(op: SourceOp) -> list[int]:
    """Return the pads of D, H and W, each as begin and end."""
    pads = [int(pad) for pad in op.attributes["paddings"]]
    return [pad for pad in pads for _ in (0, 1)] if len(pads) == 3 else pads
