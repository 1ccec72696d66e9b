# SPDX-License-Identifier: Apache-2.0
"""The quantizers' formulas: thresholds over batches, grids, gradients, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest

from qslim.graph import QuantParams
from qslim.graph.passes.merge_quantizers import same_params
from qslim.quant.quantizers.activation_quantizers import AbsMax, MovingAverageAbsMax, RangeAbsMax
from qslim.quant.quantizers.learned_activations import LearnedActivation
from qslim.quant.quantizers.weight_quantizers import LearnedWeight, PACTWeight


def tensor(*values: float, grad: bool = False) -> Any:
    x = paddle.to_tensor(np.float32(values))
    x.stop_gradient = not grad
    return x


def test_moving_average_is_paddles() -> None:
    # accum and state start at 1; paddle 3.3.1's kernel gives these for the largest magnitudes 2, 4, 3.
    quantizer = MovingAverageAbsMax(8, 0.9)
    seen = []
    for most in (2.0, 4.0, 3.0):
        quantizer(tensor(-most, 0.5))
        seen.append((quantizer.threshold, quantizer._state.item()))
    expected = [(1.5263158, 1.9), (2.4391144, 2.71), (2.6022099, 3.439)]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_range_forgets_what_left_the_window() -> None:
    quantizer = RangeAbsMax(8, window_size=2)
    seen = []
    for most in (3.0, 1.0, 2.0, 0.5):
        quantizer(tensor(-most))
        seen.append(quantizer.threshold)
    assert seen == [3.0, 3.0, 2.0, 2.0]


def test_abs_max_follows_the_batch_in_training_only() -> None:
    quantizer = AbsMax(8)
    quantizer(tensor(-4.0, 1.0))
    np.testing.assert_array_equal(quantizer(tensor(-1.0, 0.5)).numpy(), np.float32([-1, 64 / 127]))
    assert quantizer.threshold == 4.0
    quantizer.eval()
    np.testing.assert_allclose(quantizer(tensor(-9.0)).numpy(), [-4 * 128 / 127], rtol=1e-6)


def test_evaluation_changes_nothing_and_passes_on_before_training() -> None:
    quantizer = MovingAverageAbsMax()
    quantizer.eval()
    x = tensor(0.123456, -7.0)
    np.testing.assert_array_equal(quantizer(x).numpy(), x.numpy())
    quantizer.train()
    quantizer(x)
    quantizer.eval()
    before = {key: value.numpy().copy() for key, value in quantizer.state_dict().items()}
    quantizer(tensor(100.0))
    for key, value in quantizer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


@pytest.mark.parametrize("rule", ["pact", "lsq"])
def test_inputs_that_are_never_negative_take_the_unsigned_grid(rule: Any) -> None:
    for quantizer in (MovingAverageAbsMax(4), LearnedActivation(rule, 4, calibration_batches=1)):
        quantizer(tensor(0.0, 1.0))
        assert (quantizer.quant_params().qmin, quantizer.quant_params().qmax) == (0, 15)
        quantizer(tensor(-0.1, 1.0))
        assert (quantizer.quant_params().qmin, quantizer.quant_params().qmax) == (-8, 7)
        quantizer(tensor(0.0, 1.0))
        assert quantizer.is_signed
    assert MovingAverageAbsMax(4, is_signed=True).is_signed


def test_the_gradient_passes_straight_through() -> None:
    x = tensor(-3.0, 0.2, 9.0, grad=True)
    quantizer = MovingAverageAbsMax()
    quantizer(x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1, 1])


def test_ties_round_to_even() -> None:
    quantizer = AbsMax(8)
    y = quantizer(tensor(-0.5, 1.5, 2.5, 127.0)).numpy()
    np.testing.assert_array_equal(y, [0, 2, 2, 127])


def calibrated(rule: Any, bits: int = 4, **options: Any) -> tuple[LearnedActivation, Any]:
    quantizer = LearnedActivation(rule, bits, calibration_batches=1, **options)
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal(4096).astype(np.float32))
    quantizer(x)
    return quantizer, x


def test_calibration_clips_where_the_error_is_least() -> None:
    quantizer, x = calibrated("pact")
    values = x.numpy()

    def error(threshold: float) -> float:
        grid = QuantParams.activation(threshold, 4, False)
        return float(np.square(grid.dequantize(grid.quantize(values)) - values).mean())

    assert quantizer.threshold < 0.8 * np.abs(values).max()
    assert error(quantizer.threshold) <= 1.05 * min(error(t) for t in np.linspace(1.5, 4, 200))


def test_pact_gradient() -> None:
    quantizer, _ = calibrated("pact")
    t = quantizer.threshold
    x = tensor(-2 * t, -0.5 * t, 0.25 * t, 2 * t, 3 * t, grad=True)
    upstream = tensor(1.0, 2.0, 3.0, 4.0, 5.0) * 1e-3
    (quantizer(x) * upstream).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.float32([0, 2, 3, 0, 0]) * 1e-3)
    # g * qmax * (4 + 5 - 1) * 1e-3 / s0, s0 = t / qmax, g = 1 / sqrt(5 * qmax)
    expected = 7 * 8e-3 / (t / 7) / np.sqrt(5 * 7)
    np.testing.assert_allclose(quantizer.alpha.grad.item(), expected, rtol=1e-5)


def test_lsq_gradient() -> None:
    quantizer, _ = calibrated("lsq")
    params = quantizer.quant_params()
    s = float(params.scale)
    x = tensor(-20 * s, 1.25 * s, -2.6 * s, 30 * s, grad=True)
    (quantizer(x) * 1e-3).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.float32([0, 1, 1, 0]) * 1e-3)
    d_scale = 1e-3 * (-8 + (1 - 1.25) + (-3 + 2.6) + 7)
    np.testing.assert_allclose(quantizer.alpha.grad.item(), d_scale / s / np.sqrt(4 * 7), rtol=1e-4)


def test_lsqplus_has_a_zero_point() -> None:
    quantizer = LearnedActivation("lsqplus", 8, calibration_batches=1)
    x = paddle.to_tensor(np.linspace(-0.375, 3, 1000, dtype=np.float32))
    x.stop_gradient = False
    quantizer(x)
    params = quantizer.quant_params()
    assert params.qmin == 0
    assert params.qmax == 255
    assert params.zero_point == round(0.375 / 3.375 * 255)
    quantizer(x * 1.5).sum().backward()
    assert quantizer.beta.grad.item() != 0
    quantizer.beta.set_value(np.float32([-0.25]))
    assert quantizer.quant_params().zero_point == round((0.375 / 3.375 + 0.25) * 255)


def test_nothing_is_learned_while_calibrating() -> None:
    quantizer = LearnedActivation("pact", 4, calibration_batches=3)
    for batch in range(4):
        x = tensor(-1.0 - batch, 5.0, 0.1, grad=True)
        quantizer(x).sum().backward()
        assert (quantizer.alpha.grad.item() != 0) == (batch == 3)
        quantizer.alpha.clear_grad()


@pytest.mark.parametrize("kind", [LearnedWeight, PACTWeight])
@pytest.mark.parametrize("axis", [None, 0])
def test_learned_weights(kind: Any, axis: Any) -> None:
    rng = np.random.default_rng(1)
    weight = paddle.to_tensor(
        rng.standard_normal((4, 30)).astype(np.float32) * np.float32([[1], [2], [4], [8]])
    )
    weight.stop_gradient = False
    quantizer = kind(3, axis, 0, 4)
    (quantizer(weight) * weight.detach()).sum().backward()
    assert quantizer.alpha.grad.shape == ([4] if axis == 0 and kind is LearnedWeight else [1])
    assert (np.abs(quantizer.alpha.grad.numpy()) <= 1).all()
    assert weight.grad is not None
    quantizer.alpha.set_value(np.full(quantizer.alpha.shape, 0.9, np.float32))
    quantizer(weight)
    params = quantizer.weight_params(weight.numpy())
    assert same_params(quantizer.quant_params(), params)
    error = np.abs(params.dequantize(params.quantize(weight.numpy())) - weight.numpy())
    assert error.mean() < 0.45 * np.abs(weight.numpy()).mean()


@pytest.mark.parametrize(
    "optimizer", [paddle.optimizer.SGD, paddle.optimizer.Momentum, paddle.optimizer.Adam]
)
@pytest.mark.parametrize("learning_rate", [1e-4, 1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("rule", ["pact", "lsq", "lsqplus"])
def test_no_learning_rate_breaks_the_grid(rule: Any, learning_rate: float, optimizer: Any) -> None:
    quantizer, x = calibrated(rule)
    start = quantizer.threshold
    x.stop_gradient = False
    steps = optimizer(learning_rate, parameters=quantizer.parameters())
    for _ in range(30):
        (quantizer(x) - x).square().mean().backward()
        steps.step()
        steps.clear_grad()
    assert start / 33 < quantizer.threshold < 33 * start
    assert np.isfinite(quantizer(x).numpy()).all()
    if learning_rate < 1e-1:
        assert float((quantizer(x) - x).square().mean()) < 0.2


def test_a_checkpoint_without_pact_finds_the_threshold() -> None:
    quantizer, _ = calibrated("pact")
    quantizer.alpha.set_value(np.float32([0.75]))
    plain = MovingAverageAbsMax(4)
    with pytest.warns(UserWarning, match="Skip loading"):
        plain.set_state_dict(quantizer.state_dict())
    assert plain.threshold == quantizer.threshold
    assert plain.quant_params() is not None


def test_pact_calibrates_on_a_checkpoint_without_it() -> None:
    plain = MovingAverageAbsMax(4)
    x = paddle.to_tensor(np.random.default_rng(0).standard_normal(4096).astype(np.float32))
    for _ in range(5):
        plain(x)
    pact = LearnedActivation("pact", 4, calibration_batches=1)
    with pytest.warns(UserWarning, match="Skip loading"):
        pact.set_state_dict(plain.state_dict())
    assert pact.quant_params() is None
    pact(x)
    assert pact.threshold == calibrated("pact")[0].threshold
    weight = paddle.to_tensor(np.random.default_rng(1).standard_normal((4, 30)).astype(np.float32))
    clipped = PACTWeight(4, 0, 0, 4)
    clipped._write("_batches", [7])
    assert float(clipped(weight).abs().max()) > 1
