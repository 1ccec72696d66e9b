# SPDX-License-Identifier: Apache-2.0
"""Keep one quantization where several layers quantize the same tensor with the same parameters.

In training every layer has a quantizer of its own, so a tensor that feeds two convolutions is quantized
twice, with the same statistics: two identities with equal annotations. The second one goes.
"""

from __future__ import annotations

from typing import Any

from qslim.graph.graph import Graph
from qslim.graph.quantization import QuantParams

__all__ = ["merge_quantizers", "same_params"]


def merge_quantizers(graph: Graph) -> None:
    """Let the readers of equally quantized identities of one tensor read the first of them."""
    first: dict[Any, str] = {}
    for node in [node for node in graph.nodes if node.op_type == "Identity" and not node.domain]:
        target = node.outputs[0]
        params = graph.tensors[target].quantization
        if params is None or target in graph.outputs:
            continue
        kept = first.setdefault((node.inputs[0], _key(params)), target)
        if kept != target:
            graph.replace_uses(target, kept)
            graph.remove_node(node)
            del graph.tensors[target]


def same_params(one: QuantParams, other: QuantParams) -> bool:
    """Return True if both have the same scale, zero point, range and axis."""
    return _key(one) == _key(other)


def _key(params: QuantParams) -> tuple[Any, ...]:
    return (
        params.scale.tobytes(),
        params.zero_point,
        params.qmin,
        params.qmax,
        params.quant_axis,
        params.group_size,
    )
