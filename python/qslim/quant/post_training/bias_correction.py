# SPDX-License-Identifier: Apache-2.0
"""Correction of biases: what quantization adds to the mean of a layer's output is taken off again.

Of output channel c of a layer with quantized weight Wq and quantized input q(x), on samples of its input,

    shift_c = mean((Wq q(x) - W x)_c)

is taken off the constant that is added behind it: a bias, or the mean of a batch normalization. A channel
whose shift is not clear of the sample's own error, two standard errors, keeps its bias.
Source: Nagel et al. 2019, "Data-Free Quantization through Weight Equalization and Bias Correction"
(arXiv:1906.04721), section 4.2, the empirical form.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from qslim.graph import Graph, Tensor
from qslim.quant.post_training.layer_samples import LayerSamples

__all__ = ["Bias", "correct_bias", "find_bias"]

# In standard errors of the mean.
_CLEAR = 2.0
# Operators between a product and its bias that keep the channels where they are.
_PASSED = frozenset({"Dropout", "Identity"})


@dataclass(frozen=True)
class Bias:
    """A constant behind a layer, as all its views; ``sign`` is that of its part in the layer's output."""

    views: list[Tensor]
    sign: int


def correct_bias(
    graph: Graph,
    layer: LayerSamples,
    weight: NDArray[Any],
    inputs: NDArray[np.float32],
    written: Collection[str],
) -> bool:
    """Correct the constant behind `layer` in place; return True if there is one, and a channel was corrected.

    Parameters
    ----------
    weight : the float weight before it was rounded; `graph` holds the quantized one
    inputs : what the quantized layer gets in place of each of ``layer.patches``
    written : names of the constants that exporters write from `graph`; no other one is changed
    """
    bias = find_bias(graph, layer, written)
    if bias is None or len(inputs) < 2:
        return False
    stored = graph.tensors[layer.weight]
    assert stored.quantization is not None
    assert stored.value is not None
    rounded = stored.quantization.fake_quantize(stored.value)
    error = layer.outputs(inputs, rounded).astype(np.float64) - layer.outputs(layer.patches, weight)
    mean = error.mean(axis=0)
    shift = np.where(np.abs(mean) > _CLEAR * error.std(axis=0) / np.sqrt(len(error)), mean, 0.0)
    if not shift.any():
        return False
    for view in bias.views:
        assert view.value is not None
        view.value = np.asarray(view.value - bias.sign * shift.reshape(view.value.shape), np.float32)
    return True


def find_bias(graph: Graph, layer: LayerSamples, written: Collection[str]) -> Optional[Bias]:
    """Return the constant that is added behind `layer`, a number for each channel, with no other reader."""
    (node,) = graph.consumers(layer.weight)
    channels = layer.channels(graph)
    if len(node.inputs) > 2 and node.inputs[2]:
        return _own(graph, node.inputs[2], channels, 1, written)
    name = node.outputs[0]
    reader = graph.only_reader(name)
    while reader is not None and reader.op_type in _PASSED and not reader.domain:
        name = reader.outputs[0]
        reader = graph.only_reader(name)
    if reader is None or reader.domain:
        return None
    if reader.op_type == "BatchNormalization" and reader.inputs[0] == name:
        return _own(graph, reader.inputs[3], channels, -1, written)
    if reader.op_type != "Add" or reader.inputs.count(name) != 1:
        return None
    other = graph.tensors[reader.inputs[1 - reader.inputs.index(name)]]
    # Of an image the channels are the third axis from the end, of rows the last.
    shape, last = other.shape or (), 3 if node.op_type == "Conv" else 1
    if len(shape) < last or shape[-last] != channels:
        return None
    return _own(graph, other.name, channels, 1, written)


def _own(graph: Graph, name: str, channels: int, sign: int, written: Collection[str]) -> Optional[Bias]:
    """Return constant `name` as a bias of so many channels, if one node alone reads it."""
    value = graph.constant(name)
    if value is None or value.size != channels:
        return None
    views = graph.own_constant(name, written)
    return None if views is None else Bias(views, sign)
