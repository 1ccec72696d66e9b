# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that choose, sort or turn elements along axes."""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name

__all__ = ["SELECTION"]


def _gather(op: SourceOp) -> Optional[ConvertedOp]:
    axis = [int(op.attributes["axis"])] if op.name == "index_select" else op.known_ints(2)
    if axis is None or op.rank(1) != 1:
        return None
    return ConvertedOp("Gather", op.inputs[:2], {"axis": axis[0] if axis else 0})


def _embedding(op: SourceOp) -> Optional[ConvertedOp]:
    """Rows of a table; those of padding_idx are zero."""
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


def _flat(op: SourceOp) -> str:
    return op.before("Reshape", [op.inputs[0], op.new_ints([-1])], op.dtype(0), (None,))


def _cumsum(op: SourceOp) -> Optional[ConvertedOp]:
    axis = op.known_ints(1)
    if axis is None or op.dtype(0) not in ("float32", "int32", "int64"):
        return None
    is_flat = bool(op.attributes.get("flatten"))
    name = _flat(op) if is_flat else op.inputs[0]
    attributes = {key: int(op.attributes[key]) for key in ("exclusive", "reverse")}
    where = op.new_constant(np.asarray(0 if is_flat else axis[0], np.int64))
    return ConvertedOp("CumSum", [name, where], attributes)


def _topk(op: SourceOp) -> Optional[ConvertedOp]:
    k = op.int_vector(1)
    if k is None:
        return None
    attributes = {"axis": int(op.attributes["axis"]), "largest": int(op.attributes["largest"]), "sorted": 1}
    return ConvertedOp("TopK", [op.inputs[0], k], attributes)


def _argsort(op: SourceOp) -> Optional[ConvertedOp]:
    """Sorted values, and where they were: as many of the largest or smallest as there are."""
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


def _roll(op: SourceOp) -> Optional[ConvertedOp]:
    """Each axis: what leaves at the end comes in at the beginning."""
    shifts, axes, shape = op.known_ints(1), [int(axis) for axis in op.attributes["axis"]], op.shape(0)
    if shifts is None or shape is None or (axes and len(axes) != len(shifts)):
        return None
    name = op.inputs[0]
    is_flat = not axes
    if is_flat:
        if None in shape:
            return None
        name, axes = _flat(op), [0]
    steps = list(zip(shifts, axes))
    for shift, axis in steps:
        extent = int(np.prod(shape)) if is_flat else shape[axis]  # type: ignore[arg-type]
        if extent is not None:
            shift %= extent
        if shift == 0:
            continue
        turn, whole = op.new_ints([-shift]), op.new_ints([axis])
        shown = (None,) if is_flat else shape
        parts = [
            op.before("Slice", [name, turn, op.new_ints([2**31 - 1]), whole], op.dtype(0), shown),
            op.before("Slice", [name, op.new_ints([0]), turn, whole], op.dtype(0), shown),
        ]
        name = op.before("Concat", parts, op.dtype(0), shown, axis=axis)
    if not is_flat:
        return ConvertedOp("Identity", [name])
    return ConvertedOp("Reshape", [name, op.new_ints([extent or 0 for extent in shape])])


def _flip(op: SourceOp) -> ConvertedOp:
    axes = [int(axis) for axis in op.attributes["axis"]]
    count = len(axes)
    bounds = [op.new_ints(values) for values in ([-1] * count, [-(2**31)] * count, axes, [-1] * count)]
    return ConvertedOp("Slice", [op.inputs[0], *bounds])


def _unbind(op: SourceOp) -> Optional[ConvertedOp]:
    """unstack and unbind: a list of slices without the axis."""
    shape = op.shape(0)
    if shape is None:
        return None
    axis = int(op.attributes["axis"]) % len(shape)
    extent = shape[axis]
    if extent is None:
        return None
    return ConvertedOp("Split", [op.inputs[0], op.new_ints([1] * extent)], {"axis": axis}, squeezed_axis=axis)


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


SELECTION: dict[str, Converter] = {
    "argmax": _arg_extremum,
    "argmin": _arg_extremum,
    "argsort": _argsort,
    "cumsum": _cumsum,
    "embedding": _embedding,
    "flip": _flip,
    "gather": _gather,
    "gather_nd": _gather_nd,
    "index_sample": _gather_elements,
    "index_select": _gather,
    "repeat_interleave": _repeat_interleave,
    "roll": _roll,
    "take_along_axis": _gather_elements,
    "topk": _topk,
    "unbind": _unbind,
    "unstack": _unbind,
}
