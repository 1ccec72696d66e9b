# SPDX-License-Identifier: Apache-2.0
"""Convolutions over [N, C, H, W] and matrix products.

``convolve`` and ``convolve_transposed`` sum in float64. On integers of 8 bits they are exact: no sum comes
near 2^53, so these two serve float and int8 operators alike.
"""

from __future__ import annotations

import math
from typing import Callable

import numpy as np

from qslim.graph.operators.geometry import image_shape, pads_of, window_extent, windows_of
from qslim.graph.operators.operator import (
    Array,
    Attributes,
    KnownShapes,
    Operator,
    OperatorFunction,
    Shape,
    input_or_none,
    table,
)

__all__ = [
    "PRODUCTS",
    "conv_macs",
    "conv_transpose_macs",
    "convolve",
    "convolve_transposed",
    "matmul_macs",
    "pixel_patches",
    "pixel_patches_at",
]


def _padded_windows(x: Array, kernel: tuple[int, ...], attributes: Attributes) -> Array:
    dilations = attributes.get("dilations", [1, 1])
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations))
    padded = np.pad(x, [(0, 0), (0, 0), *pads_of(attributes, x.shape[2:], spans)])
    return windows_of(padded, kernel, attributes.get("strides", [1, 1]), dilations)


def pixel_patches(x: Array, kernel: tuple[int, ...], attributes: Attributes, most: int) -> Array:
    """Return the patches that a convolution of `x` [N, C, H, W] reads for at most about `most` output pixels.

    They are evenly spread over the images. [patches, C * KH * KW].
    """
    height, width = (window_extent(attributes, i, x.shape[2 + i], kernel[i]) for i in (0, 1))
    pixels = np.arange(0, len(x) * height * width, -(-len(x) * height * width // most))
    return pixel_patches_at(x, kernel, attributes, *np.unravel_index(pixels, (len(x), height, width)))


def pixel_patches_at(
    x: Array, kernel: tuple[int, ...], attributes: Attributes, image: Array, row: Array, column: Array
) -> Array:
    """Return the patches of `x` [N, C, H, W] behind the output pixels given, [pixels, C * KH * KW]."""
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations))
    pads = pads_of(attributes, x.shape[2:], spans)
    places, inside = [], []
    for axis, first in enumerate((row, column)):
        taps = np.arange(kernel[axis]) * dilations[axis] - pads[axis][0]
        place = np.asarray(first)[:, None] * strides[axis] + taps
        inside.append((place >= 0) & (place < x.shape[2 + axis]))
        places.append(np.clip(place, 0, x.shape[2 + axis] - 1))
    patches = x[np.asarray(image)[:, None, None], :, places[0][:, :, None], places[1][:, None, :]]
    patches = np.where((inside[0][:, :, None] & inside[1][:, None, :])[..., None], patches, x.dtype.type(0))
    return np.asarray(patches.transpose(0, 3, 1, 2).reshape(len(patches), x.shape[1] * math.prod(kernel)))


def convolve(x: Array, weight: Array, attributes: Attributes) -> Array:
    """Convolve `x` [N, IC, H, W] with `weight` [OC, IC / group, KH, KW]; return float64 [N, OC, OH, OW]."""
    group = attributes.get("group", 1)
    windows = _padded_windows(x.astype(np.float64), weight.shape[2:], attributes)
    n, channels, height, width = windows.shape[:4]
    columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(n, group, -1, height * width)
    rows = weight.astype(np.float64).reshape(group, weight.shape[0] // group, -1)
    assert columns.shape[2] == rows.shape[2], (channels, weight.shape, group)
    return np.asarray(np.matmul(rows, columns).reshape(n, weight.shape[0], height, width))


def convolve_transposed(x: Array, weight: Array, attributes: Attributes) -> Array:
    """Convolve `x` [N, IC, H, W] transposed with `weight` [IC, OC / group, KH, KW], in float64."""
    group = attributes.get("group", 1)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    extra = attributes.get("output_padding", [0, 0])
    n, channels, height, width = x.shape
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(weight.shape[2:], dilations)]
    if attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise NotImplementedError("ConvTranspose: auto_pad SAME")
    (top, bottom), (left, right) = pads_of(attributes, (height, width), (spans[0], spans[1]))
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


