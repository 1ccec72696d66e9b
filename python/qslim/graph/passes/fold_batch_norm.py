# SPDX-License-Identifier: Apache-2.0
"""Fold batch normalization (inference form) into the convolution before it.

    W'[oc] = W[oc] * gamma[oc] / sqrt(var[oc] + eps)
    b'[oc] = (b[oc] - mean[oc]) * gamma[oc] / sqrt(var[oc] + eps) + beta[oc]

Followed: Conv -> BatchNormalization and Conv -> Add(constant per channel) -> BatchNormalization, each
tensor between them read by nothing else and no output of the graph, the weight read by that convolution
alone. Computed in float64, stored in float32. A weight that is quantized keeps its integers but for the sign:
its scale takes the factor's magnitude.
Source: Jacob et al. 2018 (arXiv:1712.05877), section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph.graph import Graph, Node, Tensor
from qslim.graph.integer_operators import channel_axis

__all__ = ["FoldedBatchNorm", "fold_batch_norm", "folded_bias", "folded_scale", "norm_factor"]

_Vector = NDArray[np.float32]


# A smaller factor would leave no normal float32 of a scale; the channel is zero for every purpose.
_SMALLEST_FACTOR = 1e-20


@dataclass(frozen=True)
class FoldedBatchNorm:
    """One folding, in names of the graph as it was: exporters that rewrite the source program replay it."""

    conv_output: str
    norm_output: str
    weight: str
    bias: str


def fold_batch_norm(graph: Graph) -> list[FoldedBatchNorm]:
    """Fold every batch normalization that can be folded; change `graph` in place; return what was done."""
    done = []
    for norm in [node for node in graph.nodes if node.op_type == "BatchNormalization" and not node.domain]:
        folded = _fold_one(graph, norm)
        if folded is not None:
            done.append(folded)
    return done


def _fold_one(graph: Graph, norm: Node) -> Optional[FoldedBatchNorm]:
    scale, offset, mean, variance = (graph.constant(name) for name in norm.inputs[1:5])
    if scale is None or offset is None or mean is None or variance is None:
        return None
    between: list[Node] = []
    node = _only_producer(graph, norm.inputs[0])
    bias = np.zeros(scale.shape, np.float64)
    if node is not None and node.op_type == "Add" and not node.domain:
        data, added = _data_and_channel_constant(graph, node, scale.size)
        if data is None or added is None:
            return None
        bias = added
        between.append(node)
        node = _only_producer(graph, data)
    if node is None or node.domain or node.op_type not in ("Conv", "ConvTranspose"):
        return None
    weight = graph.tensors[node.inputs[1]]
    if weight.value is None or len(graph.consumers(weight.name)) != 1 or len(node.inputs) > 2:
        return None
    if node.op_type == "ConvTranspose" and node.attributes.get("group", 1) != 1:
        return None

    factor = norm_factor(scale, variance, float(norm.attributes["epsilon"]))
    axis = channel_axis(node)
    shape = [1] * weight.value.ndim
    shape[axis] = -1
    if weight.quantization is not None:
        _scale_quantized(weight, factor, axis)
    else:
        weight.value = (weight.value * factor.reshape(shape)).astype(np.float32)
    new_bias = folded_bias(bias, factor, mean, offset)
    conv_output = node.outputs[0]
    folded = FoldedBatchNorm(conv_output, norm.outputs[0], weight.name, weight.name + ".folded_bias")
    graph.add_tensor(Tensor(folded.bias, "float32", new_bias.shape, new_bias))

    graph.remove_node(norm)
    for middle in between:
        graph.remove_node(middle)
    graph.set_outputs(node, [folded.norm_output])
    graph.set_inputs(node, [*node.inputs[:2], folded.bias])
    return folded


def norm_factor(scale: _Vector, variance: _Vector, epsilon: float) -> NDArray[np.float64]:
    """Return gamma / sqrt(variance + epsilon) of each channel."""
    return np.asarray(scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon))


def folded_bias(
    bias: NDArray[Any], factor: NDArray[np.float64], mean: _Vector, offset: _Vector
) -> NDArray[np.float32]:
    """Return the bias of the layer before, once the normalization is folded into it."""
    moved = bias.astype(np.float64) - mean.astype(np.float64)
    return np.asarray(moved * factor + offset.astype(np.float64), np.float32)


def folded_scale(scale: NDArray[np.float32], factor: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the scales of a quantized weight times `factor`, one a channel; the integers take its sign."""
    magnitude = np.maximum(np.abs(factor), _SMALLEST_FACTOR)
    return np.asarray(np.broadcast_to(scale, factor.shape).astype(np.float64) * magnitude, np.float32)


def _scale_quantized(weight: Tensor, factor: NDArray[np.float64], axis: int) -> None:
    """Multiply a quantized weight by `factor` along `axis` without rounding it a second time."""
    params, value = weight.quantization, weight.value
    assert params is not None
    assert value is not None
    integers = params.quantize(value).astype(np.float64)
    weight.quantization = replace(params, scale=folded_scale(params.scale, factor), quant_axis=axis)
    shape = [1] * value.ndim
    shape[axis] = -1
    signed = integers * np.sign(factor).reshape(shape)
    weight.value = (signed * weight.quantization.broadcast_scale(value.ndim)).astype(np.float32)


def _only_producer(graph: Graph, name: str) -> Optional[Node]:
    return graph.producer(name) if graph.only_reader(name) is not None else None


def _data_and_channel_constant(
    graph: Graph, node: Node, channels: int
) -> tuple[Optional[str], Optional[NDArray[Any]]]:
    """Return the computed operand of Add and its constant one as (channels,), or (None, None)."""
    for data, other in (node.inputs, node.inputs[::-1]):
        value = graph.constant(other)
        if value is None or graph.constant(data) is not None or value.size not in (1, channels):
            continue
        if (value.ndim in (3, 4) and value.shape[-3] == value.size) or value.size == 1:
            return data, np.broadcast_to(value.reshape(-1), (channels,)).astype(np.float64)
    return None, None
