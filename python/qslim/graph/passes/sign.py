# SPDX-License-Identifier: Apache-2.0
"""Find the tensors that can never be negative: they are quantized unsigned, with half the step.

Decided from the operators' sign rules, not from calibration data, so that an input nobody saw cannot be
clipped at zero.
"""

from __future__ import annotations

from typing import Optional

from qslim.graph.graph import Graph, Node
from qslim.graph.moved_data import moved_inputs
from qslim.graph.operators import OPERATORS

__all__ = ["non_negative_tensors"]


def non_negative_tensors(graph: Graph) -> set[str]:
    """Return the names of the tensors of `graph` whose values are >= 0 for every input."""
    known = {
        tensor.name
        for tensor in graph.tensors.values()
        if tensor.value is not None and tensor.value.dtype.kind == "f" and (tensor.value >= 0).all()
    }
    for node in graph.nodes:
        if _is_non_negative(graph, node, known):
            known.update(filter(None, node.outputs))
    return known


def _is_non_negative(graph: Graph, node: Node, known: set[str]) -> bool:
    row = None if node.domain else OPERATORS.get(node.op_type)
    if row is None:
        return False
    if row.non_negative is None:
        moved = moved_inputs(graph, node)
        return bool(moved) and known.issuperset(moved)
    signs: list[Optional[bool]] = [name in known if name else None for name in node.inputs]
    return row.non_negative(node.attributes, signs)
