# SPDX-License-Identifier: Apache-2.0
"""The Graph says what it means in ONNX's terms: ONNX's reference evaluator must compute what Paddle does.

So must ``qslim.graph.evaluate``, which knows the same operators.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import numpy as np
import onnx
import paddle
import pytest
from onnx.reference import ReferenceEvaluator
from paddle import nn
from paddle.nn import functional as F
from small_networks import IRS, dygraph, images, save_network, small_network

from qslim.graph import Graph, evaluate
from qslim.importers.paddle import find_model_files, load_program


def _as_onnx(graph: Graph) -> Any:
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes = [
        helper.make_node(node.op_type, node.inputs, node.outputs, **node.attributes) for node in graph.nodes
    ]
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(tensor.value), name)
        for name, tensor in graph.tensors.items()
        if tensor.value is not None
    ]

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)

    body = helper.make_graph(
        nodes, "graph", [value(n) for n in graph.inputs], [value(n) for n in graph.outputs], constants
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 21)])


class _Function(nn.Layer):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.anchor = self.create_parameter([1, 3, 1, 1], default_initializer=nn.initializer.Constant(1.5))
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x * self.anchor)


_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "activations": lambda x: F.leaky_relu(x, 0.1) + F.hardsigmoid(x) * F.hardswish(x) - F.gelu(x),
    "tanh gelu": lambda x: F.gelu(x, approximate=True),
    "relu6 and clip": lambda x: F.relu6(x) / paddle.clip(x, 0.5, 2.0),
    "softmax over channels": lambda x: F.softmax(x, axis=1),
    "minimum and maximum": lambda x: paddle.maximum(x, paddle.minimum(x * 2, x + 1)),
    "max pool": lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
    "max pool, ceil": lambda x: F.max_pool2d(x, 3, stride=2, ceil_mode=True),
    "max pool, four pads": lambda x: F.max_pool2d(x, 3, stride=2, padding=[1, 0, 1, 1]),
    "average pool": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1),
    "average pool with padding": lambda x: F.avg_pool2d(x, 3, stride=1, padding=1, exclusive=False),
    "global pools": lambda x: F.adaptive_avg_pool2d(x, 1) + F.adaptive_max_pool2d(x, 1),
    "mean over H and W": lambda x: paddle.mean(x, axis=[2, 3], keepdim=True),
    "sum and max": lambda x: paddle.sum(x, axis=1) + paddle.max(x, axis=1),
    "concat, split": lambda x: paddle.concat(paddle.split(x, [4, 5, 7], axis=2)[::-1], axis=2),
    "transpose, reshape": lambda x: paddle.reshape(paddle.transpose(x, [0, 2, 3, 1]), [0, -1, 3]),
    "slice": lambda x: x[:, :, 2:-3, 1:9],
    "squeeze, unsqueeze": lambda x: paddle.unsqueeze(paddle.squeeze(x[:, 0:1], 1), [0]),
    "flatten": lambda x: paddle.flatten(x, 1),
    "exp and sqrt": lambda x: paddle.sqrt(paddle.exp(x)),
}

_LAYERS: dict[str, Callable[[], Any]] = {
    "conv, four pads": lambda: nn.Conv2D(3, 4, 3, padding=[1, 0, 2, 1], stride=2),
    "conv, same": lambda: nn.Conv2D(3, 4, 3, padding="SAME", stride=2),
    "conv, valid, dilated": lambda: nn.Conv2D(3, 4, 3, padding="VALID", dilation=2),
    "grouped conv": lambda: nn.Conv2D(3, 6, 5, padding=2, groups=3),
    "deconvolution": lambda: nn.Conv2DTranspose(3, 4, 3, stride=2, padding=1, output_padding=1),
    "depthwise deconvolution": lambda: nn.Conv2DTranspose(3, 3, 2, stride=2, groups=3),
    "batch norm": lambda: nn.BatchNorm2D(3),
    "linear": lambda: nn.Linear(16, 5),
    "small network": small_network,
}


def _check(net: Any, directory: Path, ir: str) -> None:
    net.eval()
    program = load_program(find_model_files(save_network(net, str(directory), ir)))
    assert {node.domain for node in program.graph.nodes} == {""}, [n.op_type for n in program.graph.nodes]
    x = images(2)
    with dygraph():
        expected = net(paddle.to_tensor(x)).numpy()
    (got,) = ReferenceEvaluator(_as_onnx(program.graph)).run(None, {"image": x})
    assert got.shape == expected.shape
    # The longest sum has 75 products of magnitude 10; float32 keeps 1e-7 of each.
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        evaluate(program.graph, {"image": x})[program.graph.outputs[0]], expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("ir", IRS)
@pytest.mark.parametrize("name", _LAYERS)
def test_layers(name: str, ir: str, tmp_path: Path) -> None:
    _check(_LAYERS[name](), tmp_path, ir)


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_functions(name: str, tmp_path: Path) -> None:
    _check(_Function(_FUNCTIONS[name]), tmp_path, "pir")
