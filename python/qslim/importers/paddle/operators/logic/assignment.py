# SPDX-License-Identifier: Apache-2.0
"""Rows of assignments to a part of a tensor: ``x[1:3, ::2] = y``, ``x[mask] = 0``.

The result takes the value where a mask holds and the old element elsewhere. Along an axis of the slice the
mask and the place in the value are computed of the elements' places p, for a start s, an end e and a step d:

    p >= s and p < e and (p - s) % d == 0          place = (p - s) / d
"""

from __future__ import annotations

from typing import Optional, Union

import numpy as np

from qslim.importers.paddle.operators.source_op import ConvertedOp, Converter, SourceOp

__all__ = ["ASSIGNMENT"]

_FURTHEST = 2**31 - 1  # Paddle's end of a slice that has none


def _set_value(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert an assignment to a slice; the values are attributes, or operand 1 of set_value_with_tensor."""
    has_tensor = op.name == "set_value_with_tensor"
    first = 2 if has_tensor else 1
    axes, steps = list(op.attributes["axes"]), op.known_ints(first + 2)
    bounds = [_bounds(op, first + index, len(axes)) for index in (0, 1)]
    rank, dtype = op.rank(0), op.dtype(0)
    starts, ends = bounds
    if steps is None or starts is None or ends is None or rank is None or list(op.attributes["none_axes"]):
        return None
    if has_tensor:
        given, value_rank = op.inputs[1], op.rank(1)
    else:
        shape = [int(extent) for extent in op.attributes["shape"]]
        array = np.asarray(list(op.attributes["values"]), dtype).reshape(shape)
        given, value_rank = op.new_constant(array), len(shape)
    decreased = [int(axis) for axis in op.attributes["decrease_axes"]]
    value = _as_wide(op, given, value_rank, rank, decreased)
    if value is None:
        return None
    mask = ""
    for axis, start, end, step in zip(axes, starts, ends, steps):
        held, place = _along(op, int(axis), start, end, step)
        value = _placed(op, value, place, int(axis), rank)
        trailing = rank - 1 - int(axis)
        column = [*range(1, 1 + trailing)]
        if column:
            held = op.before("Unsqueeze", [held, op.new_ints(column)], "bool", (None,) * (1 + trailing))
        mask = held if not mask else op.before("And", [mask, held], "bool", (None,) * rank)
    if not mask:
        return ConvertedOp("Expand", [value, op.before("Shape", op.inputs[:1], "int64", (rank,))])
    return ConvertedOp("Where", [mask, value, op.inputs[0]])


def _bounds(op: SourceOp, index: int, count: int) -> Optional[list[Union[int, str]]]:
    """Return starts or ends as numbers where they are known, else as scalars of int64."""
    known = op.known_ints(index)
    if known is not None:
        return list(known)
    vector = op.int_vector(index)
    if vector is None:
        return None
    return [
        op.before("Gather", [vector, op.new_constant(np.asarray(at, np.int64))], "int64", (), axis=0)
        for at in range(count)
    ]


def _as_wide(
    op: SourceOp, value: str, value_rank: Optional[int], rank: int, decreased: list[int]
) -> Optional[str]:
    """Give `value` one axis for each of the tensor's, those of which the slice takes one element included."""
    if value_rank is None or value_rank > rank:
        return None
    kept = rank - len(decreased)
    leading = max(0, kept - value_rank)
    if value_rank > kept:  # a value of one element that is written with too many axes
        decreased = decreased[value_rank - kept :]
    axes = [*range(leading)]
    if axes:
        value = op.before(
            "Unsqueeze", [value, op.new_ints(axes)], op.dtype(0), (None,) * (value_rank + leading)
        )
    if decreased:
        value = op.before("Unsqueeze", [value, op.new_ints(sorted(decreased))], op.dtype(0), (None,) * rank)
    return value


def _along(
    op: SourceOp, axis: int, start: Union[int, str], end: Union[int, str], step: int
) -> tuple[str, str]:
    """Return two vectors over `axis`: True where the slice holds a place, and its index in the value."""
    extent = op.extent(axis)
    places = op.places(extent)
    lowest, highest = (op.new_constant(np.asarray(number, np.int64)) for number in (0, -1))
    if step > 0:
        first, stop = _counted(op, start, extent), _counted(op, end, extent)
        parts = [("GreaterOrEqual", places, first), ("Less", places, stop)]
        distance = op.integers("Sub", places, first, (None,))
    else:  # backwards from `first`, not as far as `stop`
        last = op.integers("Sub", extent, 1)
        first = op.integers("Min", _counted(op, start, extent), last)
        is_open = isinstance(end, int) and end < -_FURTHEST
        stop = highest if is_open else _counted(op, end, extent)
        parts = [("LessOrEqual", places, first), ("Greater", places, stop)]
        distance = op.integers("Sub", first, places, (None,))
    if abs(step) > 1:
        rest = op.integers("Mod", distance, abs(step), (None,))
        parts.append(("Equal", rest, lowest))
        distance = op.integers("Div", distance, abs(step), (None,))
    held = [op.before(kind, [a, b], "bool", (None,)) for kind, a, b in parts]
    mask = held[0]
    for other in held[1:]:
        mask = op.before("And", [mask, other], "bool", (None,))
    return mask, op.integers("Max", distance, 0, (None,))


def _counted(op: SourceOp, bound: Union[int, str], extent: str) -> str:
    """Return `bound` counted from the front; it may be counted from the end of the axis."""
    if isinstance(bound, int):
        if bound >= 0:
            return op.new_constant(np.asarray(bound, np.int64))
        return op.integers("Max", op.integers("Add", extent, bound), 0)
    is_negative = op.before("Less", [bound, op.new_constant(np.asarray(0, np.int64))], "bool", ())
    return op.before("Where", [is_negative, op.integers("Add", bound, extent), bound], "int64", ())


def _placed(op: SourceOp, value: str, place: str, axis: int, rank: int) -> str:
    """Take `value` along `axis` at `place`; return it as it is where it has one element there."""
    shape = op.graph.tensors[value].shape
    extent = op.graph.constant(value)
    if (extent is not None and extent.shape[axis] == 1) or (shape is not None and shape[axis] == 1):
        return value
    whole = op.before("Shape", [value], "int64", (rank,))
    count = op.before("Gather", [whole, op.new_constant(np.asarray(axis, np.int64))], "int64", (), axis=0)
    inside = op.integers("Min", place, op.integers("Sub", count, 1), (None,))
    return op.before("Gather", [value, inside], op.dtype(0), (None,) * rank, axis=axis)


def _index_put(op: SourceOp) -> Optional[ConvertedOp]:
    """Convert x[mask] = number and x[[0, 2]] = number; operands are x, a list of indices and the value."""
    indices = op.operands[1]
    value_shape, rank = op.shape(len(op.inputs) - 1), op.rank(0)
    is_number = value_shape is not None and all(extent == 1 for extent in value_shape)
    if not isinstance(indices, list) or len(indices) != 1 or op.attributes.get("accumulate") or not is_number:
        return None
    index = op.graph.tensors[indices[0]]
    x_shape = op.shape(0)
    if rank is None or index.shape is None or x_shape is None:
        return None
    held, held_rank = indices[0], len(index.shape)
    if index.dtype in ("int32", "int64"):
        if held_rank != 1:
            return None
        if index.dtype == "int32":
            held = op.before("Cast", [held], "int64", index.shape, to=7)
        extent = op.extent(0)
        counted = op.before(
            "Where",
            [
                op.before("Less", [held, op.new_constant(np.asarray(0, np.int64))], "bool", index.shape),
                op.integers("Add", held, extent, index.shape),
                held,
            ],
            "int64",
            index.shape,
        )
        lines = [op.unsqueezed(op.places(extent), 1), op.unsqueezed(counted, 0)]
        meets = op.before(
            "Cast", [op.before("Equal", lines, "bool", (None, None))], "float32", (None, None), to=1
        )
        most = op.before("ReduceMax", [meets, op.new_ints([1])], "float32", (None,), keepdims=0)
        half = op.new_constant(np.asarray(0.5, np.float32))
        held, held_rank = op.before("Greater", [most, half], "bool", (None,)), 1
    elif index.dtype != "bool" or not _covers(index.shape, x_shape):
        return None
    trailing = [*range(held_rank, rank)]
    if trailing:
        held = op.before("Unsqueeze", [held, op.new_ints(trailing)], "bool", (None,) * rank)
    number = op.before("Reshape", [op.inputs[-1], op.new_ints([1] * rank)], op.dtype(0), (1,) * rank)
    return ConvertedOp("Where", [held, number, op.inputs[0]])


def _covers(mask: tuple[Optional[int], ...], shape: tuple[Optional[int], ...]) -> bool:
    """Return True if a mask covers the first axes of a tensor; a Where would broadcast any other."""
    return mask == shape[: len(mask)]


ASSIGNMENT: dict[str, Converter] = {
    "index_put": _index_put,
    "set_value": _set_value,
    "set_value_with_tensor": _set_value,
}
