# SPDX-License-Identifier: Apache-2.0
"""Conversion of QuantizeLinear and DequantizeLinear to annotations.

    QuantizeLinear -> DequantizeLinear            an Identity whose result has the parameters
    the same with operators that move elements    they move real values, and the parameters go along
    integers -> DequantizeLinear                  a constant of real values with the parameters

Integers that anything else reads are computed: clip(round(x / scale) + zero point).
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.graph.operators import OPERATORS
from qslim.graph.operators.operator import Movement
from qslim.graph.passes.merge_quantizers import merge_quantizers, same_params

__all__ = ["read_quantizers"]

_MOVES = {Movement.VIEW, Movement.PERMUTE, Movement.PICK}
_CASTS = {"uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6}


def read_quantizers(graph: Graph) -> None:
    """Turn the quantizing operators of `graph`, which ONNX's rules have left, into annotations, in place."""
    params_of: dict[str, QuantParams] = {}  # integers that are real values by now
    for node in list(graph.nodes):
        if node.domain:
            continue
        if node.op_type == "QuantizeLinear":
            _read_quantize(graph, node, params_of)
        elif node.op_type == "DequantizeLinear":
            _read_dequantize(graph, node, params_of)
        elif node.inputs and node.inputs[0] in params_of:
            params = params_of[node.inputs[0]]
            for name in filter(None, node.outputs):
                params_of[name] = params
                graph.tensors[name].dtype = "float32"
    merge_quantizers(graph)


def _params(graph: Graph, node: Node) -> Optional[QuantParams]:
    """Return the parameters that `node` quantizes or dequantizes with; None if no annotation says them."""
    scale, zero = graph.constant(node.inputs[1]), None
    if len(node.inputs) > 2 and node.inputs[2]:
        zero = graph.constant(node.inputs[2])
    dtype = np.dtype(graph.tensors[node.inputs[2]].dtype) if zero is not None else None
    if dtype is None:
        integers = node.inputs[0] if node.op_type == "DequantizeLinear" else node.outputs[0]
        dtype = np.dtype(graph.tensors[integers].dtype)
    zeros = np.zeros(1, np.int64) if zero is None else np.unique(zero.astype(np.int64))
    if scale is None or len(zeros) != 1 or dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    if "block_size" in node.attributes or not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    axis: Optional[int] = None
    steps = np.asarray(scale, np.float32)
    if steps.size == 1:
        steps = steps.reshape(())
    else:
        shape = graph.tensors[node.inputs[0]].shape
        if shape is None:
            return None
        axis = int(node.attributes["axis"]) % len(shape)
    bounds = np.iinfo(dtype)
    return QuantParams(steps, int(zeros[0]), int(bounds.min), int(bounds.max), axis)


def _read_quantize(graph: Graph, node: Node, params_of: dict[str, QuantParams]) -> None:
    """Make an annotated Identity of the node, if all its readers can take real values; else compute."""
    params, target = _params(graph, node), node.outputs[0]
    if params is not None and params.quant_axis is None and _takes_reals(graph, target, params):
        graph.replace_node(node, [_like(node, "Identity", [node.inputs[0]], [target])])
        tensor = graph.tensors[target]
        tensor.dtype, tensor.quantization = "float32", params
        params_of[target] = params
        return
    _compute(graph, node)


def _takes_reals(graph: Graph, name: str, params: QuantParams) -> bool:
    """Return True if every reader of integers `name`, through moves, is a DequantizeLinear of `params`."""
    if name in graph.outputs:
        return False
    for reader in graph.consumers(name):
        row = None if reader.domain else OPERATORS.get(reader.op_type)
        if reader.op_type == "DequantizeLinear" and not reader.domain:
            own = _params(graph, reader)
            if own is None or not same_params(own, params):
                return False
        else:
            moves = row is not None and row.movement in _MOVES and reader.inputs[0] == name
            results = [out for out in reader.outputs if out]
            if not moves or not all(_takes_reals(graph, out, params) for out in results):
                return False
    return True


def _read_dequantize(graph: Graph, node: Node, params_of: dict[str, QuantParams]) -> None:
    source, target = node.inputs[0], node.outputs[0]
    value = graph.constant(source)
    if source in params_of:
        graph.replace_node(node, [_like(node, "Identity", [source], [target])])
        return
    if value is not None:
        _make_constant(graph, node, value)
        return
    # x = (integers - zero point) * scale
    real = _new(graph, f"{target}.real", "float32")
    steps = [_like(node, "Cast", [source], [real], to=1)]
    scale = _broadcast(graph, node, node.inputs[1], np.dtype(np.float32))
    if len(node.inputs) > 2 and node.inputs[2]:
        zero = _broadcast(graph, node, node.inputs[2], np.dtype(np.float32))
        centred = _new(graph, f"{target}.centred", "float32")
        steps.append(_like(node, "Sub", [real, zero], [centred]))
        real = centred
    graph.replace_node(node, [*steps, _like(node, "Mul", [real, scale], [target])])


