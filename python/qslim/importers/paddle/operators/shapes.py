# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that move, copy or describe elements.

Vectors of extents, starts or axes may be constants, tensors or lists of scalars in Paddle; in ONNX they are
vectors of int64.
"""

from __future__ import annotations

import math
from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, dtype_name, renamed

__all__ = ["SHAPES"]

# ONNX's numbers of the types that a Cast makes here.
_CODES = {"bool": 9, "float32": 1, "int32": 6, "int64": 7}


def _arange(op: SourceOp) -> Optional[ConvertedOp]:
    values = [op.constant(index) for index in range(3)]
    dtype = dtype_name(op.attributes["dtype"])
    if dtype not in _CODES:
        return None
    if all(value is not None for value in values):
        names = [op.new_constant(np.asarray(v.reshape(()), dtype)) for v in values if v is not None]
        return ConvertedOp("Range", names)
    bounds = [op.scalar(index) for index in range(3)]
    if None in bounds:
        return None
    counted = op.before("Range", [bound for bound in bounds if bound], "int64", (None,))
    return ConvertedOp("Cast", [counted], {"to": _CODES[dtype]})


def _channel_shuffle(op: SourceOp) -> Optional[ConvertedOp]:
    shape, groups = op.shape(0), int(op.attributes["groups"])
    if shape is None or shape[1] is None or op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    channels, (height, width) = shape[1], shape[2:]
    if height is None or width is None:
        order = np.arange(channels).reshape(groups, -1).T
        return ConvertedOp("Gather", [op.inputs[0], op.new_ints(order.reshape(-1))], {"axis": 1})
    split = op.new_ints([-1, groups, channels // groups, height, width])
    parts = op.before("Reshape", [op.inputs[0], split], op.dtype(0))
    turned = op.before("Transpose", [parts], op.dtype(0), perm=[0, 2, 1, 3, 4])
    return ConvertedOp("Reshape", [turned, op.new_ints([-1, channels, height, width])])


def _concat(op: SourceOp) -> Optional[ConvertedOp]:
    axis = op.constant(len(op.inputs) - 1)
    return None if axis is None else ConvertedOp("Concat", op.inputs[:-1], {"axis": int(axis.reshape(-1)[0])})


def _expand(op: SourceOp) -> Optional[ConvertedOp]:
    extents = op.known_ints(1)
    if extents is not None:  # -1 keeps an extent in Paddle, 1 does in ONNX
        return ConvertedOp("Expand", [op.inputs[0], op.new_ints([abs(extent) for extent in extents])])
    shape = op.int_vector(1)
    if shape is None:
        return None
    rank = op.graph.tensors[shape].shape
    return ConvertedOp("Expand", [op.inputs[0], op.before("Max", [shape, op.new_ints([1])], "int64", rank)])


def _flatten(op: SourceOp) -> Optional[ConvertedOp]:
    shape = op.shape(0)
    if shape is None:
        return None
    start, stop = op.attributes["start_axis"] % len(shape), op.attributes["stop_axis"] % len(shape)
    if start == 1 and stop == len(shape) - 1:
        return ConvertedOp("Flatten", op.inputs[:1], {"axis": 1}, keeps_first_output=True)
    merged = shape[start : stop + 1]
    # Reshape copies extents in front (0); behind, it has to know them, but for one.
    extents = [
        *[0] * start,
        -1 if None in merged else math.prod(extent for extent in merged if extent is not None),
        *(-1 if extent is None else extent for extent in shape[stop + 1 :]),
    ]
    if extents.count(-1) > 1:
        return None
    return ConvertedOp("Reshape", [op.inputs[0], op.new_ints(extents)], keeps_first_output=True)


def _full_like(op: SourceOp) -> Optional[ConvertedOp]:
    value, dtype = op.constant(1), dtype_name(op.attributes["dtype"])
    if value is None:
        return None
    dtype = op.dtype(0) if dtype == "undefined" else dtype
    shape = op.before("Shape", op.inputs[:1], "int64", (op.rank(0),))
    return ConvertedOp("Expand", [op.new_constant(np.asarray(value.reshape(()), dtype)), shape])


def _meshgrid(op: SourceOp) -> Optional[ConvertedOp]:
    """Each vector along its own axis, repeated along those of the others."""
    count = len(op.inputs)
    if any(op.rank(index) not in (0, 1) for index in range(count)):
        return None
    extents = [
        op.extent(0, index) if op.rank(index) else op.new_constant(np.asarray(1, np.int64))
        for index in range(count)
    ]
    axes = op.new_ints([0])
    vectors = [op.before("Unsqueeze", [extent, axes], "int64", (1,)) for extent in extents]
    shape = op.before("Concat", vectors, "int64", (count,), axis=0)
    grids = []
    for index, name in enumerate(op.inputs):
        along = [-1 if axis == index else 1 for axis in range(count)]
        line = op.before("Reshape", [name, op.new_ints(along)], op.dtype(index), (None,) * count)
        grids.append(op.before("Expand", [line, shape], op.dtype(index), (None,) * count))
    return ConvertedOp("Identity", [shape], list_results=grids)


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _expand_as(op: SourceOp) -> Optional[ConvertedOp]:
    if len(op.inputs) > 1 and op.inputs[1]:
        rank = op.rank(1)
        shape = op.before("Shape", op.inputs[1:2], "int64", (rank,))
    else:
        shape = op.new_ints([abs(extent) for extent in op.attributes["target_shape"]])
    return ConvertedOp("Expand", [op.inputs[0], shape])


def _full_batch_size_like(op: SourceOp) -> Optional[ConvertedOp]:
    """A constant with one extent of the operand."""
    dtype = dtype_name(op.attributes["dtype"])
    extents, rank = [int(extent) for extent in op.attributes["shape"]], op.rank(0)
    if dtype not in ("float32", "int32", "int64") or rank is None:
        return None
    at, axis = int(op.attributes["output_dim_idx"]), int(op.attributes["input_dim_idx"])
    shape = op.before("Shape", op.inputs[:1], "int64", (rank,))
    batch = op.before("Gather", [shape, op.new_ints([axis])], "int64", (1,), axis=0)
    parts = [op.new_ints(extents[:at])] if at else []
    parts.append(batch)
    if extents[at + 1 :]:
        parts.append(op.new_ints(extents[at + 1 :]))
    whole = op.before("Concat", parts, "int64", (len(extents),), axis=0)
    return ConvertedOp("Expand", [op.new_constant(np.asarray(op.attributes["value"], dtype)), whole])


def _full_with_tensor(op: SourceOp) -> Optional[ConvertedOp]:
    """A constant of a computed shape."""
    value, shape, dtype = op.constant(0), op.int_vector(1), dtype_name(op.attributes["dtype"])
    if value is None or shape is None or dtype not in ("float32", "int32", "int64"):
        return None
    return ConvertedOp("Expand", [op.new_constant(np.asarray(value.reshape(()), dtype)), shape])


def _numel(op: SourceOp) -> Optional[ConvertedOp]:
    rank = op.rank(0)
    if rank is None:
        return None
    shape = op.before("Shape", op.inputs[:1], "int64", (rank,))
    return ConvertedOp("ReduceProd", [shape], {"keepdims": 0})


def _eye(op: SourceOp) -> Optional[ConvertedOp]:
    rows, columns, dtype = op.known_ints(0), op.known_ints(1), dtype_name(op.attributes["dtype"])
    if rows is None or columns is None:
        return _open_eye(op, dtype)
    width = columns[0] if columns[0] > 0 else rows[0]
    return ConvertedOp("Identity", [op.new_constant(np.eye(rows[0], width, dtype=dtype))])


def _open_eye(op: SourceOp, dtype: str) -> Optional[ConvertedOp]:
    height, known = op.scalar(0), op.known_ints(1)
    width = height if known is not None and known[0] < 0 else op.scalar(1)
    if height is None or width is None or dtype not in _CODES:
        return None
    lines = [op.unsqueezed(op.places(extent), axis) for extent, axis in ((height, 1), (width, 0))]
    return ConvertedOp("Cast", [op.before("Equal", lines, "bool", (None, None))], {"to": _CODES[dtype]})


def _linspace(op: SourceOp) -> Optional[ConvertedOp]:
    start, stop, count = (op.constant(index) for index in range(3))
    if start is None or stop is None or count is None:
        return None
    values = np.linspace(start.reshape(()), stop.reshape(()), int(count.reshape(())))
    return ConvertedOp("Identity", [op.new_constant(values.astype(dtype_name(op.attributes["dtype"])))])


def _pad(op: SourceOp) -> Optional[ConvertedOp]:
    """Pairs of all axes, begin and end."""
    pads = list(op.attributes["paddings"])
    value = op.constant(1)
    if value is None:
        return None
    fill = op.new_constant(np.asarray(value.reshape(()), op.dtype(0)))
    return ConvertedOp(
        "Pad", [op.inputs[0], op.new_ints([*pads[::2], *pads[1::2]]), fill], {"mode": "constant"}
    )


def _pad3d(op: SourceOp) -> Optional[ConvertedOp]:
    """left, right, top, bottom, front, back of [N, C, D, H, W]."""
    pads = op.known_ints(1)
    mode = _PAD_MODES.get(op.attributes["mode"])
    if mode is None or op.attributes.get("data_format", "NCDHW") != "NCDHW":
        return None
    if pads is not None:
        left, right, top, bottom, front, back = pads
        onnx_pads = op.new_ints([0, 0, front, top, left, 0, 0, back, bottom, right])
    else:
        computed = op.int_vector(1)
        if computed is None:
            return None
        with_zero = op.before("Concat", [op.new_ints([0]), computed], "int64", (7,), axis=0)
        order = op.new_ints([0, 0, 5, 3, 1, 0, 0, 6, 4, 2])
        onnx_pads = op.before("Gather", [with_zero, order], "int64", (10,), axis=0)
    names = [op.inputs[0], onnx_pads]
    if mode == "constant":
        names.append(op.new_constant(np.asarray(op.attributes["pad_value"], op.dtype(0))))
    return ConvertedOp("Pad", names, {"mode": mode})


def _reshape(op: SourceOp) -> Optional[ConvertedOp]:
    shape = op.int_vector(1)
    return None if shape is None else ConvertedOp("Reshape", [op.inputs[0], shape], keeps_first_output=True)


def _shape(op: SourceOp) -> Optional[ConvertedOp]:
    """`shape` counts in int32, `shape64` and ONNX in int64."""
    if op.name == "shape64":
        return ConvertedOp("Shape", op.inputs)
    return ConvertedOp("Cast", [op.before("Shape", op.inputs, "int64", (op.rank(0),))], {"to": 6})


def _slice(op: SourceOp) -> Optional[ConvertedOp]:
    """Starts and ends for some axes; `decrease_axis` are taken out of the result."""
    starts, ends = op.int_vector(1), op.int_vector(2)
    if starts is None or ends is None:
        return None
    inputs = [op.inputs[0], starts, ends, op.new_ints(op.attributes["axes"])]
    decreased = [int(axis) for axis in op.attributes.get("decrease_axis") or []]
    rank, results = op.rank(0), op.output_shapes
    # A legacy program keeps one axis where PIR has a scalar.
    if not decreased or (results and results[0] is not None and len(results[0]) == rank):
        return ConvertedOp("Slice", inputs)
    kept = op.before("Slice", inputs, op.dtype(0), None if rank is None else (None,) * rank)
    return ConvertedOp("Squeeze", [kept, op.new_ints(decreased)])


def _strided_slice(op: SourceOp) -> Optional[ConvertedOp]:
    starts, ends, strides = (op.int_vector(index) for index in (1, 2, 3))
    if starts is None or ends is None or strides is None or list(op.attributes.get("decrease_axis") or []):
        return None
    axes = op.new_ints(op.attributes["axes"])
    return ConvertedOp("Slice", [op.inputs[0], starts, ends, axes, strides])


def _split(op: SourceOp) -> Optional[ConvertedOp]:
    sizes, axis, shape = op.known_ints(1), op.known_ints(2), op.shape(0)
    if sizes is None or axis is None:
        return None
    if -1 in sizes:  # what is left
        extent = None if shape is None else shape[axis[0]]
        if extent is None:
            return None
        rest = extent - sum(size for size in sizes if size >= 0)
        sizes = [rest if size == -1 else size for size in sizes]
    return ConvertedOp("Split", [op.inputs[0], op.new_ints(sizes)], {"axis": axis[0]})


def _split_with_num(op: SourceOp) -> Optional[ConvertedOp]:
    axis, shape, parts = op.known_ints(1), op.shape(0), int(op.attributes["num"])
    extent = None if axis is None or shape is None else shape[axis[0]]
    if axis is None or extent is None or extent % parts:
        return None
    return ConvertedOp("Split", [op.inputs[0], op.new_ints([extent // parts] * parts)], {"axis": axis[0]})


def _stack(op: SourceOp) -> Optional[ConvertedOp]:
    axis = int(op.attributes["axis"])
    rank = op.rank(0)
    if rank is None:
        return None
    axis = axis % (rank + 1)
    axes = op.new_ints([axis])
    parts = [op.before("Unsqueeze", [name, axes], op.dtype(0), (None,) * (rank + 1)) for name in op.inputs]
    return ConvertedOp("Concat", parts, {"axis": axis})


def _tile(op: SourceOp) -> Optional[ConvertedOp]:
    repeats, rank = op.known_ints(1), op.rank(0)
    if repeats is None and rank is not None:
        computed = op.int_vector(1)
        is_whole = computed is not None and op.graph.tensors[computed].shape == (rank,)
        return ConvertedOp("Tile", [op.inputs[0], computed]) if is_whole and computed else None
    if repeats is None or rank is None:
        return None
    name = op.inputs[0]
    if len(repeats) > rank:
        leading = op.new_ints(range(len(repeats) - rank))
        name = op.before("Unsqueeze", [name, leading], op.dtype(0), (None,) * len(repeats))
    return ConvertedOp("Tile", [name, op.new_ints([1] * (rank - len(repeats)) + repeats)])


def _with_axes(op_type: str) -> Converter:
    """Squeeze, Unsqueeze: axes are the second operand in both."""

    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        if op.constant(1) is None:
            return None
        return ConvertedOp(op_type, op.inputs[:2], keeps_first_output=True)

    return converter


SHAPES: dict[str, Converter] = {
    "arange": _arange,
    "channel_shuffle": _channel_shuffle,
    "concat": _concat,
    "expand": _expand,
    "expand_as": _expand_as,
    "eye": _eye,
    "flatten": _flatten,
    "full_batch_size_like": _full_batch_size_like,
    "full_like": _full_like,
    "full_with_tensor": _full_with_tensor,
    "linspace": _linspace,
    "meshgrid": _meshgrid,
    "numel": _numel,
    "pad": _pad,
    "pad3d": _pad3d,
    "reshape": _reshape,
    "shape": _shape,
    "shape64": _shape,
    "slice": _slice,
    "split": _split,
    "split_with_num": _split_with_num,
    "squeeze": _with_axes("Squeeze"),
    "stack": _stack,
    "strided_slice": _strided_slice,
    "tile": _tile,
    "transpose": renamed("Transpose", perm="perm"),
    "unsqueeze": _with_axes("Unsqueeze"),
}
