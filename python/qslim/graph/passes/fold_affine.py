# SPDX-License-Identifier: Apache-2.0
"""Fold what follows a product channel by channel into its weight and its bias.

    factor[c] * (W[c] . x + b[c]) + offset[c]  ->  (factor[c] * W[c]) . x + (factor[c] * b[c] + offset[c])

Followed: chains of BatchNormalization, Mul, Div, Add and Sub with one constant a channel behind a Conv, a
ConvTranspose or a MatMul with a constant weight. No tensor between them may be quantized, read by another
node or an output of the graph. A quantized weight keeps its integers: their scale takes the factor's
magnitude and they take its sign, so nothing is rounded twice. Computed in float64, stored in float32.
Source: Jacob et al. 2018 (arXiv:1712.05877), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.integer_operators import channel_axis, channel_constant, only_reader, output_channels
from qslim.graph.quantization import QuantParams

__all__ = ["fold_affine", "split_batch_norm"]

_Vector = NDArray[np.float64]

# A smaller step is no normal float32; the channel is zero for every purpose.
_SMALLEST_SCALE = 1e-30


@dataclass
class _Affine:
    """factor * x + offset, one of each for a channel."""

    factor: _Vector
    offset: _Vector

    def then(self, factor: Any, offset: Any) -> _Affine:
        return _Affine(self.factor * factor, self.offset * factor + offset)


def fold_affine(graph: Graph) -> None:
    """Fold what can be folded; change `graph` in place."""
    for node in list(graph.nodes):
        channels = output_channels(graph, node)
        if channels is not None and node.op_type != "Gemm":
            _fold_behind(graph, node, channels)


def split_batch_norm(graph: Graph) -> None:
    """Write every BatchNormalization with constant statistics as Mul and Add."""
    for node in [node for node in graph.nodes if node.op_type == "BatchNormalization" and not node.domain]:
        data = graph.tensors[node.inputs[0]]
        affine = _step(graph, node, node.inputs[0], 0, None)
        if affine is None or data.shape is None:
            continue
        shape = [-1] + [1] * (len(data.shape) - 2)
        middle = graph.new_name(node.outputs[0] + ".scaled")
        graph.add_tensor(Tensor(middle, data.dtype, data.shape))
        factor, offset = (
            _add_constant(graph, node.outputs[0] + suffix, value.reshape(shape))
            for suffix, value in ((".factor", affine.factor), (".offset", affine.offset))
        )
        graph.replace_node(
            node,
            [
                Node("Mul", [node.inputs[0], factor], [middle], path=node.path),
                Node("Add", [middle, offset], node.outputs[:1], {}, "", node.source_op, node.path),
            ],
        )


def _fold_behind(graph: Graph, node: Node, channels: int) -> None:
    from_end = 1 if node.op_type == "MatMul" else 3
    has_bias_input = len(node.inputs) > 2 and bool(node.inputs[2])
    own_bias = graph.constant(node.inputs[2]) if has_bias_input else np.zeros(1)
    if own_bias is None:
        return
    identity = np.ones(channels)
    total = _Affine(identity, np.broadcast_to(own_bias.reshape(-1).astype(np.float64), (channels,)))
    weight = graph.tensors[node.inputs[1]]
    chain: list[Node] = []
    name = node.outputs[0]
    while True:
        reader = only_reader(graph, name)
        step = None if reader is None else _step(graph, reader, name, from_end, channels)
        if reader is None or step is None:
            break
        following = total.then(step.factor, step.offset)
        if not np.isfinite(following.factor).all() or not _can_scale(node, weight, following.factor):
            break
        total, name = following, reader.outputs[0]
        chain.append(reader)
    is_product_with_bias = node.op_type == "MatMul" and [step.op_type for step in chain] == ["Add"]
    if not chain or is_product_with_bias:
        return

    if (total.factor != 1).any():
        _scale_weight(graph, node, weight, total.factor)
    for step_node in chain:
        graph.remove_node(step_node)
    bias = total.offset.astype(np.float32)
    if node.op_type != "MatMul":
        stem = node.inputs[2] if has_bias_input else node.outputs[0] + ".bias"
        graph.set_inputs(node, [*node.inputs[:2], _add_constant(graph, stem, bias)])
        graph.set_outputs(node, [name])
    elif (bias == 0).all():
        graph.set_outputs(node, [name])
    else:
        added = _add_constant(graph, node.outputs[0] + ".bias", bias)
        last = Node("Add", [node.outputs[0], added], [name], {}, "", chain[-1].source_op, chain[-1].path)
        position = next(index for index, other in enumerate(graph.nodes) if other is node)
        graph.add_node(last)
        graph.nodes.insert(position + 1, graph.nodes.pop())


def _step(graph: Graph, node: Node, data: str, from_end: int, channels: Optional[int]) -> Optional[_Affine]:
    """Return `node` as factor and offset on `data`, if it is one of the operators that can be folded."""
    if node.domain:
        return None
    if node.op_type == "BatchNormalization":
        if node.inputs[0] != data or from_end == 1:
            return None
        constants = [graph.constant(name) for name in node.inputs[1:5]]
        if any(value is None for value in constants):
            return None
        scale, offset, mean, variance = (np.asarray(value, np.float64) for value in constants)
        with np.errstate(all="ignore"):  # a negative variance gives NaN here as in every runtime
            factor = scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
        return _Affine(factor, offset - mean * factor)
    if node.op_type not in ("Add", "Div", "Mul", "Sub") or channels is None:
        return None
    if node.op_type in ("Div", "Sub") and node.inputs[0] != data:
        return None
    value = channel_constant(graph, node, data, channels, from_end)
    if value is None:
        return None
    wide, ones, zeros = value.astype(np.float64), np.ones(channels), np.zeros(channels)
    if node.op_type in ("Add", "Sub"):
        return _Affine(ones, wide if node.op_type == "Add" else -wide)
    if node.op_type == "Div" and (wide == 0).any():
        return None
    return _Affine(wide if node.op_type == "Mul" else 1 / wide, zeros)


def _can_scale(node: Node, weight: Tensor, factor: _Vector) -> bool:
    """Return True if `factor` can go into the scales of `weight` without rounding its integers again."""
    params = weight.quantization
    if params is None or (factor == 1).all():
        return True
    if params.quant_axis not in (None, channel_axis(node)) or params.zero_point != 0:
        return False
    if params.group_size is not None:
        return False
    if node.op_type == "ConvTranspose" and node.attributes.get("group", 1) != 1:
        return False
    is_symmetric = params.qmin == -params.qmax or bool((factor >= 0).all())
    return is_symmetric and bool((np.abs(factor) * params.scale.max() < 1e30).all())


def _scale_weight(graph: Graph, node: Node, weight: Tensor, factor: _Vector) -> None:
    """Let `node` read `weight` times `factor`; whoever else reads `weight` keeps it."""
    assert weight.value is not None
    axis = channel_axis(node)
    params = weight.quantization
    if params is None:
        value, scaled = _scaled_float(node, weight.value, factor), None
    else:
        value, scaled = _scaled_integers(weight.value, params, factor, axis)
    if len(graph.consumers(weight.name)) == 1 and weight.name not in graph.outputs:
        weight.value, weight.quantization = value, scaled
        return
    name = graph.new_name(weight.name + ".scaled")
    graph.add_tensor(Tensor(name, weight.dtype, value.shape, value, scaled))
    graph.set_inputs(node, [node.inputs[0], name, *node.inputs[2:]])


def _scaled_float(node: Node, value: NDArray[Any], factor: _Vector) -> NDArray[np.float32]:
    if node.op_type == "ConvTranspose":  # [IC, OC / group, KH, KW]: a group's channels lie on both axes
        group = node.attributes.get("group", 1)
        grouped = value.reshape(group, -1, *value.shape[1:]) * factor.reshape(group, 1, -1, 1, 1)
        return np.asarray(grouped.reshape(value.shape), np.float32)
    shape = [1] * value.ndim
    shape[channel_axis(node)] = -1
    return np.asarray(value * factor.reshape(shape), np.float32)


def _scaled_integers(
    value: NDArray[Any], params: QuantParams, factor: _Vector, axis: int
) -> tuple[NDArray[np.float32], QuantParams]:
    """Return real values and parameters whose integers are those of `value` times the sign of `factor`."""
    integers = params.quantize(value).astype(np.float32)
    before = np.broadcast_to(params.scale, factor.shape).astype(np.float64)
    after = before * np.abs(factor)
    is_zero = after < _SMALLEST_SCALE
    scale = np.where(is_zero, before, after).astype(np.float32)
    sign = np.where(is_zero, 0, np.sign(factor)).astype(np.float32)
    scaled = QuantParams(scale, 0, params.qmin, params.qmax, axis)
    shape = [1] * value.ndim
    shape[axis] = -1
    return integers * sign.reshape(shape) * scaled.broadcast_scale(value.ndim), scaled


def _add_constant(graph: Graph, stem: str, value: NDArray[Any]) -> str:
    name = graph.new_name(stem)
    graph.add_tensor(Tensor(name, "float32", value.shape, np.asarray(value, np.float32)))
    return name
