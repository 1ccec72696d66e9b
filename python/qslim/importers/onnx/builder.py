# SPDX-License-Identifier: Apache-2.0
"""Builder: adds nodes in a Graph's form for a node of an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qslim.graph import Graph, Node, Tensor

__all__ = ["Builder", "OnnxNode"]


@dataclass
class OnnxNode:
    """A node as the model has it: names of its tensors, attributes as Python values, its own name."""

    op_type: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    name: str = ""

    def input(self, index: int) -> str:
        """Return the name of input `index`, "" if it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def extra_outputs(self, first: int = 1) -> list[str]:
        """Return the names of the outputs from `first` on that the model names."""
        return [name for name in self.outputs[first:] if name]


class Builder:
    """Adds nodes to a Graph in the place of one of the model's.

    Attributes
    ----------
    graph : Graph
    opset : int, the model's
    """

    def __init__(self, graph: Graph, opset: int) -> None:
        self.graph, self.opset = graph, opset
        self._node = OnnxNode("", [], [], {})

    def begin(self, node: OnnxNode) -> None:
        """Add nodes for `node` from now on."""
        self._node = node

    # ---- tensors -----------------------------------------------------------------------------------------

    def constant(self, value: ArrayLike, stem: str = "", dtype: Any = None) -> str:
        """Add a constant and return its name."""
        array = np.asarray(value, dtype)
        name = self.graph.new_name(f"{stem or self._stem()}.constant")
        self.graph.add_tensor(Tensor(name, str(array.dtype), array.shape, array))
        return name

    def value(self, name: str) -> Optional[NDArray[Any]]:
        """Return the value of a constant, of no other tensor."""
        return self.graph.constant(name) if name else None

    def ints(self, name: str) -> Optional[list[int]]:
        """Return the elements of a constant of integers."""
        value = self.value(name)
        return None if value is None else [int(each) for each in value.reshape(-1)]

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor."""
        return self.graph.tensors[name].dtype

    def rank(self, name: str) -> Optional[int]:
        """Return the number of a tensor's axes, None if it is unknown."""
        shape = self.graph.tensors[name].shape
        return None if shape is None else len(shape)

    def number(self, like: str, value: float) -> str:
        """Add a number of the dtype of tensor `like`."""
        return self.constant(np.asarray(value, self.dtype(like)))

    # ---- nodes -------------------------------------------------------------------------------------------

    def emit(
        self,
        op_type: str,
        inputs: Sequence[str],
        outputs: Optional[Sequence[str]] = None,
        dtype: Optional[str] = None,
        shape: Optional[tuple[Optional[int], ...]] = None,
        **attributes: Any,
    ) -> str:
        """Add a node and return its first output.

        Outputs without names get one. An output that the model does not describe takes `dtype`, or that of
        the first input.
        """
        names = list(outputs) if outputs is not None else [self.graph.new_name(f"{self._stem()}.{op_type}")]
        own = [name for name in inputs if name]
        for name in own:
            if name not in self.graph.tensors:
                raise ValueError(f"load_onnx: {self.label} reads {name!r}, which nothing writes")
        for name in names:
            if name and name not in self.graph.tensors:
                described = dtype or (self.dtype(own[0]) if own else "float32")
                self.graph.add_tensor(Tensor(name, described, shape))
        self.graph.add_node(
            Node(op_type, list(inputs), names, attributes, source_op=self._node.op_type, path=self._node.name)
        )
        return names[0]

    def keep(self, node: OnnxNode, domain: str = "", note: str = "") -> None:
        """Add `node` as an operator that is not known here."""
        inputs = [name for name in node.inputs if not name or name in self.graph.tensors]
        for name in node.outputs:
            if name and name not in self.graph.tensors:
                self.graph.add_tensor(Tensor(name, "float32"))
        attributes = {
            name: value
            for name, value in node.attributes.items()
            if isinstance(value, (int, float, str)) or (isinstance(value, list) and _is_plain(value))
        }
        self.graph.add_node(
            Node(
                node.op_type,
                inputs,
                list(node.outputs),
                attributes,
                domain or "onnx",
                source_op=node.op_type,
                path=node.name,
                note=note,
            )
        )

    @property
    def label(self) -> str:
        """The model's node, for messages."""
        return f"node {self._node.name or self._stem()!r} ({self._node.op_type})"

    def _stem(self) -> str:
        return next((name for name in self._node.outputs if name), self._node.op_type)


def _is_plain(values: list[Any]) -> bool:
    return all(isinstance(value, (int, float, str)) for value in values)
