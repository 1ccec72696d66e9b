# SPDX-License-Identifier: Apache-2.0
"""Equalization: the same network in float, less error in int8, and what is left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from quantized import quantize_post_static
from small_networks import IRS, save_network

from qslim.importers.paddle import find_model_files, load_program
from qslim.quant.options import PostTrainingOptions
from qslim.quant.post_training.data_source import KeptBatches
from qslim.quant.post_training.quantize_graph import calibrate, select_operators
from qslim.runtime import Session

RNG = np.random.default_rng(2)


class Rows(nn.Layer):
    """A layer norm whose channels differ by a factor of 300, read by two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        paddle.seed(1)
        self.norm = nn.LayerNorm(16)
        self.first, self.second = nn.Linear(16, 12), nn.Linear(16, 12)
        _spread(
            self.norm.weight, self.norm.bias, [(self.first.weight, (16, 1)), (self.second.weight, (16, 1))]
        )

    def forward(self, x: Any) -> Any:
        normed = self.norm(x)
        return self.first(normed) * self.second(normed)


class Images(nn.Layer):
    """Normalized channels that differ, read by a depthwise convolution and, behind it, by a whole one."""

    def __init__(self, activation: Any = nn.ReLU) -> None:
        super().__init__()
        paddle.seed(1)
        self.enter, self.norm, self.activation = nn.Conv2D(3, 16, 3), nn.BatchNorm2D(16), activation()
        self.depthwise, self.second_norm = nn.Conv2D(16, 16, 3, groups=16), nn.BatchNorm2D(16)
        self.second_activation, self.whole = nn.ReLU(), nn.Conv2D(16, 6, 1)
        _spread(self.norm.weight, self.norm.bias, [(self.depthwise.weight, (16, 1, 1, 1))])
        _spread(self.second_norm.weight, self.second_norm.bias, [(self.whole.weight, (1, 16, 1, 1))])

    def forward(self, x: Any) -> Any:
        x = self.depthwise(self.activation(self.norm(self.enter(x))))
        return self.whole(self.second_activation(self.second_norm(x)))


def _spread(scale: Any, offset: Any, weights: Sequence[tuple[Any, tuple[int, ...]]]) -> None:
    factors = paddle.to_tensor(np.geomspace(0.1, 30, 16).astype(np.float32))
    scale.set_value(scale * factors)
    offset.set_value((offset + 0.3) * factors)
    for weight, shape in weights:
        weight.set_value(weight / factors.reshape(shape))


def saved(net: nn.Layer, directory: Path, ir: str) -> tuple[str, np.ndarray]:
    if isinstance(net, Rows):
        x = RNG.standard_normal((24, 10, 16)).astype(np.float32)
    else:
        x = RNG.standard_normal((24, 3, 12, 12)).astype(np.float32)
    net.eval()
    return save_network(net, str(directory / "fp32"), ir, (None, *x.shape[1:])), x


def outputs(report: Any, x: np.ndarray) -> Any:
    session = Session(report.engine_file)
    return session.run({session.inputs[0].name: x})[0]


@pytest.mark.parametrize("algo", ["hist", "auto"])
@pytest.mark.parametrize("ir", IRS)
@pytest.mark.parametrize("kind", [Rows, Images])
def test_the_error_falls_where_channels_differ(kind: type, ir: str, algo: str, tmp_path: Path) -> None:
    net = kind()
    model, x = saved(net, tmp_path, ir)
    expected = net(paddle.to_tensor(x)).numpy()
    errors = []
    for equalize in (False, True):
        out = str(tmp_path / f"int8_{equalize}")
        report = quantize_post_static(model, out, data_loader=[x[:8], x[8:]], algo=algo, equalize=equalize)
        result = outputs(report, x)
        errors.append(np.square(result - expected).mean() / expected.var())
        loaded = load_program(find_model_files(out))
        by_paddle = loaded.run({loaded.feeds[0].name: x}, loaded.graph.outputs)
        # Paddle normalizes in float by itself: now and then a value falls on the other side of a step.
        largest = np.abs(expected).max()
        difference = np.abs(by_paddle[0] - result) / largest
        assert (difference > 1e-4).mean() < 2e-3
        assert difference.max() < 0.05
    assert errors[1] < 0.3 * errors[0], errors
    assert [weight.name for weight in report.weights if "equalized" in weight.methods]
    assert any("equalized" in note for note in report.notes)


@pytest.mark.parametrize("ir", IRS)
@pytest.mark.parametrize("kind", [Rows, Images])
def test_the_network_is_the_same_in_float(kind: type, ir: str, tmp_path: Path) -> None:
    net = kind()
    model, x = saved(net, tmp_path, ir)
    program = load_program(find_model_files(model))
    before = Session(program.graph.copy())
    options = PostTrainingOptions(quantizable_op_type=["conv2d", "depthwise_conv2d", "mul"], equalize=True)
    selection = select_operators(program, options)
    feeds = [{program.feeds[0].name: x[:8]}, {program.feeds[0].name: x[8:]}]
    calibration = calibrate(program, selection, feeds, 2, options)
    assert len(calibration.scaled) == 2
    after = Session(program.graph.copy())
    first, second = (session.run({program.feeds[0].name: x})[0] for session in (before, after))
    np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-5 * np.abs(first).max())
    assert isinstance(calibration.kept, KeptBatches)
    for name in selection.activations:  # the statistics are those of the network as it is now
        seen = calibration.statistics[name]
        part = program.graph.copy()
        part.outputs = [name]
        if name in program.graph.inputs:
            continue
        values = Session(part).run({program.feeds[0].name: x})[0]
        assert seen.abs_max == pytest.approx(np.abs(values).max(), rel=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.Hardswish, nn.Sigmoid])
def test_what_does_not_commute_with_factors_stays(activation: Any, tmp_path: Path) -> None:
    net = Images(activation)
    model, x = saved(net, tmp_path, "pir")
    report = quantize_post_static(model, str(tmp_path / "int8"), data_loader=[x], equalize=True)
    changed = [weight.name for weight in report.weights if "equalized" in weight.methods]
    assert len(changed) == 1  # the convolution behind the second normalization


def test_a_tensor_that_another_operator_reads_stays(tmp_path: Path) -> None:
    class Residual(Rows):
        def forward(self, x: Any) -> Any:
            normed = self.norm(x)
            return self.first(normed).sum() + self.second(normed) + normed[:, :, :12]

    model, x = saved(Residual(), tmp_path, "pir")
    report = quantize_post_static(model, str(tmp_path / "int8"), data_loader=[x], equalize=True)
    assert not any("equalized" in weight.methods for weight in report.weights)


def test_even_channels_stay(tmp_path: Path) -> None:
    net = nn.Sequential(nn.BatchNorm2D(3), nn.ReLU(), nn.Conv2D(3, 4, 1))
    net[2].weight.set_value(paddle.sign(net[2].weight) * 0.5)
    model, x = saved(net, tmp_path, "pir")
    report = quantize_post_static(model, str(tmp_path / "int8"), data_loader=[x], equalize=True)
    assert not any("equalized" in weight.methods for weight in report.weights)
