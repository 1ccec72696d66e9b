# SPDX-License-Identifier: Apache-2.0
"""The tail of a detector: last steps that NumPy computes behind the engine.

Suppression of boxes gives as many rows as it keeps, which no plan can know. What an engine lacks, and all
that depends on it, is the *tail* of a Graph: if every operator of it has a definition in
``qslim.graph.operators`` and none is a product with weights, ``evaluate`` computes it from the tensors at the
cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

from numpy.typing import NDArray

from qslim.graph.evaluate import can_evaluate, evaluate
from qslim.graph.graph import Graph, Node
from qslim.graph.operators import family_of

__all__ = ["HostTail", "split_tail"]


@dataclass(frozen=True)
class HostTail:
    """Operators that run behind the engine.

    Attributes
    ----------
    graph : Graph
        Its inputs are the tensors at the cut and the feeds that the tail reads; its outputs the network's.
    feeds : list of str
        Inputs of the whole network, in its order.
    """

    graph: Graph
    feeds: list[str]

    @property
    def operators(self) -> list[str]:
        """The operators that the engine lacks."""
        return list(dict.fromkeys(node.op_type for node in self.graph.nodes if node.domain))

    def behind(self, part: Graph) -> Graph:
        """Return the whole network: the part that an engine runs, with the tail behind it."""
        whole = part.copy()
        for name, tensor in self.graph.tensors.items():
            if name not in whole.tensors:
                whole.add_tensor(replace(tensor))
        for node in self.graph.nodes:
            whole.add_node(replace(node, inputs=list(node.inputs), outputs=list(node.outputs)))
        whole.inputs, whole.outputs = list(self.feeds), list(self.graph.outputs)
        return whole

    def run(self, values: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the network's outputs from arrays for the inputs of ``graph``."""
        outputs = evaluate(self.graph, values)
        return [outputs[name] for name in self.graph.outputs]


def split_tail(graph: Graph, has_kernel: Callable[[Node], bool]) -> Optional[tuple[Graph, HostTail]]:
    """Split `graph` into what an engine runs, whose outputs are the tensors at the cut, and the tail.

    None if there is no tail, or one that NumPy cannot or should not compute. `graph` is left as it is.
    """
    late: set[str] = set()
    tail: list[Node] = []
    for node in graph.nodes:
        if not has_kernel(node) or not late.isdisjoint(node.inputs):
            late.update(filter(None, node.outputs))
            tail.append(node)
    if not tail or not all(can_evaluate(node) and not _has_weights(graph, node) for node in tail):
        return None
    read = {name for node in tail for name in node.inputs if name} | set(graph.outputs)
    cut = [name for name in graph.tensors if name in read - late and not graph.tensors[name].is_constant]
    rest = graph.copy()
    rest.outputs = [name for name in cut if name not in graph.inputs]
    for node in list(rest.nodes):
        if not late.isdisjoint(node.outputs):
            rest.remove_node(node)
    if not rest.outputs:
        return None
    ending = Graph(list(cut), list(graph.outputs))
    for name, tensor in graph.tensors.items():
        if name in read or name in late:
            # What comes over the cut is quantized already.
            ending.add_tensor(replace(tensor, quantization=None if name in cut else tensor.quantization))
    for node in tail:
        ending.add_node(replace(node, inputs=list(node.inputs), outputs=list(node.outputs)))
    return rest, HostTail(ending, list(graph.inputs))


def _has_weights(graph: Graph, node: Node) -> bool:
    """Return True if `node` is a product or a recurrent layer with constant weights, work for an engine."""
    if node.domain or family_of(node.op_type) not in ("products", "recurrent"):
        return False
    return any(name and graph.tensors[name].is_constant for name in node.inputs[1:])
