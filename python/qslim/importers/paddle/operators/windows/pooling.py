# SPDX-License-Identifier: Apache-2.0
"""Rows of pooling over [N, C, H, W] and [N, C, D, H, W].

Pooling of volumes works on H and W of [N, C * D, H, W] first and on D of [N, C, D, H * W] then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp, known_extents
from qslim.importers.paddle.operators.volumes import convert_images, pads_of_volume, reshaped
from qslim.importers.paddle.operators.window_attributes import window_attributes
from qslim.importers.paddle.operators.windows.adaptive_pooling import adaptive_pool

__all__ = ["POOLING"]


def _pool2d(op: SourceOp) -> Optional[ConvertedOp]:
    kernel = None if op.attributes["global_pooling"] else op.known_ints(1)
    if kernel is None and not op.attributes["global_pooling"]:
        return None
    return _pool(replace(op, attributes={**op.attributes, "kernel": kernel}))


def _pool(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert pooling of an image by the attributes of pool2d and ``kernel``, None for all of the image."""
    is_max = op.attributes["pooling_type"] == "max"
    if op.attributes.get("data_format", "NCHW") not in ("NCHW", "AnyLayout"):
        return None
    kernel = op.attributes["kernel"]
    if op.attributes["adaptive"] and kernel is not None:
        return adaptive_pool(op, kernel, is_max)
    if kernel is None:
        return ConvertedOp("GlobalMaxPool" if is_max else "GlobalAveragePool", op.inputs[:1])
    window = window_attributes(op, dilations=False)
    if window is None:
        return None
    window["kernel_shape"] = kernel
    window["ceil_mode"] = int(op.attributes["ceil_mode"])
    if not is_max:
        window["count_include_pad"] = int(not op.attributes["exclusive"])
    return ConvertedOp("MaxPool" if is_max else "AveragePool", op.inputs[:1], window)


def _max_pool_with_index(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert what adaptive_max_pool2d is saved as; drop the indices."""
    kernel = list(op.attributes["kernel_size"])
    if op.attributes["global_pooling"]:
        return ConvertedOp("GlobalMaxPool", op.inputs[:1], keeps_first_output=True)
    if op.attributes["adaptive"]:
        return adaptive_pool(op, kernel, is_max=True)
    window = window_attributes(op, dilations=False)
    if window is None:
        return None
    window["kernel_shape"] = kernel
    window["ceil_mode"] = int(op.attributes.get("ceil_mode", False))
    return ConvertedOp("MaxPool", op.inputs[:1], window, keeps_first_output=True)


def _pool3d(op: SourceOp) -> Optional[ConvertedOp]:
    x, y = known_extents(op.shape(0)), known_extents(op.output_shapes[0] if op.output_shapes else None)
    if op.attributes.get("data_format", "NCDHW") != "NCDHW" or x is None or y is None:
        return None
    channels, depth = x[0], x[1]
    kernel = [int(extent) for extent in op.attributes["kernel_size"]]
    if op.attributes["global_pooling"]:
        kernel = [1, 1, 1] if op.attributes["adaptive"] else x[1:]
    pads, strides = pads_of_volume(op), list(op.attributes.get("strides", [1, 1, 1]))
    kind = op.attributes.get("pooling_type", "max")

    def images(kernel: list[int], strides: list[int], pads: list[int]) -> dict[str, Any]:
        return {"kernel": kernel, "strides": strides, "paddings": pads, "pooling_type": kind}

    name: Optional[str] = reshaped(op, op.inputs[0], [channels * depth, *x[2:]])
    adaptive = bool(op.attributes["adaptive"])
    changes = images(kernel[1:], strides[1:], pads[2:])
    name = convert_images(op, name or "", [channels * depth, *y[2:]], _pool, **changes)
    if name is None:
        return None
    name = reshaped(op, name, [channels, depth, y[2] * y[3]])
    changes = images([kernel[0], y[2] * y[3] if adaptive else 1], [strides[0], 1], [*pads[:2], 0, 0])
    name = convert_images(op, name, [channels, y[1], y[2] * y[3]], _pool, **changes)
    if name is None:
        return None
    return ConvertedOp("Reshape", [name, op.new_ints([0, *y])], keeps_first_output=True)


POOLING: dict[str, Converter] = {
    "max_pool2d_with_index": _max_pool_with_index,
    "max_pool3d_with_index": _pool3d,
    "pool2d": _pool2d,
    "pool3d": _pool3d,
}
