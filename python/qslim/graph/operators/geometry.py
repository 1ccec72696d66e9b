# SPDX-License-Identifier: Apache-2.0
"""Pads and extents of windows that slide over [N, C, H, W], for convolutions and pools."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from qslim.graph.operators.operator import Array, Attributes, Shape

__all__ = ["image_shape", "pads_of", "window_extent", "windows_of"]


def pads_of(
    attributes: Attributes, extents: tuple[int, ...], kernel: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Return the pads (begin, end) of H and W. `kernel` counts the dilation in."""
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


def windows_of(x: Array, kernel: tuple[int, ...], strides: Any, dilations: Any) -> Array:
    """Return a view of `x` as [N, C, OH, OW, KH, KW]."""
    spans = tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations))
    view = sliding_window_view(x, spans, axis=(2, 3))
    return np.asarray(view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]])


def window_extent(attributes: Attributes, axis: int, extent: int, kernel: int) -> int:
    """Return the output extent of a convolution or pooling along H (axis 0) or W (axis 1)."""
    stride = int(attributes.get("strides", [1, 1])[axis])
    if attributes.get("auto_pad", "NOTSET").startswith("SAME"):
        return -(-extent // stride)
    pads = (
        attributes.get("pads", [0, 0, 0, 0]) if attributes.get("auto_pad", "NOTSET") == "NOTSET" else [0] * 4
    )
    span = (kernel - 1) * int(attributes.get("dilations", [1, 1])[axis]) + 1
    room = extent + int(pads[axis]) + int(pads[axis + 2]) - span
    if room < 0:
        raise ValueError(f"the window spans {span} of {extent} elements")
    return (-(-room // stride) if attributes.get("ceil_mode", 0) else room // stride) + 1


def image_shape(shape: Shape) -> Shape:
    if len(shape) != 4:
        raise ValueError(f"expected an image of 4 dimensions, got {len(shape)}")
    return shape
