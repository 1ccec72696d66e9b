# SPDX-License-Identifier: Apache-2.0
"""Conversion of a file's quantize and dequantize operators to annotations.

Recognized, in a graph that was imported operator by operator:

    activation   quantizer -> dequantizer, a fake quantizer; also the PIR exporter's
                 multiply by 1 / step -> quantize_linear -> multiply by the step
    weight       integers -> dequantize_linear; integers -> cast -> multiply by the steps; a fake quantizer
    product      (integers of x) * (integers of w) -> multiply by step_x * step_w, fake_dequantize_max_abs or
                 fake_channel_wise_dequantize_max_abs

A quantized activation becomes an Identity with quantization parameters, which goes where its source is read
by nothing else: its source takes the parameters. A weight becomes the real values of its integers. What
cannot be put as an annotation stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.integer_operators import channel_axis
from qslim.graph.moved_data import moved_inputs
from qslim.graph.operators.products import PRODUCTS
from qslim.graph.passes.clean import remove_dead
from qslim.graph.passes.merge_quantizers import merge_quantizers, same_params
from qslim.graph.passes.sign import non_negative_tensors
from qslim.graph.quantization import QuantParams
from qslim.importers.paddle.quantizers.operators import (
    FAKE_QUANTIZERS,
    QUANTIZERS,
    WEIGHT_QUANTIZERS,
    activation_params,
    is_observer,
    is_quantizer,
    step_of_reciprocal,
    weight_params,
)

__all__ = ["has_quantizers", "read_quantizers"]

_READ = QUANTIZERS | FAKE_QUANTIZERS | WEIGHT_QUANTIZERS
_READ |= {"dequantize_linear", "moving_average_abs_max_scale"}
# What our legacy exporter calls the tensors in front of an unsigned pair.
_KEPT, _SHIFTED = ".kept", ".shifted"
# What our PIR exporter calls integers that are stored in float32.
_STORED = ".quantized"


def has_quantizers(graph: Graph) -> bool:
    """Return True if `graph` holds Paddle's quantizing operators, or a weight as integers times scales."""
    return any(
        is_quantizer(node)
        or (
            node.op_type == "Mul"
            and any(_is_stored(graph, name) or _lookup(graph, name) for name in node.inputs)
        )
        for node in graph.nodes
    )


def read_quantizers(graph: Graph) -> None:
    """Turn quantizing operators of `graph` into annotations, in place; do nothing if there are none.

    Examples
    --------
    >>> graph = Graph(inputs=["x"], outputs=["y"])
    >>> _ = graph.add_tensor(Tensor("threshold", "float32", (1,), np.float32([2.54])))
    >>> for name in ("x", "q", "d", "y"):
    ...     _ = graph.add_tensor(Tensor(name, "float32", (None, 4)))
    >>> graph.add_node(Node("quantize_linear", ["x", "threshold"], ["q"], {"round_type": 0}, "paddle"))
    >>> graph.add_node(Node("dequantize_linear", ["q", "threshold"], ["d"], {}, "paddle"))
    >>> graph.add_node(Node("Relu", ["d"], ["y"]))
    >>> read_quantizers(graph)
    >>> [node.op_type for node in graph.nodes], float(graph.tensors["x"].quantization.scale)
    (['Relu'], 0.019999999552965164)
    """
    if not has_quantizers(graph):
        return
    reader = _Reader(graph)
    for node in list(graph.nodes):
        reader.read(node)
    remove_dead(graph)
    reader.name_weights()
    merge_quantizers(graph)
    _use_unsigned_params(graph)
    _give_params_to_sources(graph)


@dataclass(frozen=True)
class _Integers:
    """The meaning of a tensor of integers: the tensor of its real values, and their quantization parameters.

    ``offset`` is what a file adds to the real values before it quantizes them without a zero point.
    """

    real: str
    params: QuantParams
    offset: Optional[np.float32] = None


