# SPDX-License-Identifier: Apache-2.0
"""Compute once what no input can change: nodes over constants, and shapes that are known.

The shape operand of a Reshape is often put together from the extents of another tensor. What is known of
it is folded; a single extent that stays open becomes -1, which Reshape infers itself.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.evaluate import can_evaluate, evaluate
from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.moved_data import keeps_elements, movement_of
from qslim.graph.operators import OPERATORS, Movement
from qslim.graph.quantization import QuantParams

__all__ = ["fold_constants"]

# Elements of a folded constant, or four times those that it is made of: 256 MB of floats.
_MOST_ELEMENTS = 2**26
# Operators whose operands say how large the result is.
_GROWING = ("ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample")


def fold_constants(graph: Graph) -> None:
    """Replace the outputs of every node that depends on constants only by constants."""
    for node in list(graph.nodes):
        if not can_evaluate(node):
            continue
        if node.op_type == "Reshape" and not graph.tensors[node.inputs[1]].is_constant:
            _fold_shape_operand(graph, node)
        if node.op_type == "Shape":
            extents = _known_extents(graph, node.outputs[0])
            if extents is not None and None not in extents:
                _make_constant(graph, node, [np.asarray(extents, np.int64)])
        elif (
            node.inputs
            and all(not name or graph.tensors[name].is_constant for name in node.inputs)
            and _fits(graph, node)
        ):
            _fold_node(graph, node)


def _fits(graph: Graph, node: Node) -> bool:
    """Return False if the results may be larger than a network's constants ever are.

    A small file can ask for any size: a Pad by 2^40 elements, a Tile, a sum of a column and a row.
    """
    shapes = [_extents(graph.tensors[name]) if name else () for name in node.inputs]
    most = max(_MOST_ELEMENTS, 4 * sum(map(math.prod, shapes)))
    row = OPERATORS.get(node.op_type)
    for name in filter(None, node.outputs):
        shape = graph.tensors[name].shape
        if (shape is None or None in shape) and row is not None and row.shape is not None:
            try:
                shape = row.shape(node.attributes, shapes)
            except (ValueError, IndexError, TypeError):
                shape = None
        if shape is None or None in shape:
            if node.op_type in _GROWING:
                return False
        elif math.prod(extent for extent in shape if extent is not None) > most:
            return False
    return True


def _fold_node(graph: Graph, node: Node) -> None:
    source = graph.tensors[node.inputs[0]]
    if source.quantization is not None and graph.tensors[node.outputs[0]].quantization is None:
        value = _evaluated(graph, node, keeps_integers=True)
        moved = _moved_params(node, source.quantization, _extents(source), value[0].shape)
        if moved is not None:  # the integers move, they are not rounded again
            graph.tensors[node.outputs[0]].quantization = moved
            _make_constant(graph, node, value)
            return
    _make_constant(graph, node, _evaluated(graph, node))


def _evaluated(graph: Graph, node: Node, keeps_integers: bool = False) -> list[NDArray[Any]]:
    """Compute the outputs of `node`, without quantizing them."""
    alone = Graph(outputs=list(filter(None, node.outputs)))
    for name in dict.fromkeys(filter(None, node.inputs)):
        tensor = graph.tensors[name]
        alone.add_tensor(replace(tensor, quantization=None if keeps_integers else tensor.quantization))
    for name in alone.outputs:
        alone.add_tensor(replace(graph.tensors[name], quantization=None))
    alone.add_node(node)
    return list(evaluate(alone, {}).values())


def _extents(tensor: Tensor) -> tuple[int, ...]:
    assert tensor.value is not None
    return tensor.value.shape


def _moved_params(
    node: Node, params: QuantParams, before: tuple[int, ...], after: tuple[int, ...]
) -> Optional[QuantParams]:
    """Return the quantization parameters of a constant that is moved; None if its axis of scales is lost."""
    if not keeps_elements(node):
        return None
    if params.quant_axis is None or node.op_type == "Identity":
        return params
    if node.op_type == "Transpose":
        perm = node.attributes.get("perm") or range(len(before) - 1, -1, -1)
        axis = list(perm).index(params.quant_axis)
        if params.group_size is not None and axis != params.quant_axis:
            return replace(params, scale=params.scale.T, quant_axis=axis)
        return replace(params, quant_axis=axis)
    if movement_of(node) is not Movement.VIEW:
        return None
    if params.group_size is not None:
        return params if before == after else None
    # A view keeps the order of the elements: an axis stays one if as many elements lie before it.
    outer, extent = math.prod(before[: params.quant_axis]), before[params.quant_axis]
    for axis in range(len(after)):
        if after[axis] == extent and math.prod(after[:axis]) == outer:
            return replace(params, quant_axis=axis)
    return None


def _make_constant(graph: Graph, node: Node, values: list[NDArray[Any]]) -> None:
    graph.remove_node(node)
    for name, value in zip(filter(None, node.outputs), values):
        tensor = graph.tensors[name]
        tensor.value = np.asarray(value, order="C")
        tensor.shape, tensor.dtype = value.shape, str(value.dtype)


def _fold_shape_operand(graph: Graph, node: Node) -> None:
    extents = _known_extents(graph, node.inputs[1])
    if extents is None or node.attributes.get("allowzero", 0):
        return
    unknown = [index for index, extent in enumerate(extents) if extent is None]
    if len(unknown) > 1 or (unknown and -1 in extents):
        return
    for index in unknown:
        extents[index] = -1
    name = graph.new_name(node.outputs[0] + ".shape")
    graph.add_tensor(Tensor(name, "int64", (len(extents),), np.asarray(extents, np.int64)))
    graph.set_inputs(node, [node.inputs[0], name])


def _known_extents(graph: Graph, name: str) -> Optional[list[Optional[int]]]:
    """Return the elements of a vector of extents, None where one is open; None if it is no such vector."""
    tensor = graph.tensors[name]
    if tensor.value is not None:
        if tensor.value.dtype.kind not in "iu" or tensor.value.ndim > 1:
            return None
        return [int(value) for value in tensor.value.reshape(-1)]
    node = graph.producer(name)
    if node is None or node.domain:
        return None
    if node.op_type == "Shape":
        shape = graph.tensors[node.inputs[0]].shape
        if shape is None:
            return None
        return list(shape)[node.attributes.get("start", 0) : node.attributes.get("end")]
    if node.op_type == "Concat":
        parts = [_known_extents(graph, part) for part in node.inputs]
        if any(part is None for part in parts):
            return None
        return [extent for part in parts for extent in part or ()]
    data = _known_extents(graph, node.inputs[0])
    if data is None:
        return None
    if node.op_type in ("Add", "Mul", "Sub"):
        return _combined(node.op_type, data, _known_extents(graph, node.inputs[1]))
    if node.op_type == "Cast" or movement_of(node) is Movement.VIEW:
        return data
    operands = [graph.constant(operand) for operand in node.inputs[1:]]
    if any(operand is None for operand in operands):
        return None
    if node.op_type == "Slice":
        start, end = (int(operand.reshape(-1)[0]) for operand in operands[:2] if operand is not None)
        step = int(operands[3].reshape(-1)[0]) if len(operands) > 3 and operands[3] is not None else 1
        return data[start:end:step]
    if node.op_type == "Gather" and operands[0] is not None:
        return [data[int(index)] for index in operands[0].reshape(-1)]
    return None


def _combined(
    op_type: str, a: list[Optional[int]], b: Optional[list[Optional[int]]]
) -> Optional[list[Optional[int]]]:
    """Combine two single extents by Add, Mul or Sub."""
    if b is None or len(a) != 1 or len(b) != 1:
        return None
    if a[0] is None or b[0] is None:
        return [None]
    return [{"Add": a[0] + b[0], "Mul": a[0] * b[0], "Sub": a[0] - b[0]}[op_type]]
