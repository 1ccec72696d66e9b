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
from qslim.quant.post_training.adaptive_rounding import InputMoments, round_adaptively

RNG = np.random.default_rng(0)


def smooth_images(*shape: int) -> Any:
    return (RNG.standard_normal(shape).cumsum(axis=2).cumsum(axis=3) / 10).astype(np.float32)


def moments_of(op_type: str, weight: Any, axis: int, **attributes: Any) -> InputMoments:
    graph = Graph()
    graph.tensors["x"] = Tensor("x", "float32", None)
    graph.tensors["w"] = Tensor("w", "float32", weight.shape, weight)
    return InputMoments(graph, Node(op_type, ["x", "w"], ["y"], attributes), "w", axis)


def correlated(rows: int, columns: int) -> Any:
    shared = RNG.standard_normal((rows, 3)) @ RNG.standard_normal((3, columns))
    return (shared + 0.3 * RNG.standard_normal((rows, columns)) + 1).astype(np.float32)


@pytest.mark.parametrize("size", [7, 12])
def test_the_error_is_near_the_least_of_all_roundings(size: int) -> None:
    weight = RNG.standard_normal((size, 8)).astype(np.float32)
    x = correlated(500, size)
    moments = moments_of("MatMul", weight, 1)
    moments.update(x)
    params = QuantParams.weight(np.abs(weight).max(axis=0), 3, 1)
    step = np.asarray(params.scale)
    rounded = round_adaptively(weight, params, moments)
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


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((6, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((6, 2, 3, 2), {"group": 2, "strides": [2, 1], "pads": [1, 0, 1, 1]}),
        ((4, 1, 3, 3), {"group": 4, "dilations": [2, 1]}),
    ],
    ids=["plain", "grouped", "depthwise"],
)
def test_moments_give_the_error_of_a_convolution(shape: Any, attributes: Any) -> None:
    weight = RNG.standard_normal(shape).astype(np.float32)
    x = RNG.standard_normal((2, 4, 9, 8)).astype(np.float32)
    moments = moments_of("Conv", weight, 0, **attributes)
    moments.update(x)
    expected = np.square(convolve(x, weight, attributes)).sum(axis=(0, 2, 3))
    rows = moments.rows(weight)
    ours = np.einsum("brk,bkl,brl->br", rows, moments.sums, rows).reshape(-1)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    np.testing.assert_array_equal(moments.values(rows, weight.shape), weight)


def test_ranks_add_up() -> None:
    weight = np.zeros((6, 2), np.float32)
    x = correlated(40, 6)
    whole, *parts = (moments_of("MatMul", weight, 1) for _ in range(3))
    whole.update(x)
    for part, rows in zip(parts, (x[:15], x[15:])):
        part.update(rows)
    parts[0].merge(parts[1])
    np.testing.assert_allclose(parts[0].sums, whole.sums, rtol=1e-5)


def test_long_rows_are_cut_between_channels() -> None:
    moments = moments_of("Conv", np.zeros((2, 600, 3, 3), np.float32), 0)
    assert moments.sums.shape == (3, 1800, 1800)


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
