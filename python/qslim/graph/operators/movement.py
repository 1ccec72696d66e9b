# SPDX-License-Identifier: Apache-2.0
"""Operators that move, copy or cut elements but compute none."""

from __future__ import annotations

import math

import numpy as np

from qslim.graph.operators.operator import (
    Array,
    Attributes,
    Movement,
    Operator,
    Signs,
    first_shape,
    input_or_none,
    sign_of,
    table,
)

__all__ = ["MOVEMENT"]


def _identity(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [inputs[0]]


def _ints(array: Array) -> list[int]:
    return [int(value) for value in array.reshape(-1)]


def _concat(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.concatenate(inputs, axis=attributes["axis"])]


def _depth_to_space(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    (x,) = inputs
    n, c, h, w = x.shape
    block = attributes["blocksize"]
    if attributes.get("mode", "DCR") == "DCR":
        x = x.reshape(n, block, block, c // block**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        x = x.reshape(n, c // block**2, block, block, h, w).transpose(0, 1, 4, 2, 5, 3)
    return [x.reshape(n, c // block**2, h * block, w * block)]


def _space_to_depth(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    (x,) = inputs
    n, c, h, w = x.shape
    block = attributes["blocksize"]
    x = x.reshape(n, c, h // block, block, w // block, block).transpose(0, 3, 5, 1, 2, 4)
    return [x.reshape(n, c * block**2, h // block, w // block)]


def _expand(_: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0]
    return [np.array(np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_ints(inputs[1])))))]


def _flatten(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, axis = inputs[0], attributes.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return [x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))]


def _pad(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, pads = inputs[0], _ints(inputs[1])
    widths = list(zip(pads[: x.ndim], pads[x.ndim :]))
    if min(pads, default=0) < 0:  # crops
        padded = _pad(attributes, [x, np.maximum(inputs[1], 0), *inputs[2:]])[0]
        ends = [(max(-begin, 0), extent - max(-end, 0)) for (begin, end), extent in zip(widths, padded.shape)]
        return [padded[tuple(slice(begin, end) for begin, end in ends)]]
    mode = attributes.get("mode", "constant")  # ONNX and NumPy name them alike
    if mode == "constant":
        value = input_or_none(inputs, 2)
        fill = x.dtype.type(0) if value is None else value.reshape(-1)[0]
        return [np.pad(x, widths, constant_values=fill)]
    return [np.pad(x, widths, mode=mode)]


def _reshape(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, shape = inputs[0], _ints(inputs[1])
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if extent == 0 else extent for axis, extent in enumerate(shape)]
    return [x.reshape(shape)]


def _slice(_: Attributes, inputs: list[Array]) -> list[Array]:
    x, starts, ends = inputs[0], _ints(inputs[1]), _ints(inputs[2])
    axes, steps = input_or_none(inputs, 3), input_or_none(inputs, 4)
    at = list(range(len(starts))) if axes is None else _ints(axes)
    by = [1] * len(starts) if steps is None else _ints(steps)
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(at, starts, ends, by):
        # Python has no number for the end in front of the first element, which a negative step can reach.
        is_whole = step < 0 and end < -x.shape[axis]
        index[axis] = slice(start, None if is_whole else end, step)
    return [x[tuple(index)]]


def _split(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, sizes = inputs[0], input_or_none(inputs, 1)
    axis = attributes.get("axis", 0)
    if sizes is None:
        parts = attributes["num_outputs"]
        step = -(-x.shape[axis] // parts)
        return list(np.split(x, range(step, step * parts, step), axis=axis))
    return list(np.split(x, np.cumsum(_ints(sizes))[:-1], axis=axis))


def _squeeze(_: Attributes, inputs: list[Array]) -> list[Array]:
    axes = input_or_none(inputs, 1)
    if axes is None:
        return [np.squeeze(inputs[0])]
    # An axis may be listed twice, by its number from the front and from the end.
    rank = inputs[0].ndim
    return [np.squeeze(inputs[0], tuple({axis + rank if axis < 0 else axis for axis in _ints(axes)}))]


def _unsqueeze(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.expand_dims(inputs[0], tuple(_ints(inputs[1])))]


def _tile(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.tile(inputs[0], _ints(inputs[1]))]


def _transpose(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.transpose(inputs[0], attributes.get("perm"))]


def _padded_is_non_negative(attributes: Attributes, signs: Signs) -> bool:
    is_constant = attributes.get("mode", "constant") == "constant"
    return bool(signs[0]) and not (is_constant and sign_of(signs, 2) is False)


MOVEMENT = table(
    Operator("Concat", _concat, 4, movement=Movement.JOIN),
    Operator("DepthToSpace", _depth_to_space, 11, movement=Movement.PERMUTE),
    Operator("Expand", _expand, 8, movement=Movement.PICK),
    Operator("Flatten", _flatten, 11, movement=Movement.VIEW),
    Operator("Identity", _identity, 1, first_shape, movement=Movement.VIEW, is_elementwise=True),
    Operator("Pad", _pad, 11, movement=Movement.PAD, non_negative=_padded_is_non_negative),
    Operator("Reshape", _reshape, 14, movement=Movement.VIEW),
    Operator("Slice", _slice, 10, movement=Movement.PICK),
    Operator("SpaceToDepth", _space_to_depth, 1, movement=Movement.PERMUTE),
    Operator("Split", _split, 13, movement=Movement.PICK),
    Operator("Squeeze", _squeeze, 13, movement=Movement.VIEW),
    Operator("Tile", _tile, 6, movement=Movement.PICK),
    Operator("Transpose", _transpose, 1, movement=Movement.PERMUTE),
    Operator("Unsqueeze", _unsqueeze, 13, movement=Movement.VIEW),
)
