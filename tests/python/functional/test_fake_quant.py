# SPDX-License-Identifier: Apache-2.0
"""fake_quant, its gradient, quantize and dequantize: against NumPy, and properties that must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qslim import _core
from qslim import functional as F

FINITE = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=3, max_side=40), elements=st.floats(-1e6, 1e6, width=32)
)
THRESHOLDS = st.floats(2.0**-20, 2.0**20, width=32)


def in_numpy(x: np.ndarray, threshold: np.ndarray, qmin: int, qmax: int) -> np.ndarray:
    scale = np.float32(threshold) / np.float32(qmax)
    q = np.clip(np.rint(x * (np.float32(1) / scale)), qmin, qmax)
    return (q + np.float32(0)) * scale


@given(FINITE, THRESHOLDS, st.integers(2, 16), st.booleans(), st.sampled_from(["ties_to_even", "ties_away"]))
def test_twice_is_once(x: np.ndarray, threshold: float, bits: int, is_unsigned: bool, rounding: str) -> None:
    once = F.fake_quant(x, threshold, quant_bits=bits, is_unsigned=is_unsigned, rounding=rounding)
    twice = F.fake_quant(once, threshold, quant_bits=bits, is_unsigned=is_unsigned, rounding=rounding)
    assert once.tobytes() == twice.tobytes()


@given(FINITE, THRESHOLDS, st.integers(2, 16), st.booleans())
def test_equals_numpy(x: np.ndarray, threshold: float, bits: int, is_unsigned: bool) -> None:
    qmax = 2**bits - 1 if is_unsigned else 2 ** (bits - 1) - 1
    expected = in_numpy(x, np.float32(threshold), 0 if is_unsigned else -qmax, qmax)
    actual = F.fake_quant(x, threshold, quant_bits=bits, is_unsigned=is_unsigned)
    assert actual.tobytes() == expected.tobytes()


@given(FINITE, THRESHOLDS, st.integers(2, 8), st.booleans())
def test_there_and_back_is_fake_quant(x: np.ndarray, threshold: float, bits: int, is_unsigned: bool) -> None:
    q = F.quantize(x, threshold, quant_bits=bits, is_unsigned=is_unsigned)
    assert q.dtype == (np.uint8 if is_unsigned else np.int8)
    back = F.dequantize(q, threshold, quant_bits=bits)
    assert back.tobytes() == F.fake_quant(x, threshold, quant_bits=bits, is_unsigned=is_unsigned).tobytes()


@pytest.mark.parametrize("shape", [(3, 7, 5), (16, 1, 3, 3), (4, 600), (600, 4), (1, 1), (0, 3), (3, 0)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_per_channel_equals_channel_by_channel(shape: tuple[int, ...], axis: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape).astype(np.float32)
    threshold = rng.uniform(0.1, 3, shape[axis]).astype(np.float32)
    actual = F.fake_quant(x, threshold, quant_axis=axis)
    expected = np.stack(
        [F.fake_quant(part, t) for part, t in zip(np.moveaxis(x, axis, 0), threshold)] or [x], axis
    ).reshape(shape)
    assert actual.tobytes() == np.ascontiguousarray(expected).tobytes()


def test_channels_of_zeros_stay_zero() -> None:
    x = np.zeros((2, 4), np.float32)
    x[1] = 3.0
    y = F.fake_quant(x, F.abs_max(x, quant_axis=0), quant_axis=0)
    np.testing.assert_array_equal(y, x)


def test_gradients() -> None:
    x = np.float32([-2, -1, 0.3, 1, 1.001, 2, np.nan])
    g = np.arange(1, 8, dtype=np.float32)
    np.testing.assert_array_equal(F.fake_quant_backward(x, g, 1.0), np.float32([0, 2, 3, 4, 5, 0, 0]))
    np.testing.assert_array_equal(F.fake_quant_backward(x, g, 1.0, gradient="straight_through"), g)
    np.testing.assert_array_equal(
        F.fake_quant_backward(x[:4], g[:4], 1.0, is_unsigned=True), np.float32([0, 0, 3, 4])
    )


def test_nan_and_infinity() -> None:
    y = F.fake_quant(np.float32([np.nan, np.inf, -np.inf]), 2.0)
    assert np.isnan(y[0])
    np.testing.assert_array_equal(y[1:], np.float32([2, -2]))


def test_out_is_filled_and_may_be_the_input() -> None:
    x = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    expected = F.fake_quant(x, 1.5)
    out = np.empty_like(x)
    assert F.fake_quant(x, 1.5, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert F.fake_quant(x, 1.5, out=x) is x
    np.testing.assert_array_equal(x, expected)


def test_inputs_are_converted() -> None:
    expected = F.fake_quant(np.float32([0.1, 0.5]), 1.0)
    np.testing.assert_array_equal(F.fake_quant([0.1, 0.5], 1.0), expected)
    np.testing.assert_array_equal(F.fake_quant(np.float64([0.5, 0.3, 0.1])[::-2], 1.0), expected[[0, 1]])
    assert F.fake_quant(0.5, 1.0).shape == ()


class Tensor:
    """A stand-in for a framework's CPU tensor."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **kwargs: object) -> object:
        return self.array.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_dlpack_tensors_are_read_in_place() -> None:
    from qslim.functional.arrays import as_float32

    x = np.random.default_rng(0).normal(size=100).astype(np.float32)
    assert np.shares_memory(as_float32(Tensor(x), "test"), x)
    np.testing.assert_array_equal(F.fake_quant(Tensor(x), 1.0), F.fake_quant(x, 1.0))


