# SPDX-License-Identifier: Apache-2.0
"""Walk a PIR program once and make the Graph of it.

PIR facts used (Paddle 3.3.1): ``builtin.parameter`` carries ``parameter_name``; constants are results of
``pd_op.full``, ``pd_op.full_int_array`` and ``pd_op.assign_value_``; lists of tensors go through
``builtin.combine`` and ``builtin.split``; an operator with regions is control flow; an in-place operator's
name ends in "_".
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Callable, Optional, Union

import numpy as np
from numpy.typing import NDArray

from qslim.errors import UnsupportedModelError
from qslim.graph import Graph, Node, Tensor
from qslim.importers.paddle.operators import ConvertedOp, SourceOp, convert
from qslim.importers.paddle.operators.source_op import dtype_name
from qslim.paddle.program import WalkedProgram, is_persistable

__all__ = ["walk_program"]

_Names = Union[str, list[str]]


def walk_program(
    program: Any,
    known_names: dict[str, str],
    parameter: Callable[[str], NDArray[Any]],
    kept: frozenset[str] = frozenset(),
) -> WalkedProgram:
    """Make the Graph of `program`.

    Parameters
    ----------
    program : paddle.base.libpaddle.pir.Program
    known_names : dict of value id to name
        Names to use where the program has none of its own (a translated legacy program's variables).
    parameter : callable
        The value of a parameter by name.
    kept : names of operators
        Those that stay Paddle's own, with their parameters as operands, where they would be taken apart.
    """
    walk = _Walk(known_names, parameter, kept)
    for op in program.global_block().ops:
        walk.visit(op)
    walk.name_unread_pieces()
    return WalkedProgram(walk.graph, walk.values, walk.names, walk.parameters)


class _Walk:
    def __init__(
        self, known_names: dict[str, str], parameter: Callable[[str], NDArray[Any]], kept: frozenset[str]
    ) -> None:
        self.graph = Graph()
        self.values: dict[str, Any] = {}
        self.parameters: set[str] = set()
        self.names: dict[int, _Names] = {}
        self._known_names = known_names
        self._parameter = parameter
        self._kept = kept
        self._counts: Counter[str] = Counter()
        # The node, the axis that its outputs lose, and the place of the list's first piece among its outputs.
        self._vectors: dict[int, tuple[Node, Optional[int], int]] = {}

        self._lists: dict[int, list[str]] = {}

    def visit(self, op: Any) -> None:
        name = op.name()
        if name == "pd_op.fetch" or name == "builtin.shadow_output":
            return
        if op.num_regions() > 0:
            raise UnsupportedModelError(
                f"the model holds control flow ({name!r}), which cannot be quantized statically: "
                "which branch runs is known only at run time. Save the model without it, or split it there"
            )
        if name == "builtin.parameter":
            attribute = op.attrs()["parameter_name"]
            # Paddle saves no working memory (the dropout state of a recurrent layer).
            is_saved = is_persistable(op)
            self._name_value(op.result(0), attribute, self._parameter(attribute) if is_saved else None)
            if is_saved:
                self.parameters.add(attribute)
        elif name in ("pd_op.data", "pd_op.feed"):
            self._name_value(op.result(0), op.attrs()["name"], None)
        elif name == "builtin.combine":
            self.names[op.result(0).id] = [self._operand(op, i) for i in range(op.num_operands())]
        elif name in ("builtin.split", "builtin.slice"):
            self._unpack(op)
        else:
            constant = _constant_value(op)
            if constant is not None:
                self._name_value(op.result(0), self._new_name(op), constant)
            else:
                self._add_node(op)

    def _operand(self, op: Any, index: int) -> str:
        value = op.operand_source(index)
        if not value.initialized():
            return ""
        name = self.names[value.id]
        if isinstance(name, list):
            raise UnsupportedModelError(f"{op.name()!r} takes a list of lists of tensors")
        return name

    def _new_name(self, op: Any, index: int = 0) -> str:
        value = op.result(index)
        if value.id in self._known_names:
            return self._known_names[value.id]
        stem = op.name().split(".", 1)[1].rstrip("_")
        if index == 0:
            self._counts[stem] += 1
        name = f"{stem}_{self._counts[stem] - 1}"
        return name if index == 0 else f"{name}.{index}"

    def _name_value(self, value: Any, name: str, constant: Optional[NDArray[Any]]) -> str:
        if name in self.graph.tensors:
            name = f"{name}@{len(self.graph.tensors)}"
        dtype, shape = _type_of(value)
        self.graph.add_tensor(Tensor(name, dtype, shape, constant))
        self.names[value.id] = name
        self.values[name] = value
        return name

    def _add_node(self, op: Any) -> None:
        inputs: list[str] = []
        operands: list[_Names] = []
        for index in range(op.num_operands()):
            value = op.operand_source(index)
            name = self.names[value.id] if value.initialized() else ""
            operands.append(name)
            inputs.extend(name if isinstance(name, list) else [name])
        attributes = {k: v for k, v in op.attrs().items() if k not in ("stop_gradient", "persistable")}
        path = attributes.pop("struct_name", "")
        stem = op.name().split(".", 1)[1].rstrip("_")
        results = [op.result(index) for index in range(op.num_results())]
        shapes = [_type_of(value)[1] if value.initialized() else None for value in results]
        has_one_result = all(
            value.use_empty() or value.is_combine() for value in results[1:] if value.initialized()
        )
        source = SourceOp(stem, inputs, attributes, self.graph, operands, shapes, has_one_result)
        if stem in self._kept:
            preceding, converted = [], ConvertedOp(stem, inputs, attributes, "paddle")
        else:
            *preceding, converted = convert(source)
        for inner in preceding:
            self.graph.add_node(
                Node(inner.op_type, inner.inputs, inner.outputs, inner.attributes, inner.domain, path=path)
            )
        outputs: list[str] = []
        vectors: list[Any] = []
        for index, value in enumerate(results):
            if not value.initialized():
                outputs.append("")
            elif value.is_combine():
                vectors.append(value)
            else:
                outputs.append(self._name_value(value, self._new_name(op, index), None))
        if converted.keeps_first_output:
            outputs = outputs[:1]
        node = Node(
            converted.op_type,
            converted.inputs,
            outputs,
            converted.attributes,
            converted.domain,
            stem,
            path,
            converted.note,
        )
        for value in vectors:
            if converted.list_results is not None:
                self._lists[value.id] = converted.list_results
            else:
                first = len(outputs) if stem in self._kept else 0
                self._vectors[value.id] = (node, converted.squeezed_axis, first)
        if not outputs and converted.list_results is not None:
            return  # the operators before it make the whole list
        if not vectors and not preceding:
            folded = _fold_constant(self.graph, node)
            if folded is not None:
                parameter = self.graph.tensors[node.inputs[0]]
                view = self.graph.tensors[outputs[0]]
                view.value, view.view_of = folded, parameter.view_of or parameter.name
                return
        self.graph.add_node(node)

    def _unpack(self, op: Any) -> None:
        """Bind the results of builtin.split to the outputs of the operator that made the list."""
        source = op.operand_source(0)
        if source.id in self._lists:
            for index in range(op.num_results()):
                at = index if op.name() == "builtin.split" else op.attrs()["index"]
                inner = self._lists[source.id][at]
                name = self._name_value(
                    op.result(index), self._known_names.get(op.result(index).id) or f"{inner}.out", None
                )
                self.graph.add_node(Node("Identity", [inner], [name]))
            return
        if source.id not in self._vectors:
            for index in range(op.num_results()):  # a list that was combined just before
                names = self.names[source.id]
                at = index if op.name() == "builtin.split" else op.attrs()["index"]
                self.names[op.result(index).id] = names[at]
            return
        node, squeezed_axis, first = self._vectors[source.id]
        outputs = list(node.outputs)
        squeezes: list[Node] = []
        for index in range(op.num_results()):
            at = index if op.name() == "builtin.split" else op.attrs()["index"]
            stem = node.source_op
            value = op.result(index)
            if index == 0 and op.name() == "builtin.split":
                self._counts[stem] += 1
            name = self._known_names.get(value.id) or f"{stem}_{self._counts[stem] - 1}.{at}"
            while len(outputs) <= first + at:
                outputs.append("")
            outputs[first + at] = self._name_value(value, name, None)
            if squeezed_axis is not None:
                squeezes.append(self._squeeze(outputs, first + at, squeezed_axis, node))
        self.graph.set_outputs(node, outputs)
        for squeeze in squeezes:
            self.graph.add_node(squeeze)

    def name_unread_pieces(self) -> None:
        """Give every Split an output for each of its sizes: programs take what they read from the list."""
        for node in self.graph.nodes:
            if node.op_type != "Split" or node.domain or len(node.inputs) < 2:
                continue
            sizes = self.graph.tensors[node.inputs[1]].value
            is_whole = sizes is not None and len(node.outputs) == len(sizes) and all(node.outputs)
            if sizes is None or is_whole or not any(node.outputs):
                continue
            read = self.graph.tensors[next(filter(None, node.outputs))]
            outputs = [*node.outputs, *[""] * (len(sizes) - len(node.outputs))]
            for at, name in enumerate(outputs):
                if not name:
                    outputs[at] = self.graph.new_name(f"{node.source_op}.unread")
                    self.graph.add_tensor(Tensor(outputs[at], read.dtype))
            self.graph.set_outputs(node, outputs)

    def _squeeze(self, outputs: list[str], at: int, axis: int, node: Node) -> Node:
        """Let `node` write output `at` with an axis of one element more, which the new node takes away."""
        whole = self.graph.tensors[outputs[at]]
        shape = None if whole.shape is None else (*whole.shape[:axis], 1, *whole.shape[axis:])
        inner, axes = self.graph.new_name(f"{whole.name}.inner"), self.graph.new_name(f"{whole.name}.axes")
        self.graph.add_tensor(Tensor(inner, whole.dtype, shape))
        self.graph.add_tensor(Tensor(axes, "int64", (1,), np.asarray([axis], np.int64)))
        outputs[at] = inner
        return Node("Squeeze", [inner, axes], [whole.name], {}, "", node.source_op, node.path)


def _type_of(value: Any) -> tuple[str, Optional[tuple[Optional[int], ...]]]:
    if not value.is_dense_tensor_type():
        return "object", None
    return dtype_name(value.dtype), tuple(None if extent < 0 else int(extent) for extent in value.shape)


def _constant_value(op: Any) -> Optional[NDArray[Any]]:
    name = op.name().rstrip("_")
    if name not in ("pd_op.full", "pd_op.full_int_array", "pd_op.assign_value"):
        return None
    attributes = op.attrs()
    dtype = dtype_name(attributes["dtype"])
    dtype = "float32" if dtype == "undefined" else dtype
    if name == "pd_op.full_int_array":
        return np.asarray(attributes["value"], dtype)
    if name == "pd_op.assign_value":
        return np.array(attributes["values"], dtype).reshape(list(attributes["shape"]))
    return np.full(attributes["shape"], attributes["value"], dtype)


def _fold_constant(graph: Graph, node: Node) -> Optional[NDArray[Any]]:
    """Turn a reshaped parameter (a convolution's bias) into a parameter."""
    if node.domain or node.op_type != "Reshape":
        return None
    data, shape = graph.constant(node.inputs[0]), graph.constant(node.inputs[1])
    if data is None or shape is None:
        return None
    extents = [data.shape[i] if extent == 0 else int(extent) for i, extent in enumerate(shape)]
    return data.reshape(extents)
