# SPDX-License-Identifier: Apache-2.0
"""Give moved data the quantization parameters of its source: what a Transpose makes is quantized alike."""

from __future__ import annotations

from qslim.graph.graph import Graph, Node
from qslim.graph.moved_data import moved_inputs

__all__ = ["spread_params"]


def spread_params(graph: Graph) -> None:
    """Annotate what operators make of quantized tensors by moving elements; products behind see integers.

    A convolution of a channels-last image stands between two Transposes, one of a volume behind the operators
    that gather its windows; the tensor that was calibrated is the one before them. No value changes.
    """
    for node in graph.nodes:
        if not _spreads(graph, node) or node.outputs[0] in graph.outputs:
            continue
        source, target = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
        params = source.quantization
        if params is not None and params.quant_axis is None and target.quantization is None:
            target.quantization = params


def _spreads(graph: Graph, node: Node) -> bool:
    """Return True for a Transpose, and for a part of a source operator, that moves its first operand alone.

    Other operators of the source stay as calibration left them, so that reports name the tensors it saw.
    """
    moved = moved_inputs(graph, node)
    return moved == node.inputs[:1] and bool(moved) and (node.op_type == "Transpose" or not node.source_op)
