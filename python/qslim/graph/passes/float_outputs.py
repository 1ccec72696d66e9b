# SPDX-License-Identifier: Apache-2.0
"""Outputs in float of tensors that readers inside the network see quantized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qslim.graph.graph import Graph, Node

__all__ = ["with_float_outputs"]


def with_float_outputs(graph: Graph, names: Sequence[str]) -> Graph:
    """Return a copy of `graph` with its outputs `names` in float; readers see quantized tensors."""
    result = graph.copy()
    for name in names:
        tensor = result.tensors.get(name)
        if tensor is None or tensor.quantization is None or name not in result.outputs:
            continue
        on_grid = result.new_name(name + ".quantized")
        result.replace_uses(name, on_grid)
        result.add_tensor(replace(tensor, name=on_grid))
        tensor.quantization = None
        result.add_node(Node("Identity", [name], [on_grid]))
        producer = result.producer(name)
        position = 0 if producer is None else result.nodes.index(producer) + 1
        result.nodes.insert(position, result.nodes.pop())
    return result
