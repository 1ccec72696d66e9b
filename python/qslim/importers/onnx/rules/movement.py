# SPDX-License-Identifier: Apache-2.0
"""Rules for operators that move elements, and for constants and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from qslim.importers.onnx.builder import Builder, OnnxNode
from qslim.importers.onnx.rules.rule import Rule, alike, refuse_unless

__all__ = ["MOVEMENT", "with_axes_input"]


def with_axes_input(builder: Builder, node: OnnxNode) -> list[str]:
    """Return data and axes, which older opsets have as an attribute."""
    if "axes" in node.attributes:
        return [node.inputs[0], builder.constant(node.attributes["axes"], dtype=np.int64)]
    return [name for name in node.inputs[:2] if name]


def _squeeze(builder: Builder, node: OnnxNode) -> None:
    builder.emit(node.op_type, with_axes_input(builder, node), node.outputs)


def _constant(builder: Builder, node: OnnxNode) -> None:
    ((name, value),) = node.attributes.items() if len(node.attributes) == 1 else [("", None)]
    kinds: dict[str, Any] = {"value_float": np.float32, "value_floats": np.float32}
    kinds.update(value_int=np.int64, value_ints=np.int64, value=None)
    if refuse_unless(
        name in kinds and value is not None, builder, node, f"a constant by {name!r} is not there"
    ):
        return
    array = np.asarray(value, kinds[name])
    tensor = builder.graph.tensors.get(node.outputs[0])
    if tensor is not None:
        tensor.value, tensor.dtype, tensor.shape = array, str(array.dtype), array.shape
    else:
        source = builder.constant(array)
        builder.emit("Identity", [source], node.outputs, shape=array.shape)


def _constant_of_shape(builder: Builder, node: OnnxNode) -> None:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).reshape(-1)[:1]
    shape = builder.ints(node.inputs[0])
    if shape is not None:
        source = builder.constant(np.full(shape, value[0], value.dtype))
        builder.emit("Identity", [source], node.outputs, shape=tuple(shape))
        return
    number = builder.constant(value[0])
    builder.emit("Expand", [number, node.inputs[0]], node.outputs, dtype=str(value.dtype))


def _pad(builder: Builder, node: OnnxNode) -> None:
    attributes = {"mode": node.attributes.get("mode", "constant")}
    inputs = [node.inputs[0]]
    if "pads" in node.attributes:
        inputs += [builder.constant(node.attributes["pads"], dtype=np.int64)]
        inputs += [builder.number(node.inputs[0], node.attributes.get("value", 0.0))]
    else:
        pads = node.inputs[1]
        if node.input(3):
            spread = _whole_pads(builder, node)
            if refuse_unless(
                spread is not None, builder, node, "axes or pads that are computed are not there"
            ):
                return
            pads = builder.constant(spread, dtype=np.int64)  # type: ignore[arg-type]
        inputs += [pads, *([node.input(2)] if node.input(2) else [])]
    builder.emit("Pad", inputs, node.outputs, **attributes)


def _whole_pads(builder: Builder, node: OnnxNode) -> Optional[list[int]]:
    """Return pads for every axis."""
    axes, pads, rank = builder.ints(node.input(3)), builder.ints(node.inputs[1]), builder.rank(node.inputs[0])
    if axes is None or pads is None or rank is None:
        return None
    whole = [0] * (2 * rank)
    for index, axis in enumerate(axes):
        whole[axis % rank], whole[axis % rank + rank] = pads[index], pads[index + len(axes)]
    return whole


def _slice(builder: Builder, node: OnnxNode) -> None:
    if "starts" not in node.attributes:
        builder.emit("Slice", node.inputs, node.outputs)
        return
    starts = node.attributes["starts"]
    axes = node.attributes.get("axes", list(range(len(starts))))
    bounds = [builder.constant(each, dtype=np.int64) for each in (starts, node.attributes["ends"], axes)]
    builder.emit("Slice", [node.inputs[0], *bounds], node.outputs)


def _split(builder: Builder, node: OnnxNode) -> None:
    attributes: dict[str, Any] = {"axis": int(node.attributes.get("axis", 0))}
    inputs = [node.inputs[0]]
    if "split" in node.attributes:
        inputs.append(builder.constant(node.attributes["split"], dtype=np.int64))
    elif node.input(1):
        inputs.append(node.input(1))
    else:
        attributes["num_outputs"] = int(node.attributes.get("num_outputs", len(node.outputs)))
    builder.emit("Split", inputs, node.outputs, **attributes)


def _transpose(builder: Builder, node: OnnxNode) -> None:
    perm, rank = node.attributes.get("perm"), builder.rank(node.inputs[0])
    if perm is None and rank is not None:
        perm = list(range(rank))[::-1]
    builder.emit("Transpose", node.inputs, node.outputs, **({} if perm is None else {"perm": perm}))


def _reshape(builder: Builder, node: OnnxNode) -> None:
    if node.attributes.get("allowzero", 0):
        builder.emit("Reshape", node.inputs, node.outputs, allowzero=1)
    else:
        builder.emit("Reshape", node.inputs, node.outputs)


def _size(builder: Builder, node: OnnxNode) -> None:
    shape = builder.emit("Shape", node.inputs, dtype="int64")
    builder.emit("ReduceProd", [shape], node.outputs, dtype="int64", keepdims=0)


def _flatten_axis(builder: Builder, node: OnnxNode) -> None:
    builder.emit("Flatten", node.inputs, node.outputs, axis=int(node.attributes.get("axis", 1)))


def _eye_like(builder: Builder, node: OnnxNode) -> None:
    shape = builder.graph.tensors[node.inputs[0]].shape
    numbers = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 11: "float64", 10: "float32"}
    dtype = numbers.get(int(node.attributes.get("dtype", 0)), builder.dtype(node.inputs[0]))
    is_known = shape is not None and len(shape) == 2 and None not in shape
    if refuse_unless(is_known, builder, node, "of a matrix with open extents is not there"):
        return
    rows, columns = shape  # type: ignore[misc]
    value = np.eye(int(rows or 0), int(columns or 0), int(node.attributes.get("k", 0)), np.dtype(dtype))
    builder.emit("Identity", [builder.constant(value)], node.outputs, shape=value.shape)


def _one_hot(builder: Builder, node: OnnxNode) -> None:
    """Compare the indices, negative ones from the end, with all places along a new axis."""
    depth, axis, rank = builder.ints(node.inputs[1]), int(node.attributes.get("axis", -1)), None
    rank = builder.rank(node.inputs[0])
    if refuse_unless(depth is not None and rank is not None, builder, node, "a computed depth is not there"):
        return
    assert depth is not None
    assert rank is not None
    indices, count = node.inputs[0], depth[0]
    integers = builder.emit("Cast", [indices], dtype="int64", to=7)
    wrapped = builder.emit("Mod", [integers, builder.constant(np.int64(count))])
    is_inside = _between(builder, integers, -count, count)
    at = axis % (rank + 1)
    new_axis = builder.constant([at], dtype=np.int64)
    spread = [1] * (rank + 1)
    spread[at] = count
    places = builder.constant(np.arange(count, dtype=np.int64).reshape(spread))
    equal = builder.emit("Equal", [builder.emit("Unsqueeze", [wrapped, new_axis]), places], dtype="bool")
    chosen = builder.emit("And", [equal, builder.emit("Unsqueeze", [is_inside, new_axis])], dtype="bool")
    values = node.inputs[2]
    off, on = (
        builder.emit("Gather", [values, builder.constant(np.int64(index))], axis=0) for index in (0, 1)
    )
    builder.emit("Where", [chosen, on, off], node.outputs, dtype=builder.dtype(values))


def _between(builder: Builder, x: str, low: int, high: int) -> str:
    bounds: Sequence[str] = [builder.constant(np.int64(bound)) for bound in (low, high)]
    least = builder.emit("GreaterOrEqual", [x, bounds[0]], dtype="bool")
    return builder.emit("And", [least, builder.emit("Less", [x, bounds[1]], dtype="bool")], dtype="bool")


def _space_to_depth(builder: Builder, node: OnnxNode) -> None:
    mode = node.attributes.get("mode", "DCR")
    if refuse_unless(mode == "DCR", builder, node, f"mode {mode!r} is not there"):
        return
    builder.emit("SpaceToDepth", node.inputs, node.outputs, blocksize=int(node.attributes["blocksize"]))


def _cast_integers(builder: Builder, name: str) -> Optional[str]:
    """Return the int64 tensor that `name` is cast from, if it is."""
    node = builder.graph.producer(name)
    is_cast = node is not None and node.op_type == "Cast" and builder.dtype(node.inputs[0]) == "int64"
    return node.inputs[0] if node is not None and is_cast else None


def _range(builder: Builder, node: OnnxNode) -> None:
    """Count in integers; of floats where start and step are whole."""
    dtype = builder.dtype(node.inputs[0])
    if dtype == "int64":
        builder.emit("Range", node.inputs, node.outputs)
        return
    start, limit, step = node.inputs
    fixed = [builder.value(name) for name in (start, step)]
    whole = all(value is not None and np.all(value == np.round(value)) for value in fixed)
    numbers = {"float32": 1, "int32": 6}
    if refuse_unless(whole and dtype in numbers, builder, node, "of broken numbers is not there"):
        return
    bounds = [builder.constant(np.asarray(value).astype(np.int64).reshape(())) for value in fixed]
    end = builder.value(limit)
    if end is not None:
        last = builder.constant(np.ceil(end).astype(np.int64).reshape(()))
    elif (source := _cast_integers(builder, limit)) is not None:
        last = source
    else:
        rounded = builder.emit("Ceil", [limit]) if dtype == "float32" else limit
        last = builder.emit("Cast", [rounded], dtype="int64", to=7)
    counted = builder.emit("Range", [bounds[0], last, bounds[1]], dtype="int64")
    builder.emit("Cast", [counted], node.outputs, dtype=dtype, to=numbers[dtype])


MOVEMENT: dict[str, Rule] = {
    **alike(("Concat", "DepthToSpace", "Expand", "Shape", "Tile", "Trilu")),
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "EyeLike": _eye_like,
    "Flatten": _flatten_axis,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _squeeze,
}
