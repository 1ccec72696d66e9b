# SPDX-License-Identifier: Apache-2.0
"""Equalization: ranges that differ from channel to channel move from activations into weights.

An activation x with one scale for all of its channels is coarse where one of them is much larger than the
others. With a factor s for each channel,

    (w s) (x / s) = w x

Whatever normalizes x in front of it takes 1 / s into its own scale and offset, past operators that commute
with positive factors, and every weight that reads x takes s. The network computes the same in float. Of

    s_c = max|x_c|^a / max|w_c|^(1 - a),   a = 0.25, 0.5, 0.75, 1

the one is taken with which the readers' outputs err least, if that is less by a tenth than without.
Sources: Xiao et al. 2023, "SmoothQuant" (arXiv:2211.10438), equation 4; Nagel et al. 2019, "Data-Free
Quantization through Weight Equalization and Bias Correction" (arXiv:1906.04721), section 4.1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim import functional
from qslim.functional import TensorStatistics
from qslim.functional.fake_quant import THRESHOLD_FLOOR
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.quant.options import PostTrainingOptions
from qslim.quant.post_training.activation_params import activation_params
from qslim.quant.post_training.layer_samples import LayerSamples, products

__all__ = ["Scaling", "scale_channels"]

_EXPONENTS = (0.25, 0.5, 0.75, 1.0)
# Less than so much of the error is worth a change of the network.
_PAYS = 0.9
# Factors lie within this of their geometric mean.
_WIDEST = 1e3
_MOST_JUDGED = 512
_NORMALIZATIONS = {"BatchNormalization": "Conv", "LayerNormalization": "MatMul"}
_COMMUTE = frozenset({"Dropout", "Identity", "LeakyRelu", "Relu"})

_Factors = NDArray[np.float32]


@dataclass(frozen=True)
class Scaling:
    """A tensor that was divided by ``factors``, one a channel, and those in front of it that were too.

    Attributes
    ----------
    tensors : list of str
        From the normalization's output to the one that the layers read.
    weights : list of str
        Weights that took the factors.
    """

    tensors: list[str]
    weights: list[str]
    factors: _Factors


def scale_channels(
    graph: Graph,
    layers: Sequence[LayerSamples],
    options: PostTrainingOptions,
    non_negative: Collection[str],
    written: Collection[str],
) -> list[Scaling]:
    """Equalize `graph` where it pays, in place, and `layers` with it.

    Parameters
    ----------
    graph : in float
    layers : samples of their inputs
    non_negative : tensors that may be unsigned
    written : names of the constants that exporters write from `graph`; no other one is changed
    """
    readers: dict[str, list[LayerSamples]] = {}
    for layer in layers:
        readers.setdefault(layer.tensor, []).append(layer)
    done = []
    for name, own in readers.items():
        found = _normalization(graph, name, own, written)
        if found is None:
            continue
        constants, tensors = found
        factors = _best_factors(graph, own, options, name in non_negative)
        if factors is None:
            continue
        for tensor in constants:
            assert tensor.value is not None
            tensor.value = (tensor.value / factors.reshape(tensor.value.shape)).astype(np.float32)
        for layer in own:
            weight = graph.tensors[layer.weight]
            assert weight.value is not None
            weight.value = _scaled(layer, weight.value, factors)
            layer.divide_channels(factors)
        done.append(Scaling(tensors, [layer.weight for layer in own], factors))
    return done


def _normalization(
    graph: Graph, name: str, readers: Sequence[LayerSamples], written: Collection[str]
) -> Optional[tuple[list[Tensor], list[str]]]:
    """Return scale and offset of the normalization that `name` comes from, and the tensors up to `name`.

    None unless `readers` alone read it and each constant is theirs alone.
    """
    if name in graph.outputs or len(graph.consumers(name)) != len(readers):
        return None
    tensors = [name]
    node = graph.producer(name)
    while node is not None and node.op_type in _COMMUTE and not node.domain:
        if graph.only_reader(node.inputs[0]) is None:
            return None
        tensors.insert(0, node.inputs[0])
        node = graph.producer(node.inputs[0])
    if node is None or node.domain or node.op_type not in _NORMALIZATIONS or len(node.inputs) < 3:
        return None
    if any(layer.node.op_type != _NORMALIZATIONS[node.op_type] for layer in readers):
        return None
    if node.op_type == "LayerNormalization" and not _is_along_last_axis(graph, node):
        return None
    channels = readers[0].input_channels
    if any(layer.input_channels != channels for layer in readers):
        return None
    constants: list[Tensor] = []
    for constant in node.inputs[1:3]:
        views = graph.own_constant(constant, written)
        if views is None or graph.tensors[constant].value.size != channels:  # type: ignore[union-attr]
            return None
        constants += views
    weights = [graph.own_constant(layer.weight, written) for layer in readers]
    if any(views is None or len(views) > 1 for views in weights):
        return None
    return constants, tensors


def _is_along_last_axis(graph: Graph, norm: Node) -> bool:
    axis, shape = int(norm.attributes.get("axis", -1)), graph.tensors[norm.inputs[0]].shape
    return axis == -1 or (shape is not None and axis == len(shape) - 1)


def _best_factors(
    graph: Graph, readers: Sequence[LayerSamples], options: PostTrainingOptions, is_unsigned: bool
) -> Optional[_Factors]:
    """Return the factors with which the readers' outputs err least, None if they gain little."""
    patches = [layer.patches[:_MOST_JUDGED] for layer in readers]
    if min(map(len, patches)) == 0:
        return None
    least = _PAYS * _error(graph, readers, patches, options, is_unsigned, None)
    best = None
    for factors in _candidates(graph, readers):
        error = _error(graph, readers, patches, options, is_unsigned, factors)
        if error < least:
            least, best = error, factors
    return best


