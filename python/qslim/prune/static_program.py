# SPDX-License-Identifier: Apache-2.0
"""Programs of either IR as the static pruner needs them: the Graph of their forward part, and new shapes.

PIR: a value's type is replaced, an operator's ``groups`` set. Legacy: the same on descriptions, by names.
Values of parameters lie in a scope under their names in both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Node
from qslim.graph.shape_inference import infer_shapes
from qslim.importers.paddle.pir_walk import walk_program
from qslim.paddle import framework
from qslim.paddle.program import WalkedProgram
from qslim.prune.operators import KEPT_OPERATORS

__all__ = ["StaticProgram", "open_program"]

# In place of an open extent behind the batch: any will do, if all windows fit in.
_ANY_EXTENT = 224


class StaticProgram(ABC):
    """A program that may be changed.

    Attributes
    ----------
    program : the program
    graph : Graph
        Its forward part; outputs are the tensors that nothing in it reads.
    parameters : dict of name to shape
    """

    program: Any
    graph: Graph
    parameters: dict[str, tuple[int, ...]]

    @abstractmethod
    def optimizer_state(self, parameter: str) -> list[str]:
        """Return the variables of `parameter`'s shape that the optimizer keeps for it."""

    @abstractmethod
    def _set_extents(self, name: str, extents: Mapping[int, int]) -> None:
        """Give the tensor or variable `name` new extents along some axes."""

    @abstractmethod
    def _set_groups(self, weight: str, groups: int) -> None:
        """Set the groups of the convolutions with `weight`, and of their gradients."""

    @abstractmethod
    def _follow_views(self, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        """Change the extents in the reshapes of the parameter `name`."""

    def set_shapes(self, shapes: Mapping[str, tuple[int, ...]], groups: Mapping[str, int]) -> None:
        """Give parameters new shapes, with their optimizer's state and all that is computed from them.

        Parameters
        ----------
        shapes : dict of parameter to shape
        groups : dict of a convolution's weight to its groups
        """
        for name, shape in shapes.items():
            for variable in (*self.optimizer_state(name), name):
                self._set_extents(variable, dict(enumerate(shape)))
            self._follow_views(name, self.parameters[name], shape)
            self._replace_constant(name, shape)
            self.parameters[name] = tuple(shape)
        for weight, count in groups.items():
            self._set_groups(weight, count)
            for node in self.graph.consumers(weight):
                attribute = "group" if "group" in node.attributes else "groups"
                node.attributes[attribute] = count
        try:
            inferred = infer_shapes(self.graph)
        except ValueError:  # behind an operator without a formula; a program runs whatever it declares there
            return
        for name, found in inferred.items():
            declared = self.graph.tensors[name].shape
            if declared is not None and len(declared) == len(found) and name not in self.graph.inputs:
                changed = {
                    axis: extent
                    for axis, (old, extent) in enumerate(zip(declared, found))
                    if old is not None and old != extent
                }
                if changed:
                    self._set_extents(name, changed)

    def _replace_constant(self, name: str, shape: tuple[int, ...]) -> None:
        """Put zeros of the new shape for `name`, and for what the importer made of it by a reshape."""
        old = self.graph.tensors[name].value
        assert old is not None
        for tensor in self.graph.tensors.values():
            value = tensor.value
            if value is not None and value.size == old.size and np.shares_memory(value, old):
                extents = shape if value.shape == old.shape else _reshaped(value.shape, old.shape, shape)
                tensor.value = np.zeros(extents, value.dtype)

    def groups_of(self) -> dict[str, int]:
        """Return the groups of every convolution, by its weight."""
        return {
            node.inputs[1]: int(node.attributes.get("group", node.attributes.get("groups", 1)))
            for node in self.graph.nodes
            if "conv2d" in node.source_op
        }

    def _set_graph(self, walked: WalkedProgram, feeds: list[str]) -> None:
        """Keep the forward part of what was walked."""
        graph = walked.graph
        backward: set[str] = set()
        for node in list(graph.nodes):
            if node.source_op.endswith("_grad") or backward.intersection(node.inputs):
                backward.update(filter(None, node.outputs))
                graph.remove_node(node)
        for node in [node for node in graph.nodes if node.domain == "paddle"]:
            _evaluate(graph, node)
        graph.inputs = feeds
        written = [name for node in graph.nodes for name in node.outputs[:1] if name]
        graph.outputs = [name for name in written if not graph.consumers(name)]
        for name in feeds:
            shape = graph.tensors[name].shape
            if shape is not None:
                rest = (_ANY_EXTENT if extent is None else extent for extent in shape[1:])
                graph.tensors[name].shape = (*shape[:1], *rest)
        self.graph = graph


def open_program(program: Any, inplace: bool = False) -> StaticProgram:
    """Open a copy of `program` to change, or `program` itself, of whichever IR it is.

    Raises
    ------
    ValueError : no program.
    """
    if framework.is_pir_program(program):
        return _PirProgram(program if inplace else program.clone())
    if hasattr(program, "desc") and hasattr(program, "clone"):
        return _LegacyProgram(program if inplace else program.clone())
    raise ValueError(f"program: expected a paddle.static.Program, got {type(program).__name__}")


class _PirProgram(StaticProgram):
    def __init__(self, program: Any) -> None:
        self.program = program
        self._pir = framework.pir_core()
        self._ops = list(self.program.global_block().ops)
        self.parameters, feeds = {}, []
        for op in self._ops:
            if op.name() == "builtin.parameter":
                self.parameters[op.attrs()["parameter_name"]] = tuple(op.result(0).shape)
            elif op.name() in ("pd_op.data", "pd_op.feed") and not op.result(0).persistable:
                feeds.append(op.attrs()["name"])
        walked = walk_program(self.program, {}, lambda name: _zeros(self.parameters[name]), KEPT_OPERATORS)
        self._values = walked.values
        self._set_graph(walked, feeds)

    def _set_extents(self, name: str, extents: Mapping[int, int]) -> None:
        if name in self._values:
            self._set_shape(self._values[name], extents)

    def _set_groups(self, weight: str, groups: int) -> None:
        value = self._values[weight]
        for op in value.all_used_ops():
            if "conv2d" in op.name():
                op.set_int_attr("groups", groups)

    def _follow_views(self, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        for op in self._values[name].all_used_ops():
            source = op.operand_source(1).get_defining_op() if op.name() == "pd_op.reshape" else None
            if source is None or source.name() != "pd_op.full_int_array":
                continue
            extents = tuple(source.attrs()["value"])  # of Conv1D's bias; other layers have -1 there
            if min(extents) > 0 and [n for n in extents if n != 1] == [n for n in old if n != 1]:
                paddle = framework.paddle_module()
                with framework.static_mode(), framework.pir_ir(), paddle.static.program_guard(self.program):
                    self._pir.set_insertion_point(op)
                    shape = list(_reshaped(extents, old, new))
                    value = paddle._C_ops.full_int_array(shape, paddle.int64, paddle.CPUPlace())
                op.operand(1).set_source(value)

    def optimizer_state(self, parameter: str) -> list[str]:
        return list(self._state(parameter))

    def _state(self, parameter: str) -> dict[str, Any]:
        value = self._values[parameter]
        found = {}
        for op in value.all_used_ops():
            if "param" not in op.get_input_names() or not op.operand_source(0).is_same(value):
                continue
            for other in op.operands_source():
                source = other.get_defining_op() if other.initialized() else None
                if (
                    source is not None
                    and source.name() == "pd_op.data"
                    and list(other.shape) == list(value.shape)
                ):
                    found[source.attrs()["name"]] = other
        return found

    def _set_shape(self, value: Any, extents: Mapping[int, int]) -> None:
        shape = [extents.get(axis, extent) for axis, extent in enumerate(value.shape)]
        value.set_type(self._pir.create_shaped_type(value.type(), shape))


class _LegacyProgram(StaticProgram):
    def __init__(self, program: Any) -> None:
        self.program = program
        # Backward and optimizer operators cannot all be translated, and are not looked at.
        forward = program.clone(for_test=True)
        with framework.pir_ir():
            translated, variables = framework.translated_to_pir(forward.desc)
        names = {
            value.id: name if count == 0 else f"{name}@{count}"
            for name, values in variables.items()
            for count, value in enumerate(values)
        }
        block = self.program.global_block()
        self.parameters = {
            op.attrs()["parameter_name"]: tuple(op.result(0).shape)
            for op in translated.global_block().ops
            if op.name() == "builtin.parameter"
        }
        walked = walk_program(translated, names, lambda name: _zeros(self.parameters[name]), KEPT_OPERATORS)
        fed = {
            name for op in block.ops if op.type == "feed" for name in op.output("Out")
        }  # of a loaded program
        feeds = [
            name for name in walked.values if name in fed or (block.has_var(name) and block.var(name).is_data)
        ]
        self._set_graph(walked, feeds)
        for op in block.ops:
            if op.type == "mul" and op.attr("x_num_col_dims") == 1:
                self._flatten_product(op.output("Out")[0])

    def _flatten_product(self, product: str) -> None:
        """Replace the reshapes around a `mul`, which have fixed extents, by Flatten and Identity."""
        node = self.graph.producer(product)
        before = None if node is None else self.graph.producer(node.inputs[0])
        after = self.graph.consumers(product)
        if before is not None and before.op_type == "Reshape":
            flat = Node("Flatten", before.inputs[:1], before.outputs, {"axis": 1}, source_op="mul")
            self.graph.replace_node(before, [flat])
        if len(after) == 1 and after[0].op_type == "Reshape":
            same = Node("Identity", after[0].inputs[:1], after[0].outputs, source_op="mul")
            self.graph.replace_node(after[0], [same])

    def _set_extents(self, name: str, extents: Mapping[int, int]) -> None:
        block = self.program.global_block()
        for variable in (name, f"{name}@GRAD"):
            if block.has_var(variable):
                self._set_shape(block.var(variable), extents)

    def _set_groups(self, weight: str, groups: int) -> None:
        for op in self.program.global_block().ops:
            if "conv2d" in op.type and weight in op.input_arg_names and op.has_attr("groups"):
                op._set_attr("groups", groups)

    def optimizer_state(self, parameter: str) -> list[str]:
        block = self.program.global_block()
        shape = block.var(parameter).shape
        found = []
        for op in block.ops:
            if "Param" in op.input_names and op.input("Param") == [parameter]:
                found += [
                    name
                    for name in op.input_arg_names
                    if name != parameter and block.var(name).persistable and block.var(name).shape == shape
                ]
        return found

    def _follow_views(self, name: str, old: tuple[int, ...], new: tuple[int, ...]) -> None:
        for op in self.program.global_block().ops:
            if op.type == "reshape2" and op.input("X") == [name] and min(op.attr("shape")) > 0:
                op._set_attr("shape", list(_reshaped(tuple(op.attr("shape")), old, new)))

    def _set_shape(self, variable: Any, extents: Mapping[int, int]) -> None:
        variable.desc.set_shape([extents.get(axis, extent) for axis, extent in enumerate(variable.shape)])


def _evaluate(graph: Graph, node: Node) -> None:
    """Replace an operator that trains by what it is in evaluation."""
    if node.op_type in ("batch_norm", "sync_batch_norm") and node.attributes.get("data_format") == "NCHW":
        x, mean, variance, scale, offset = node.inputs[:5]
        attributes = {"epsilon": float(node.attributes["epsilon"])}
        inputs = [x, scale, offset, mean, variance]
        new = Node("BatchNormalization", inputs, node.outputs[:1], attributes, source_op=node.source_op)
        graph.replace_node(node, [new])
    elif node.op_type == "dropout":
        new = Node("Identity", node.inputs[:1], node.outputs[:1], source_op=node.source_op)
        graph.replace_node(node, [new])


def _reshaped(view: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of a view with more or fewer axes of one element ([C] to [1, C, 1, 1]) after a cut."""
    extents = iter(extent for extent, before in zip(new, old) if before != 1)
    return tuple(1 if extent == 1 else next(extents) for extent in view)


def _zeros(shape: tuple[int, ...]) -> NDArray[Any]:
    """Return zeros for each parameter, as groups do not depend on values."""
    return np.zeros(shape, np.float32)
