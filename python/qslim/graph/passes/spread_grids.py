# SPDX-License-Identifier: Apache-2.0
"""Say of moved data what holds of the data: a Transpose of a tensor on a grid lies on that grid."""

from __future__ import annotations

from qslim.graph.graph import Graph, Node

__all__ = ["spread_grids"]


def spread_grids(graph: Graph) -> None:
    """Annotate what Transposes make of quantized tensors, so that products behind them see integers.

    A convolution of a channels-last image stands between two Transposes, one of a volume behind the operators
    that gather its windows; the tensor that was calibrated is the one before them. No value changes.
    """
    for node in graph.nodes:
        if not _moves(graph, node) or node.outputs[0] in graph.outputs:
            continue
        source, target = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
        params = source.quantization
        if params is not None and params.quant_axis is None and target.quantization is None:
            target.quantization = params


def _moves(graph: Graph, node: Node) -> bool:
    """Whether `node` moves elements: a Transpose, or a part of an operator that moves or adds zeros."""
    if node.domain or node.op_type == "Transpose":
        return not node.domain
    if node.source_op:
        return False
    if node.op_type == "Pad":
        value = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else None
        is_constant = node.attributes.get("mode", "constant") == "constant"
        return is_constant and value is not None and not value.any()
    return node.op_type in ("Gather", "Reshape")
