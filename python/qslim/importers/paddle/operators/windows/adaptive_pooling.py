# SPDX-License-Identifier: Apache-2.0
"""Pooling of images to a given size, by windows that may differ in size and overlap."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, SourceOp

__all__ = ["adaptive_pool"]


def adaptive_pool(op: SourceOp, output: list[int], is_max: bool) -> Optional[ConvertedOp]:
    """Pool images to the size `output`; windows have one size if it divides the image's."""
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
    """Return the range of elements of each output of an adaptive pooling; ranges may overlap."""
    return [range(i * extent // size, -(-(i + 1) * extent // size)) for i in range(size)]


def _uneven_mean(op: SourceOp, image: list[int], output: list[int]) -> ConvertedOp:
    """Convert to rows times image times columns: matrices of the elements' shares in each window."""
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
    """Convert to a pool of windows that are made one size by repeating their last element."""
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
    """Return first element and end of each of `size` windows over an open extent, and that extent."""
    extent = op.extent(axis)
    first = op.integers("Div", op.integers("Mul", op.new_ints(range(size)), extent, (size,)), size, (size,))
    ends = op.integers("Mul", op.new_ints(range(1, size + 1)), extent, (size,))
    end = op.integers("Div", op.integers("Add", ends, size - 1, (size,)), size, (size,))
    return first, end, extent


def _open_mean(op: SourceOp, output: list[int]) -> ConvertedOp:
    """Convert as ``_uneven_mean`` does, with matrices that are made for the extents of a run."""
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
    """Convert to the maximum over a new axis of each window's elements, the last one repeated."""
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
