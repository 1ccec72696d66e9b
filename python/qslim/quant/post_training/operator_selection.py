# SPDX-License-Identifier: Apache-2.0
"""Selection of the operators to quantize, with their tensors, and the reasons for those in fp32."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Optional

from qslim.graph import Graph, Node
from qslim.importers.paddle.quantizers import has_quantizers
from qslim.quant.op_types import CONVOLUTIONS, MATRIX_PRODUCTS

__all__ = ["Decision", "Selection", "computed_inputs", "select", "weight_input"]


@dataclass(frozen=True)
class Decision:
    """The decision about one operator. ``reason`` says why it stays in fp32, or how it is quantized."""

    node: Node
    is_quantized: bool
    reason: str


@dataclass
class Selection:
    """The operators' fates, the activations to calibrate and the weights with their channel axes."""

    decisions: list[Decision] = field(default_factory=list)
    activations: list[str] = field(default_factory=list)
    weights: dict[str, Optional[int]] = field(default_factory=dict)


def select(
    graph: Graph,
    op_types: set[str],
    skip_patterns: Sequence[str] = (),
    *,
    attribute_paths: Mapping[str, str] = MappingProxyType({}),
    weights_only: bool = False,
    quantize_outputs: bool = False,
    fused: Optional[frozenset[str]] = None,
) -> Selection:
    """Choose what to quantize in `graph`.

    Parameters
    ----------
    op_types : set of PIR operator names
    skip_patterns : names or shell patterns
        An operator is skipped if one of its inputs, one of its parameters or its path matches.
    attribute_paths : the path of each parameter's Layer in the network. A pattern that is such a path, or the
        beginning of one, matches too.
    weights_only : leave activations alone and demand a constant weight.
    quantize_outputs : also quantize what the chosen operators write (``is_full_quantize``).
    fused : PIR names of the operators of single elements that the runtime takes into the step before, if not
        all of them.

    What a runtime computes in one step stays whole: a product with its bias, its normalization, its
    activation and the addition of a shortcut. Operators with one constant operand quantize nothing on their
    own.

    Raises
    ------
    ValueError : the model is quantized already; a pattern matches no operator (the nearest names are given).
    """
    if has_quantizers(graph):
        raise ValueError(
            "the model is quantized already: it holds quantize and dequantize operators. Quantize the float "
            "model that it was made of; qslim.runtime.Session runs it as it is"
        )
    matcher = _Matcher(graph, attribute_paths)
    matcher.check(skip_patterns)
    selection = Selection()
    activations: dict[str, None] = {}
    inner = {} if weights_only else _inner_tensors(graph, _UNARY | _BINARY if fused is None else fused)
    for node in graph.nodes:
        if not node.source_op:
            continue  # a part of the operator that comes after it
        decision = _decide(graph, node, op_types, skip_patterns, weights_only, matcher)
        read_inside = [inner[name] for name in node.inputs if name in inner]
        if decision.is_quantized and read_inside:
            begins = "product" if weight_input(graph, read_inside[0]) is not None else "operator"
            decision = Decision(node, True, f"part of the {begins} before it")
        elif decision.is_quantized and _has_constant_operand(graph, node):
            decision = Decision(node, False, "its other operand is constant: part of the operators around it")
        selection.decisions.append(decision)
        if not decision.is_quantized:
            continue
        weight = weight_input(graph, node)
        if weight is not None:
            name, axis = weight
            # A weight that two operators read with different channel axes gets one scale for all of it.
            selection.weights[name] = axis if selection.weights.get(name, axis) == axis else None
        if not weights_only:
            names = computed_inputs(graph, node)
            if quantize_outputs:  # but for the model's own: users fetch them in float
                results = [name for name in node.outputs if name and name not in graph.outputs]
                names += [name for name in results if _is_float(graph, name)]
            activations.update(dict.fromkeys(names))
    selection.activations = [name for name in activations if name not in inner]
    return selection


