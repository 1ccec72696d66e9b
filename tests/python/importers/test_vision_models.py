# SPDX-License-Identifier: Apache-2.0
"""Networks of paddle.vision.models and ours: no operator stays foreign, simulation and Paddle agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from small_networks import save_network

import qslim as slim
from qslim.graph import Graph, evaluate
from qslim.graph.passes import prepare_for_runtime
from qslim.importers.paddle import PaddleProgram, find_model_files, load_program

# The smallest image that the network takes whole. VGG without its 120 million weights behind the pooling.
_NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "LeNet": (28, {}),
    "alexnet": (224, {}),
    "densenet121": (32, {}),
    "googlenet": (224, {}),
    "inception_v3": (75, {}),
    "mobilenet_v1": (32, {"scale": 0.5}),
    "mobilenet_v2": (32, {"scale": 0.5}),
    "mobilenet_v3_large": (32, {"scale": 0.5}),
    "mobilenet_v3_small": (32, {"scale": 0.5}),
    "resnet18": (32, {}),
    "resnet50": (32, {}),
    "resnext50_32x4d": (32, {}),
    "shufflenet_v2_swish": (32, {}),
    "shufflenet_v2_x0_25": (32, {}),
    "squeezenet1_0": (64, {}),
    "squeezenet1_1": (32, {}),
    "vgg11": (224, {"num_classes": 0}),
    "wide_resnet50_2": (32, {}),
    "EfficientNetLite0": (32, {}),
    "PPLCNet_x1_0": (32, {}),
}


def _load(name: str, directory: Path) -> tuple[PaddleProgram, np.ndarray]:
    size, options = _NETWORKS[name]
    channels = 1 if name == "LeNet" else 3
    if hasattr(paddle.vision.models, name):
        net = getattr(paddle.vision.models, name)(**{"num_classes": 10, **options})
    else:
        net = getattr(slim.models, name)().layer(class_dim=10)
    _settle_norms(net)
    net.eval()
    shape = (None, channels, size, size)
    program = load_program(find_model_files(save_network(net, str(directory), "pir", shape)))
    return program, np.random.default_rng(0).standard_normal((1, *shape[1:])).astype(np.float32)


def _settle_norms(net: Any) -> None:
    """Statistics that are neither 0 nor 1, and weights that keep the signal alive through the depth."""
    rng = np.random.default_rng(0)
    for layer in net.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            for tensor, low, high in ((layer._mean, -0.2, 0.2), (layer._variance, 0.5, 1.5)):
                tensor.set_value(rng.uniform(low, high, tensor.shape).astype(np.float32))


def _watched(program: PaddleProgram, prepared: Graph) -> list[str]:
    """Outputs, and tensors at every depth that both the program and the prepared graph have."""
    common = [name for node in prepared.nodes for name in node.outputs if name in program.values]
    return list(dict.fromkeys([*common[:: max(len(common) // 12, 1)], *prepared.outputs]))


@pytest.mark.parametrize("name", _NETWORKS)
def test_the_simulation_is_what_paddle_computes(name: str, tmp_path: Path) -> None:
    program, x = _load(name, tmp_path)
    assert [node.label for node in program.graph.nodes if node.domain] == []
    prepared = prepare_for_runtime(program.graph)
    left = {node.op_type for node in prepared.nodes}
    assert not left & {"BatchNormalization", "Cast", "Identity", "Shape", "Unsqueeze"}
    names = _watched(program, prepared)
    expected = program.run({"image": x}, names)
    got = evaluate(prepared, {"image": x}, names)
    for tensor, want in zip(names, expected):
        # A layer adds a relative error of about 2^-24 * sqrt(K), K <= 4608 products; over 120 layers these
        # grow as a square root to 2^-24 * 68 * 11 = 4e-5 of the largest value.
        np.testing.assert_allclose(got[tensor], want, atol=4e-5 * float(np.abs(want).max()), rtol=0)
        assert np.ptp(want) > 0, tensor
