# SPDX-License-Identifier: Apache-2.0
"""Count the multiply-adds of a Graph, node by node, for one sample.

The formulas of convolutions and matrix products stand in their rows (``qslim.graph.operators.products``).
Without `only_conv` also PaddleSlim's numbers for the rest: relu, relu6 and sigmoid count their elements,
batch_norm 2 for each, average pooling 2 * k * k for each element of its result (k: kernel height; 1 where all
of the image is averaged, because PaddleSlim takes adaptive pooling's output size). Biases are never counted.
Shapes follow from the input shapes and the weights as they are (``shape_inference``), so a pruned graph is
counted as it is now.
Source: paddleslim 2.6.0, analysis/flops.py (which leaves out ConvTranspose and miscounts products of rank 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Optional

from qslim.graph.graph import Graph, Node
from qslim.graph.moved_data import keeps_elements
from qslim.graph.operators import OPERATORS, Attributes, Shape
from qslim.graph.operators.operator import KnownShapes, MacsRule
from qslim.graph.operators.products import conv_macs, conv_transpose_macs, matmul_macs
from qslim.graph.shape_inference import infer_shapes

__all__ = ["count", "parameters_of"]


def count(
    graph: Graph,
    input_shapes: Optional[Mapping[str, Sequence[int]]] = None,
    *,
    only_conv: bool = True,
    shapes: Optional[Mapping[str, Shape]] = None,
) -> dict[str, int]:
    """Return the multiply-adds of each node that has any, under the name of its first output.

    Parameters
    ----------
    graph : Graph
    input_shapes : dict of input name to shape, optional
        As for ``infer_shapes``: by default the graph's own shapes, with a batch of 1. The batch (the leading
        extent that all inputs of rank 2 and more share) is divided out.
    only_conv : bool, default=True
        Convolutions and matrix products alone.
    shapes : dict of tensor name to shape, optional
        What ``infer_shapes`` returned, if it is there already; `input_shapes` is not used then.

    Returns
    -------
    dict of output name to int; ``sum(count(graph).values())`` is the network's total.

    Raises
    ------
    ValueError : a shape that is needed is unknown, or operands do not fit; names the node.

    Examples
    --------
    >>> import numpy as np
    >>> from qslim.graph import Graph, Node, Tensor
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> _ = graph.add_tensor(Tensor("x", "float32", (None, 20)))
    >>> _ = graph.add_tensor(Tensor("w", "float32", (20, 5), np.zeros((20, 5), np.float32)))
    >>> _ = graph.add_tensor(Tensor("y", "float32", (None, 5)))
    >>> graph.add_node(Node("MatMul", ["x", "w"], ["y"]))
    >>> count(graph)
    {'y': 100}
    """
    if shapes is None:
        shapes = infer_shapes(graph, input_shapes)
    batch = _batch(graph, shapes)
    is_labelled = any(node.source_op for node in graph.nodes)
    of_a_sample = set(graph.inputs)
    result: dict[str, int] = {}
    for node in graph.nodes:
        depends = any(name in of_a_sample for name in node.inputs)
        if depends:
            of_a_sample.update(node.outputs)
        rule = _macs_rule(node)
        if rule is None and not only_conv:
            rule = _paddleslim_rule(node, is_labelled)
        if rule is None:
            continue
        macs = rule(node.attributes, _Known(node, shapes))
        result[node.outputs[0]] = macs // batch if depends and macs % batch == 0 else macs
    return result


def parameters_of(graph: Graph, node: Node) -> list[str]:
    """Return the constants that `node` reads, itself or through operators that only reshape them."""
    found: list[str] = []
    for name in filter(None, node.inputs):
        while True:
            producer = graph.producer(name)
            if producer is None or not (keeps_elements(producer) or producer.op_type == "Cast"):
                break
            name = producer.inputs[0]
        if graph.constant(name) is not None:
            found.append(name)
    return found


class _Known:
    """Shapes of a node's tensors; an unknown one is an error that names the node."""

    def __init__(self, node: Node, shapes: Mapping[str, Shape]) -> None:
        self._node, self._shapes = node, shapes

    def input(self, index: int) -> Shape:
        return self._of(self._node.inputs[index])

    def output(self) -> Shape:
        return self._of(self._node.outputs[0])

    def _of(self, name: str) -> Shape:
        if name not in self._shapes:
            raise ValueError(
                f"flops: the shape of {name!r}, which {self._node.label} needs, does not follow from the "
                "shapes of the inputs; import the model with every extent given"
            )
        return self._shapes[name]


def _batch(graph: Graph, shapes: Mapping[str, Shape]) -> int:
    leading = {shapes[name][0] for name in graph.inputs if len(shapes[name]) > 1}
    return leading.pop() if len(leading) == 1 else 1


def _raw_matmul(attributes: Attributes, known: KnownShapes) -> int:
    """Count those of Paddle's own matmul, kept if the shape of a transposed operand was unknown."""
    x = known.input(0)
    return math.prod(known.output()) * x[-2 if attributes.get("transpose_x") and len(x) > 1 else -1]


def _elements(_: Attributes, known: KnownShapes) -> int:
    return math.prod(known.input(0))


def _batch_norm(_: Attributes, known: KnownShapes) -> int:
    return 2 * math.prod(known.input(0))


def _average_pool(attributes: Attributes, known: KnownShapes) -> int:
    return 2 * math.prod(known.output()) * int(attributes["kernel_shape"][0]) ** 2


def _global_average_pool(_: Attributes, known: KnownShapes) -> int:
    return 2 * math.prod(known.output())


# Paddle's names of operators that have no ONNX form (NHWC, three dimensions).
_PADDLE_PRODUCTS: dict[str, MacsRule] = {
    **dict.fromkeys(("conv2d", "conv3d", "depthwise_conv2d"), conv_macs),
    **dict.fromkeys(
        ("conv2d_transpose", "conv3d_transpose", "depthwise_conv2d_transpose"), conv_transpose_macs
    ),
    "bmm": matmul_macs,
    "matmul": _raw_matmul,
}
# PaddleSlim's other numbers, by Paddle's name; of pools by the operator's own.
_OTHERS: dict[str, MacsRule] = {
    **dict.fromkeys(("batch_norm", "sync_batch_norm"), _batch_norm),
    **dict.fromkeys(("relu", "relu6", "sigmoid"), _elements),
}
_POOLS: dict[str, MacsRule] = {"AveragePool": _average_pool, "GlobalAveragePool": _global_average_pool}
# For graphs that did not come from Paddle.
_SOURCE_OPS = {
    "AveragePool": "pool2d",
    "BatchNormalization": "batch_norm",
    "GlobalAveragePool": "pool2d",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
}


def _macs_rule(node: Node) -> Optional[MacsRule]:
    row = None if node.domain else OPERATORS.get(node.op_type)
    return _PADDLE_PRODUCTS.get(node.op_type) if row is None else row.macs


def _paddleslim_rule(node: Node, is_labelled: bool) -> Optional[MacsRule]:
    """Return PaddleSlim's rule for `node`; a sigmoid inside a swish has none, as it is no operator there."""
    source_op = node.source_op if is_labelled else _SOURCE_OPS.get(node.op_type, "")
    return _POOLS.get(node.op_type) if source_op == "pool2d" else _OTHERS.get(source_op)