def test_paddle_tensors() -> None:
    paddle = pytest.importorskip("paddle")
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_array_equal(F.fake_quant(paddle.to_tensor(x), 1.0), F.fake_quant(x, 1.0))


X = np.ones((2, 3), np.float32)
READ_ONLY = np.ones((2, 3), np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.fake_quant(X, -1.0),
            ValueError,
            "fake_quant: threshold must be finite and >= 0, got -1.0",
        ),
        (lambda: F.fake_quant(X, np.nan), ValueError, "threshold must be finite"),
        (lambda: F.fake_quant(X, 1.0, quant_bits=1), ValueError, r"quant_bits must be in \[2, 16\], got 1"),
        (
            lambda: F.quantize(X, 1.0, quant_bits=9),
            ValueError,
            r"quantize: quant_bits must be in \[2, 8\], got 9",
        ),
        (lambda: F.fake_quant(X, [1.0, 2.0]), ValueError, "quant_axis must name its axis"),
        (lambda: F.fake_quant(X, [1.0, 2.0], quant_axis=1), ValueError, "scale must have 3 elements"),
        (lambda: F.fake_quant(X, 1.0, quant_axis=5), ValueError, r"quant_axis must be in \[-2, 1\]"),
        (lambda: F.fake_quant(X, 1.0, rounding="up"), ValueError, "rounding must be 'ties_to_even' or"),
        (lambda: F.fake_quant([1, 2], 1.0), TypeError, "x must hold floating-point numbers, got int64"),
        (
            lambda: F.fake_quant(X, 1.0, out=np.ones((3, 2), np.float32)),
            ValueError,
            r"shape of the input, \(2, 3\)",
        ),
        (
            lambda: F.fake_quant(X, 1.0, out=np.ones((2, 3))),
            TypeError,
            "out must be a float32 array, got float64",
        ),
        (lambda: F.fake_quant(X, 1.0, out=READ_ONLY), ValueError, "out must be writeable"),
        (lambda: F.fake_quant(X.ravel()[:4], 1.0, out=X.ravel()[1:5]), ValueError, "not overlap"),
        (lambda: F.dequantize(X, 1.0), TypeError, "q must be an int8 or uint8 array, got float32"),
        (lambda: _core.fake_quant(X.T, 1.0, 0, -127, 127), ValueError, "x must be C-contiguous"),
        (
            lambda: _core.fake_quant(X, "a", 0, -127, 127),
            TypeError,
            "scale must be a number or a float32 array",
        ),
        (lambda: _core.fake_quant(X, 0.0, 0, -127, 127), ValueError, "scale must be finite and > 0"),
        (lambda: _core.quantize(X, 1.0, 0, -127, 255), ValueError, r"int8 holds \[-128, 127\]"),
        (lambda: _core.Context(isa="mmx"), ValueError, "isa must be one of scalar"),
        (
            lambda: _core.Context(num_threads=0),
            ValueError,
            "num_threads must be a whole number .*, got 0",
        ),
    ],
)
def test_messages(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
