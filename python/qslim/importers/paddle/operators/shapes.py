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


def _arange(op: SourceOp) -> Optional[ConvertedOp]:
    values = [op.constant(index) for index in range(3)]
    dtype = dtype_name(op.attributes["dtype"])
    if any(value is None for value in values) or dtype not in ("float32", "int32", "int64"):
        return None
    names = [op.new_constant(np.asarray(v.reshape(()), dtype)) for v in values if v is not None]
    return ConvertedOp("Range", names)


def _channel_shuffle(op: SourceOp) -> Optional[ConvertedOp]:
    shape, groups = op.shape(0), int(op.attributes["groups"])
    if shape is None or None in shape[1:] or op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    channels, height, width = (extent or 0 for extent in shape[1:])
    split = op.new_ints([-1, groups, channels // groups, height, width])
    parts = op.before("Reshape", [op.inputs[0], split], op.dtype(0))
    turned = op.before("Transpose", [parts], op.dtype(0), perm=[0, 2, 1, 3, 4])
    return ConvertedOp("Reshape", [turned, op.new_ints([-1, channels, height, width])])


def _concat(op: SourceOp) -> Optional[ConvertedOp]:
    axis = op.constant(len(op.inputs) - 1)
    return None if axis is None else ConvertedOp("Concat", op.inputs[:-1], {"axis": int(axis.reshape(-1)[0])})


def _embedding(op: SourceOp) -> Optional[ConvertedOp]:
    if op.attributes.get("padding_idx", -1) not in (-1, None):
        return None
    return ConvertedOp("Gather", [op.inputs[1], op.inputs[0]], {"axis": 0})


def _expand(op: SourceOp) -> Optional[ConvertedOp]:
    extents = op.known_ints(1)
    if extents is not None:  # -1 keeps an extent in Paddle, 1 does in ONNX
        return ConvertedOp("Expand", [op.inputs[0], op.new_ints([abs(extent) for extent in extents])])
    shape = op.int_vector(1)
    return None if shape is None else ConvertedOp("Expand", [op.inputs[0], shape])


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


def _gather(op: SourceOp) -> Optional[ConvertedOp]:
    axis = [int(op.attributes["axis"])] if op.name == "index_select" else op.known_ints(2)
    if axis is None or op.rank(1) != 1:
        return None
    return ConvertedOp("Gather", op.inputs[:2], {"axis": axis[0] if axis else 0})


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


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
    if pads is None or mode is None or op.attributes.get("data_format", "NCDHW") != "NCDHW":
        return None
    left, right, top, bottom, front, back = pads
    names = [op.inputs[0], op.new_ints([0, 0, front, top, left, 0, 0, back, bottom, right])]
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
    sizes, axis = op.constant(1), op.constant(2)
    if sizes is None or axis is None or (sizes < 0).any():
        return None
    return ConvertedOp("Split", op.inputs[:2], {"axis": int(axis.reshape(-1)[0])})


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
    if repeats is None or rank is None or len(repeats) > rank:
        return None
    return ConvertedOp("Tile", [op.inputs[0], op.new_ints([1] * (rank - len(repeats)) + repeats)])


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
    "embedding": _embedding,
    "expand": _expand,
    "flatten": _flatten,
    "full_like": _full_like,
    "gather": _gather,
    "index_select": _gather,
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