def _matmul(_: Attributes, inputs: list[Array]) -> list[Array]:
    a, b = inputs
    return [np.asarray(np.matmul(a.astype(np.float64), b.astype(np.float64)), a.dtype)]


def _gemm(attributes: Attributes, inputs: list[Array]) -> list[Array]:
    a, b = (x.astype(np.float64) for x in inputs[:2])
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    result = attributes.get("alpha", 1.0) * (a @ b)
    bias = input_or_none(inputs, 2)
    if bias is not None:
        result = result + attributes.get("beta", 1.0) * bias.astype(np.float64)
    return [result.astype(inputs[0].dtype)]


# ---- shapes ------------------------------------------------------------------------------------------------


def _conv_shape(attributes: Attributes, shapes: list[Shape]) -> Shape:
    (n, channels, *image), weight = image_shape(shapes[0]), image_shape(shapes[1])
    group = attributes.get("group", 1)
    if channels != weight[1] * group:
        raise ValueError(f"the weight takes {weight[1] * group} channels, the image has {channels}")
    return (
        n,
        weight[0],
        *(window_extent(attributes, axis, image[axis], weight[2 + axis]) for axis in (0, 1)),
    )


def _conv_transpose_shape(attributes: Attributes, shapes: list[Shape]) -> Shape:
    (n, channels, *image), weight = image_shape(shapes[0]), image_shape(shapes[1])
    if channels != weight[0]:
        raise ValueError(f"the weight takes {weight[0]} channels, the image has {channels}")
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    is_padded = attributes.get("auto_pad", "NOTSET") == "NOTSET"
    pads = attributes.get("pads", [0, 0, 0, 0]) if is_padded else [0, 0, 0, 0]
    extra = attributes.get("output_padding", [0, 0])
    extents = (
        (image[i] - 1) * strides[i]
        + (weight[2 + i] - 1) * dilations[i]
        + 1
        - pads[i]
        - pads[i + 2]
        + extra[i]
        for i in (0, 1)
    )
    return (n, weight[1] * attributes.get("group", 1), *extents)


def _matmul_shape(_: Attributes, shapes: list[Shape]) -> Shape:
    x, y = shapes
    left = x if len(x) > 1 else (1, *x)
    right = y if len(y) > 1 else (*y, 1)
    if left[-1] != right[-2]:
        raise ValueError(f"{left[-1]} columns against {right[-2]} rows")
    rows = left[-2:-1] if len(x) > 1 else ()
    columns = right[-1:] if len(y) > 1 else ()
    return (*np.broadcast_shapes(left[:-2], right[:-2]), *rows, *columns)


def _gemm_shape(attributes: Attributes, shapes: list[Shape]) -> Shape:
    x = shapes[0][::-1] if attributes.get("transA", 0) else shapes[0]
    y = shapes[1][::-1] if attributes.get("transB", 0) else shapes[1]
    return _matmul_shape({}, [x, y])


# ---- multiply-adds -----------------------------------------------------------------------------------------


def conv_macs(_: Attributes, shapes: KnownShapes) -> int:
    """Return H_out * W_out * C_out * KH * KW * C_in / group."""
    return math.prod(shapes.output()) * math.prod(shapes.input(1)[1:])


def conv_transpose_macs(_: Attributes, shapes: KnownShapes) -> int:
    """Return H_in * W_in * C_in * KH * KW * C_out / group: every input pixel meets the whole kernel."""
    return math.prod(shapes.input(0)) * math.prod(shapes.input(1)[1:])


def matmul_macs(_: Attributes, shapes: KnownShapes) -> int:
    """Return the elements of the product * the length of the sum, of any rank."""
    return math.prod(shapes.output()) * shapes.input(0)[-1]


def _gemm_macs(attributes: Attributes, shapes: KnownShapes) -> int:
    return math.prod(shapes.output()) * shapes.input(0)[0 if attributes.get("transA", 0) else 1]


PRODUCTS = table(
    Operator("Conv", _conv(convolve), 11, _conv_shape, macs=conv_macs),
    Operator(
        "ConvTranspose", _conv(convolve_transposed), 11, _conv_transpose_shape, macs=conv_transpose_macs
    ),
    Operator("Gemm", _gemm, 11, _gemm_shape, macs=_gemm_macs),
    Operator("MatMul", _matmul, 9, _matmul_shape, macs=matmul_macs),
)
