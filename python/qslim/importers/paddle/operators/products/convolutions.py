# SPDX-License-Identifier: Apache-2.0
"""Rows of convolutions over [N, C, H, W] and [N, C, D, H, W].

A convolution of volumes takes the slices that a window of D covers as channels of one image.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, known_extents
from qslim.importers.paddle.operators.volumes import pads_of_volume, reshaped
from qslim.importers.paddle.operators.window_attributes import window_attributes

__all__ = ["CONVOLUTIONS"]


def _conv(op: SourceOp) -> Optional[ConvertedOp]:
    window = window_attributes(op)
    if window is None:
        return None
    return ConvertedOp("Conv", op.inputs[:2], {**window, "group": int(op.attributes["groups"])})


def _conv_transpose(op: SourceOp) -> Optional[ConvertedOp]:
    window = window_attributes(op)
    if window is None:
        return None
    if window.get("auto_pad") == "SAME_UPPER":
        # Paddle pads as for the convolution that this one undoes, ONNX differently.
        image, weight = op.shape(0), op.shape(1)
        pads = [_same_pads(image, weight, window["strides"], axis) for axis in (0, 1)]
        if pads[0] is None or pads[1] is None:
            return None
        del window["auto_pad"]
        window["pads"] = [pads[0][0], pads[1][0], pads[0][1], pads[1][1]]
    window["group"] = int(op.attributes["groups"])
    output_padding = list(op.attributes.get("output_padding") or [])
    has_size = len(op.operands) > 2 and bool(op.operands[2]) and op.known_ints(2) != []
    output_size = op.known_ints(2) if has_size else []
    found = _output_padding(op, window, output_size) if output_size else []
    if has_size and not found:
        return _cropped_transpose(op, window)
    if found:
        output_padding = found
    if output_padding:
        window["output_padding"] = output_padding
    return ConvertedOp("ConvTranspose", op.inputs[:2], window)


def _cropped_transpose(op: SourceOp, window: dict[str, Any]) -> Optional[ConvertedOp]:
    """Convert to a transposed convolution as large as strides allow, cut to a size known in a run only."""
    size = op.int_vector(2)
    if size is None:
        return None
    window["output_padding"] = [stride - 1 for stride in window["strides"]]
    whole = op.before("ConvTranspose", op.inputs[:2], op.dtype(0), (None,) * 4, **window)
    return ConvertedOp("Slice", [whole, op.new_ints([0, 0]), size, op.new_ints([2, 3])])


def _same_pads(image: Any, weight: Any, strides: list[int], axis: int) -> Optional[tuple[int, int]]:
    if image is None or weight is None or image[2 + axis] is None:
        return None
    extent, stride = image[2 + axis], strides[axis]
    total = max((-(-extent // stride) - 1) * stride + weight[2 + axis] - extent, 0)
    return total // 2, total - total // 2


def _output_padding(op: SourceOp, window: dict[str, Any], output_size: list[int]) -> Optional[list[int]]:
    """Return the output padding that makes `output_size`, if the extents of the image are known."""
    image, weight = op.shape(0), op.shape(1)
    if image is None or weight is None:
        return None
    pads = window.get("pads", [0, 0, 0, 0])
    result = []
    for axis in range(2):
        extent, kernel = image[2 + axis], weight[2 + axis]
        if extent is None or kernel is None:
            return None
        size = (extent - 1) * window["strides"][axis] + (kernel - 1) * window["dilations"][axis] + 1
        result.append(output_size[axis] - (size - pads[axis] - pads[2 + axis]))
    return result if all(extra >= 0 for extra in result) else None


def _unfold(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert windows as columns: a convolution with one filter for each channel and place in the window."""
    shape = op.shape(0)
    if shape is None or shape[1] is None or op.dtype(0) != "float32":
        return None
    channels, (height, width) = shape[1], op.attributes["kernel_sizes"]
    places = height * width
    filters = np.tile(np.eye(places, dtype=np.float32), (channels, 1)).reshape(-1, 1, height, width)
    top, left, bottom, right = op.attributes["paddings"]
    window = {
        "strides": list(op.attributes["strides"]),
        "dilations": list(op.attributes["dilations"]),
        "pads": [top, left, bottom, right],
        "group": channels,
    }
    columns = op.before("Conv", [op.inputs[0], op.new_constant(filters)], "float32", (None,) * 4, **window)
    return ConvertedOp("Reshape", [columns, op.new_ints([0, channels * places, -1])])


def _conv3d(op: SourceOp) -> Optional[ConvertedOp]:
    x, weight = known_extents(op.shape(0)), [extent or 0 for extent in op.shape(1) or ()]
    y = known_extents(op.output_shapes[0] if op.output_shapes else None)
    is_explicit = op.attributes.get("padding_algorithm", "EXPLICIT") == "EXPLICIT"
    if op.attributes.get("data_format") != "NCDHW" or x is None or y is None or not weight or not is_explicit:
        return None
    channels, height, width = x[0], x[2], x[3]
    strides, dilations = list(op.attributes["strides"]), list(op.attributes["dilations"])
    pads, size = pads_of_volume(op), weight[2]
    padded = op.inputs[0]
    if pads[0] or pads[1]:
        bounds = op.new_ints([0, 0, pads[0], 0, 0, 0, 0, pads[1], 0, 0])
        padded = op.before("Pad", [padded, bounds, op.number(0)], shape=(None,) * 5, mode="constant")
    taken = [d * strides[0] + k * dilations[0] for d in range(y[1]) for k in range(size)]
    slices = op.before("Gather", [padded, op.new_ints(taken)], shape=(None,) * 5, axis=2)
    split = reshaped(op, slices, [channels, y[1], size, height, width])
    turned = op.before("Transpose", [split], shape=(None,) * 6, perm=[0, 2, 1, 3, 4, 5])
    image = op.before(
        "Reshape",
        [turned, op.new_ints([-1, channels * size, height, width])],
        shape=(None, channels * size, height, width),
    )
    flat_shape = [weight[0], -1, *weight[3:]]
    flat = op.before(
        "Reshape",
        [op.inputs[1], op.new_ints(flat_shape)],
        op.dtype(1),
        (weight[0], weight[1] * size, *weight[3:]),
    )
    window: dict[str, Any] = {
        "strides": strides[1:],
        "dilations": dilations[1:],
        "pads": [pads[2], pads[4], pads[3], pads[5]],
        "group": int(op.attributes["groups"]),
    }
    out = op.before("Conv", [image, flat], shape=(None, y[0], *y[2:]), **window)
    stacked = op.before(
        "Reshape", [out, op.new_ints([-1, y[1], y[0], *y[2:]])], shape=(None, y[1], y[0], *y[2:])
    )
    return ConvertedOp("Transpose", [stacked], {"perm": [0, 2, 1, 3, 4]})


CONVOLUTIONS: dict[str, Converter] = {
    "conv2d": _conv,
    "conv2d_transpose": _conv_transpose,
    "conv3d": _conv3d,
    "depthwise_conv2d": _conv,
    "depthwise_conv2d_transpose": _conv_transpose,
    "unfold": _unfold,
}
