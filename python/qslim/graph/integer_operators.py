# SPDX-License-Identifier: Apache-2.0
"""Operators of a quantized Graph that compute in integers, and where their results go.

An operator is an integer operator if its data input is quantized to at most 8 bits with one scale, and its
weight is a constant, quantized symmetrically to at most 8 bits with one scale or one for each channel:

    Conv, ConvTranspose (two-dimensional)   MatMul (weight [K, N])   Gemm (alpha = beta = 1, no transA)

Its bias is its constant third input or else, where nothing else reads the result, the constant of the Add
behind it, one number for each channel. A Relu or a Clip with constant bounds may follow. If the tensor at
the end of that chain is quantized to at most 8 bits, the operator writes its integers directly. The tensors
inside the chain must have one reader, no annotation, and be no output of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.graph import Graph, Node
from qslim.graph.operators.products import PRODUCTS
from qslim.graph.quantization import QuantParams

__all__ = [
    "IntegerOperator",
    "channel_axis",
    "channel_constant",
    "find_integer_operator",
    "only_reader",
    "output_channels",
]


@dataclass(frozen=True)
class IntegerOperator:
    """One operator and what is computed with it.

    Attributes
    ----------
    node : the operator itself
    add : the Add that its bias comes from, if it does not come from `node`
    bias : real values of the bias, shape (channels,), or None
    result : the tensor that holds the sum with the bias
    clamp : the Relu or Clip between `result` and `target`, if there is one
    target : the quantized tensor that is written directly; None where `result` stays in float
    """

    node: Node
    add: Optional[Node]
    bias: Optional[NDArray[np.float32]]
    result: str
    clamp: Optional[Node]
    target: Optional[str]


def find_integer_operator(graph: Graph, node: Node) -> Optional[IntegerOperator]:
    """Return `node` as an integer operator, or None if it computes in float."""
    channels = output_channels(graph, node)
    if channels is None or not _has_8_bits(graph.tensors[node.inputs[0]].quantization):
        return None
    weight = graph.tensors[node.inputs[1]]
    params = weight.quantization
    if params is None or params.dtype.itemsize != 1 or params.zero_point != 0:
        return None
    if params.group_size is not None:  # a sum of integers has one scale
        return None
    if params.quant_axis not in (None, channel_axis(node)) or params.qmin < -128 or params.qmax > 127:
        return None
    bias: Optional[NDArray[np.float32]] = None
    if len(node.inputs) > 2 and node.inputs[2]:
        value = graph.constant(node.inputs[2])
        if value is None or value.size not in (1, channels):
            return None
        bias = np.array(np.broadcast_to(value.reshape(-1), (channels,)), np.float32)
    result, add = node.outputs[0], None
    reader = only_reader(graph, result)
    if bias is None and reader is not None and reader.op_type == "Add":
        bias = channel_constant(
            graph, reader, result, channels, 1 if node.op_type in ("MatMul", "Gemm") else 3
        )
        if bias is not None:
            add, result = reader, reader.outputs[0]
    if _has_8_bits(graph.tensors[result].quantization):
        return IntegerOperator(node, add, bias, result, None, result)
    clamp = only_reader(graph, result)
    if (
        clamp is not None
        and _is_clamp(graph, clamp, result)
        and _has_8_bits(graph.tensors[clamp.outputs[0]].quantization)
    ):
        return IntegerOperator(node, add, bias, result, clamp, clamp.outputs[0])
    return IntegerOperator(node, add, bias, result, None, None)


def output_channels(graph: Graph, node: Node) -> Optional[int]:
    """Return the number of output channels of a product with a constant weight, None for other nodes."""
    if node.domain or node.op_type not in PRODUCTS:
        return None
    weight = graph.constant(node.inputs[1])
    if weight is None or weight.ndim != (4 if "Conv" in node.op_type else 2):
        return None
    if node.op_type == "ConvTranspose":
        return int(weight.shape[1] * node.attributes.get("group", 1))
    if node.op_type == "Gemm":
        attributes = node.attributes
        if attributes.get("transA", 0) or attributes.get("alpha", 1) != 1 or attributes.get("beta", 1) != 1:
            return None
    return int(weight.shape[channel_axis(node)])


def channel_axis(node: Node) -> int:
    """Return the axis of output channels of a product's weight; of a ConvTranspose, those of one group."""
    if node.op_type == "Gemm":
        return 0 if node.attributes.get("transB", 0) else 1
    return 0 if node.op_type == "Conv" else 1


def only_reader(graph: Graph, name: str) -> Optional[Node]:
    """Return the node that alone reads `name`, if `name` is neither quantized nor an output of the graph."""
    reader = graph.only_reader(name)
    is_quantized = graph.tensors[name].quantization is not None
    return None if reader is None or reader.domain or is_quantized else reader


def channel_constant(
    graph: Graph, node: Node, data: str, channels: int, from_end: int
) -> Optional[NDArray[Any]]:
    """Return the constant operand of `node`, a binary operator on `data`, as (channels,).

    `from_end` counts the channel axis from the last: 3 in [N, C, H, W], 1 in [..., C]. None if the other
    operand is no constant, or varies along another axis.
    """
    if len(node.inputs) != 2 or node.inputs.count(data) != 1:
        return None
    tensor = graph.tensors[node.inputs[1 - node.inputs.index(data)]]
    value = tensor.value
    if value is None or value.dtype != np.float32 or tensor.quantization is not None:
        return None
    rank = len(graph.tensors[data].shape or (None,) * 4)
    if value.ndim > rank or value.size not in (1, channels):
        return None
    if value.size != 1 and (value.ndim < from_end or value.shape[-from_end] != channels):
        return None
    return np.array(np.broadcast_to(value.reshape(-1), (channels,)))


def _has_8_bits(params: Optional[QuantParams]) -> bool:
    return params is not None and params.dtype.itemsize == 1 and params.quant_axis is None


def _is_clamp(graph: Graph, node: Node, data: str) -> bool:
    if node.inputs[0] != data:
        return False
    return node.op_type == "Relu" or (
        node.op_type == "Clip"
        and all(not name or graph.tensors[name].is_constant for name in node.inputs[1:])
    )
