# SPDX-License-Identifier: Apache-2.0
"""Adaptive rounding: the quadratic form against brute force, its patches against convolutions, and layers."""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np
import pytest

pytest.importorskip("paddle")

import paddle
from paddle import nn

import qslim
from qslim.graph import Graph, Node, QuantParams, Tensor
from qslim.graph.operators.products import convolve
from qslim.quant.post_training.adaptive_rounding import round_adaptively
from qslim.quant.post_training.layer_samples import LayerSamples

RNG = np.random.default_rng(0)


def smooth_images(*shape: int) -> Any:
    return (RNG.standard_normal(shape).cumsum(axis=2).cumsum(axis=3) / 10).astype(np.float32)


def layer_of(op_type: str, weight: Any, axis: int, x: Any, **attributes: Any) -> LayerSamples:
    graph = Graph()
    graph.tensors["x"] = Tensor("x", "float32", None)
    graph.tensors["w"] = Tensor("w", "float32", weight.shape, weight)
    layer = LayerSamples(graph, Node(op_type, ["x", "w"], ["y"], attributes), "w", axis, to_solve=True)
    layer.update(x, np.arange(len(x), dtype=np.uint64) * np.uint64(7919))
    return layer


def correlated(rows: int, columns: int) -> Any:
    shared = RNG.standard_normal((rows, 3)) @ RNG.standard_normal((3, columns))
    return (shared + 0.3 * RNG.standard_normal((rows, columns)) + 1).astype(np.float32)


@pytest.mark.parametrize("size", [7, 12])
def test_the_error_is_near_the_least_of_all_roundings(size: int) -> None:
    weight = RNG.standard_normal((size, 8)).astype(np.float32)
    x = correlated(500, size)
    layer = layer_of("MatMul", weight, 1, x)
    params = QuantParams.weight(np.abs(weight).max(axis=0), 3, 1)
    step = np.asarray(params.scale)
    rounded, is_better = round_adaptively(weight, params, layer)
    assert is_better
    assert (np.abs(rounded - weight) <= step * (1 + 1e-5)).all()

    def errors(values: Any) -> Any:
        return np.square(x @ (values - weight)).mean(axis=0)

    choices = np.array(list(itertools.product([0, 1], repeat=size)))[:, :, None]
    every = np.clip(np.floor(weight / step) + choices, -3, 3) * step
    all_errors = np.square(np.einsum("sk,akc->sac", x, every - weight)).mean(axis=0)
    rank = (all_errors < errors(rounded) * (1 - 1e-5)).mean(axis=0)
    # The damping keeps it from the very best now and then.
    assert rank.max() <= (0.02 if size <= 9 else 0.05), rank
    assert (errors(rounded) <= errors(params.dequantize(params.quantize(weight))) * (1 + 1e-5)).all()


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((6, 2, 3, 2), {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 1]}),
        ((4, 1, 3, 3), {"group": 4, "dilations": [2, 1]}),
        ((4, 1, 5, 5), {"group": 4}),
    ],
    ids=["plain", "grouped", "depthwise", "depthwise 5x5"],
)
def test_a_convolution_keeps_its_output_better(shape: Any, attributes: Any, bits: int) -> None:
    weight = RNG.standard_normal(shape).astype(np.float32)
    x = smooth_images(30, 4, 12, 11)
    params = QuantParams.weight(np.abs(weight).max(axis=(1, 2, 3)), bits, 0)
    rounded, is_better = round_adaptively(weight, params, layer_of("Conv", weight, 0, x, **attributes))
    assert is_better
    expected = convolve(x, weight, attributes)
    ours, nearest = (
        np.square(convolve(x, values, attributes) - expected).mean()
        for values in (rounded, params.fake_quantize(weight))
    )
    assert ours < 0.7 * nearest
    steps = rounded / params.broadcast_scale(4)
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


def test_long_rows_are_cut_between_channels() -> None:
    weight = RNG.standard_normal((2, 600, 3, 3)).astype(np.float32)
    x = RNG.standard_normal((40, 600, 5, 5)).astype(np.float32)
    params = QuantParams.weight(np.abs(weight).max(axis=(1, 2, 3)), 2, 0)
    rounded, _ = round_adaptively(weight, params, layer_of("Conv", weight, 0, x))
    assert rounded.shape == weight.shape
    assert (np.abs(rounded - weight) <= params.broadcast_scale(4) * (1 + 1e-5)).all()


def test_a_layer_takes_up_what_its_inputs_have_lost() -> None:
    """In the quantized network the inputs are half as large: the weights become twice as large."""
    weight = RNG.uniform(-1, 1, (12, 8)).astype(np.float32)
    x = correlated(800, 12)
    layer = layer_of("MatMul", weight, 1, x)
    params = QuantParams.weight(np.full(8, 3.0, np.float32), 8, 1)
    seen = 0.5 * layer.patches
    rounded, is_better = round_adaptively(weight, params, layer, seen)
    assert is_better
    expected = layer.patches @ weight
    error, without = (np.square(seen @ values - expected).mean() for values in (rounded, weight))
    assert error < 0.01 * without