class _Reader:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._integers: dict[str, _Integers] = {}
        # The real values of a constant that holds integers, by its name and its parameters.
        self._weights: dict[tuple[str, bytes, Optional[int]], str] = {}

    def read(self, node: Node) -> None:
        if node.domain == "paddle":
            self._read_quantizer(node)
        elif node.op_type in PRODUCTS:
            self._read_product(node)
        elif node.op_type == "Mul":
            self._read_multiplication(node)
        elif node.op_type == "Clip" and node.inputs[0] in self._integers:
            self._read_clip(node)
        elif node.inputs[0] in self._integers and moved_inputs(self._graph, node) == node.inputs[:1]:
            self._move(node)

    def _read_quantizer(self, node: Node) -> None:
        kind = node.op_type.rstrip("_")
        if kind not in _READ:
            return
        if is_observer(node):
            self._replace(node.outputs[0], node.inputs[0])
            if node.inputs[0] in self._integers:
                self._integers[node.outputs[0]] = self._integers[node.inputs[0]]
        elif self._graph.tensors[node.inputs[0]].is_constant:
            if kind == "dequantize_linear" or kind in WEIGHT_QUANTIZERS:
                params = weight_params(self._graph, node)
                if params is not None:
                    is_real = kind in WEIGHT_QUANTIZERS
                    self._replace(node.outputs[0], self._weight(node.inputs[0], params, is_real))
        elif kind in QUANTIZERS:
            self._read_quantize(node)
        elif kind in FAKE_QUANTIZERS:
            params = activation_params(self._graph, node)
            if params is not None:
                self._replace(node.outputs[0], self._quantized(node, node.inputs[0], params))
        elif kind == "dequantize_linear" and node.inputs[0] in self._integers:
            self._read_dequantize(node)

    def _read_quantize(self, node: Node) -> None:
        graph = self._graph
        params = activation_params(graph, node)
        if params is None:
            return
        source, offset = node.inputs[0], None
        factor = self._constant_operand(graph.producer(source), "Mul")
        if factor is not None and params.scale == 1:
            step = step_of_reciprocal(graph, node, factor[1])
            if step is not None:
                source, params = factor[0], replace(params, scale=step)
        if params.qmin == 0 and source.endswith(_KEPT):
            source = graph.producer(source).inputs[0]  # type: ignore[union-attr]
            added = self._constant_operand(graph.producer(source), "Add")
            if added is not None and source.endswith(_SHIFTED):
                source, offset = added
                params = replace(params, zero_point=int(np.rint(offset / params.scale)))
        self._integers[node.outputs[0]] = _Integers(self._quantized(node, source, params), params, offset)

    def _read_clip(self, node: Node) -> None:
        """Read a Clip of integers as an asymmetric range, relative to its zero point."""
        integers, graph = self._integers[node.inputs[0]], self._graph
        bounds = [graph.constant(name) if name else None for name in node.inputs[1:3]]
        if len(bounds) != 2 or bounds[0] is None or bounds[1] is None:
            return
        low, high = (float(bound.reshape(())) for bound in bounds if bound is not None)
        zero_point = integers.params.qmax - high
        if not (low.is_integer() and zero_point.is_integer() and low <= 0 <= zero_point):
            return
        params = replace(integers.params, zero_point=int(zero_point), qmin=int(low + zero_point))
        source = graph.producer(integers.real).inputs[0]  # type: ignore[union-attr]
        self._integers[node.outputs[0]] = _Integers(self._quantized(node, source, params), params)

    def _move(self, node: Node) -> None:
        """Let a copy of `node` move the real values."""
        integers = self._integers[node.inputs[0]]
        name = self._new_tensor(node.outputs[0] + ".real", node.outputs[0])
        moved = replace(node, inputs=[integers.real, *node.inputs[1:]], outputs=[name])
        self._graph.replace_node(node, [node, moved])
        self._integers[node.outputs[0]] = replace(integers, real=name)

    def _read_dequantize(self, node: Node) -> None:
        integers, graph = self._integers[node.inputs[0]], self._graph
        params = activation_params(graph, node)
        if params is None or params.scale != integers.params.scale or params.qmax != integers.params.qmax:
            return
        if integers.offset is None:
            self._replace(node.outputs[0], integers.real)
            return
        for reader in graph.consumers(node.outputs[0]):
            added = self._constant_operand(reader, "Add")
            if added is not None and added[1] == -integers.offset:
                self._replace(reader.outputs[0], integers.real)

    def _read_multiplication(self, node: Node) -> None:
        """Read a Mul of integers by their scale or scales."""
        for data, other in (node.inputs, node.inputs[::-1]):
            if _is_stored(self._graph, data):
                root = _root(self._graph, data)
                params = _group_params(self._graph, root, other)
                if params is not None:
                    self._replace(node.outputs[0], self._weight(root, params))
                    return
            steps = self._graph.constant(other)
            if steps is None or steps.dtype != np.float32:
                continue
            if steps.size == 1 and self._read_lookup(node, data, steps):
                return
            integers = self._integers.get(data)
            if integers is not None and steps.size == 1 and steps.reshape(()) == integers.params.scale:
                self._replace(node.outputs[0], integers.real)
            elif integers is None and _is_stored(self._graph, data):
                root = _root(self._graph, data)
                params = _stored_params(self._graph.tensors[root].value, steps)
                if params is not None:
                    self._replace(node.outputs[0], self._weight(root, params))
            else:
                continue
            return

    def _read_lookup(self, node: Node, data: str, steps: NDArray[np.float32]) -> bool:
        """Read rows of integers times their step as rows of a quantized table; False if they are none."""
        lookup = _lookup(self._graph, data)
        if lookup is None:
            return False
        params = _params_of(self._graph.tensors[lookup.inputs[0]].value, steps, 0)  # type: ignore[arg-type]
        if params is None:
            return False
        table = self._weight(lookup.inputs[0], params)
        name = self._new_tensor(lookup.outputs[0] + ".real", node.outputs[0])
        rows = replace(lookup, inputs=[table, *lookup.inputs[1:]], outputs=[name])
        self._graph.replace_node(node, [rows, node])
        self._replace(node.outputs[0], name)
        return True

    def _read_product(self, node: Node) -> None:
        graph = self._graph
        x = self._integers.get(node.inputs[0])
        turn = graph.producer(node.inputs[1])
        turns = "Transpose" if node.op_type == "MatMul" else "Reshape"
        is_turned = turn is not None and turn.op_type == turns
        root = _root(graph, turn.inputs[0] if is_turned and turn is not None else node.inputs[1])
        value = graph.constant(root)
        if x is None or x.offset is not None or value is None or not _is_integral(value):
            return
        scaling = graph.only_reader(node.outputs[0])
        # Behind a MatMul its channels stay the last axis; behind the Conv of a volume all are its own parts.
        while scaling is not None and (
            (scaling.op_type == "Reshape" and node.op_type == "MatMul")
            or (scaling.op_type in ("Reshape", "Transpose") and node.op_type == "Conv" and is_turned)
        ):
            scaling = graph.only_reader(scaling.outputs[0])
        axis = channel_axis(node)
        if scaling is None or value.ndim != (2 if node.op_type == "MatMul" else 5 if is_turned else 4):
            return
        steps = self._product_steps(scaling, x.params)
        own_axis = 1 - axis if is_turned and node.op_type == "MatMul" else axis
        params = None if steps is None else _params_of(value, steps, own_axis)
        if params is None:
            return
        weight = self._weight(root, params)
        if is_turned and turn is not None:
            name = self._new_tensor(f"{weight}.{turns.lower()}d", turn.outputs[0])
            moved = replace(turn, inputs=[weight, *turn.inputs[1:]], outputs=[name])
            graph.replace_node(turn, [turn, moved])
            weight = name
        graph.set_inputs(node, [x.real, weight, *node.inputs[2:]])
        self._replace(scaling.outputs[0], scaling.inputs[0])

    def _product_steps(self, scaling: Node, x: QuantParams) -> Optional[NDArray[np.float32]]:
        """Return the weight's scales from the factor behind a product of integers; None if it is no scale."""
        graph, kind = self._graph, scaling.op_type.rstrip("_")
        if scaling.domain == "paddle" and kind == "fake_dequantize_max_abs":
            return np.full(1, x.qmax / scaling.attributes["max_range"], np.float32)
        if scaling.domain == "paddle" and kind == "fake_channel_wise_dequantize_max_abs":
            threshold = graph.constant(scaling.inputs[1])
            qmax = 2 ** (scaling.attributes["quant_bits"][0] - 1) - 1
            if threshold is None:
                return None
            return np.asarray(np.maximum(threshold, THRESHOLD_FLOOR) / np.float32(qmax), np.float32)
        if scaling.domain or scaling.op_type != "Mul":
            return None
        other = graph.producer(scaling.inputs[1])
        if other is None:
            both = graph.constant(scaling.inputs[1])
            if both is None or both.dtype != np.float32:
                return None
            return np.asarray(both / x.scale, np.float32)
        step, steps = (graph.constant(name) for name in other.inputs[:2])
        if other.op_type != "Mul" or step is None or steps is None or (step.reshape(-1) != x.scale).any():
            return None
        return steps

    def _quantized(self, node: Node, source: str, params: QuantParams) -> str:
        """Add an Identity of `source`, quantized with `params`, before `node`; return its output's name."""
        name = self._new_tensor(source + ".on_grid", source)
        self._graph.tensors[name].quantization = params
        identity = Node("Identity", [source], [name], path=node.path)
        self._graph.replace_node(node, [identity, node])
        return name

    def _new_tensor(self, stem: str, like: str) -> str:
        tensor = self._graph.tensors[like]
        name = self._graph.new_name(stem)
        self._graph.add_tensor(Tensor(name, "float32", tensor.shape))
        return name

    def _weight(self, name: str, params: QuantParams, is_real: bool = False) -> str:
        """Add a constant with the real values of the integers `name` and return its name."""
        key = (name, params.scale.tobytes(), params.quant_axis)
        if key not in self._weights:
            value = self._graph.tensors[name].value
            assert value is not None
            if not is_real:
                if value.size:
                    params = replace(params, qmin=min(params.qmin, int(value.min())))
                integers = value.astype(np.float32)
                value = np.asarray(integers * params.scale_of(value.shape), np.float32)
            real = self._graph.new_name(name + ".real")
            self._graph.add_tensor(Tensor(real, "float32", value.shape, value, params))
            self._weights[key] = real
        return self._weights[key]

    def name_weights(self) -> None:
        """Give the weights the names that their integers had in the file, or had before it."""
        for (stored, *_), real in self._weights.items():
            name = stored[: -len(_STORED)] if stored.endswith(_STORED) else stored
            if real in self._graph.tensors and name not in self._graph.tensors:
                tensor = self._graph.tensors[real]
                self._graph.add_tensor(replace(tensor, name=name))
                self._graph.replace_uses(real, name)
                del self._graph.tensors[real]

    def _replace(self, old: str, new: str) -> None:
        """Let the readers of `old` read `new`; an output keeps its name."""
        self._graph.replace_uses(old, new)
        producer = self._graph.producer(old)
        if old in self._graph.outputs and producer is not None:
            self._graph.replace_node(producer, [Node("Identity", [new], [old])])

    def _constant_operand(self, node: Optional[Node], op_type: str) -> Optional[tuple[str, np.float32]]:
        """Return the computed operand of `node` and the number that is its other one."""
        if node is None or node.domain or node.op_type != op_type:
            return None
        for data, other in (node.inputs, node.inputs[::-1]):
            value = self._graph.constant(other)
            if value is not None and value.size == 1 and self._graph.constant(data) is None:
                return data, np.float32(value.reshape(()))
        return None


