# SPDX-License-Identifier: Apache-2.0
"""Which operators are quantized, which tensors that takes, and why the others stay in fp32."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from qslim.graph import Graph, Node
from qslim.graph.passes import has_quantizers
from qslim.quant.op_types import CONVOLUTIONS, MATRIX_PRODUCTS

__all__ = ["Decision", "Selection", "select", "weight_input"]


@dataclass(frozen=True)
class Decision:
    """What becomes of one operator. ``reason`` says why it stays in fp32, or how it is quantized."""

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
    weights_only: bool = False,
    quantize_outputs: bool = False,
) -> Selection:
    """Choose what to quantize in `graph`.

    Parameters
    ----------
    op_types : set of PIR operator names
    skip_patterns : names or shell patterns
        An operator is skipped if one of its inputs, one of its parameters or its path matches.
    weights_only : leave activations alone and demand a constant weight.
    quantize_outputs : also quantize what the chosen operators write (``is_full_quantize``), but for what a
        runtime computes in one step with a product: its bias, its normalization and its ReLU.

    Raises
    ------
    ValueError : the model is quantized already; a pattern matches no operator (the nearest names are given).
    """
    if has_quantizers(graph):
        raise ValueError(
            "the model is quantized already: it holds quantize and dequantize operators. Quantize the float "
            "model that it was made of; qslim.runtime.Session runs it as it is"
        )
    _check_patterns(graph, skip_patterns)
    selection = Selection()
    activations: dict[str, None] = {}
    fused: set[str] = set()
    for node in graph.nodes:
        if not node.source_op:
            continue  # a part of the operator that comes after it
        decision = _decide(graph, node, op_types, skip_patterns, weights_only)
        if decision.is_quantized and not fused.isdisjoint(node.inputs):
            decision = Decision(node, True, "part of the product before it")
        selection.decisions.append(decision)
        if not decision.is_quantized:
            continue
        if quantize_outputs:
            fused.update(_fused_tensors(graph, node))
        weight = weight_input(graph, node)
        if weight is not None:
            name, axis = weight
            # A weight that two operators read with different channel axes gets one scale for all of it.
            selection.weights[name] = axis if selection.weights.get(name, axis) == axis else None
        if not weights_only:
            names = [name for name in _data_inputs(graph, node) if not graph.tensors[name].is_constant]
            if quantize_outputs:  # but for the model's own: users fetch them in float
                results = [name for name in node.outputs if name and name not in graph.outputs]
                names += [name for name in results if _is_float(graph, name)]
            activations.update(dict.fromkeys(names))
    selection.activations = [name for name in activations if name not in fused]
    return selection


def _decide(
    graph: Graph, node: Node, op_types: set[str], skip_patterns: Sequence[str], weights_only: bool
) -> Decision:
    if node.source_op not in op_types:
        return Decision(node, False, "operator type is not among quantizable_op_type")
    for pattern in skip_patterns:
        if _matches(graph, node, pattern):
            return Decision(node, False, f"skip_tensor_list names it ({pattern!r})")
    weight = weight_input(graph, node)
    if weight is None and (weights_only or node.source_op in CONVOLUTIONS):
        return Decision(node, False, "its weight is computed at run time")
    data = [name for name in _data_inputs(graph, node) if not graph.tensors[name].is_constant]
    if weight is None and not data:
        return Decision(node, False, "it has no floating-point input")
    if weight is None:
        return Decision(node, True, "inputs quantized")
    return Decision(node, True, "weight quantized" if weights_only else "weight and inputs quantized")


def weight_input(graph: Graph, node: Node) -> Optional[tuple[str, int]]:
    """The constant weight of `node` and the axis of its output channels."""
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
    """The part of `node` that multiplies: itself, or what stands before the parts that move its result."""
    before: Optional[Node] = node
    while before is not None and before.op_type in ("Reshape", "Transpose"):
        before = graph.producer(before.inputs[0])
    return node if before is None else before


def _own_source(graph: Graph, name: str) -> str:
    """The tensor that a part of an operator reshapes to `name`, or `name`."""
    producer = graph.producer(name)
    is_part = producer is not None and not producer.source_op and producer.op_type == "Reshape"
    return producer.inputs[0] if is_part and producer is not None else name


def _fused_tensors(graph: Graph, node: Node) -> list[str]:
    """What lies between `node`, a product with a constant weight, and operators that are one step with it."""
    weight = weight_input(graph, node)
    if weight is None:
        return []
    fused = []
    name = node.outputs[0]
    while name not in graph.outputs and len(graph.consumers(name)) == 1:
        reader = graph.consumers(name)[0]
        is_clamp = reader.op_type in ("Relu", "Clip") and not reader.domain
        if not is_clamp and not _is_affine(graph, reader, name):
            break
        fused.append(name)
        name = reader.outputs[0]
        if is_clamp:
            break
    return fused


def _is_affine(graph: Graph, node: Node, data: str) -> bool:
    """Whether `node` normalizes `data` by constants or adds one, a bias, to it."""
    if node.domain or node.inputs.count(data) != 1:
        return False
    if node.op_type == "BatchNormalization":
        return node.inputs[0] == data
    return node.op_type == "Add" and all(
        graph.tensors[source].is_constant
        for name in node.inputs
        if name != data
        for source in _source_names(graph, name)
    )


def _data_inputs(graph: Graph, node: Node) -> list[str]:
    """The floating-point operands that are quantized as activations."""
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
    """The tensors of the source program that `name` is: itself, or what its part of an operator reads."""
    producer = graph.producer(name)
    if producer is None or producer.source_op:
        return [name]
    return [source for operand in producer.inputs for source in _source_names(graph, operand)]


def _is_float(graph: Graph, name: str) -> bool:
    return graph.tensors[name].dtype == "float32"


def _names_to_skip_by(graph: Graph, node: Node) -> list[str]:
    """Names of the operator's inputs, and its path."""
    inputs = [source for name in filter(None, node.inputs) for source in _source_names(graph, name)]
    return [*inputs, *filter(None, (node.path,))]


def _matches(graph: Graph, node: Node, pattern: str) -> bool:
    names = [*_names_to_skip_by(graph, node), node.path.strip("/")]
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names if name)


def _check_patterns(graph: Graph, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        if any(_matches(graph, node, pattern) for node in graph.nodes):
            continue
        known = [name for node in graph.nodes for name in _names_to_skip_by(graph, node)]
        near = difflib.get_close_matches(pattern, list(dict.fromkeys(known)), 3)
        hint = f"; the nearest names are {', '.join(map(repr, near))}" if near else ""
        raise ValueError(
            f"skip_tensor_list: {pattern!r} matches no input, parameter or path of any operator{hint}"
        )
