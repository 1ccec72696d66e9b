# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds of a Graph, node by node, for one sample.

    Conv             H_out * W_out * C_out * KH * KW * C_in / group
    ConvTranspose    H_in * W_in * C_in * KH * KW * C_out / group: every input pixel meets the whole kernel
    MatMul, Gemm     elements of the product * length of the sum, of any rank

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
from typing import Callable, Optional

from qslim.graph.graph import Graph, Node
from qslim.graph.shape_inference import Shape, infer_shapes

__all__ = ["count", "parameters_of"]


def count(
    graph: Graph,
    input_shapes: Optional[Mapping[str, Sequence[int]]] = None,
    *,
    only_conv: bool = True,
    shapes: Optional[Mapping[str, Shape]] = None,
) -> dict[str, int]:
    """Multiply-adds of each node that has any, under the name of its first output.

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
        rule = _PRODUCTS.get(node.op_type)
        if rule is None and not only_conv:
            # The sigmoid inside a swish is no operator of the source; PaddleSlim does not count it.
            rule = _OTHERS.get(node.source_op if is_labelled else _SOURCE_OPS.get(node.op_type, ""))
        if rule is None:
            continue
        macs = rule(node, _Known(node, shapes))
        result[node.outputs[0]] = macs // batch if depends and macs % batch == 0 else macs
    return result


def parameters_of(graph: Graph, node: Node) -> list[str]:
    """The constants that `node` reads, itself or through operators that only reshape them."""
    found: list[str] = []
    for name in filter(None, node.inputs):
        while True:
            producer = graph.producer(name)
            if producer is None or producer.op_type not in _RESHAPING:
                break
            name = producer.inputs[0]
        if graph.constant(name) is not None:
            found.append(name)
    return found


_RESHAPING = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


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


def _conv(_: Node, known: _Known) -> int:
    return math.prod(known.output()) * math.prod(known.input(1)[1:])


def _conv_transpose(_: Node, known: _Known) -> int:
    return math.prod(known.input(0)) * math.prod(known.input(1)[1:])


def _matmul(_: Node, known: _Known) -> int:
    return math.prod(known.output()) * known.input(0)[-1]


def _gemm(node: Node, known: _Known) -> int:
    return math.prod(known.output()) * known.input(0)[0 if node.attributes.get("transA", 0) else 1]


def _raw_matmul(node: Node, known: _Known) -> int:
    """Paddle's operator, kept because a transposed operand's shape was unknown."""
    x = known.input(0)
    return math.prod(known.output()) * x[-2 if node.attributes.get("transpose_x") and len(x) > 1 else -1]


def _elements(_: Node, known: _Known) -> int:
    return math.prod(known.input(0))


def _batch_norm(_: Node, known: _Known) -> int:
    return 2 * math.prod(known.input(0))


def _average_pool(node: Node, known: _Known) -> int:
    if node.op_type not in ("AveragePool", "GlobalAveragePool"):
        return 0
    kernel = node.attributes["kernel_shape"][0] if node.op_type == "AveragePool" else 1
    return 2 * math.prod(known.output()) * int(kernel) ** 2


_Rule = Callable[[Node, _Known], int]

# By op_type; below them Paddle's names of operators that have no ONNX form (NHWC, three dimensions).
_PRODUCTS: dict[str, _Rule] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "bmm": _matmul,
    "conv2d": _conv,
    "conv2d_transpose": _conv_transpose,
    "conv3d": _conv,
    "conv3d_transpose": _conv_transpose,
    "depthwise_conv2d": _conv,
    "depthwise_conv2d_transpose": _conv_transpose,
    "matmul": _raw_matmul,
}
_OTHERS: dict[str, _Rule] = {
    "batch_norm": _batch_norm,
    "pool2d": _average_pool,
    "relu": _elements,
    "relu6": _elements,
    "sigmoid": _elements,
    "sync_batch_norm": _batch_norm,
}
# For graphs that did not come from Paddle.
_SOURCE_OPS = {
    "AveragePool": "pool2d",
    "BatchNormalization": "batch_norm",
    "GlobalAveragePool": "pool2d",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
}