def _decide(
    graph: Graph,
    node: Node,
    op_types: set[str],
    skip_patterns: Sequence[str],
    weights_only: bool,
    matcher: _Matcher,
) -> Decision:
    if node.source_op not in op_types:
        return Decision(node, False, "operator type is not among quantizable_op_type")
    for pattern in skip_patterns:
        if matcher.matches(node, pattern):
            return Decision(node, False, f"skip_tensor_list names it ({pattern!r})")
    weight = weight_input(graph, node)
    if weight is None and (weights_only or node.source_op in CONVOLUTIONS):
        return Decision(node, False, "its weight is computed at run time")
    if weight is not None and weight[0] in graph.outputs:
        return Decision(node, False, "its weight is an output of the network")
    data = computed_inputs(graph, node)
    if weight is None and not data:
        return Decision(node, False, "it has no floating-point input")
    if weight is None:
        return Decision(node, True, "inputs quantized")
    return Decision(node, True, "weight quantized" if weights_only else "weight and inputs quantized")


def weight_input(graph: Graph, node: Node) -> Optional[tuple[str, int]]:
    """Return the constant weight of `node` and the axis of its output channels, of an embedding its rows."""
    if node.source_op == "embedding":
        table = graph.tensors[node.inputs[0]]
        is_table = table.is_constant and len(table.shape or ()) == 2 and table.dtype == "float32"
        return (node.inputs[0], 0) if is_table else None
    if node.source_op in CONVOLUTIONS:
        name = _own_source(graph, _convolution(graph, node).inputs[1])
        axis = 1 if node.source_op.endswith("transpose") else 0
        return (name, axis) if graph.tensors[name].is_constant else None
    if node.source_op in MATRIX_PRODUCTS:
        name = node.inputs[1]
        is_transposed = bool(node.attributes.get("transpose_y", False))
        turned = graph.producer(name)
        if turned is not None and turned.op_type == "Transpose" and not turned.source_op:
            name, is_transposed = turned.inputs[0], True
        tensor = graph.tensors[name]
        if not tensor.is_constant or not _is_float(graph, name) or tensor.shape is None:
            return None
        if len(tensor.shape) < 2:
            return None
        return name, len(tensor.shape) - (2 if is_transposed else 1)
    return None


def _convolution(graph: Graph, node: Node) -> Node:
    """Return the part of `node` that multiplies: itself, or the node before those that move its result."""
    before: Optional[Node] = node
    while before is not None and before.op_type in ("Reshape", "Slice", "Transpose"):
        before = graph.producer(before.inputs[0])
    return node if before is None else before


def _own_source(graph: Graph, name: str) -> str:
    """Return the tensor that a part of an operator reshapes to `name`, or `name`."""
    producer = graph.producer(name)
    is_part = producer is not None and not producer.source_op and producer.op_type == "Reshape"
    return producer.inputs[0] if is_part and producer is not None else name


# By the PIR name, what computes each element from those at its place; of two operands or one.
_BINARY = frozenset({"add", "divide", "maximum", "minimum", "multiply", "subtract"})
_UNARY = frozenset(
    {
        "abs", "batch_norm", "celu", "clip", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh",
        "leaky_relu", "mish", "relu", "relu6", "scale", "sigmoid", "silu", "softplus", "sqrt", "square",
        "swish", "tanh",
    }
)  # fmt: skip


