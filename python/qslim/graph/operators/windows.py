# SPDX-License-Identifier: Apache-2.0
"""Operators that look at windows of an image: pools, Resize and GridSample."""

from __future__ import annotations

import math

import numpy as np

from qslim.graph.operators.geometry import image_shape, pads_of, window_extent, windows_of
from qslim.graph.operators.operator import (
    Array,
    Attributes,
    Movement,
    Operator,
    OperatorFunction,
    Shape,
    Signs,
    if_first_is,
    input_or_none,
    table,
)

__all__ = ["WINDOWS", "average_parts"]


def _pooled_windows(attributes: Attributes, x: Array, fill: float) -> tuple[Array, list[tuple[int, int]]]:
    """Return float64 windows of `x` padded with `fill`, those of ceil_mode too; and the pads of H and W."""
    kernel = tuple(attributes["kernel_shape"])
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations))
    pads = pads_of(attributes, x.shape[2:], spans)
    widths = [(0, 0), (0, 0)]
    for (begin, end), extent, span, stride in zip(pads, x.shape[2:], spans, strides):
        rest = (extent + begin + end - span) % stride
        widths.append((begin, end + (stride - rest if attributes.get("ceil_mode", 0) and rest else 0)))
    padded = np.pad(x.astype(np.float64), widths, constant_values=fill)
    return windows_of(padded, kernel, strides, dilations), pads


def _max_pool(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    windows, _ = _pooled_windows(attributes, inputs[0], -np.inf)
    return [windows.max(axis=(4, 5)).astype(inputs[0].dtype)]


def average_parts(op_type: str, attributes: Attributes, x: Array) -> tuple[Array, Array]:
    """Return sums over the windows of AveragePool or GlobalAveragePool, and the elements that each counts.

    Elements are added one after the other in the dtype of `x`, row by row, as the engine adds them. A window
    counts its elements inside the image, or inside image and pads (count_include_pad).
    """
    if op_type == "GlobalAveragePool":
        rows = np.moveaxis(x.reshape(*x.shape[:2], -1), -1, 0)
        shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
        return _ordered_sum(rows).reshape(shape), np.asarray(rows.shape[0], np.float64)
    windows, pads = _pooled_windows(attributes, x, 0.0)
    inside = np.ones((1, 1, *x.shape[2:]))
    if attributes.get("count_include_pad", 0):
        inside = np.pad(inside, [(0, 0), (0, 0), *pads], constant_values=1.0)
        attributes = {**attributes, "pads": [0, 0, 0, 0], "auto_pad": "NOTSET"}
    counted, _ = _pooled_windows(attributes, inside, 0.0)
    rows = np.moveaxis(windows.reshape(*windows.shape[:4], -1), -1, 0).astype(x.dtype)
    return _ordered_sum(rows), counted.sum(axis=(4, 5))


def _ordered_sum(rows: Array) -> Array:
    """Sum over axis 0, one row after the other; NumPy's own sum may take them in pairs."""
    total = np.zeros(rows.shape[1:], rows.dtype)
    for row in rows:
        total += row
    return total


def _average_pool(op_type: str) -> OperatorFunction:
    def operator(attributes: Attributes, inputs: list[Array]) -> list[Array]:
        sums, counts = average_parts(op_type, attributes, inputs[0])
        return [np.asarray(sums / counts.astype(sums.dtype))]

    return operator


def _global_max_pool(_: Attributes, inputs: list[Array]) -> list[Array]:
    x = inputs[0]
    return [x.max(axis=tuple(range(2, x.ndim)), keepdims=True)]


def _grid_sample(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Sample [N, C, H, W] at the (column, row) that a grid [N, OH, OW, 2] over [-1, 1] names."""
    x, grid = inputs[0], inputs[1].astype(np.float64)
    is_aligned, padding = attributes.get("align_corners", 0), attributes.get("padding_mode", "zeros")
    places = []
    for axis, extent in ((1, x.shape[2]), (0, x.shape[3])):  # rows, columns
        scaled = grid[..., axis] + 1
        place = scaled / 2 * (extent - 1) if is_aligned else (scaled * extent - 1) / 2
        if padding == "reflection":
            low, span = (0.0, extent - 1.0) if is_aligned else (-0.5, float(extent))
            turns, rest = np.divmod(np.abs(place - low), span or 1.0)
            place = low + np.where(turns % 2 == 0, rest, span - rest)
        places.append(place if padding == "zeros" else np.clip(place, 0, extent - 1))
    is_nearest = attributes.get("mode", "linear") == "nearest"
    first = [np.rint(place) if is_nearest else np.floor(place) for place in places]
    rest = [np.zeros_like(place) if is_nearest else place - low for place, low in zip(places, first)]
    result = np.zeros((*x.shape[:2], *grid.shape[1:3]))
    images = np.arange(len(x)).reshape(-1, 1, 1)
    for down in (0, 1):
        for right in (0, 1):
            row, column = first[0] + down, first[1] + right
            weight = (rest[0] if down else 1 - rest[0]) * (rest[1] if right else 1 - rest[1])
            inside = (row >= 0) & (row < x.shape[2]) & (column >= 0) & (column < x.shape[3])
            at = [np.where(inside, index, 0).astype(np.int64) for index in (row, column)]
            pixels = x[images, :, at[0], at[1]].transpose(0, 3, 1, 2)
            result += pixels * np.where(inside, weight, 0.0)[:, None]
    return [result.astype(x.dtype)]


# ---- Resize ------------------------------------------------------------------------------------------------


def _resize(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    """Resize one axis after the other; all modes are separable."""
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
    """Interpolate by Keys' convolution over four neighbours; outside of the image its edge goes on."""
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
    """Return the position in the input of each output element."""
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


# ---- shapes and signs --------------------------------------------------------------------------------------


def _pool_shape(attributes: Attributes, shapes: list[Shape]) -> Shape:
    n, channels, *image = image_shape(shapes[0])
    kernel = attributes["kernel_shape"]
    return (n, channels, *(window_extent(attributes, axis, image[axis], kernel[axis]) for axis in (0, 1)))


def _global_pool_shape(_: Attributes, shapes: list[Shape]) -> Shape:
    return (*shapes[0][:2], *(1,) * (len(shapes[0]) - 2))


def _interpolation_is_non_negative(attributes: Attributes, signs: Signs) -> bool:
    """Return True if the result is non-negative: cubic weights are negative in part."""
    return bool(signs[0]) and attributes.get("mode", "nearest") != "cubic"


WINDOWS = table(
    Operator("AveragePool", _average_pool("AveragePool"), 10, _pool_shape, non_negative=if_first_is),
    Operator(
        "GlobalAveragePool",
        _average_pool("GlobalAveragePool"),
        1,
        _global_pool_shape,
        non_negative=if_first_is,
    ),
    Operator("GlobalMaxPool", _global_max_pool, 1, _global_pool_shape, Movement.PICK),
    Operator("GridSample", _grid_sample, 20, non_negative=_interpolation_is_non_negative),
    Operator("MaxPool", _max_pool, 10, _pool_shape, Movement.PICK),
    Operator(
        "Resize", _resize, 13, movement=Movement.PICK_IF_NEAREST, non_negative=_interpolation_is_non_negative
    ),
)
