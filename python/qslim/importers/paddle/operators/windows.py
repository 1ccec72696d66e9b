# SPDX-License-Identifier: Apache-2.0
"""Rows of convolutions, pooling and resizing over [N, C, H, W]."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["WINDOWS", "pool", "resize"]


def _window(op: SourceOp, dilations: bool = True) -> Optional[dict[str, Any]]:
    """strides, pads and dilations of a convolution or pooling in ONNX's form."""
    if op.attributes.get("data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        return None
    window: dict[str, Any] = {"strides": list(op.attributes["strides"])}
    if dilations:
        window["dilations"] = list(op.attributes["dilations"])
    algorithm = op.attributes.get("padding_algorithm", "EXPLICIT")
    if algorithm == "EXPLICIT":
        pads = list(op.attributes["paddings"])
        if len(pads) == 2:
            window["pads"] = [pads[0], pads[1], pads[0], pads[1]]
        else:  # Paddle: top, bottom, left, right; ONNX: top, left, bottom, right
            window["pads"] = [pads[0], pads[2], pads[1], pads[3]]
    else:
        window["auto_pad"] = "SAME_UPPER" if algorithm == "SAME" else "VALID"
        if dilations and algorithm == "SAME":
            window["dilations"] = [1, 1]  # Paddle ignores the dilation then
    return window


def _conv(op: SourceOp) -> Optional[ConvertedOp]:
    window = _window(op)
    if window is None:
        return None
    return ConvertedOp("Conv", op.inputs[:2], {**window, "group": int(op.attributes["groups"])})


def _conv_transpose(op: SourceOp) -> Optional[ConvertedOp]:
    window = _window(op)
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
    """A transposed convolution as large as its strides allow, cut to a size that is known in a run only."""
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
    """The output padding that makes `output_size`, if the extents of the image are known."""
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


def _pool2d(op: SourceOp) -> Optional[ConvertedOp]:
    kernel = None if op.attributes["global_pooling"] else op.known_ints(1)
    if kernel is None and not op.attributes["global_pooling"]:
        return None
    return pool(replace(op, attributes={**op.attributes, "kernel": kernel}))


def pool(op: SourceOp) -> Optional[ConvertedOp]:
    """The pooling of an image by the attributes of pool2d and ``kernel``, None for all of the image."""
    is_max = op.attributes["pooling_type"] == "max"
    if op.attributes.get("data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        return None
    kernel = op.attributes["kernel"]
    if op.attributes["adaptive"] and kernel is not None:
        return _adaptive(op, kernel, is_max)
    if kernel is None:
        return ConvertedOp("GlobalMaxPool" if is_max else "GlobalAveragePool", op.inputs[:1])
    window = _window(op, dilations=False)
    if window is None:
        return None
    window["kernel_shape"] = kernel
    window["ceil_mode"] = int(op.attributes["ceil_mode"])
    if not is_max:
        window["count_include_pad"] = int(not op.attributes["exclusive"])
    return ConvertedOp("MaxPool" if is_max else "AveragePool", op.inputs[:1], window)


def _adaptive(op: SourceOp, output: list[int], is_max: bool) -> Optional[ConvertedOp]:
    """Pooling to a given size. Windows of one size exist if it divides the image's."""
    if output == [1, 1]:
        return ConvertedOp(
            "GlobalMaxPool" if is_max else "GlobalAveragePool", op.inputs[:1], keeps_first_output=True
        )
    shape = op.shape(0)
    if shape is None:
        return None
    if shape[2] is None or shape[3] is None:
        return _open_maximum(op, output) if is_max else _open_mean(op, output)
    image = [shape[2], shape[3]]
    output = [extent if size <= 0 else size for extent, size in zip(image, output)]
    if any(extent % size for extent, size in zip(image, output)):
        return _uneven_maximum(op, image, output) if is_max else _uneven_mean(op, image, output)
    kernel = [extent // size for extent, size in zip(image, output)]
    if kernel == [1, 1]:
        return ConvertedOp("Identity", op.inputs[:1], keeps_first_output=True)
    window: dict[str, Any] = {
        "strides": kernel,
        "pads": [0, 0, 0, 0],
        "kernel_shape": list(kernel),
        "ceil_mode": 0,
    }
    if not is_max:
        window["count_include_pad"] = 0
    return ConvertedOp("MaxPool" if is_max else "AveragePool", op.inputs[:1], window, keeps_first_output=True)


def _uneven_windows(extent: int, size: int) -> list[range]:
    """The elements that each output of an adaptive pooling stands for; they may overlap."""
    return [range(i * extent // size, -(-(i + 1) * extent // size)) for i in range(size)]


def _uneven_mean(op: SourceOp, image: list[int], output: list[int]) -> ConvertedOp:
    """Rows times image times columns: each matrix has the shares of the elements of each window."""
    shares = []
    for extent, size in zip(image, output):
        matrix = np.zeros((size, extent), np.float32)
        for row, window in zip(matrix, _uneven_windows(extent, size)):
            row[window.start : window.stop] = 1 / len(window)
        shares.append(matrix)
    columns = op.before(
        "MatMul", [op.inputs[0], op.new_constant(shares[1].T.copy())], op.dtype(0), (None,) * 4
    )
    return ConvertedOp("MatMul", [op.new_constant(shares[0]), columns], keeps_first_output=True)


def _uneven_maximum(op: SourceOp, image: list[int], output: list[int]) -> ConvertedOp:
    """Windows made one size by repeating their last element, then pooled."""
    name, kernel = op.inputs[0], []
    for axis, (extent, size) in enumerate(zip(image, output)):
        windows = _uneven_windows(extent, size)
        longest = max(map(len, windows))
        kernel.append(longest)
        indices = [min(window.start + i, window.stop - 1) for window in windows for i in range(longest)]
        name = op.before("Gather", [name, op.new_ints(indices)], op.dtype(0), (None,) * 4, axis=2 + axis)
    window: dict[str, Any] = {"strides": kernel, "pads": [0, 0, 0, 0], "kernel_shape": kernel, "ceil_mode": 0}
    return ConvertedOp("MaxPool", [name], window, keeps_first_output=True)


def _open_windows(op: SourceOp, axis: int, size: int) -> tuple[str, str, str]:
    """First element and end of each of `size` windows over an extent that is open, and that extent."""
    extent = op.extent(axis)
    first = op.integers("Div", op.integers("Mul", op.new_ints(range(size)), extent, (size,)), size, (size,))
    ends = op.integers("Mul", op.new_ints(range(1, size + 1)), extent, (size,))
    end = op.integers("Div", op.integers("Add", ends, size - 1, (size,)), size, (size,))
    return first, end, extent


def _open_mean(op: SourceOp, output: list[int]) -> ConvertedOp:
    """``_uneven_mean`` with matrices that are made for the extents of a run."""
    name = op.inputs[0]
    products = []
    for axis, size in ((3, output[1]), (2, output[0])):
        if size <= 0:
            continue
        first, end, extent = _open_windows(op, axis, size)
        places = op.unsqueezed(op.places(extent), 0)
        column_first, column_end = op.unsqueezed(first, 1), op.unsqueezed(end, 1)
        inside = op.before(
            "And",
            [
                op.before("GreaterOrEqual", [places, column_first], "bool", (size, None)),
                op.before("Less", [places, column_end], "bool", (size, None)),
            ],
            "bool",
            (size, None),
        )
        counts = op.before(
            "Cast", [op.integers("Sub", column_end, column_first, (size, 1))], "float32", (size, 1), to=1
        )
        shares = op.before(
            "Div",
            [op.before("Cast", [inside], "float32", (size, None), to=1), counts],
            "float32",
            (size, None),
        )
        if axis == 3:
            shares = op.before("Transpose", [shares], "float32", (None, size), perm=[1, 0])
        products.append((axis, shares))
    if not products:
        return ConvertedOp("Identity", [name], keeps_first_output=True)
    for axis, shares in products[:-1]:
        name = op.before("MatMul", [name, shares] if axis == 3 else [shares, name], op.dtype(0), (None,) * 4)
    axis, shares = products[-1]
    return ConvertedOp("MatMul", [name, shares] if axis == 3 else [shares, name], keeps_first_output=True)


def _open_maximum(op: SourceOp, output: list[int]) -> ConvertedOp:
    """The elements of each window, the last one repeated, as an axis of their own; then its largest."""
    name = op.inputs[0]
    axes = [axis for axis, size in ((2, output[0]), (3, output[1])) if size > 0]
    if not axes:
        return ConvertedOp("Identity", [name], keeps_first_output=True)
    for axis in axes:
        size = output[axis - 2]
        first, end, extent = _open_windows(op, axis, size)
        longest = op.integers("Add", op.integers("Div", extent, size), 2)
        steps = op.unsqueezed(op.places(longest), 0)
        beyond = op.integers("Add", op.unsqueezed(first, 1), steps, (size, None))
        last = op.integers("Sub", op.unsqueezed(end, 1), 1, (size, 1))
        indices = op.integers("Min", beyond, last, (size, None))
        windows = op.before("Gather", [name, indices], op.dtype(0), (None,) * 5, axis=axis)
        reduced = [windows, op.new_ints([axis + 1])]
        if axis == axes[-1]:
            break
        name = op.before("ReduceMax", reduced, op.dtype(0), (None,) * 4, keepdims=0)
    return ConvertedOp("ReduceMax", reduced, {"keepdims": 0}, keeps_first_output=True)


def _max_pool_with_index(op: SourceOp) -> Optional[ConvertedOp]:
    """What adaptive_max_pool2d is saved as; the indices are dropped."""
    kernel = list(op.attributes["kernel_size"])
    if op.attributes["global_pooling"]:
        return ConvertedOp("GlobalMaxPool", op.inputs[:1], keeps_first_output=True)
    if op.attributes["adaptive"]:
        return _adaptive(op, kernel, is_max=True)
    window = _window(op, dilations=False)
    if window is None:
        return None
    window["kernel_shape"] = kernel
    window["ceil_mode"] = int(op.attributes.get("ceil_mode", False))
    return ConvertedOp("MaxPool", op.inputs[:1], window, keeps_first_output=True)


def resize(op: SourceOp) -> Optional[ConvertedOp]:
    """*_interp of images: image, out_size, size_tensor (list), scale_tensor."""
    if op.attributes.get("data_format", "NCHW") != "NCHW" or op.rank(0) != 4:
        return None
    attributes: dict[str, Any] = {"axes": [2, 3]}
    is_cornered = op.attributes["align_corners"]
    if op.name == "nearest_interp":
        attributes["mode"] = "nearest"
        attributes["nearest_mode"] = "round_prefer_ceil" if is_cornered else "floor"
        where = "asymmetric"
    elif op.name == "bicubic_interp":
        attributes.update(mode="cubic", cubic_coeff_a=-0.75)
        where = "half_pixel"
    else:
        attributes["mode"] = "linear"
        where = "asymmetric" if op.attributes["align_mode"] == 1 else "half_pixel"
    attributes["coordinate_transformation_mode"] = "align_corners" if is_cornered else where
    operands = [*op.operands, "", "", ""]
    if operands[3]:
        return None  # a scale that is computed
    sizes = op.int_vector(2) if operands[2] else op.int_vector(1) if operands[1] else None
    if sizes is None:
        scale = [float(value) for value in op.attributes.get("scale") or []]
        height, width = op.attributes["out_h"], op.attributes["out_w"]
        if scale and all(value > 0 for value in scale):
            pair = scale * 2 if len(scale) == 1 else scale
            scales = op.new_constant(np.asarray(pair, np.float32))
            return ConvertedOp("Resize", [op.inputs[0], "", scales], attributes)
        if height <= 0 or width <= 0:
            return None
        sizes = op.new_ints([height, width])
    return ConvertedOp("Resize", [op.inputs[0], "", "", sizes], attributes)


def _pixel_shuffle(op: SourceOp) -> Optional[ConvertedOp]:
    if op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    attributes = {"blocksize": int(op.attributes["upscale_factor"]), "mode": "CRD"}
    return ConvertedOp("DepthToSpace", op.inputs, attributes)


def _pixel_unshuffle(op: SourceOp) -> Optional[ConvertedOp]:
    """SpaceToDepth puts the place in a block before the channel, Paddle the channel before the place."""
    shape, block = op.shape(0), int(op.attributes["downscale_factor"])
    if shape is None or shape[1] is None or op.attributes.get("data_format", "NCHW") != "NCHW":
        return None
    blocks = op.before("SpaceToDepth", op.inputs[:1], op.dtype(0), (None,) * 4, blocksize=block)
    order = np.arange(shape[1] * block * block).reshape(block * block, -1).T
    return ConvertedOp("Gather", [blocks, op.new_ints(order.reshape(-1))], {"axis": 1})


def _grid_sample(op: SourceOp) -> Optional[ConvertedOp]:
    if op.rank(0) != 4:
        return None
    attributes = {
        "mode": "nearest" if op.attributes["mode"] == "nearest" else "linear",
        "padding_mode": str(op.attributes["padding_mode"]),
        "align_corners": int(op.attributes["align_corners"]),
    }
    return ConvertedOp("GridSample", op.inputs[:2], attributes)


def _unfold(op: SourceOp) -> Optional[ConvertedOp]:
    """Windows as columns: a convolution with one filter for each channel and place in the window."""
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


WINDOWS: dict[str, Converter] = {
    "bicubic_interp": resize,
    "bilinear_interp": resize,
    "conv2d": _conv,
    "conv2d_transpose": _conv_transpose,
    "depthwise_conv2d": _conv,
    "depthwise_conv2d_transpose": _conv_transpose,
    "grid_sample": _grid_sample,
    "max_pool2d_with_index": _max_pool_with_index,
    "nearest_interp": resize,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "pool2d": _pool2d,
    "unfold": _unfold,
}