def _inner_tensors(graph: Graph, fused: frozenset[str]) -> dict[str, Node]:
    """Tensors that a runtime never stores, each with the operator that its chain begins with.

    A product, or an operator of single elements, is one step with the operators of single elements behind it:
    bias, normalization, activation, the addition of a shortcut. A quantizer between them would round once
    more and save nothing. Of two computed operands the one that is computed last is the chain's.
    """
    inner: dict[str, Node] = {}
    order = {id(node): index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.source_op not in fused:
            continue
        chained = [name for name in computed_inputs(graph, node) if _ends_a_step(graph, name)]
        if chained:
            name = max(chained, key=lambda name: order[id(graph.producer(name))])
            producer = graph.producer(name)
            assert producer is not None
            begin = next((inner[before] for before in producer.inputs if before in inner), producer)
            inner[name] = begin
    return inner


def _ends_a_step(graph: Graph, name: str) -> bool:
    """Return True if `name` is the result of a product or an elementwise operator, with one reader."""
    producer = graph.producer(name)
    if producer is None or name in graph.outputs or len(_readers(graph, name)) != 1:
        return False
    is_elementwise = producer.source_op in _UNARY | _BINARY
    return is_elementwise or (weight_input(graph, producer) is not None and producer.op_type != "Transpose")


def _readers(graph: Graph, name: str) -> set[int]:
    """Return the operators of the source program that read `name`."""
    readers = set()
    for node in graph.consumers(name):
        readers |= {id(node)} if node.source_op else _readers(graph, node.outputs[0])
    return readers


def computed_inputs(graph: Graph, node: Node) -> list[str]:
    """Return the tensors that `node` reads as activations; of a weighted operator its data alone."""
    return [name for name in _data_inputs(graph, node) if not graph.tensors[name].is_constant]


def _has_constant_operand(graph: Graph, node: Node) -> bool:
    """Return True if `node` combines a tensor with a constant, which costs nothing beside its neighbours."""
    return node.source_op in _BINARY | {"scale"} and len(computed_inputs(graph, node)) < 2


def _data_inputs(graph: Graph, node: Node) -> list[str]:
    """Return the floating-point operands that are quantized as activations."""
    if node.source_op in CONVOLUTIONS:
        names = _convolution(graph, node).inputs[:1]
    elif node.source_op in MATRIX_PRODUCTS:
        names = node.inputs[:2]
    elif node.op_type in ("BatchNormalization", "LayerNormalization") or node.source_op.endswith("_norm"):
        names = node.inputs[:1]
    else:
        names = node.inputs
    names = [source for name in names for source in _source_names(graph, name)]
    return [name for name in dict.fromkeys(names) if name and _is_float(graph, name)]


def _source_names(graph: Graph, name: str) -> list[str]:
    """Return the source program's tensors for `name`: itself, or what its part of an operator reads."""
    producer = graph.producer(name)
    if producer is None or producer.source_op:
        return [name]
    return [source for operand in producer.inputs for source in _source_names(graph, operand)]


def _is_float(graph: Graph, name: str) -> bool:
    return graph.tensors[name].dtype == "float32"


class _Matcher:
    """Matches operators with the patterns of skip_tensor_list."""

    def __init__(self, graph: Graph, attribute_paths: Mapping[str, str]) -> None:
        self._graph = graph
        self._attribute_paths = attribute_paths

    def matches(self, node: Node, pattern: str) -> bool:
        names = [*self._names(node), node.path.strip("/")]
        if any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names if name):
            return True
        return any(
            fnmatch.fnmatchcase(path, pattern) or path.startswith(pattern + ".") for path in self._paths(node)
        )

    def check(self, patterns: Sequence[str]) -> None:
        """Refuse a pattern that matches no operator."""
        nodes = self._graph.nodes
        for pattern in patterns:
            if any(self.matches(node, pattern) for node in nodes):
                continue
            known = [name for node in nodes for name in (*self._names(node), *self._paths(node))]
            unique = list(dict.fromkeys(known))
            near = difflib.get_close_matches(pattern, unique, 3, 0.4) or unique[:3]
            hint = f"; the nearest names are {', '.join(map(repr, near))}" if near else ""
            if near and not self._attribute_paths:
                hint += ". The files hold no names of attributes; for net.conv1 give that Layer itself"
            raise ValueError(
                f"skip_tensor_list: {pattern!r} matches no input, parameter or path of any operator{hint}"
            )

    def _names(self, node: Node) -> list[str]:
        """Return names of the operator's inputs, and its path."""
        inputs = [source for name in filter(None, node.inputs) for source in _source_names(self._graph, name)]
        return [*inputs, *filter(None, (node.path,))]

    def _paths(self, node: Node) -> list[str]:
        return [self._attribute_paths[name] for name in node.inputs if name in self._attribute_paths]