def _root(graph: Graph, name: str) -> str:
    """Return the constant that `name` is a cast of, or `name`."""
    node = graph.producer(name)
    return node.inputs[0] if node is not None and node.op_type == "Cast" and not node.domain else name


def _lookup(graph: Graph, name: str) -> Optional[Node]:
    """Return the Gather of rows of stored integers that `name` is a cast of, if it is one."""
    cast = graph.producer(name)
    node = graph.producer(cast.inputs[0]) if cast is not None and cast.op_type == "Cast" else None
    if node is None or node.domain or node.op_type != "Gather" or node.attributes.get("axis", 0) != 0:
        return None
    table = graph.constant(node.inputs[0])
    return node if table is not None and table.ndim == 2 and table.dtype in (np.int8, np.int16) else None


def _is_stored(graph: Graph, name: str) -> bool:
    """Return True if `name` holds the integers of a weight."""
    root = _root(graph, name)
    value = graph.constant(root)
    if value is None:
        return False
    return value.dtype in (np.int8, np.int16) or (root.endswith(_STORED) and _is_integral(value))


def _is_integral(value: NDArray[Any]) -> bool:
    if value.dtype.kind == "i":
        return True
    if value.dtype != np.float32 or not value.size:
        return False
    return bool((np.rint(value) == value).all() and np.abs(value).max() < 2**15)


