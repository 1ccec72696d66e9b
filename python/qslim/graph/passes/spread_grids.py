# SPDX-License-Identifier: Apache-2.0
"""Say of turned data what holds of the data: a Transpose of a tensor on a grid lies on that grid."""

from __future__ import annotations

from qslim.graph.graph import Graph

__all__ = ["spread_grids"]


def spread_grids(graph: Graph) -> None:
    """Annotate what Transposes make of quantized tensors, so that products behind them see integers.

    A convolution of a channels-last image stands between two Transposes; the tensor that was calibrated is
    the one before them. No value changes.
    """
    for node in graph.nodes:
        if node.op_type != "Transpose" or node.domain or node.outputs[0] in graph.outputs:
            continue
        source, target = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
        params = source.quantization
        if params is not None and params.quant_axis is None and target.quantization is None:
            target.quantization = params
