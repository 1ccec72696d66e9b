# SPDX-License-Identifier: Apache-2.0
"""Quantization of a product's data in the run itself: the largest magnitude is measured, not calibrated.

    threshold = max(max|x|, 1e-8)              of the whole tensor, or of each row (token): its last axis
    q         = clamp(rint(fl(x * fl(127 / threshold))), -127, 127)
    y         = fl(fl(float32(sum of q * qw) * sw) * fl(threshold / 127))

It is written with operators that a Graph has: the data becomes a tensor with scale 1, so that the product is
an integer operator, and its result is multiplied by the measured scale. Runtimes and exporters need nothing
new. A row with a NaN or an infinity has no finite result.
Source: Jacob et al. 2018 (arXiv:1712.05877); per token: Yao et al. 2022 (arXiv:2206.01861), section 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

import numpy as np

from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.integer_operators import output_channels
from qslim.graph.quantization import QuantParams

__all__ = ["quantize_dynamically"]

_QMAX = 127
# That of rows of zeros; 127 / threshold stays finite.
_LEAST_THRESHOLD = 1e-8


def quantize_dynamically(graph: Graph, nodes: Iterable[Node], *, per_row: bool) -> list[Node]:
    """Let `nodes`, products of a computed matrix with a constant one, compute in integers; change `graph`.

    Parameters
    ----------
    graph : Graph
        The constants are quantized already, without groups and to at most 8 bits.
    nodes : MatMul or Gemm nodes of `graph`; others are left as they are.
    per_row : bool
        Measure each row by itself: what shares a batch with it then changes nothing.

    Returns
    -------
    list of the nodes that compute in integers now.

    Examples
    --------
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> for name in "xy":
    ...     _ = graph.add_tensor(Tensor(name, "float32", (None, 2)))
    >>> weight = np.float32([[1, 0], [0, 1]])
    >>> _ = graph.add_tensor(Tensor("w", "float32", (2, 2), weight, QuantParams.weight(1.0, 8, None)))
    >>> graph.add_node(Node("MatMul", ["x", "w"], ["y"]))
    >>> [node.op_type for node in quantize_dynamically(graph, graph.nodes, per_row=True)]
    ['MatMul']
    >>> from qslim.graph import evaluate
    >>> evaluate(graph, {"x": np.float32([[127, 0.6], [0, 1]])})["y"]
    array([[127.,   1.],
           [  0.,   1.]], dtype=float32)
    """
    measured: dict[str, tuple[str, str]] = {}
    chosen = [node for node in nodes if _can_be_dynamic(graph, node)]
    for node in chosen:
        data, result = node.inputs[0], node.outputs[0]
        before: list[Node] = []
        if data not in measured:
            before, measured[data] = _measure(graph, node, per_row)
        integers, step = measured[data]
        sums = _tensor(graph, result + ".sums", graph.tensors[result].shape)
        product = Node(
            "MatMul", [integers, node.inputs[1]], [sums], {}, "", node.source_op, node.path, node.note
        )
        scaled = Node("Mul", [sums, step], [result], {}, "", "", node.path)
        graph.replace_node(node, [*before, product, scaled])
    return chosen


def _can_be_dynamic(graph: Graph, node: Node) -> bool:
    """Return True for a MatMul whose data is computed in float and whose weight is in integers."""
    if node.op_type != "MatMul" or output_channels(graph, node) is None:
        return False
    data, params = graph.tensors[node.inputs[0]], graph.tensors[node.inputs[1]].quantization
    return (
        not data.is_constant
        and data.quantization is None
        and params is not None
        and params.group_size is None
        and params.dtype == np.int8
        and params.quant_axis in (None, 1)
    )


def _measure(graph: Graph, node: Node, per_row: bool) -> tuple[list[Node], tuple[str, str]]:
    """Return the nodes that quantize the data of `node`, and the names of its integers and their scale."""
    data = node.inputs[0]
    shape = graph.tensors[data].shape
    reduced = None if shape is None else (*shape[:-1], 1) if per_row else (1,) * len(shape)
    magnitude = _tensor(graph, data + ".magnitude", shape)
    largest, threshold, inverse, step = (
        _tensor(graph, f"{data}.{what}", reduced) for what in ("largest", "threshold", "inverse", "step")
    )
    integers = _tensor(graph, data + ".integers", shape)
    graph.tensors[integers].quantization = QuantParams(np.float32(1), 0, -_QMAX, _QMAX)
    qmax = _constant(graph, data + ".qmax", np.float32(_QMAX))
    floor = _constant(graph, data + ".floor", np.float32(_LEAST_THRESHOLD))
    axes = [_constant(graph, data + ".axes", np.array([-1], np.int64))] if per_row else []
    nodes = [
        Node("Abs", [data], [magnitude]),
        Node("ReduceMax", [magnitude, *axes], [largest], {"keepdims": 1}),
        Node("Max", [largest, floor], [threshold]),
        Node("Div", [qmax, threshold], [inverse]),
        Node("Div", [threshold, qmax], [step]),
        Node("Mul", [data, inverse], [integers]),
    ]
    return nodes, (integers, step)


def _tensor(graph: Graph, stem: str, shape: Optional[tuple[Optional[int], ...]]) -> str:
    name = graph.new_name(stem)
    graph.add_tensor(Tensor(name, "float32", shape))
    return name


def _constant(graph: Graph, stem: str, value: np.ndarray) -> str:
    name = graph.new_name(stem)
    array = np.asarray(value)
    graph.add_tensor(Tensor(name, str(array.dtype), array.shape, array))
    return name
