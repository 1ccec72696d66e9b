# SPDX-License-Identifier: Apache-2.0
"""Infer the shape of every tensor of a Graph for given input shapes, from the weights as they are now.

Nothing large is computed: an operator with a shape rule in ``qslim.graph.operators`` is asked for it, every
other one runs on zeros without memory of their own. Integers that describe shapes (Shape, Gather, Concat,
then Reshape) are followed by value. An operator without a definition keeps its importer's declared shape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.operators import OPERATORS, Operator, Shape

__all__ = ["Shape", "infer_shapes"]

# Paddle's operators whose first operand is the shape of their result.
_SHAPED_BY_INPUT = ("gaussian", "uniform")

# As large as a vector of extents may get; beyond it, values are not followed.
_MOST_VALUES = 1024


def infer_shapes(
    graph: Graph, input_shapes: Optional[Mapping[str, Sequence[int]]] = None
) -> dict[str, Shape]:
    """Return the shapes of all tensors.

    Parameters
    ----------
    graph : Graph
    input_shapes : dict of input name to shape, optional
        For inputs that it leaves out, the graph's own shape, with 1 for an unknown batch (axis 0).

    Returns
    -------
    dict of tensor name to shape. It lacks what an operator without a definition here hides.

    Raises
    ------
    ValueError : an extent of an input is unknown, or an operator does not fit its operands; names both.

    Examples
    --------
    >>> from qslim.graph import Graph, Node, Tensor
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> _ = graph.add_tensor(Tensor("x", "float32", (None, 3, 8, 8)))
    >>> _ = graph.add_tensor(Tensor("w", "float32", (4, 3, 3, 3), np.zeros((4, 3, 3, 3), np.float32)))
    >>> _ = graph.add_tensor(Tensor("y", "float32"))
    >>> graph.add_node(Node("Conv", ["x", "w"], ["y"], {"strides": [2, 2], "pads": [1, 1, 1, 1]}))
    >>> infer_shapes(graph)["y"]
    (1, 4, 4, 4)
    """
    return _Inference(graph, input_shapes or {}).shapes


class _Inference:
    def __init__(self, graph: Graph, input_shapes: Mapping[str, Sequence[int]]) -> None:
        self.graph = graph
        self.values: dict[str, NDArray[Any]] = {}
        self.shapes: dict[str, Shape] = {}
        for name in input_shapes:
            if name not in graph.inputs:
                raise ValueError(f"infer_shapes: the graph has no input {name!r}; it has {graph.inputs}")
        for name in graph.inputs:
            self.shapes[name] = _input_shape(graph.tensors[name], input_shapes.get(name))
        self.batch = self.shapes[graph.inputs[0]][:1] if graph.inputs else ()
        for tensor in graph.tensors.values():
            if tensor.value is not None:
                self.values[tensor.name] = tensor.value
                self.shapes[tensor.name] = tensor.value.shape
        for node in graph.nodes:
            self._visit(node)

    def _visit(self, node: Node) -> None:
        names = [name for name in node.inputs if name]
        row = None if node.domain else OPERATORS.get(node.op_type)
        if row is None or any(name not in self.shapes for name in names):
            self._keep_declared(node)
            return
        shapes = [self.shapes[name] if name else () for name in node.inputs]
        try:
            if node.op_type == "Shape":
                self._set_value(node, row.compute(node.attributes, [self._stand_in(node.inputs[0])])[0])
            elif all(name in self.values for name in names) and sum(map(math.prod, shapes)) <= _MOST_VALUES:
                self._run(node, row)
            elif row.shape is not None:
                self.shapes[node.outputs[0]] = row.shape(node.attributes, shapes)
            else:
                self._run(node, row)
        except (ValueError, IndexError) as error:
            listed = ", ".join(f"{name} {list(self.shapes[name])}" for name in names)
            raise ValueError(
                f"infer_shapes: {node.label} does not fit its operands ({listed}): {error}"
            ) from error

    def _run(self, node: Node, row: Operator) -> None:
        """Compute the operator itself, on the values that are known and on zeros."""
        inputs = [self._stand_in(name) if name else None for name in node.inputs]
        results = row.compute(node.attributes, inputs)  # type: ignore[arg-type]
        is_known = all(name in self.values for name in node.inputs if name)
        for name, result in zip(node.outputs, results):
            if name:
                self.shapes[name] = result.shape
                if is_known and result.size <= _MOST_VALUES:
                    self.values[name] = result

    def _stand_in(self, name: str) -> NDArray[Any]:
        if name in self.values:
            return self.values[name]
        dtype = self.graph.tensors[name].dtype
        return np.broadcast_to(np.zeros((), "float32" if dtype == "bfloat16" else dtype), self.shapes[name])

    def _set_value(self, node: Node, value: NDArray[Any]) -> None:
        self.shapes[node.outputs[0]], self.values[node.outputs[0]] = value.shape, value

    def _keep_declared(self, node: Node) -> None:
        if node.domain == "paddle" and node.op_type in _SHAPED_BY_INPUT and node.inputs[0] in self.values:
            self.shapes[node.outputs[0]] = tuple(int(extent) for extent in self.values[node.inputs[0]])
            return
        for name in filter(None, node.outputs):
            declared = self.graph.tensors[name].shape
            if declared and declared[0] is None:
                declared = (*self.batch, *declared[1:])
            if declared is not None and None not in declared:
                self.shapes[name] = tuple(int(extent or 0) for extent in declared)


def _input_shape(tensor: Tensor, given: Optional[Sequence[int]]) -> Shape:
    declared = tensor.shape
    if given is None:
        if declared is None or None in declared[1:]:
            raise ValueError(
                f"infer_shapes: input {tensor.name!r} has the shape {_text(declared)}; say which extents "
                "to take"
            )
        return tuple(1 if extent is None else extent for extent in declared)
    shape = tuple(int(extent) for extent in given)
    fits = declared is None or (
        len(shape) == len(declared) and all(want in (None, have) for want, have in zip(declared, shape))
    )
    if not fits or any(extent <= 0 for extent in shape):
        raise ValueError(
            f"infer_shapes: input {tensor.name!r} takes the shape {_text(declared)}, got {list(shape)}"
        )
    return shape


def _text(shape: Optional[tuple[Optional[int], ...]]) -> str:
    if shape is None:
        return "(unknown)"
    return "[" + ", ".join("?" if extent is None else str(extent) for extent in shape) + "]"
