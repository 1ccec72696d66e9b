# SPDX-License-Identifier: Apache-2.0
"""Rows of operators that move, copy or cut elements.

Vectors of extents, starts or axes may be constants, tensors or lists of scalars in Paddle; in ONNX they are
vectors of int64.
"""

from __future__ import annotations

import math
from typing import Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import (
    ConvertedOp,
    Converter,
    SourceOp,
    known_extents,
    renamed,
)

__all__ = ["MOVEMENT"]


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


def _expand_as(op: SourceOp) -> Optional[ConvertedOp]:
    if len(op.inputs) > 1 and op.inputs[1]:
        rank = op.rank(1)
        shape = op.before("Shape", op.inputs[1:2], "int64", (rank,))
    else:
        shape = op.new_ints([abs(extent) for extent in op.attributes["target_shape"]])
    return ConvertedOp("Expand", [op.inputs[0], shape])


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


def _meshgrid(op: SourceOp) -> Optional[ConvertedOp]:
    """Repeat each vector, which runs along its own axis, along those of the others."""
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


def _pad(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert pads given as pairs of all axes, begin and end."""
    pads = list(op.attributes["paddings"])
    value = op.constant(1)
    if value is None:
        return None
    fill = op.new_constant(np.asarray(value.reshape(()), op.dtype(0)))
    return ConvertedOp(
        "Pad", [op.inputs[0], op.new_ints([*pads[::2], *pads[1::2]]), fill], {"mode": "constant"}
    )


def _pad3d(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert pads (left, right, top, bottom, front, back) of [N, C, D, H, W]."""
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


def _slice(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert starts and ends of some axes; the result loses `decrease_axis`."""
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
    """Make a converter to Squeeze or Unsqueeze, whose second operand is the axes."""

    def converter(op: SourceOp) -> Optional[ConvertedOp]:
        if op.constant(1) is None:
            return None
        return ConvertedOp(op_type, op.inputs[:2], keeps_first_output=True)

    return converter


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


def _pixel_shuffle(op: SourceOp) -> Optional[ConvertedOp]:
    if op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    attributes = {"blocksize": int(op.attributes["upscale_factor"]), "mode": "CRD"}
    return ConvertedOp("DepthToSpace", op.inputs, attributes)


def _pixel_unshuffle(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert to SpaceToDepth and a Gather, as Paddle orders the channels of a block in another way."""
    shape, block = op.shape(0), int(op.attributes["downscale_factor"])
    if shape is None or shape[1] is None or op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    blocks = op.before("SpaceToDepth", op.inputs[:1], op.dtype(0), (None,) * 4, blocksize=block)
    order = np.arange(shape[1] * block * block).reshape(block * block, -1).T
    return ConvertedOp("Gather", [blocks, op.new_ints(order.reshape(-1))], {"axis": 1})


def _roll(op: SourceOp) -> Optional[ConvertedOp]:
    """Put what leaves at the end of each axis at its beginning."""
    shifts, axes, shape = op.known_ints(1), [int(axis) for axis in op.attributes["axis"]], op.shape(0)
    if shifts is None or shape is None or (axes and len(axes) != len(shifts)):
        return None
    name = op.inputs[0]
    is_flat = not axes
    if is_flat:
        if None in shape:
            return None
        name, axes = op.flat(), [0]
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
    """Convert unstack and unbind, a list of slices without the axis."""
    shape = op.shape(0)
    if shape is None:
        return None
    axis = int(op.attributes["axis"]) % len(shape)
    extent = shape[axis]
    if extent is None:
        return None
    return ConvertedOp("Split", [op.inputs[0], op.new_ints([1] * extent)], {"axis": axis}, squeezed_axis=axis)


def _temporal_shift(op: SourceOp) -> Optional[ConvertedOp]:
    """Shift the first channels by one segment, the next ones by one segment back; leave the rest."""
    x, segments = known_extents(op.shape(0)), int(op.attributes["seg_num"])
    if x is None or op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    first, second = (int(x[0] * part * float(op.attributes["shift_ratio"])) for part in (1, 2))
    whole = op.before("Reshape", [op.inputs[0], op.new_ints([-1, segments, *x])], shape=(None, segments, *x))
    parts = []
    for begin, end, shift in ((0, first, 1), (first, second, -1), (second, x[0], 0)):
        if begin == end:
            continue
        # Segments without the one that leaves, then a zero one where another would come in.
        kept = (0, segments - 1) if shift > 0 else (-shift, segments)
        bounds = [op.new_ints(values) for values in ([begin, kept[0]], [end, kept[1]], [2, 1])]
        part = op.before("Slice", [whole, *bounds], shape=(None, kept[1] - kept[0], end - begin, *x[1:]))
        if shift:
            pads = [0, int(shift > 0), 0, 0, 0, 0, int(shift < 0), 0, 0, 0]
            shape = (None, segments, end - begin, *x[1:])
            part = op.before("Pad", [part, op.new_ints(pads), op.number(0)], shape=shape, mode="constant")
        parts.append(part)
    joined = op.before("Concat", parts, shape=(None, segments, *x), axis=2)
    return ConvertedOp("Reshape", [joined, op.new_ints([-1, *x])])


MOVEMENT: dict[str, Converter] = {
    "assign": renamed("Identity"),
    "channel_shuffle": _channel_shuffle,
    "concat": _concat,
    "expand": _expand,
    "expand_as": _expand_as,
    "flatten": _flatten,
    "flip": _flip,
    "meshgrid": _meshgrid,
    "pad": _pad,
    "pad3d": _pad3d,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "reshape": _reshape,
    "roll": _roll,
    "share_data": renamed("Identity"),
    "slice": _slice,
    "split": _split,
    "split_with_num": _split_with_num,
    "squeeze": _with_axes("Squeeze"),
    "stack": _stack,
    "strided_slice": _strided_slice,
    "temporal_shift": _temporal_shift,
    "tile": _tile,
    "transpose": renamed("Transpose", perm="perm"),
    "unbind": _unbind,
    "unsqueeze": _with_axes("Unsqueeze"),
    "unstack": _unbind,
}