def _make_constant(graph: Graph, node: Node, value: np.ndarray) -> None:
    """Replace the node by the real values of constant integers, annotated where they are a weight's."""
    params, target = _params(graph, node), graph.tensors[node.outputs[0]]
    if params is not None and params.dtype == np.uint8:  # the same values with a zero point 128 lower
        scale, zero = params.scale, params.zero_point - 128
        params = QuantParams(scale, zero, -128, 127, params.quant_axis) if zero == 0 else None
        value_int = value.astype(np.int64) - 128 if zero == 0 else value.astype(np.int64)
    else:
        value_int = value.astype(np.int64)
    if params is not None and params.zero_point == 0 and params.dtype.itemsize == 1:
        real = params.dequantize(value_int.astype(np.int8).reshape(value.shape))
        target.quantization = params
    else:
        scale = _spread(graph, node, np.asarray(graph.constant(node.inputs[1])), value)
        zeros = np.zeros((), np.int64)
        if len(node.inputs) > 2 and node.inputs[2]:
            zeros = _spread(graph, node, np.asarray(graph.constant(node.inputs[2])), value).astype(np.int64)
        with np.errstate(over="ignore"):
            real = ((value.astype(np.int64) - zeros) * scale.astype(np.float64)).astype(np.float32)
    target.value, target.dtype, target.shape = real, "float32", real.shape
    graph.remove_node(node)


def _spread(graph: Graph, node: Node, numbers: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return scales or zero points in a shape that broadcasts against `value`."""
    if numbers.size == 1:
        return numbers.reshape(())
    axis = int(node.attributes["axis"]) % value.ndim
    block = int(node.attributes.get("block_size", 0))
    if block:
        return np.repeat(numbers, block, axis)[tuple(slice(extent) for extent in value.shape)]
    shape = [1] * value.ndim
    shape[axis] = -1
    return numbers.reshape(shape)


def _compute(graph: Graph, node: Node) -> None:
    """Replace a QuantizeLinear by the operators that compute its integers."""
    target = node.outputs[0]
    dtype = np.dtype(graph.tensors[node.inputs[2]].dtype)
    if dtype.name not in _CASTS:
        raise ValueError(f"load_onnx: {node.label} makes {dtype}, which is not there")
    low, high = (float(bound) for bound in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    scale = _broadcast(graph, node, node.inputs[1], np.dtype(np.float32))
    zero = _broadcast(graph, node, node.inputs[2], np.dtype(np.float32))
    names = [_new(graph, f"{target}.{step}", "float32") for step in ("steps", "rounded", "moved", "clipped")]
    bounds = [_constant(graph, f"{target}.bound", np.float32(bound)) for bound in (low, high)]
    graph.replace_node(
        node,
        [
            _like(node, "Div", [node.inputs[0], scale], [names[0]]),
            _like(node, "Round", [names[0]], [names[1]]),
            _like(node, "Add", [names[1], zero], [names[2]]),
            _like(node, "Clip", [names[2], *bounds], [names[3]]),
            _like(node, "Cast", [names[3]], [target], to=_CASTS[dtype.name]),
        ],
    )


def _broadcast(graph: Graph, node: Node, name: str, dtype: np.dtype) -> str:
    """Return a constant with the numbers of `name` along the node's axis."""
    value = np.asarray(graph.constant(name)).astype(dtype)
    if value.size == 1:
        return _constant(graph, name, value.reshape(()))
    shape = graph.tensors[node.inputs[0]].shape
    if shape is None:
        raise ValueError(f"load_onnx: {node.label} has a scale for each channel of a tensor of unknown rank")
    spread = [1] * len(shape)
    spread[int(node.attributes["axis"]) % len(shape)] = -1
    return _constant(graph, name, value.reshape(spread))


def _constant(graph: Graph, stem: str, value: np.ndarray) -> str:
    name = graph.new_name(f"{stem}.constant")
    array = np.asarray(value)
    graph.add_tensor(Tensor(name, str(array.dtype), array.shape, array))
    return name


def _new(graph: Graph, stem: str, dtype: str) -> str:
    name = graph.new_name(stem)
    graph.add_tensor(Tensor(name, dtype))
    return name


def _like(node: Node, op_type: str, inputs: list[str], outputs: list[str], **attributes: object) -> Node:
    return Node(op_type, inputs, outputs, dict(attributes), source_op=node.source_op, path=node.path)
