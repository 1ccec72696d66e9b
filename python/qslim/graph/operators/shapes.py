# SPDX-License-Identifier: Apache-2.0
"""Operators that move, copy or describe elements but compute none."""

from __future__ import annotations

import math

import numpy as np

from qslim.graph.operators.types import Array, Attributes, OperatorFunction, input_or_none

__all__ = ["SHAPES"]


# By ONNX's TensorProto.DataType.
_DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32",
}  # fmt: skip


def _ints(array: Array) -> list[int]:
    return [int(value) for value in array.reshape(-1)]


def _cast(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [inputs[0].astype(_DTYPES[attributes["to"]])]


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


def _gather(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.asarray(np.take(inputs[0], inputs[1], axis=attributes.get("axis", 0)))]


def _gather_elements(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, indices = inputs
    axis = attributes.get("axis", 0) % x.ndim
    part = tuple(slice(None) if i == axis else slice(extent) for i, extent in enumerate(indices.shape))
    return [np.take_along_axis(x[part], indices, axis)]


def _gather_nd(_: Attributes, inputs: list[Array]) -> list[Array]:
    x, indices = inputs
    return [np.asarray(x[tuple(np.moveaxis(indices, -1, 0))])]


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


def _range(_: Attributes, inputs: list[Array]) -> list[Array]:
    start, limit, step = (value.reshape(-1)[0] for value in inputs)
    return [np.arange(start, limit, step, dtype=inputs[0].dtype)]


def _reshape(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    x, shape = inputs[0], _ints(inputs[1])
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if extent == 0 else extent for axis, extent in enumerate(shape)]
    return [x.reshape(shape)]


def _shape(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.asarray(inputs[0].shape[attributes.get("start", 0) : attributes.get("end")], np.int64)]


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
    return [np.squeeze(inputs[0], None if axes is None else tuple(_ints(axes)))]


def _unsqueeze(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.expand_dims(inputs[0], tuple(_ints(inputs[1])))]


def _tile(_: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.tile(inputs[0], _ints(inputs[1]))]


def _transpose(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    return [np.transpose(inputs[0], attributes.get("perm"))]


# ---- Resize ------------------------------------------------------------------------------------------


def _resize(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """One axis after the other; both modes are separable."""
    x, scales, sizes = inputs[0], input_or_none(inputs, 2), input_or_none(inputs, 3)
    result = x
    for index, axis in enumerate(attributes.get("axes", range(x.ndim))):
        extent = x.shape[axis]
        if sizes is not None and sizes.size:
            out = int(sizes.reshape(-1)[index])
            scale = out / extent
        else:
            assert scales is not None
            scale = float(scales.reshape(-1)[index])
            out = math.floor(extent * scale)
        if out != extent or scale != 1:
            result = _resize_axis(result, axis, out, scale, attributes)
    return [result]


def _resize_axis(x: Array, axis: int, out: int, scale: float, attributes: Attributes) -> Array:
    extent = x.shape[axis]
    position = _source_position(np.arange(out), extent, out, scale, attributes)
    mode = attributes.get("mode", "nearest")
    if mode == "nearest":
        rounding = attributes.get("nearest_mode", "round_prefer_floor")
        index = {
            "floor": np.floor(position),
            "ceil": np.ceil(position),
            "round_prefer_floor": np.ceil(position - 0.5),
            "round_prefer_ceil": np.floor(position + 0.5),
        }[rounding]
        return np.asarray(np.take(x, np.clip(index, 0, extent - 1).astype(np.int64), axis=axis))
    if mode == "cubic":
        return _cubic(x, axis, position, attributes.get("cubic_coeff_a", -0.75))
    if mode != "linear":
        raise NotImplementedError(f"Resize: mode {mode!r}")
    position = np.clip(position, 0, extent - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, extent - 1)
    shape = [-1 if other == axis else 1 for other in range(x.ndim)]
    weight = (position - low).reshape(shape)
    wide = x.astype(np.float64)
    result = np.take(wide, low, axis=axis) * (1 - weight) + np.take(wide, high, axis=axis) * weight
    return np.asarray(result, x.dtype)


def _cubic(x: Array, axis: int, position: Array, a: float) -> Array:
    """Keys' convolution over four neighbours; outside of the image its edge goes on."""
    first = np.floor(position).astype(np.int64)
    result = np.zeros([len(position) if other == axis else n for other, n in enumerate(x.shape)])
    for tap in range(-1, 3):
        at = np.abs(position - (first + tap))
        near = ((a + 2) * at - (a + 3)) * at * at + 1
        far = ((a * at - 5 * a) * at + 8 * a) * at - 4 * a
        weight = np.where(at <= 1, near, np.where(at < 2, far, 0.0))
        values = np.take(x.astype(np.float64), np.clip(first + tap, 0, x.shape[axis] - 1), axis=axis)
        result += values * weight.reshape([-1 if other == axis else 1 for other in range(x.ndim)])
    return np.asarray(result, x.dtype)


def _source_position(index: Array, extent: int, out: int, scale: float, attributes: Attributes) -> Array:
    """Where in the input each output element lies."""
    mode = attributes.get("coordinate_transformation_mode", "half_pixel")
    if mode == "asymmetric":
        return np.asarray(index / scale)
    if mode == "align_corners":
        return np.asarray(index * ((extent - 1) / max(out - 1, 1)))
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and out > 1):
        return np.asarray((index + 0.5) / scale - 0.5)
    if mode == "pytorch_half_pixel":
        return np.asarray(index * 0.0)
    raise NotImplementedError(f"Resize: coordinate_transformation_mode {mode!r}")


SHAPES: dict[str, OperatorFunction] = {
    "Cast": _cast,
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
