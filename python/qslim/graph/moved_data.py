# SPDX-License-Identifier: Apache-2.0
"""Operands whose elements a node only moves, by the records of operators."""

from __future__ import annotations

from qslim.graph.graph import Graph, Node
from qslim.graph.operators import OPERATORS, Movement

__all__ = ["keeps_elements", "moved_inputs", "movement_of"]


def movement_of(node: Node) -> Movement:
    """Return the movement in the record of `node`'s operator, its attributes considered."""
    row = None if node.domain else OPERATORS.get(node.op_type)
    if row is None:
        return Movement.NONE
    if row.movement is Movement.PICK_IF_NEAREST:
        return Movement.PICK if node.attributes.get("mode", "nearest") == "nearest" else Movement.NONE
    return row.movement


def moved_inputs(graph: Graph, node: Node) -> list[str]:
    """Return the operands whose elements, and nothing else but zeros, make up the results of `node`.

    Whatever keeps 0 and the order of values, as quantization with a fixed scale and zero point does, may be
    applied before `node` or behind it.

    Examples
    --------
    >>> from qslim.graph import Tensor
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> for name in "xy":
    ...     _ = graph.add_tensor(Tensor(name, "float32", (1, 4)))
    >>> moved_inputs(graph, Node("Transpose", ["x"], ["y"], {"perm": [1, 0]}))
    ['x']
    >>> moved_inputs(graph, Node("Relu", ["x"], ["y"]))
    []
    """
    movement = movement_of(node)
    if movement is Movement.NONE or (movement is Movement.PAD and not _pads_with_moved_data(graph, node)):
        return []
    return [name for name in node.inputs if name] if movement is Movement.JOIN else node.inputs[:1]


def keeps_elements(node: Node) -> bool:
    """Return True if the first result of `node` has every element of its first operand once."""
    return movement_of(node) in (Movement.VIEW, Movement.PERMUTE)


def _pads_with_moved_data(graph: Graph, node: Node) -> bool:
    """Return True if what a Pad adds is zeros, or elements of its operand."""
    if node.attributes.get("mode", "constant") != "constant" or len(node.inputs) < 3 or not node.inputs[2]:
        return True
    value = graph.constant(node.inputs[2])
    return value is not None and not value.any()
