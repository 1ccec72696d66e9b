# SPDX-License-Identifier: Apache-2.0
"""Give channels whose bias does not fit 32 bits a coarser weight, for runtimes that round biases to integers.

Ours adds them in float. ONNX Runtime, where it fuses quantized operators, takes them in steps of sx * sw. A
channel of zeros (pruned, or dead behind its normalization) has a step next to nothing, 1e-11 say, and a bias
of 1 is then more than 2^31 of them, which wraps. Such a channel gets the step with which its bias takes 2^30,
and its integers are taken again; those of a channel of zeros stay zero.
"""

from __future__ import annotations

import numpy as np

from qslim.graph.graph import Graph, Tensor
from qslim.graph.integer_operators import IntegerOperator, channel_axis, find_integer_operator
from qslim.graph.quantization import QuantParams

__all__ = ["fit_bias"]

# The other half of int32 is for the products: 127 * 255 * K stays below 2^30 up to K = 33 thousand.
_LARGEST = 2.0**30


def fit_bias(graph: Graph) -> None:
    """Enlarge the scale of each channel whose bias does not fit 32 bits; change `graph` in place."""
    for node in list(graph.nodes):
        operator = find_integer_operator(graph, node)
        if operator is not None and operator.bias is not None:
            _fit(graph, operator)


def _fit(graph: Graph, operator: IntegerOperator) -> None:
    node = operator.node
    x, weight = graph.tensors[node.inputs[0]].quantization, graph.tensors[node.inputs[1]]
    params = weight.quantization
    assert x is not None
    assert params is not None
    assert weight.value is not None
    assert operator.bias is not None
    axis = channel_axis(node)
    extent = weight.value.shape[axis]
    # Of a grouped ConvTranspose a scale serves the same channel of every group.
    bias = np.abs(operator.bias.astype(np.float64)).reshape(-1, extent).max(axis=0)
    scale = np.broadcast_to(params.scale, (extent,)).astype(np.float64)
    smallest = bias / _LARGEST / float(x.scale)
    if (scale >= smallest).all():
        return
    value = params.fake_quantize(weight.value)
    fitted = QuantParams(np.maximum(scale, smallest).astype(np.float32), 0, params.qmin, params.qmax, axis)
    if len(graph.consumers(weight.name)) == 1 and weight.name not in graph.outputs:
        weight.value, weight.quantization = value, fitted
        return
    name = graph.new_name(weight.name + ".fitted")
    graph.add_tensor(Tensor(name, weight.dtype, value.shape, value, fitted))
    graph.set_inputs(node, [node.inputs[0], name, *node.inputs[2:]])
