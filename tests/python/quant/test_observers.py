# SPDX-License-Identifier: Apache-2.0
"""Observers: the thresholds they give, what they do to a network, and the arguments they refuse."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import paddle
import pytest
from deployment import assert_saved_as_evaluated, batch, network
from paddle import nn
from paddle.quantization import PTQ as PaddlePTQ
from paddle.quantization import QuantConfig

import qslim as slim
from qslim.functional import TensorStatistics, find_threshold
from qslim.quant import observers

ACTIVATIONS = {
    "AbsmaxObserver": "abs_max",
    "AVGObserver": "avg",
    "MSEObserver": "mse",
    "EMDObserver": "emd",
    "HistObserver": "hist",
    "KLObserver": "KL",
}
ASYMMETRIC = ("MinMaxObserver",)
CHANNEL_WISE = ("AbsMaxChannelWiseWeightObserver", "MSEChannelWiseWeightObserver")


def test_every_observer_is_exported() -> None:
    namespace: dict[str, Any] = {}
    exec("from qslim.quant.observers import *", namespace)
    assert {*ACTIVATIONS, *ASYMMETRIC, *CHANNEL_WISE, "GroupWiseWeightObserver"} == set(observers.__all__)
    assert set(observers.__all__) <= set(namespace)


def _converted(layer: Any, batches: list[Any], activation: Any = None, weight: Any = None) -> Any:
    layer.eval()
    ptq = slim.PTQ(QuantConfig(activation=activation, weight=weight))
    quantized = ptq.quantize(layer)
    for x in batches:
        np.testing.assert_array_equal(quantized(x).numpy(), layer(x).numpy())  # observing changes nothing
    return ptq.convert(quantized, remain_weight=True)


@pytest.mark.parametrize(("name", "algo"), ACTIVATIONS.items())
def test_the_threshold_is_that_of_all_batches(name: str, algo: Any) -> None:
    rng = np.random.default_rng(3)
    batches = [paddle.to_tensor(rng.normal(0, spread, (4, 8)).astype(np.float32)) for spread in (1, 3, 0.5)]
    statistics = TensorStatistics(2048 if name in ("HistObserver", "KLObserver") else 4096)
    for x in batches:
        statistics.update(x.numpy())
    expected = find_threshold(statistics, algo, hist_percent=0.999)
    for order in (batches, batches[::-1]):
        linear = _converted(nn.Linear(8, 4), order, activation=getattr(observers, name)())
        assert linear._fake_quant_input.threshold == pytest.approx(expected, rel=1e-6)


def test_the_least_squared_error_is_that_of_all_batches() -> None:
    """PaddleSlim's MSEObserver returned the last batch's largest magnitude."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(4096, 8)).astype(np.float32)
    first[0, 0] = 8.0  # an outlier that is worth cutting off
    batches = [paddle.to_tensor(x) for x in (first, first[::-1].copy())]
    linear = _converted(nn.Linear(8, 4), batches, activation=observers.MSEObserver(3))
    assert linear._fake_quant_input.threshold < 5


@pytest.mark.parametrize(
    ("sign", "least", "integers"),
    [
        (True, 0.0, (-128, 127)),
        (None, 0.0, (0, 255)),
        (None, -1.0, (-128, 127)),
        (False, -1.0, (0, 255)),
    ],
)
def test_the_sign_of_the_range(sign: Any, least: float, integers: tuple[int, int]) -> None:
    x = paddle.to_tensor(np.linspace(least, 2, 64, dtype=np.float32).reshape(8, 8))
    linear = _converted(nn.Linear(8, 4), [x], activation=observers.HistObserver(sign=sign))
    params = linear._fake_quant_input.quant_params()
    assert (params.qmin, params.qmax) == integers


def test_an_asymmetric_range_ends_at_least_and_largest_value() -> None:
    x = paddle.to_tensor(np.linspace(-1, 3, 1024, dtype=np.float32).reshape(128, 8))
    observer = observers.HistObserver(percent=1.0, symmetric=False)
    params = _converted(nn.Linear(8, 4), [x], activation=observer)._fake_quant_input.quant_params()
    ends = params.dequantize(np.array([params.qmin, params.qmax], params.dtype))
    np.testing.assert_allclose(ends, [-1, 3], atol=float(params.scale))
    assert (params.qmin, params.qmax) == (0, 255)


@pytest.mark.parametrize("order", [1, -1])
def test_min_max_observer_ends_at_least_and_largest_value_of_all_batches(order: int) -> None:
    batches = [paddle.full([2, 8], value) for value in (0.5, -1.0, 1.55)][::order]
    linear = _converted(nn.Linear(8, 4), batches, activation=observers.MinMaxObserver())
    params = linear._fake_quant_input.quant_params()
    assert (params.qmin, params.qmax, params.zero_point) == (0, 255, 100)
    np.testing.assert_allclose(params.scale, 0.01, rtol=1e-6)