def _candidates(graph: Graph, readers: Sequence[LayerSamples]) -> Iterator[_Factors]:
    x = np.max([layer.channel_maxima(layer.patches) for layer in readers], axis=0)
    w = np.max([layer.channel_maxima(_rows(graph, layer)) for layer in readers], axis=0)
    is_used = (x > 0) & (w > 0)
    if not is_used.any():
        return
    for exponent in _EXPONENTS:
        factors = np.ones(x.shape, np.float64)
        factors[is_used] = x[is_used] ** exponent / w[is_used] ** (1 - exponent)
        factors[is_used] /= np.exp(np.log(factors[is_used]).mean())
        yield np.clip(factors, 1 / _WIDEST, _WIDEST).astype(np.float32)


def _error(
    graph: Graph,
    readers: Sequence[LayerSamples],
    patches: Sequence[NDArray[np.float32]],
    options: PostTrainingOptions,
    is_unsigned: bool,
    factors: Optional[_Factors],
) -> float:
    """Return the readers' errors, relative to their outputs' variance, with x and w scaled by `factors`."""
    statistics = TensorStatistics()
    scaled = [x if factors is None else layer.divided(x, factors) for layer, x in zip(readers, patches)]
    for x in scaled:
        statistics.update(np.ascontiguousarray(x))
    rule = "mse" if options.algo == "auto" else options.algo
    params = activation_params(graph, statistics, replace(options, algo=rule), is_unsigned).params
    error = 0.0
    for layer, own, x in zip(readers, patches, scaled):
        weight = graph.tensors[layer.weight].value
        assert weight is not None
        rounded = _fake_quantized(
            weight if factors is None else _scaled(layer, weight, factors), layer, options
        )
        expected = layer.outputs(own, weight)
        difference = products(params.fake_quantize(x), layer.group_rows(rounded)) - expected
        power = float(np.var(expected, axis=0, dtype=np.float64).mean())
        error += float(np.mean(np.square(difference, dtype=np.float64))) / max(power, 1e-30)
    return error


def _fake_quantized(value: NDArray[np.float32], layer: LayerSamples, options: PostTrainingOptions) -> Any:
    axis = layer.axis if options.weight_quantize_type == "channel_wise_abs_max" else None
    threshold = np.maximum(functional.abs_max(value, quant_axis=axis), THRESHOLD_FLOOR)
    return QuantParams.weight(threshold, options.weight_bits, axis).fake_quantize(value)


def _rows(graph: Graph, layer: LayerSamples) -> NDArray[np.float32]:
    """Return the weight as patches: a row for each output channel of a group, [channels, groups * K]."""
    value = graph.tensors[layer.weight].value
    assert value is not None
    rows = layer.group_rows(value)
    return np.asarray(rows.transpose(1, 0, 2).reshape(rows.shape[1], -1))


def _scaled(layer: LayerSamples, weight: NDArray[np.float32], factors: _Factors) -> NDArray[np.float32]:
    """Return the layer's weight with its input channels times `factors`."""
    rows = layer.group_rows(weight)
    spread = layer.spread(factors).reshape(layer.groups, 1, -1)
    return np.asarray(layer.from_group_rows(rows * spread, weight.shape), np.float32)