def _stored_params(value: Optional[NDArray[Any]], steps: NDArray[np.float32]) -> Optional[QuantParams]:
    """Return the quantization parameters of stored integers from scales that broadcast against them."""
    if value is None or steps.ndim > max(1, value.ndim):
        return None
    axes = [axis for axis, extent in enumerate(steps.shape) if extent > 1]
    if len(axes) > 1 or (axes and steps.ndim != value.ndim):
        return None
    return _params_of(value, steps, axes[0] if axes else 0)


def _group_params(graph: Graph, weight: str, steps: str) -> Optional[QuantParams]:
    """Return the quantization parameters of stored integers whose scales are gathered for each group."""
    node, value = graph.producer(steps), graph.constant(weight)
    if node is None or node.op_type != "Gather" or node.domain or value is None or value.ndim != 2:
        return None
    scale, group = (graph.constant(name) for name in node.inputs[:2])
    axis = node.attributes.get("axis", 0)
    if scale is None or group is None or scale.ndim != 2 or axis not in (0, 1) or group.ndim != 1:
        return None
    size = int((group == 0).sum())
    if size < 2 or size % 2 or not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    like = _params_of(value, np.ones(1, np.float32), 0)
    if like is None:
        return None
    params = QuantParams(scale, 0, like.qmin, like.qmax, 1 - axis, size)
    is_right = params.fits_shape(value.shape) and (group == params.group_of_each(value.shape)).all()
    return params if is_right else None


