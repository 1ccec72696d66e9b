# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pooling over [N, C, H, W].

``convolve`` and ``convolve_transposed`` sum in float64. On integers of 8 bits they are exact: no sum comes
near 2^53, so these two serve float and int8 operators alike.
"""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from qslim.graph.operators.types import Array, Attributes, OperatorFunction, input_or_none

__all__ = ["WINDOWS", "convolve", "convolve_transposed", "pixel_patches"]


def _pads(attributes: Attributes, extents: tuple[int, ...], kernel: tuple[int, ...]) -> list[tuple[int, int]]:
    """(begin, end) of H and W. `kernel` counts the dilation in."""
    auto_pad = attributes.get("auto_pad", "NOTSET")
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        result = []
        for extent, size, stride in zip(extents, kernel, attributes.get("strides", [1, 1])):
            total = max((-(-extent // stride) - 1) * stride + size - extent, 0)
            begin = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
            result.append((begin, total - begin))
        return result
    pads = attributes.get("pads", [0, 0, 0, 0]) if auto_pad == "NOTSET" else [0, 0, 0, 0]
    return [(pads[0], pads[2]), (pads[1], pads[3])]


def _windows(x: Array, kernel: tuple[int, ...], strides: Any, dilations: Any) -> Array:
    """View of `x` as [N, C, OH, OW, KH, KW]."""
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations))
    view = sliding_window_view(x, spans, axis=(2, 3))
    return np.asarray(view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]])


def _padded_windows(x: Array, kernel: tuple[int, ...], attributes: Attributes) -> Array:
    dilations = attributes.get("dilations", [1, 1])
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations))
    padded = np.pad(x, [(0, 0), (0, 0), *_pads(attributes, x.shape[2:], spans)])
    return _windows(padded, kernel, attributes.get("strides", [1, 1]), dilations)


def pixel_patches(x: Array, kernel: tuple[int, ...], attributes: Attributes, most: int) -> Array:
    """What a convolution of `x` [N, C, H, W] multiplies for at most about `most` output pixels.

    They are evenly spread over the images. [patches, C * KH * KW].
    """
    windows = _padded_windows(x, kernel, attributes)
    n, _, height, width = windows.shape[:4]
    pixels = np.arange(0, n * height * width, -(-n * height * width // most))
    image, row, column = np.unravel_index(pixels, (n, height, width))
    return np.asarray(windows[image, :, row, column].reshape(len(pixels), -1))


def convolve(x: Array, weight: Array, attributes: Attributes) -> Array:
    """`x` [N, IC, H, W] with `weight` [OC, IC / group, KH, KW], as float64 [N, OC, OH, OW]."""
    group = attributes.get("group", 1)
    windows = _padded_windows(x.astype(np.float64), weight.shape[2:], attributes)
    n, channels, height, width = windows.shape[:4]
    columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, group, -1, height * width)
    rows = weight.astype(np.float64).reshape(group, weight.shape[0] // group, -1)
    assert columns.shape[2] == rows.shape[2], (channels, weight.shape, group)
    return np.asarray(np.matmul(rows, columns).reshape(n, weight.shape[0], height, width))


def convolve_transposed(x: Array, weight: Array, attributes: Attributes) -> Array:
    """`x` [N, IC, H, W] with `weight` [IC, OC / group, KH, KW], as float64 [N, OC, OH, OW]."""
    group = attributes.get("group", 1)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    extra = attributes.get("output_padding", [0, 0])
    n, channels, height, width = x.shape
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(weight.shape[2:], dilations)]
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotImplementedError("ConvTranspose: auto_pad SAME")
    (top, bottom), (left, right) = _pads(attributes, (height, width), (spans[0], spans[1]))
    full = [(extent - 1) * s + span + e for extent, s, span, e in zip((height, width), strides, spans, extra)]
    result = np.zeros((n, group, weight.shape[1], *full))
    pixels = x.astype(np.float64).reshape(n, group, channels // group, -1)
    rows = weight.astype(np.float64).reshape(group, channels // group, weight.shape[1], *weight.shape[2:])
    for kh in range(weight.shape[2]):
        for kw in range(weight.shape[3]):
            product = np.matmul(rows[:, :, :, kh, kw].transpose(0, 2, 1), pixels)
            y0, x0 = kh * dilations[0], kw * dilations[1]
            y1, x1 = y0 + (height - 1) * strides[0] + 1, x0 + (width - 1) * strides[1] + 1
            result[..., y0 : y1 : strides[0], x0 : x1 : strides[1]] += product.reshape(
                *product.shape[:3], height, width
            )
    result = result.reshape(n, -1, *full)
    return result[:, :, top : full[0] - bottom, left : full[1] - right]


def _conv(function: Callable[[Array, Array, Attributes], Array]) -> OperatorFunction:
    def operator(attributes: Attributes, inputs: list[Array]) -> list[Array]:
        x, weight, bias = inputs[0], inputs[1], input_or_none(inputs, 2)
        result = function(x, weight, attributes)
        if bias is not None:
            result = result + bias.reshape(-1, 1, 1)
        return [result.astype(x.dtype)]

    return operator


def _pooled_windows(attributes: Attributes, x: Array, fill: float) -> tuple[Array, list[tuple[int, int]]]:
    """Windows of `x` padded with `fill` as float64, with ceil_mode's last ones; and the pads of H and W."""
    kernel = tuple(attributes["kernel_shape"])
    strides = attributes.get("strides", [1, 1])
    dilations = attributes.get("dilations", [1, 1])
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations))
    pads = _pads(attributes, x.shape[2:], spans)
    widths = [(0, 0), (0, 0)]
    for (begin, end), extent, span, stride in zip(pads, x.shape[2:], spans, strides):
        rest = (extent + begin + end - span) % stride
        widths.append((begin, end + (stride - rest if attributes.get("ceil_mode", 0) and rest else 0)))
    padded = np.pad(x.astype(np.float64), widths, constant_values=fill)
    return _windows(padded, kernel, strides, dilations), pads


def _max_pool(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    windows, _ = _pooled_windows(attributes, inputs[0], -np.inf)
    return [windows.max(axis=(4, 5)).astype(inputs[0].dtype)]


def average_parts(op_type: str, attributes: Attributes, x: Array) -> tuple[Array, Array]:
    """Sums over the windows of AveragePool or GlobalAveragePool, and how many elements each stands for.

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
    """The sum over axis 0, one row after the other; NumPy's own sum may take them in pairs."""
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
    """Pixels of [N, C, H, W] at the (column, row) that a grid [N, OH, OW, 2] over [-1, 1] names."""
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


WINDOWS: dict[str, OperatorFunction] = {
    "AveragePool": _average_pool("AveragePool"),
    "Conv": _conv(convolve),
    "ConvTranspose": _conv(convolve_transposed),
    "GlobalAveragePool": _average_pool("GlobalAveragePool"),
    "GlobalMaxPool": _global_max_pool,
    "GridSample": _grid_sample,
    "MaxPool": _max_pool,
}