@pytest.mark.parametrize(("layer", "axis"), [(nn.Conv2D, 0), (nn.Conv2DTranspose, 1)])
@pytest.mark.parametrize("name", CHANNEL_WISE)
def test_channel_wise_weights(layer: Any, axis: int, name: str) -> None:
    conv = layer(3, 5, 3)
    x = paddle.ones([1, 3, 6, 6])
    quantizer = _converted(conv, [x], weight=getattr(observers, name)())._fake_quant_weight
    magnitudes = np.abs(conv.weight.numpy()).max(axis=tuple({0, 1, 2, 3} - {axis}))
    threshold = quantizer.quant_params().threshold
    if name.startswith("AbsMax"):
        np.testing.assert_allclose(threshold, magnitudes, rtol=1e-6)
    else:
        assert (threshold <= magnitudes * 1.000001).all()
        assert (threshold >= 0.2 * magnitudes).all()


def test_least_squared_error_beats_the_largest_magnitude() -> None:
    linear = nn.Linear(64, 4)
    values = np.random.default_rng(0).standard_t(3, (64, 4)).astype(np.float32)
    linear.weight.set_value(values)
    errors = []
    for observer in (observers.MSEChannelWiseWeightObserver(3), observers.AbsMaxChannelWiseWeightObserver(3)):
        converted = _converted(linear, [paddle.ones([1, 64])], weight=observer)
        errors.append(np.square(converted.quantized_weight().numpy() - values).sum())
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.parametrize("remain_weight", [True, False])
def test_group_wise_weights(remain_weight: bool) -> None:
    linear = nn.Linear(128, 3)
    linear.eval()
    values = linear.weight.numpy()
    ptq = slim.PTQ(QuantConfig(activation=None, weight=observers.GroupWiseWeightObserver(4, group_size=64)))
    quantized = ptq.quantize(linear)
    converted = ptq.convert(quantized, remain_weight=remain_weight)
    step = np.abs(values.reshape(2, 64, 3)).max(1).repeat(64, axis=0) / np.float32(7)
    np.testing.assert_allclose(converted.quantized_weight().numpy(), np.rint(values / step) * step, rtol=1e-5)
    if not remain_weight:
        np.testing.assert_array_equal(converted.weight.numpy(), np.rint(values / step))


def test_converted_network_is_saved_as_it_evaluates(tmp_path: Any) -> None:
    net = network()
    ptq = slim.PTQ(
        QuantConfig(
            activation=observers.HistObserver(sign=None),
            weight=observers.MSEChannelWiseWeightObserver(),
        )
    )
    quantized = ptq.quantize(net)
    for seed in range(2):
        quantized(batch(seed))
    report = assert_saved_as_evaluated(ptq, ptq.convert(quantized), tmp_path, batch(9))
    assert all(layer.activation is not None and layer.weight is not None for layer in report.layers)


def test_paddles_own_ptq_takes_our_observers() -> None:
    net = network()
    ptq = PaddlePTQ(
        QuantConfig(activation=observers.AbsmaxObserver(), weight=observers.AbsMaxChannelWiseWeightObserver())
    )
    quantized = ptq.quantize(copy.deepcopy(net))
    x = batch(0)
    np.testing.assert_array_equal(quantized(x).numpy(), net(x).numpy())
    converted = ptq.convert(quantized)
    weight = converted.conv.weight.numpy()
    np.testing.assert_array_equal(weight, np.rint(weight))
    assert np.abs(weight).max() == 127
    np.testing.assert_allclose(converted(x).numpy(), net(x).numpy(), atol=0.1)


def test_refused_arguments() -> None:
    with pytest.raises(ValueError, match="quant_bits must be an int from 2 to 16, got 1"):
        observers.AbsmaxObserver(1)
    with pytest.raises(ValueError, match="bins"):
        observers.KLObserver(bins_count=1000)
    with pytest.raises(ValueError, match=r"percent must be in \(0, 1\], got 99"):
        observers.HistObserver(percent=99)
    with pytest.raises(ValueError, match="group_size must be 64 or 128, got 32"):
        observers.GroupWiseWeightObserver(group_size=32)
    with pytest.raises(ValueError, match="in a multiple of 128"):
        _converted(nn.Linear(100, 4), [], weight=observers.GroupWiseWeightObserver())
    with pytest.raises(ValueError, match="AbsMaxChannelWiseWeightObserver quantizes weights"):
        _converted(nn.Linear(8, 4), [], activation=observers.AbsMaxChannelWiseWeightObserver())


def test_values_that_are_not_finite_name_the_layer() -> None:
    net = nn.Sequential(nn.Linear(4, 4))
    net.eval()
    quantized = slim.PTQ().quantize(net)
    with pytest.raises(ValueError, match=r"layer '0 .*NaN"):
        quantized(paddle.full([1, 4], float("nan")))