def _params_of(value: NDArray[Any], steps: NDArray[np.float32], axis: int) -> Optional[QuantParams]:
    """Return the quantization parameters of the integers `value`: one scale, or several along `axis`.

    Its width is the one that the integers just fill, if there is such a one, else that of their storage.
    """
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        return None
    largest = int(np.abs(value.astype(np.int32)).max()) if value.size else 0
    widths = [2 ** (bits - 1) - 1 for bits in range(2, 17)]
    qmax = largest if largest in widths else 127 if largest <= 128 else 32767
    if steps.ndim <= 1 and steps.size == 1:
        return QuantParams(steps.reshape(()), 0, -qmax, qmax)
    if steps.size != value.shape[axis]:
        return None
    return QuantParams(steps.reshape(-1), 0, -qmax, qmax, axis)


def _use_unsigned_params(graph: Graph) -> None:
    """Make 9-bit parameters of tensors that are never negative unsigned ones of 8 bits."""
    unsigned = non_negative_tensors(graph)
    for tensor in graph.tensors.values():
        params = tensor.quantization
        if params is not None and (params.zero_point, params.qmax) == (0, 255) and tensor.name in unsigned:
            tensor.quantization = replace(params, qmin=0)


def _give_params_to_sources(graph: Graph) -> None:
    """Move the parameters of quantized identities to their sources, where these can take or have them."""
    for node in [node for node in graph.nodes if node.op_type == "Identity" and not node.domain]:
        source, target = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
        if target.quantization is None or target.name in graph.outputs:
            continue
        if source.quantization is None:
            if len(graph.consumers(source.name)) > 1 or source.name in graph.outputs or source.is_constant:
                continue
            source.quantization = target.quantization
        elif not same_params(source.quantization, target.quantization):
            continue
        graph.remove_node(node)
        graph.replace_uses(target.name, source.name)
        del graph.tensors[target.name]
