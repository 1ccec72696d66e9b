# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest
from small_networks import IRS, dygraph, images, save_network, small_network

from qslim.graph.passes import fold_batch_norm
from qslim.importers.paddle import UnsupportedModelError, find_model_files, import_layer, load_program

_SPEC = [paddle.static.InputSpec([None, 3, 16, 16], "float32", "image")]
_OPERATORS = [
    "Conv", "BatchNormalization", "Relu", "Conv", "Add", "BatchNormalization", "HardSwish", "Conv", "Add",
    "Add", "Relu", "ConvTranspose", "Add", "MaxPool", "GlobalAveragePool", "Flatten", "MatMul", "Add",
]  # fmt: skip


@pytest.mark.parametrize("ir", IRS)
def test_both_irs_give_the_same_graph(ir: str, tmp_path: Path) -> None:
    program = load_program(find_model_files(save_network(small_network(), str(tmp_path), ir)))
    assert [node.op_type for node in program.graph.nodes] == _OPERATORS
    assert {node.domain for node in program.graph.nodes} == {""}
    assert program.graph.inputs == ["image"]
    assert program.feeds[0].shape == (None, 3, 16, 16)
    stem, depthwise = program.graph.nodes[0], program.graph.nodes[3]
    assert stem.attributes == {"strides": [2, 2], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": 1}
    assert depthwise.attributes["group"] == 8
    assert paddle.in_dynamic_mode()


@pytest.mark.parametrize("ir", IRS)
def test_runs_as_paddle_does(ir: str, tmp_path: Path) -> None:
    net = small_network()
    program = load_program(find_model_files(save_network(net, str(tmp_path), ir)))
    x = images(3)
    with dygraph():
        expected = net(paddle.to_tensor(x)).numpy()
    np.testing.assert_allclose(program.run_outputs({"image": x})[0], expected, rtol=1e-5, atol=1e-6)
    name = program.graph.nodes[2].outputs[0]
    (relu,) = program.run({"image": x}, [name])
    assert relu.shape == (3, 8, 8, 8)
    assert relu.min() == 0


def test_a_layer_keeps_its_mode(tmp_path: Path) -> None:
    net = small_network()
    net.train()
    net.stem_norm.eval()
    program = import_layer(net, _SPEC)
    assert [node.op_type for node in program.graph.nodes] == _OPERATORS
    assert net.training
    assert not net.stem_norm.training


def test_a_layer_needs_its_input_spec() -> None:
    with pytest.raises(ValueError, match="input_spec is missing"):
        import_layer(small_network())
    with pytest.raises(ValueError, match=r"expected a paddle.nn.Layer, got str"):
        import_layer("model", _SPEC)


def test_control_flow_is_refused_by_name(tmp_path: Path) -> None:
    class Branch(paddle.nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.conv = paddle.nn.Conv2D(3, 4, 3)

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            x = self.conv(x)
            return paddle.static.nn.cond(x.sum() > 0, lambda: x + 1, lambda: x - 1)

    with pytest.raises(UnsupportedModelError, match="control flow"):
        load_program(find_model_files(save_network(Branch(), str(tmp_path), "pir")))
    assert paddle.in_dynamic_mode()


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_25", "resnet18", "squeezenet1_1"])
def test_networks_of_paddle_vision(name: str) -> None:
    net = getattr(paddle.vision.models, name)(num_classes=10)
    program = import_layer(net, [paddle.static.InputSpec([None, 3, 64, 64], "float32", "image")])
    x = images(2, size=64)
    net.eval()
    np.testing.assert_allclose(
        program.run_outputs({"image": x})[0], net(paddle.to_tensor(x)).numpy(), rtol=1e-3, atol=1e-4
    )
    norms = sum(node.op_type == "BatchNormalization" for node in program.graph.nodes)
    assert len(fold_batch_norm(program.graph)) == norms
    # The Graph knows every operator but dropout outside of training, which Paddle keeps in SqueezeNet.
    assert {node.source_op for node in program.graph.nodes if node.domain} <= {"dropout"}
