# SPDX-License-Identifier: Apache-2.0
"""Samples of layers' inputs, and the correction of biases with them, against NumPy."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Optional

import numpy as np
import paddle
import pytest
from paddle import nn
from quantized import quantize_post_static
from small_networks import IRS, save_network

import qslim as slim
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.graph.operators.products import convolve, pixel_patches
from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.post_training.bias_correction import correct_bias
from qslim.quant.post_training.layer_samples import LayerSamples

RNG = np.random.default_rng(11)


def conv_graph(behind: str, groups: int = 1) -> tuple[Graph, LayerSamples]:
    """A convolution of 4 channels into 6 (4 if grouped), with a constant behind it."""
    graph = Graph()
    channels = 6 if groups == 1 else 4
    weight = RNG.normal(0, 1, [channels, 4 // groups, 3, 3]).astype(np.float32)
    graph.add_tensor(Tensor("x", "float32", (None, 4, 9, 9)))
    graph.add_tensor(Tensor("w", "float32", weight.shape, weight))
    attributes = {"strides": [2, 1], "pads": [1, 0, 1, 2], "group": groups}
    node = Node("Conv", ["x", "w"], ["y"], attributes, source_op="conv2d")
    graph.add_tensor(Tensor("y", "float32"))
    graph.add_tensor(Tensor("z", "float32"))
    graph.add_node(node)
    if behind == "add":
        shape = (1, channels, 1, 1)
        graph.add_tensor(Tensor("b", "float32", shape, np.ones(shape, np.float32)))
        graph.add_node(Node("Add", ["y", "b"], ["z"], {}))
    else:
        for name in ("scale", "offset", "b", "variance"):
            graph.add_tensor(Tensor(name, "float32", (channels,), np.ones(channels, np.float32)))
        graph.add_node(Node("BatchNormalization", ["y", "scale", "offset", "b", "variance"], ["z"], {}))
    graph.inputs, graph.outputs = ["x"], ["z"]
    return graph, LayerSamples(graph, node, "w", 0)


def digests(n: int, first: int = 1) -> np.ndarray:
    return np.arange(first, first + n, dtype=np.uint64)


@pytest.mark.parametrize("groups", [1, 4])
def test_samples_are_patches_of_the_convolution(groups: int) -> None:
    graph, layer = conv_graph("add", groups)
    x = RNG.normal(0, 1, [3, 4, 9, 9]).astype(np.float32)
    layer.update(x, digests(3))
    every = pixel_patches(x, (3, 3), layer.node.attributes, 10**6)
    assert sorted(map(bytes, layer.patches)) == sorted(map(bytes, every))
    weight = graph.tensors["w"].value
    assert weight is not None
    rows = weight.reshape(groups, -1, weight[0].size)
    expected = np.einsum("ngk,gok->ngo", every.reshape(len(every), groups, -1), rows).reshape(len(every), -1)
    np.testing.assert_allclose(layer.outputs(every, weight), expected, rtol=1e-4, atol=1e-5)
    pixels = convolve(x, weight, layer.node.attributes).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(expected, pixels.reshape(expected.shape), rtol=1e-4, atol=1e-5)


def test_order_batches_and_processes_do_not_change_the_sample() -> None:
    x = RNG.normal(0, 1, [40, 4, 9, 9]).astype(np.float32)

    def sample(parts: list[slice], other: Optional[list[slice]] = None) -> np.ndarray:
        layers = [conv_graph("add")[1] for _ in range(2)]
        for layer in layers:
            layer._most = 100
        for layer, pictures in zip(layers, (parts, other or [])):
            for part in pictures:
                layer.update(x[part], digests(40)[part])
        layers[0].merge(pickle.loads(pickle.dumps(layers[1])))
        return layers[0].patches

    whole = sample([slice(0, 40)])
    assert whole.shape == (100, 36)
    assert (sample([slice(20, 40), slice(0, 20)]) == whole).all()
    assert (sample([slice(i, i + 1) for i in range(40)]) == whole).all()
    assert (sample([slice(0, 13)], [slice(13, 40)]) == whole).all()


@pytest.mark.parametrize("behind", ["add", "norm"])
def test_the_mean_error_of_each_channel_is_taken_off(behind: str) -> None:
    graph, layer = conv_graph(behind)
    x = RNG.uniform(0, 1, [60, 4, 9, 9]).astype(np.float32)
    layer._most = 4000  # so many that every channel's shift is clear
    layer.update(x, digests(60))
    weight = graph.tensors["w"].value
    assert weight is not None
    graph.tensors["w"].quantization = QuantParams.weight(np.abs(weight).max(axis=(1, 2, 3)), 3, 0)
    graph.tensors["x"].quantization = QuantParams.activation(0.8, 8, True)  # clips

    def quantized(name: str, value: np.ndarray) -> np.ndarray:
        params = graph.tensors[name].quantization
        assert params is not None
        return params.dequantize(params.quantize(value))

    patches = layer.patches.astype(np.float64)
    rows = quantized("w", weight).reshape(6, -1).astype(np.float64)
    shift = (quantized("x", layer.patches) @ rows.T - patches @ weight.reshape(6, -1).T).mean(axis=0)
    assert correct_bias(graph, layer, weight, quantized("x", layer.patches), {"b"})
    corrected = graph.tensors["b"].value
    assert corrected is not None
    moved = corrected.reshape(-1) - 1
    np.testing.assert_allclose(moved, shift if behind == "norm" else -shift, rtol=1e-3, atol=1e-5)


def test_a_shift_that_is_not_clear_changes_nothing() -> None:
    graph, layer = conv_graph("add")
    layer.update(RNG.normal(0, 1, [2, 4, 9, 9]).astype(np.float32), digests(2))
    weight = graph.tensors["w"].value
    assert weight is not None
    graph.tensors["w"].quantization = QuantParams.weight(np.abs(weight).max(axis=(1, 2, 3)), 16, 0)
    correct_bias(graph, layer, weight, layer.patches, {"b"})
    assert graph.tensors["b"].value is not None
    assert np.abs(graph.tensors["b"].value - 1).max() < 1e-4


@pytest.mark.parametrize("shared", ["reader", "output", "not written"])
def test_a_constant_that_others_use_is_left_alone(shared: str) -> None:
    graph, layer = conv_graph("add")
    layer.update(RNG.uniform(0, 1, [9, 4, 9, 9]).astype(np.float32), digests(9))
    weight = graph.tensors["w"].value
    assert weight is not None
    graph.tensors["w"].quantization = QuantParams.weight(np.abs(weight).max(axis=(1, 2, 3)), 2, 0)
    if shared == "output":
        graph.outputs = ["z", "b"]
    elif shared == "reader":
        graph.add_tensor(Tensor("other", "float32"))
        graph.add_node(Node("Add", ["z", "b"], ["other"], {}))
    written = set() if shared == "not written" else {"b"}
    assert not correct_bias(graph, layer, weight, layer.patches, written)


@pytest.mark.parametrize("optimize_model", [False, True])
@pytest.mark.parametrize("ir", IRS)
def test_quant_post_static_keeps_the_means_of_the_outputs(
    tmp_path: Path, ir: str, optimize_model: bool
) -> None:
    paddle.seed(2)
    net = nn.Sequential(
        nn.Conv2D(3, 16, 3), nn.BatchNorm2D(16), nn.ReLU6(), nn.Conv2D(16, 16, 3, groups=16), nn.ReLU(),
        nn.Conv2D(16, 8, 1),
    )  # fmt: skip
    net.eval()
    images = np.random.default_rng(3).uniform(0, 1, [32, 3, 16, 16]).astype(np.float32)
    model = save_network(net, str(tmp_path / "float"), ir)
    (expected,) = load_program(find_model_files(model)).run_outputs({"image": images})
    shifts: dict[bool, Any] = {}
    for bias_correction in (False, True):
        report = quantize_post_static(
            model, str(tmp_path / "int8"), data_loader=[images], weight_bits=4,
            bias_correction=bias_correction, optimize_model=optimize_model,
        )  # fmt: skip
        (ours,) = slim.runtime.Session(report.engine_file).run({"image": images})
        (paddles,) = load_program(find_model_files(str(tmp_path / "int8"))).run_outputs({"image": images})
        np.testing.assert_allclose(ours, paddles, atol=1e-5 if ir == "pir" else 0.05)
        shifts[bias_correction] = np.abs((ours - expected).mean(axis=(0, 2, 3))).max()
        corrected = sum("bias corrected" in row.methods for row in report.weights)
        assert corrected == (3 if bias_correction else 0)
    assert shifts[True] < 0.3 * shifts[False]
