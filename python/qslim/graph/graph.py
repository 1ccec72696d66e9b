# SPDX-License-Identifier: Apache-2.0
"""A network as a Graph: SSA nodes over named tensors.

Operators and attributes carry ONNX names and NCHW semantics (domain ""). An operator that has no ONNX
counterpart here keeps its own name and raw attributes in the domain of its framework ("paddle"), so that
nothing is lost. Constants are tensors with a ``value``. A quantized tensor carries its parameters as an
annotation (``Tensor.quantization``); Q/DQ nodes exist only in files, never here.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.quantization import QuantParams, stored_shape

__all__ = ["Graph", "Node", "Tensor"]


@dataclass
class Tensor:
    """A named value. ``shape`` has None where an extent is known only at run time.

    ``view_of`` names the constant whose elements, in the same order, this constant holds; importers set it.
    """

    name: str
    dtype: str
    shape: Optional[tuple[Optional[int], ...]] = None
    value: Optional[NDArray[Any]] = None
    quantization: Optional[QuantParams] = None
    view_of: Optional[str] = None

    @property
    def is_constant(self) -> bool:
        return self.value is not None


@dataclass
class Node:
    """One operator. An input that is absent is the empty string, as in ONNX.

    ``source_op`` is the operator's name in the framework it came from ("depthwise_conv2d") and ``path``
    where it stands in the layer tree ("/MobileNet/Conv2D/"), both for messages and for the user's selections.
    ``note`` says why the operator was kept in its framework's domain, and what would help, if that is known.
    """

    op_type: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    source_op: str = ""
    path: str = ""
    note: str = ""

    @property
    def label(self) -> str:
        """The name of this node in reports: its source operator and its first output."""
        return f"{self.source_op or self.op_type}({self.outputs[0] if self.outputs else ''})"


class Graph:
    """Nodes in topological order, the tensors between them, and the names of inputs and outputs.

    Examples
    --------
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> _ = graph.add_tensor(Tensor("x", "float32", (1, 3)))
    >>> _ = graph.add_tensor(Tensor("y", "float32", (1, 3)))
    >>> graph.add_node(Node("Relu", ["x"], ["y"]))
    >>> graph.producer("y").op_type
    'Relu'
    """

    def __init__(self, inputs: Optional[list[str]] = None, outputs: Optional[list[str]] = None) -> None:
        self.inputs: list[str] = inputs or []
        self.outputs: list[str] = outputs or []
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {}
        self._producer: dict[str, Node] = {}
        self._consumers: dict[str, list[Node]] = {}

    def add_tensor(self, tensor: Tensor) -> Tensor:
        if tensor.name in self.tensors:
            raise ValueError(f"Graph: tensor {tensor.name!r} exists already")
        self.tensors[tensor.name] = tensor
        return tensor

    def add_node(self, node: Node) -> None:
        """Append `node`; its tensors must exist and its outputs must have no producer yet (SSA)."""
        self._register(node)
        self.nodes.append(node)

    def _register(self, node: Node) -> None:
        for name in (*node.inputs, *node.outputs):
            if name and name not in self.tensors:
                raise ValueError(f"Graph: node {node.label} names tensor {name!r}, which does not exist")
        for name in filter(None, node.outputs):
            if name in self._producer:
                raise ValueError(f"Graph: tensor {name!r} is written by {self._producer[name].label} already")
            self._producer[name] = node
        for name in dict.fromkeys(filter(None, node.inputs)):
            self._consumers.setdefault(name, []).append(node)

    def producer(self, name: str) -> Optional[Node]:
        """Return the node that writes `name`; None for graph inputs and constants."""
        return self._producer.get(name)

    def consumers(self, name: str) -> list[Node]:
        """Return the nodes that read `name`, each once, in order."""
        return list(self._consumers.get(name, ()))

    def only_reader(self, name: str) -> Optional[Node]:
        """Return the node that alone reads `name`, None if there are others or `name` is an output."""
        readers = self._consumers.get(name, ())
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def constant(self, name: str) -> Optional[NDArray[Any]]:
        """Return the value of `name` if it is a constant, else None."""
        tensor = self.tensors.get(name)
        return tensor.value if tensor is not None else None

    def own_constant(self, name: str, among: Collection[str]) -> Optional[list[Tensor]]:
        """Return float constant `name` as all views of one of `among`, if one node alone reads any of them.

        None for other constants: one that is quantized, an output, or not among them. What changes the
        constant changes every one of its views.
        """
        tensor = self.tensors[name]
        if tensor.value is None or tensor.value.dtype != np.float32:
            return None
        root = tensor.view_of or name
        views = [each for each in self.tensors.values() if root in (each.name, each.view_of)]
        readers = sum(len(self._consumers.get(each.name, ())) for each in views)
        is_output = any(each.name in self.outputs for each in views)
        is_float = all(each.quantization is None and each.value is not None for each in views)
        return views if root in among and readers == 1 and not is_output and is_float else None

    def remove_node(self, node: Node) -> None:
        """Take `node` out. Whoever reads its outputs must have been given others before."""
        self.nodes = [other for other in self.nodes if other is not node]
        for name in filter(None, node.outputs):
            self._producer.pop(name, None)
        for name in dict.fromkeys(filter(None, node.inputs)):
            self._consumers[name] = [other for other in self._consumers[name] if other is not node]

    def replace_node(self, node: Node, replacements: list[Node]) -> None:
        """Put `replacements`, in order, where `node` was; they may write what it wrote."""
        position = next(index for index, other in enumerate(self.nodes) if other is node)
        self.remove_node(node)
        for replacement in replacements:
            self._register(replacement)
        self.nodes[position:position] = replacements

    def replace_uses(self, old: str, new: str) -> None:
        """Let every node that reads `old` read `new`."""
        for node in self.consumers(old):
            self.set_inputs(node, [new if name == old else name for name in node.inputs])

    def new_name(self, stem: str) -> str:
        """Return `stem`, or `stem` with the first number that makes it no tensor's name yet."""
        name, count = stem, 0
        while name in self.tensors:
            count += 1
            name = f"{stem}_{count}"
        return name

    def copy(self) -> Graph:
        """Copy the Graph but not its arrays: passes replace values, they never write into them."""
        other = Graph(list(self.inputs), list(self.outputs))
        for tensor in self.tensors.values():
            other.add_tensor(replace(tensor))
        for node in self.nodes:
            other.add_node(
                replace(
                    node,
                    inputs=list(node.inputs),
                    outputs=list(node.outputs),
                    attributes=dict(node.attributes),
                )
            )
        return other

    def set_outputs(self, node: Node, outputs: list[str]) -> None:
        """Let `node` write `outputs` in place of what it wrote."""
        for name in filter(None, node.outputs):
            self._producer.pop(name, None)
        node.outputs = outputs
        for name in filter(None, outputs):
            if name in self._producer:
                raise ValueError(f"Graph: tensor {name!r} is written by {self._producer[name].label} already")
            self._producer[name] = node

    def set_inputs(self, node: Node, inputs: list[str]) -> None:
        """Let `node` read `inputs` in place of what it read."""
        for name in dict.fromkeys(filter(None, node.inputs)):
            self._consumers[name] = [other for other in self._consumers[name] if other is not node]
        node.inputs = inputs
        for name in dict.fromkeys(filter(None, inputs)):
            self._consumers.setdefault(name, []).append(node)

    def parameter_bytes(self) -> int:
        """Return the bytes of all constants as they are stored: integers where a tensor is quantized."""
        total = 0
        for tensor in self.tensors.values():
            if tensor.value is not None and tensor.quantization is not None:
                stored = stored_shape(tensor.value.shape, tensor.quantization)
                total += math.prod(stored) * np.dtype(tensor.quantization.dtype).itemsize
            elif tensor.value is not None:
                total += tensor.value.nbytes
        return total

    def __repr__(self) -> str:
        return (
            f"Graph({len(self.nodes)} nodes, {len(self.tensors)} tensors, "
            f"inputs={self.inputs}, outputs={self.outputs})"
        )
