# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that look elements up by index, and of sorting."""

from __future__ import annotations

from typing import Optional

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["SELECTION"]


def _gather(op: SourceOp) -> Optional[ConvertedOp]:
    axis = [int(op.attributes["axis"])] if op.name == "index_select" else op.known_ints(2)
    if axis is None or op.rank(1) != 1:
        return None
    return ConvertedOp("Gather", op.inputs[:2], {"axis": axis[0] if axis else 0})


def _embedding(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert to a Gather of rows of a table; those of padding_idx are zero."""
    padding, weight = int(op.attributes.get("padding_idx", -1)), op.constant(1)
    table = op.inputs[1]
    if padding >= 0:
        if weight is None or padding >= len(weight):
            return None
        if weight[padding].any():
            weight = weight.copy()
            weight[padding] = 0
            table = op.new_constant(weight)
    return ConvertedOp("Gather", [table, op.inputs[0]], {"axis": 0})


def _gather_elements(op: SourceOp) -> ConvertedOp:
    axis = 1 if op.name == "index_sample" else int(op.attributes["axis"])
    return ConvertedOp("GatherElements", op.inputs[:2], {"axis": axis})


def _gather_nd(op: SourceOp) -> ConvertedOp:
    return ConvertedOp("GatherND", op.inputs[:2])


def _repeat_interleave(op: SourceOp) -> Optional[ConvertedOp]:
    shape, axis, repeats = op.shape(0), int(op.attributes["axis"]), int(op.attributes["repeats"])
    extent = None if shape is None else shape[axis]
    if extent is None:
        return None
    return ConvertedOp(
        "Gather",
        [op.inputs[0], op.new_ints([i for i in range(extent) for _ in range(repeats)])],
        {"axis": axis},
    )


def _topk(op: SourceOp) -> Optional[ConvertedOp]:
    k = op.int_vector(1)
    if k is None:
        return None
    attributes = {"axis": int(op.attributes["axis"]), "largest": int(op.attributes["largest"]), "sorted": 1}
    return ConvertedOp("TopK", [op.inputs[0], k], attributes)


def _argsort(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert to TopK of as many elements as there are: sorted values and their indices."""
    shape, axis = op.shape(0), int(op.attributes["axis"])
    if shape is None or op.dtype(0) != "float32":
        return None
    extent = shape[axis]
    if extent is not None:
        count = op.new_ints([extent])
    else:
        extents = op.before("Shape", op.inputs[:1], "int64", (len(shape),))
        count = op.before("Gather", [extents, op.new_ints([axis % len(shape)])], "int64", (1,), axis=0)
    attributes = {"axis": axis, "largest": int(op.attributes["descending"]), "sorted": 1}
    return ConvertedOp("TopK", [op.inputs[0], count], attributes)


SELECTION: dict[str, Converter] = {
    "argsort": _argsort,
    "embedding": _embedding,
    "gather": _gather,
    "gather_nd": _gather_nd,
    "index_sample": _gather_elements,
    "index_select": _gather,
    "repeat_interleave": _repeat_interleave,
    "take_along_axis": _gather_elements,
    "topk": _topk,
}
