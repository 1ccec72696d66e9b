# SPDX-License-Identifier: Apache-2.0
"""Layers as an analysis sees them: the operators that one entry of skip_tensor_list leaves in fp32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.quant.post_training.operator_selection import Decision, computed_inputs, weight_input

__all__ = ["Layer", "find_layers", "graph_of", "nodes_of", "with_quantized"]


@dataclass(frozen=True)
class Layer:
    """One layer with its quantization.

    Attributes
    ----------
    name : str
        The weight, or an activation of an operator without one: what skip_tensor_list takes.
    operator : str
        Paddle's name of the operator.
    outputs : tuple of str
        Results of its operators; several where they share a weight.
    activations : dict of tensor name to quantization parameters
    weight : str or None
    weight_params : QuantParams or None
    weight_value : ndarray or None
        The real values of the weight's integers.
    constants : dict of tensor name to ndarray
        Biases behind it, corrected.
    """

    name: str
    operator: str
    outputs: tuple[str, ...]
    activations: Mapping[str, QuantParams]
    weight: Optional[str] = None
    weight_params: Optional[QuantParams] = None
    weight_value: Optional[NDArray[np.float32]] = None
    constants: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def set_constants(self, graph: Graph) -> None:
        """Quantize the weight in `graph`, and correct the biases that it has."""
        for name, value in self.constants.items():
            if name in graph.tensors:
                graph.tensors[name].value = value
        if self.weight is not None and self.weight in graph.tensors:
            tensor = graph.tensors[self.weight]
            tensor.value, tensor.quantization = self.weight_value, self.weight_params


def find_layers(
    graph: Graph, decisions: Sequence[Decision], quantized: Graph, with_outputs: bool = False
) -> list[Layer]:
    """Return the layers of `graph` that have quantization parameters in `quantized`, a copy of it.

    `with_outputs` counts a quantized result to the operator that writes it, too (``is_full_quantize``).
    """
    found: dict[str, Layer] = {}
    for decision in decisions:
        node = decision.node
        if not decision.is_quantized:
            continue
        names = computed_inputs(graph, node) + (node.outputs if with_outputs else [])
        activations = {
            name: params
            for name in names
            if name in quantized.tensors and (params := quantized.tensors[name].quantization) is not None
        }
        read = weight_input(graph, node)
        weight = None if read is None else quantized.tensors.get(read[0])
        if weight is None or weight.quantization is None or weight.value is None:
            if activations:
                name = min(activations, key=lambda each: len(graph.consumers(each)))
                _add(found, Layer(name, node.source_op, (node.outputs[0],), activations))
            continue
        value = weight.quantization.fake_quantize(weight.value)
        layer = Layer(
            weight.name,
            node.source_op,
            (node.outputs[0],),
            activations,
            weight.name,
            weight.quantization,
            value,
        )
        _add(found, layer)
    return list(found.values())


def _add(found: dict[str, Layer], layer: Layer) -> None:
    """Add `layer`, or its operator to the layer of the same name."""
    same = found.get(layer.name)
    if same is not None:
        layer = replace(
            same,
            outputs=(*same.outputs, *layer.outputs),
            activations={**layer.activations, **same.activations},
        )
    found[layer.name] = layer


def nodes_of(graph: Graph, output: str) -> list[Node]:
    """Return the nodes of the source operator that writes `output`, in order."""
    parts: list[Node] = []
    waiting = [graph.producer(output)]
    while waiting:
        node = waiting.pop()
        if node is None or any(node is part for part in parts) or (parts and node.source_op):
            continue
        parts.append(node)
        waiting += [graph.producer(name) for name in node.inputs if name]
    return [node for node in graph.nodes if any(node is part for part in parts)]


def graph_of(graph: Graph, output: str) -> Graph:
    """Return a Graph of the one source operator that writes `output`; its inputs are what it reads."""
    nodes = nodes_of(graph, output)
    written = {name for node in nodes for name in node.outputs}
    read = [name for node in nodes for name in node.inputs if name and name not in written]
    computed = [name for name in dict.fromkeys(read) if not graph.tensors[name].is_constant]
    part = Graph(computed, [output])
    for name in dict.fromkeys([*read, *(name for node in nodes for name in node.outputs if name)]):
        part.add_tensor(replace(graph.tensors[name], quantization=None))
    for node in nodes:
        part.add_node(replace(node, inputs=list(node.inputs), outputs=list(node.outputs)))
    return part


def with_quantized(graph: Graph, layers: Iterable[Layer]) -> Graph:
    """Return a copy of `graph` with `layers` quantized and no other reader of their activations."""
    copy = graph.copy()
    for layer in layers:
        layer.set_constants(copy)
        nodes = [node for output in layer.outputs for node in nodes_of(copy, output)]
        for name, params in layer.activations.items():
            quantized = copy.new_name(f"{name}.quantized")
            readers = [node for node in nodes if name in node.inputs]
            if not readers:  # a result of the layer
                copy.tensors[name].quantization = params
                continue
            source = copy.tensors[name]
            copy.add_tensor(Tensor(quantized, source.dtype, source.shape, None, params))
            _insert_behind(copy, name, Node("Identity", [name], [quantized]))
            for node in readers:
                copy.set_inputs(node, [quantized if each == name else each for each in node.inputs])
    return copy


def _insert_behind(graph: Graph, name: str, node: Node) -> None:
    """Add `node` behind the producer of `name`."""
    producer = graph.producer(name)
    graph.add_node(node)
    place = 0 if producer is None else [each is producer for each in graph.nodes].index(True) + 1
    graph.nodes.insert(place, graph.nodes.pop())