def test_patches_that_were_kept_back_judge() -> None:
    """Of inputs that say nothing of each other, nearest rounding may stay."""
    weight = RNG.standard_normal((1500, 4)).astype(np.float32)
    x = RNG.standard_normal((300, 1500)).astype(np.float32)
    params = QuantParams.weight(np.abs(weight).max(axis=0), 3, 1)
    layer = layer_of("MatMul", weight, 1, x)
    rounded, _ = round_adaptively(weight, params, layer)
    judged = layer.patches[-len(layer.patches) // 4 :]
    ours, nearest = (
        np.square(judged @ (values - weight)).sum(axis=0)
        for values in (rounded, params.fake_quantize(weight))
    )
    assert (ours <= nearest * (1 + 1e-4)).all()


def outputs(net: Any, images: Any, directory: Any, **options: Any) -> tuple[Any, Any]:
    """The report, and what the engine computes."""
    net.eval()
    shape = [None, *images.shape[1:]]
    paddle.jit.save(net, str(directory / "fp32"), input_spec=[paddle.static.InputSpec(shape, "float32")])
    report = qslim.quant.quant_post_static(
        paddle.static.Executor(paddle.CPUPlace()),
        str(directory),
        str(directory / "int8"),
        model_filename="fp32.json",
        params_filename="fp32.pdiparams",
        data_loader=[images[:32], images[32:]],
        **options,
    )
    session = qslim.runtime.Session(os.fspath(report.engine_file))
    return report, session.run(None, {session.inputs[0].name: images})[0]


@pytest.mark.parametrize("weight_type", ["channel_wise_abs_max", "abs_max"])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv2D(4, 12, 3, padding=1),
        lambda: nn.Conv2D(4, 4, 3, stride=2, groups=4),
        lambda: nn.Sequential(nn.Conv2D(4, 6, 2), nn.BatchNorm2D(6)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(4 * 12 * 12, 5)),
    ],
    ids=["conv", "depthwise", "folded", "linear"],
)
def test_a_layer_keeps_its_output_better(layer: Any, weight_type: str, tmp_path: Any) -> None:
    paddle.seed(3)
    net = layer()
    images = smooth_images(64, 4, 12, 12)
    options = {"weight_bits": 3, "weight_quantize_type": weight_type, "optimize_model": True}
    _, nearest = outputs(net, images, tmp_path, **options)
    report, ours = outputs(net, images, tmp_path, round_type="adaround", **options)
    expected = net(paddle.to_tensor(images)).numpy()
    assert np.square(ours - expected).mean() < 0.6 * np.square(nearest - expected).mean()
    assert (np.abs(report.weights[0].quantized) <= 3).all()


def test_other_weights_are_rounded_to_nearest(tmp_path: Any) -> None:
    net = nn.Sequential(nn.Conv2DTranspose(4, 8, 2, stride=2), nn.ReLU(), nn.Conv2D(8, 3, 1))
    images = smooth_images(64, 4, 5, 5)
    for bias_correction in (False, True):
        nearest, _ = outputs(net, images, tmp_path, weight_bits=3, bias_correction=bias_correction)
        ours, _ = outputs(
            net, images, tmp_path, weight_bits=3, bias_correction=bias_correction, round_type="adaround"
        )
        same = [(a.quantized == b.quantized).all() for a, b in zip(nearest.weights, ours.weights)]
        assert same == [True, False]


def test_quant_recon_static_rounds_adaptively_and_refuses_regions(tmp_path: Any) -> None:
    paddle.seed(2)
    net = nn.Sequential(nn.Conv2D(4, 8, 3), nn.ReLU(), nn.Conv2D(8, 3, 1))
    images = smooth_images(64, 4, 8, 8)
    ours, expected = outputs(net, images, tmp_path, round_type="adaround", weight_bits=4)
    executor = paddle.static.Executor(paddle.CPUPlace())
    paths = (str(tmp_path), str(tmp_path / "recon"))
    options = {"model_filename": "fp32.json", "params_filename": "fp32.pdiparams", "weight_bits": 4}
    batches = [images[:32], images[32:]]
    report = qslim.quant.quant_recon_static(executor, *paths, data_loader=batches, **options)
    for a, b in zip(report.weights, ours.weights):
        np.testing.assert_array_equal(a.quantized, b.quantized)
    with pytest.raises(ValueError, match="recon_level"):
        qslim.quant.quant_recon_static(executor, *paths, data_loader=batches, recon_level="region-wise")
    with pytest.raises(ValueError, match="recon_level"):
        qslim.quant.quant_recon_static(executor, *paths, data_loader=batches, recon_level="layerwise")
    assert expected.shape == (64, 3, 6, 6)


def test_a_deep_network_takes_up_the_errors_in_front(tmp_path: Any) -> None:
    """Rounded for the inputs of the quantized network, its outputs err less than layer by layer alone."""
    paddle.seed(4)
    net = nn.Sequential(
        nn.Conv2D(4, 16, 3, padding=1), nn.ReLU(), nn.Conv2D(16, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2D(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2D(16, 6, 1),
    )  # fmt: skip
    images = smooth_images(64, 4, 10, 10)
    options = {"weight_bits": 3, "round_type": "adaround"}
    _, ours = outputs(net, images, tmp_path, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qslim.quant.post_training.quantized_prefix.QuantizedPrefix.samples", lambda *a: None)
        _, alone = outputs(net, images, tmp_path, **options)
    expected = net(paddle.to_tensor(images)).numpy()
    assert np.square(ours - expected).mean() < 0.9 * np.square(alone - expected).mean()
