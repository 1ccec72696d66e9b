# SPDX-License-Identifier: Apache-2.0
"""Which tensors can never be negative, whatever the input: they take an unsigned grid, twice as fine.

Decided from the operators, not from calibration data, so that an input nobody saw cannot be clipped at zero.
"""

from __future__ import annotations

from qslim.graph.graph import Graph, Node

__all__ = ["non_negative_tensors"]

_ALWAYS = {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp"}
_IF_INPUT_IS = {
    "AveragePool", "Flatten", "GlobalAveragePool", "GlobalMaxPool", "Identity", "MaxPool", "ReduceMax",
    "ReduceMean", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
_IF_ALL_INPUTS_ARE = {"Add", "Concat", "Max", "Min", "Mul"}


def non_negative_tensors(graph: Graph) -> set[str]:
    """Names of the tensors of `graph` whose values are >= 0 for every input."""
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
    if node.domain:
        return False
    if node.op_type in _ALWAYS:
        return True
    if node.op_type == "Clip":
        low = graph.constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
        return node.inputs[0] in known or (low is not None and float(low) >= 0)
    if node.op_type in _IF_INPUT_IS:
        return node.inputs[0] in known
    if node.op_type in _IF_ALL_INPUTS_ARE:
        return all(name in known for name in node.inputs)
    return False
