# SPDX-License-Identifier: Apache-2.0
"""Take out what computes nothing: identities, and nodes and tensors that no output depends on."""

from __future__ import annotations

from qslim.graph.graph import Graph, Node

__all__ = ["drop_identities", "remove_dead"]


def drop_identities(graph: Graph) -> None:
    """Remove every Identity and Dropout that can go; inputs and outputs of `graph` keep their names.

    What stays: an identity between an input and an output, and one between tensors that are quantized in
    different ways.
    """
    for node in [node for node in graph.nodes if not node.domain and node.op_type in ("Identity", "Dropout")]:
        source, target = node.inputs[0], node.outputs[0]
        if any(graph.consumers(name) or name in graph.outputs for name in filter(None, node.outputs[1:])):
            continue
        if target in graph.outputs:
            _rename(graph, node, source, target)
        elif graph.tensors[target].quantization is None:
            graph.remove_node(node)
            graph.replace_uses(target, source)
        elif len(graph.consumers(source)) == 1 and source not in (*graph.inputs, *graph.outputs):
            _rename(graph, node, source, target)


def _rename(graph: Graph, node: Node, source: str, target: str) -> None:
    """Let the producer of `source` write `target`, if `node` between them then does nothing."""
    producer = graph.producer(source)
    before, after = graph.tensors[source].quantization, graph.tensors[target].quantization
    if producer is None or source in graph.outputs or (before is not None and after is not None):
        return
    if after is not None and len(graph.consumers(source)) != 1:
        return
    graph.remove_node(node)
    graph.set_outputs(producer, [target if name == source else name for name in producer.outputs])
    graph.replace_uses(source, target)
    graph.tensors[target].quantization = before if after is None else after


def remove_dead(graph: Graph) -> None:
    """Remove nodes that no output of `graph` depends on, and tensors that nothing names."""
    alive = set(graph.outputs)
    for node in reversed(graph.nodes):
        if alive.intersection(filter(None, node.outputs)):
            alive.update(filter(None, node.inputs))
    for node in list(graph.nodes):
        if not alive.intersection(filter(None, node.outputs)):
            graph.remove_node(node)
        else:
            # An output that nobody reads (the second of a TopK) still needs its tensor.
            alive.update(filter(None, node.outputs))
    for name in [name for name in graph.tensors if name not in alive and name not in graph.inputs]:
        del graph.tensors[name]
